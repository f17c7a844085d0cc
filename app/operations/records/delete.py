"""deleteTask: a run with all that hangs below it, or nothing of it."""

from typing import Annotated, Final, LiteralString

import msgspec
from msgspec import UNSET, Meta

from app.db import BatchQuery
from app.errors import EtagMismatch, RunClaimed, RunNotFound, TaskReadOnly, TooManyParts
from app.operations.records.task import run_id_of
from app.operations.records.writing import MATCHES, MAY_WRITE, TAKES, item_of
from app.operations.runs.run import RUN_VISIBLE
from app.rpc import (
    IN_PATH,
    IN_QUERY,
    Answer,
    Context,
    IfMatch,
    Outcome,
    RecordWrite,
    etag_of,
    operation,
    versions_in,
)
from app.types import Id
from app.writes.fence import UnderRun
from app.writes.write import Write, calls

_RUNS_MAX: Final[LiteralString] = "1000"
DELETED_RUNS_MAX: Final = int(_RUNS_MAX)
"""With all that hangs below it; a call should not hold so many locks for longer."""


class Deleted(Answer):
    """What was deleted."""

    id: Annotated[str, Meta(description="Its id.")]


# What hangs below and is the caller's to delete goes along, and the States that were made with it. What is not, somebody
# else's run or a claim, whose history belongs to its task, stays and stands alone from then on: so nobody can keep a run
# from being deleted by hanging something below it. Nothing is deleted if it is more than one call should delete.
_COUNTED: Final = f"""
    tree AS (
        SELECT root.id FROM root
         UNION
        SELECT o.id
          FROM tree
         CROSS JOIN i
          JOIN runs o ON o.workspace_id = i.workspace_id AND o.parent_id = tree.id
         WHERE o.holder_id IS NULL AND {MAY_WRITE}
    ), counted AS MATERIALIZED (
        SELECT id FROM tree LIMIT {_RUNS_MAX} + 1
    ), beside AS MATERIALIZED (
        SELECT r.workspace_id, r.id
          FROM counted
         CROSS JOIN i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.parent_id = counted.id
         WHERE r.id NOT IN (SELECT id FROM counted)
         LIMIT {_RUNS_MAX} + 1
    ), may AS MATERIALIZED (
        SELECT i.ord, i.workspace_id, {MATCHES} AS matches,
               o.holder_id IS NULL AND {MAY_WRITE} AS may_delete, o.holder_id IS NOT NULL AS is_claim, o.version,
               (SELECT count(*) FROM counted) + (SELECT count(*) FROM beside) <= {_RUNS_MAX} AS few
          FROM i CROSS JOIN root o
    )"""

DELETE_RUN = Write[Deleted](
    takes=TAKES,
    does=f"""
    root AS (
        SELECT r.*
          FROM i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = i.id
         WHERE {RUN_VISIBLE}
           FOR UPDATE OF r
    ), {_COUNTED}, gone AS (
        DELETE FROM runs r
         USING counted, may
         WHERE r.workspace_id = may.workspace_id AND r.id = counted.id AND may.matches AND may.may_delete AND may.few
        RETURNING r.workspace_id, r.id, r.state_id
    ), left_alone AS (
        UPDATE runs r
           SET parent_id = NULL, version = r.version + 1, updated_at = now()
          FROM beside
         WHERE r.workspace_id = beside.workspace_id AND r.id = beside.id AND EXISTS (SELECT FROM gone)
    ), states_gone AS (
        DELETE FROM states s
         USING gone
         WHERE s.workspace_id = gone.workspace_id AND s.id = gone.state_id
    ), log_gone AS (
        DELETE FROM run_log l
         USING gone
         WHERE l.workspace_id = gone.workspace_id AND l.run_id = gone.id
    )""",
    answers="""
        SELECT i.ord, row_to_json((SELECT w FROM (SELECT i.id) w)) AS answer FROM i WHERE EXISTS (SELECT FROM gone)""",
    alone=True,
)


class WhyRow(msgspec.Struct):
    """Why a run was not deleted."""

    ord: int
    matches: bool
    may_delete: bool
    is_claim: bool
    version: int
    few: bool


WHY_NOT = BatchQuery(
    WhyRow,
    f"""
    WITH RECURSIVE i AS MATERIALIZED ({calls(TAKES)}
    ), root AS (
        SELECT r.* FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = i.id WHERE {RUN_VISIBLE}
    ), {_COUNTED}
    SELECT ord, matches, may_delete, is_claim, version, few FROM may
    """,
    alone=True,
)


class DeleteTaskRecord(RecordWrite, kw_only=True):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]
    if_match: IfMatch = UNSET
    run_id: Annotated[UnderRun, Meta(extra=IN_QUERY)] = UNSET


@operation(
    scope="task-write",
    path="tasks/{taskId}",
    method="DELETE",
    errors=(EtagMismatch, RunClaimed, TaskReadOnly, TooManyParts),
)
async def delete_task(ctx: Context, req: DeleteTaskRecord) -> Outcome[Deleted]:
    """Delete a task with its parts, and the States that were created with them.

    A claim of a task cannot be deleted: it is part of that task's history. Parts that are claims, or somebody else's,
    stay, and are parts of nothing from then on.
    """
    item = item_of(ctx, run_id_of(req.task_id), {}, versions=versions_in(req.if_match))

    async def otherwise() -> None:
        why = await ctx.ask(WHY_NOT, **item)
        if why is None:
            raise RunNotFound(req.task_id, field="taskId")
        if not why.matches:
            raise EtagMismatch(etag_of(why.version))
        if not why.may_delete:
            raise RunClaimed if why.is_claim else TaskReadOnly
        if not why.few:
            raise TooManyParts(DELETED_RUNS_MAX)

    return await ctx.settle(DELETE_RUN, otherwise, **item)
