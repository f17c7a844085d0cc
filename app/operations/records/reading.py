"""getTask and listTasks: reading runs, each with its parts."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import One, Query, array
from app.errors import RunNotFound
from app.ids import LAST_ID, uuid_or_none
from app.operations.records.task import Kind, Link, TaskRecord, run_id_of
from app.operations.records.tree import nested, tree
from app.operations.runs.run import RUN_VISIBLE, RunStatus, sees_all
from app.rpc import IN_PATH, Context, Outcome, Page, RecordRequest, given, operation
from app.types import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Cursor, Id, Limit

_INPUT: Final = """
    i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid AS workspace_id,
               %(actor_id)s::uuid     AS actor_id,
               %(sees_all)s::boolean  AS sees_all,
               %(kind)s::text         AS kind,
               %(status)s::text       AS status,
               %(parent_id)s::uuid    AS parent_id,
               %(app_id)s::text       AS app_id,
               %(executor_id)s::text  AS executor_id,
               %(target_id)s::text    AS target_id,
               %(before)s::uuid       AS before
    )"""

_LISTED: Final = f"""
           r.id < i.before
           AND (i.kind IS NULL OR r.kind = i.kind)
           AND (i.status IS NULL OR r.status = i.status)
           AND (i.parent_id IS NULL OR r.parent_id = i.parent_id)
           AND (i.app_id IS NULL OR r.app_id = i.app_id)
           AND (i.executor_id IS NULL OR r.executor_id = i.executor_id)
           AND (i.target_id IS NULL OR r.target_id = i.target_id)
           AND {RUN_VISIBLE}
         ORDER BY r.id DESC
         LIMIT %(limit)s"""

LIST_ALL = Query(
    One[UUID],
    f"""
    WITH {_INPUT}
    SELECT r.id FROM i JOIN runs r ON r.workspace_id = i.workspace_id WHERE {_LISTED}
    """,
)

# What an executor polls with: its own runs that stand somewhere.
LIST_BY_EXECUTOR = Query(
    One[UUID],
    f"""
    WITH {_INPUT}
    SELECT r.id
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.executor_id = %(executor_id)s::text
     WHERE {_LISTED}
    """,
)

LIST_BY_PARENT = Query(
    One[UUID],
    f"""
    WITH {_INPUT}
    SELECT r.id
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.parent_id = %(parent_id)s::uuid
     WHERE {_LISTED}
    """,
)


class GetTaskRecord(RecordRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]


class RecordPagination(msgspec.Struct, rename="camel"):
    """Which page of a list."""

    limit: Annotated[
        Limit | None | UnsetType, Meta(description="How many at most: 50 unless told, never more than 100.")
    ] = UNSET
    cursor: Annotated[
        Cursor | None | UnsetType, Meta(description="The id of the last task of the page before.")
    ] = UNSET


class ListTaskRecords(RecordRequest):
    """What to list. Filters add up."""

    kind: Annotated[Kind | None | UnsetType, Meta(description="Only tasks of this sort.")] = UNSET
    status: Annotated[RunStatus | None | UnsetType, Meta(description="Only tasks that stand there.")] = UNSET
    parent_id: Annotated[Link | None | UnsetType, Meta(description="Only direct parts of this task.")] = UNSET
    app_id: Annotated[Link | None | UnsetType, Meta(description="Only tasks of this app.")] = UNSET
    executor_id: Annotated[Link | None | UnsetType, Meta(description="Only tasks of this executor.")] = UNSET
    target_id: Annotated[Link | None | UnsetType, Meta(description="Only tasks about this.")] = UNSET
    pagination: Annotated[RecordPagination | None | UnsetType, Meta(description="Which page.")] = UNSET


@operation(scope="task-read", path="tasks/{taskId}", method="GET", read_only=True, errors=(RunNotFound,))
async def get_task(ctx: Context, req: GetTaskRecord) -> Outcome[TaskRecord]:
    """Read one task with its parts.

    The ETag is the version of the task itself: what its parts do does not change it.
    """
    run_id = run_id_of(req.task_id)
    nodes = await tree(ctx, [run_id])
    if not nodes:
        raise RunNotFound(req.task_id, field="taskId")
    return Outcome(nested(nodes)[run_id], version=nodes[0].version)


@operation(scope="task-read", path="tasks/list", method="POST", read_only=True)
async def list_tasks(ctx: Context, req: ListTaskRecords) -> Page[TaskRecord]:
    """List tasks, newest first, each with its parts.

    For the next page send the id of the last task as `pagination.cursor`; the list is over when a page is not full.
    """
    page = given(req.pagination) or RecordPagination()
    parent = given(req.parent_id) or None
    if parent is not None and uuid_or_none(parent) is None:
        return Page(array([]))
    executor = given(req.executor_id) or None
    rows = await ctx.all(
        LIST_BY_PARENT if parent else LIST_BY_EXECUTOR if executor else LIST_ALL,
        sees_all=sees_all(ctx),
        kind=given(req.kind),
        status=given(req.status),
        parent_id=parent,
        app_id=given(req.app_id) or None,
        executor_id=executor,
        target_id=given(req.target_id) or None,
        before=given(page.cursor) or LAST_ID,
        limit=min(given(page.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX),
    )
    if not rows:
        return Page(array([]))
    shown = nested(await tree(ctx, [row.value for row in rows]))
    return Page(array(shown[row.value] for row in rows if row.value in shown))
