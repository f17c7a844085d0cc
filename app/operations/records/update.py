"""updateTask: reporting how a run goes, and what stands in the way of a change."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import BatchQuery, Encoded
from app.errors import (
    ApiError,
    Contended,
    EtagMismatch,
    InvalidInput,
    NotYoursToShow,
    RunClaimed,
    RunNotFound,
    TaskReadOnly,
)
from app.operations.records.task import RECORD_JSON_WITH_CHILDREN, Link, TaskRecord, Title, run_id_of
from app.operations.records.tree import children
from app.operations.records.writing import (
    MATCHES,
    MAY_SHOW,
    MAY_WRITE,
    PARENT_VISIBLE,
    TAKES,
    WORK_ITEM_WRITABLE,
    WRITE_ERRORS,
    item_of,
    links,
    values,
    work_item_refusal,
)
from app.operations.runs.run import ERRORS_MAX, RUN_VISIBLE, NewRunProblem, RunStatus
from app.rpc import IN_PATH, Context, IfMatch, Outcome, RecordWrite, etag_of, operation, versions_in
from app.types import Id, Markdown, When
from app.writes.write import Write, calls, one

# The row as it shall be. The server stamps what the caller leaves unsaid (B8). A claim keeps its status and times.
_NEXT: Final = """
    CROSS JOIN LATERAL (SELECT
        CASE WHEN i.changes ? 'status' THEN i.changes->>'status' ELSE o.status END AS status,
        CASE WHEN i.changes ? 'title' THEN i.changes->>'title' ELSE o.title END AS title,
        CASE WHEN i.changes ? 'description' THEN i.changes->>'description' ELSE o.description END AS description,
        CASE WHEN i.changes ? 'executorId' THEN i.changes->>'executorId' ELSE o.executor_id END AS executor_id,
        CASE WHEN i.changes ? 'input' THEN nullif(i.changes->'input', 'null') ELSE o.input END AS input,
        CASE WHEN i.changes ? 'output' THEN nullif(i.changes->'output', 'null') ELSE o.output END AS output,
        CASE WHEN i.changes ? 'params' THEN coalesce(nullif(i.changes->'params', 'null'), '{}') ELSE o.params END AS params,
        CASE WHEN i.changes ? 'errors' THEN coalesce(nullif(i.changes->'errors', 'null'), '[]') ELSE o.errors END AS errors,
        CASE WHEN i.changes ? 'parentId' THEN i.parent_id ELSE o.parent_id END AS parent_id,
        CASE WHEN i.changes ? 'workItemId' THEN i.work_item_id ELSE o.work_item_id END AS work_item_id) n
    CROSS JOIN LATERAL (SELECT
        CASE WHEN i.changes ? 'startedAt' THEN to_timestamp((i.changes->>'startedAt')::float8)
             WHEN n.status = 'running' AND o.status <> 'running' THEN coalesce(o.started_at, now())
             ELSE o.started_at END AS started_at,
        CASE WHEN i.changes ? 'endedAt' THEN to_timestamp((i.changes->>'endedAt')::float8)
             WHEN n.status IN ('completed', 'failed', 'cancelled') AND o.status <> n.status THEN now()
             ELSE o.ended_at END AS ended_at) s"""

_DIFFERS: Final = """
    (n.status, n.title, n.description, n.executor_id, n.input, n.output, n.params, n.errors, n.parent_id, n.work_item_id,
     s.started_at, s.ended_at)
    IS DISTINCT FROM
    (o.status, o.title, o.description, o.executor_id, o.input, o.output, o.params, o.errors, o.parent_id, o.work_item_id,
     o.started_at, o.ended_at)"""

# Whether the new parent is the run itself or stands below it. Callers that set a parent take their turn first.
_PARENT_BELOW: Final = """EXISTS (
        WITH RECURSIVE up AS (
            SELECT p.id, p.parent_id FROM runs p WHERE p.workspace_id = i.workspace_id AND p.id = i.parent_id
             UNION
            SELECT p.id, p.parent_id FROM up JOIN runs p ON p.workspace_id = i.workspace_id AND p.id = up.parent_id
        )
        SELECT FROM up WHERE up.id = o.id)"""

# If what is written is the claim itself, its lease is renewed here: a row is written once in a statement, and `alive`
# comes last.
UPDATE_RUN = Write[TaskRecord](
    takes=TAKES,
    does=f"""
    r AS (
        UPDATE runs r
           SET status = n.status, title = n.title, description = n.description, executor_id = n.executor_id,
               input = n.input, output = n.output, params = n.params, errors = n.errors, parent_id = n.parent_id,
               work_item_id = n.work_item_id, started_at = s.started_at, ended_at = s.ended_at,
               lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds)),
               version = r.version + 1, updated_at = now()
          FROM i
          JOIN runs o ON o.workspace_id = i.workspace_id AND o.id = i.id
         {_NEXT}
         WHERE r.workspace_id = i.workspace_id AND r.id = i.id
           AND r.version = o.version                      -- nobody came in between
           AND r.ended_at IS NOT DISTINCT FROM o.ended_at
           AND {MATCHES}
           AND {RUN_VISIBLE}
           AND {MAY_WRITE}
           AND {MAY_SHOW}
           AND (i.parent_id IS NULL OR i.parent_id = o.parent_id OR ({PARENT_VISIBLE} AND NOT {_PARENT_BELOW}))
           AND (i.work_item_id IS NULL OR {WORK_ITEM_WRITABLE})
           AND {_DIFFERS}
        RETURNING r.*, i.ord
    )""",
    answers=f"SELECT i.ord, {RECORD_JSON_WITH_CHILDREN} AS answer, r.version FROM r JOIN i ON i.ord = r.ord",
    versioned=True,
    locks="id",
    one_per=one("id"),
)
MOVE_RUN: Final = UPDATE_RUN.in_turn("move")


class WhyRow(msgspec.Struct):
    """Why a run was not changed."""

    ord: int
    task: Encoded[TaskRecord]
    version: int
    matches: bool
    may_write: bool
    may_show: bool
    is_claim: bool
    differs: bool
    parent_ok: bool
    parent_below: bool
    work_item_ok: bool


WHY_RUN = BatchQuery(
    WhyRow,
    f"""
    WITH i AS MATERIALIZED ({calls(TAKES)}
    )
    SELECT i.ord, {RECORD_JSON_WITH_CHILDREN}, r.version, {MATCHES}, {MAY_WRITE}, {MAY_SHOW}, o.holder_id IS NOT NULL, {_DIFFERS},
           i.parent_id IS NULL OR i.parent_id IS NOT DISTINCT FROM o.parent_id OR {PARENT_VISIBLE},
           i.parent_id IS NOT NULL AND {_PARENT_BELOW},
           i.work_item_id IS NULL OR {WORK_ITEM_WRITABLE}
      FROM i
      JOIN runs o ON o.workspace_id = i.workspace_id AND o.id = i.id
     CROSS JOIN LATERAL (SELECT o.*) r                    -- the same row, under the name the shared fragments use
     {_NEXT}
     WHERE {RUN_VISIBLE}
    """,
)


class UpdateTaskRecord(RecordWrite, kw_only=True):
    """What to change. An absent key stays as it is; null clears it."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]
    if_match: IfMatch = UNSET
    status: Annotated[RunStatus | None | UnsetType, Meta(description="Where it stands now.")] = UNSET
    title: Annotated[Title | None | UnsetType, Meta(description="What it is, for people.")] = UNSET
    description: Annotated[Markdown | None | UnsetType, Meta(description="The rest of it.")] = UNSET
    executor_id: Annotated[Link | None | UnsetType, Meta(description="Who should handle it.")] = UNSET
    input: Annotated[
        Any | UnsetType, Meta(description="Data for the run; any JSON, instead of what was there.")
    ] = UNSET
    output: Annotated[
        Any | UnsetType, Meta(description="The result; any JSON, instead of what was there.")
    ] = UNSET
    params: Annotated[
        dict[str, Any] | None | UnsetType, Meta(description="Settings of this task, instead of those it had.")
    ] = UNSET
    errors: Annotated[
        Annotated[list[NewRunProblem], Meta(max_length=ERRORS_MAX)] | None | UnsetType,
        Meta(description="Problems met while running, instead of those it had; at most 100."),
    ] = UNSET
    parent_id: Annotated[Link | None | UnsetType, Meta(description="The task to move it under.")] = UNSET
    started_at: Annotated[When | None | UnsetType, Meta(description="When it started, with an offset.")] = (
        UNSET
    )
    ended_at: Annotated[When | None | UnsetType, Meta(description="When it ended, with an offset.")] = UNSET
    work_item_id: Annotated[
        Link | None | UnsetType,
        Meta(description="The task of the workspace it works on, by id or as `T-42`."),
    ] = UNSET


@operation(
    scope="task-write",
    path="tasks/{taskId}",
    method="PUT",
    errors=(InvalidInput, *WRITE_ERRORS, NotYoursToShow, EtagMismatch, RunClaimed, Contended),
)
async def update_task(ctx: Context, req: UpdateTaskRecord) -> Outcome[TaskRecord]:
    """Change a task: report how it goes and what came of it.

    What you leave out stays; `{}` changes nothing. When the status moves and you give no times, `startedAt` and
    `endedAt` are filled in. Send the ETag you read as `If-Match` to be refused if it was changed since; without it the last
    write wins.
    """
    id = run_id_of(req.task_id)
    linked = await links(ctx, req.parent_id, req.work_item_id)
    sent = {**values(req, req.started_at, req.ended_at), **linked}
    below = await children(ctx, id)  # a change leaves them as they are, so they can be read before it
    item = item_of(ctx, id, sent, versions=versions_in(req.if_match), children=below)

    async def otherwise() -> Outcome[TaskRecord] | None:
        why = await ctx.ask(WHY_RUN, **item)
        if why is None:
            raise RunNotFound(req.task_id, field="taskId")
        if (refusal := await _refusal(ctx, req, why, id, linked)) is not None:
            raise refusal
        # If it differs, someone changed it between the two statements.
        return None if why.differs else Outcome(why.task, version=why.version, wrote=False)

    return await ctx.settle(MOVE_RUN if linked.get("parentId") else UPDATE_RUN, otherwise, **item)


async def _refusal(  # noqa: PLR0911 -- a ladder
    ctx: Context, req: UpdateTaskRecord, why: WhyRow, id: UUID, linked: dict[str, Any]
) -> ApiError | None:
    """The first thing that stands in the way, most fundamental first; None if nothing does."""
    if not why.may_write:
        if not why.is_claim:
            return TaskReadOnly()
        return await ctx.lost(id) or RunClaimed()
    if not why.may_show:
        return NotYoursToShow()
    if not why.matches:
        return EtagMismatch(etag_of(why.version))
    if not why.parent_ok:
        return RunNotFound(str(req.parent_id), field="parentId")
    if why.parent_below:
        message = "A task cannot be moved under itself or one of its own parts. Choose another parent."
        return InvalidInput(message, field="parentId")
    if not why.work_item_ok:
        return await work_item_refusal(ctx, linked["workItemId"], str(req.work_item_id))
    return None
