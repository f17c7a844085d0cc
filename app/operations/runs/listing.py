"""get-run and list-runs: reading runs."""

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from app.db import Listed, Query, array
from app.errors import RunNotFound, TaskNotFound
from app.ids import LAST_ID
from app.operations.runs.run import RUN_JSON, RUN_VISIBLE, EncodedRun, Run, RunStatus, sees_all
from app.operations.tasks.task import task_id
from app.rpc import AgentRequest, Context, Page, given, operation
from app.types import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Id, PageCursor, PageLimit
from app.writes.access import CALLER
from app.writes.fence import under

GET_RUN = Query(
    Listed[Run],
    f"""
    WITH i AS ({CALLER}, %(sees_all)s::boolean AS sees_all)
    SELECT {RUN_JSON}, r.id::text
      FROM i
      JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = %(run_id)s::uuid
     WHERE {RUN_VISIBLE}
    """,
    pipelined=True,
)

_INPUT: Final = """
    i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid AS workspace_id,
               %(actor_id)s::uuid     AS actor_id,
               %(sees_all)s::boolean  AS sees_all,
               %(task_id)s::uuid      AS task_id,
               %(status)s::text       AS status,
               %(live)s::boolean      AS live,
               %(before)s::uuid       AS before
    )"""

_MATCHES: Final = f"""
           r.id < i.before
           AND (i.status IS NULL OR r.status = i.status)
           AND (i.live IS NULL OR i.live = (r.holder_id IS NOT NULL AND r.ended_at IS NULL AND r.lease_expires_at > now()))
           AND {RUN_VISIBLE}"""

_PAGE: Final = """
     ORDER BY r.id DESC
     LIMIT %(limit)s"""

# Newest first, each along an index: the runs of a task, the caller's own, those that live, and all of the workspace.
OF_TASK = Query(
    Listed[Run],
    f"""
    WITH {_INPUT}
    SELECT {RUN_JSON}, r.id::text
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.work_item_id = i.task_id
     WHERE {_MATCHES} {_PAGE}
    """,
)

MINE = Query(
    Listed[Run],
    f"""
    WITH {_INPUT}
    SELECT {RUN_JSON}, r.id::text
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.holder_id = i.actor_id
     WHERE (i.task_id IS NULL OR r.work_item_id = i.task_id) AND {_MATCHES} {_PAGE}
    """,
)

MINE_LIVE = Query(
    Listed[Run],
    f"""
    WITH {_INPUT}
    SELECT {RUN_JSON}, r.id::text
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.holder_id = i.actor_id AND r.ended_at IS NULL
     WHERE (i.task_id IS NULL OR r.work_item_id = i.task_id) AND {_MATCHES} {_PAGE}
    """,
)

ALL = Query(
    Listed[Run],
    f"""
    WITH {_INPUT}
    SELECT {RUN_JSON}, r.id::text
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id
     WHERE {_MATCHES} {_PAGE}
    """,
)


class GetRun(AgentRequest):
    """Which run."""

    run_id: Annotated[Id, Meta(description="The run.")]


class ListRuns(AgentRequest):
    """Which runs. Filters add up."""

    task_id: Annotated[Id | UnsetType, Meta(description="Only runs of this task, by id or as `T-42`.")] = (
        UNSET
    )
    mine: Annotated[bool, Meta(description="Only claims that you hold or held.")] = False
    live: Annotated[
        bool | UnsetType, Meta(description="Only claims that live, or only runs that are no live claim.")
    ] = UNSET
    status: Annotated[RunStatus | UnsetType, Meta(description="Only runs that stand there.")] = UNSET
    limit: PageLimit = UNSET
    cursor: PageCursor = UNSET


@operation(scope="task-read", read_only=True, errors=(RunNotFound,))
async def get_run(ctx: Context, req: GetRun) -> EncodedRun:
    """Read one run: its holder, how far it is, and what came of it."""
    row = await ctx.one(
        GET_RUN,
        sees_all=sees_all(ctx),
        run_id=under(req.run_id),
    )
    if row is None:
        raise RunNotFound(req.run_id)
    return row.item


@operation(scope="task-read", read_only=True)
async def list_runs(ctx: Context, req: ListRuns) -> Page[Run]:
    """List runs you can see, newest first: with `live=true` who is working on what, with `mine=true` too the claims you hold.

    After a restart go on with those, or release them.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    try:
        task = await task_id(ctx, req.task_id) if req.task_id else None
    except TaskNotFound:
        return Page(array([]))
    mine = MINE_LIVE if req.live is True else MINE
    rows = await ctx.all(
        mine if req.mine else OF_TASK if task else ALL,
        sees_all=sees_all(ctx),
        task_id=task,
        status=given(req.status),
        live=given(req.live),
        before=given(req.cursor) or LAST_ID,
        limit=limit + 1,
    )
    return Page[Run].cut(rows, limit)
