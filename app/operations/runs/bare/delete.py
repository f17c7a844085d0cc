"""deleteTask: a run with all that hangs below it, or nothing of it."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta

from app.db import Query
from app.errors import EtagMismatch, RunClaimed, RunNotFound, TaskReadOnly, TooManyParts
from app.operations.runs.bare.task import run_id_of
from app.operations.runs.bare.writing import MATCHES, MAY_WRITE
from app.operations.runs.run import RUN_VISIBLE, sees_all
from app.rpc import IN_PATH, IN_QUERY, Answer, BareRequest, Context, IfMatch, etag_of, operation, versions_in
from app.types import Id
from app.writes.fence import ALIVE, FENCE_ERRORS, FENCED, HELD, UnderRun, under
from app.writes.receipts import KEPT, NOT_KEPT, Keyed

DELETED_RUNS_MAX: Final = (
    1000  # with all that hangs below it; a call should not hold so many locks for longer
)


class DeletedRow(msgspec.Struct):
    """What a deletion came to."""

    matches: bool
    may_delete: bool
    is_claim: bool
    version: int
    count: int
    deleted: bool


# What hangs below and is the caller's to delete goes along, and the States that were made with it. What is not, somebody
# else's run or a claim, whose history belongs to its task, stays and stands alone from then on: so nobody can keep a run
# from being deleted by hanging something below it. Nothing is deleted if it is more than one call should delete.
DELETE_RUN = Keyed(
    Query(
        DeletedRow,
        f"""
    WITH RECURSIVE i AS MATERIALIZED (
        SELECT 0 AS ord, %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id,
               %(request_id)s::text AS request_id, %(keep)s::jsonb AS keep, %(id)s::uuid AS id, %(run_id)s::uuid AS run_id,
               %(sees_all)s::boolean AS sees_all, %(versions)s::jsonb AS versions, '{{}}'::jsonb AS changes
    ), {HELD}, {ALIVE}, root AS (
        SELECT r.*
          FROM i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = i.id
         WHERE {FENCED} AND {RUN_VISIBLE} AND {NOT_KEPT}
           FOR UPDATE OF r
    ), tree AS (
        SELECT root.id FROM root
         UNION
        SELECT o.id
          FROM tree
         CROSS JOIN i
          JOIN runs o ON o.workspace_id = i.workspace_id AND o.parent_id = tree.id
         WHERE o.holder_id IS NULL AND {MAY_WRITE}
    ), counted AS MATERIALIZED (
        SELECT id FROM tree LIMIT %(count_max)s + 1
    ), beside AS MATERIALIZED (
        SELECT r.id
          FROM counted
          JOIN runs r ON r.workspace_id = %(workspace_id)s::uuid AND r.parent_id = counted.id
         WHERE r.id NOT IN (SELECT id FROM counted)
         LIMIT %(count_max)s + 1
    ), may AS MATERIALIZED (
        SELECT {MATCHES} AS matches,
               o.holder_id IS NULL AND {MAY_WRITE} AS may_delete, o.holder_id IS NOT NULL AS is_claim, o.version,
               ((SELECT count(*) FROM counted) + (SELECT count(*) FROM beside))::int AS count
          FROM i CROSS JOIN root o
    ), gone AS (
        DELETE FROM runs r
         USING counted, may
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.id = counted.id
           AND may.matches AND may.may_delete AND may.count <= %(count_max)s
        RETURNING r.id, r.state_id
    ), left_alone AS (
        UPDATE runs r
           SET parent_id = NULL, version = r.version + 1, updated_at = now()
          FROM beside
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.id = beside.id AND EXISTS (SELECT FROM gone)
    ), states_gone AS (
        DELETE FROM states s
         USING gone
         WHERE s.workspace_id = %(workspace_id)s::uuid AND s.id = gone.state_id
    ), log_gone AS (
        DELETE FROM run_log l
         USING gone
         WHERE l.workspace_id = %(workspace_id)s::uuid AND l.run_id = gone.id
    ), answered AS (
        SELECT i.workspace_id, i.actor_id, i.request_id, i.keep, row_to_json((SELECT w FROM (SELECT i.id) w)) AS answer,
               NULL::int AS merged_from
          FROM i
         WHERE EXISTS (SELECT FROM gone)
    ), {KEPT}
    SELECT matches, may_delete, is_claim, version, count, EXISTS (SELECT FROM gone) FROM may
    """,
    )
)


class DeleteBareTask(BareRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]
    if_match: IfMatch = UNSET
    run_id: Annotated[UnderRun, Meta(extra=IN_QUERY)] = UNSET


class Deleted(Answer):
    """What was deleted."""

    id: Annotated[str, Meta(description="Its id.")]


@operation(
    scope="task-write",
    path="tasks/{taskId}",
    method="DELETE",
    errors=(EtagMismatch, RunClaimed, TaskReadOnly, TooManyParts, *FENCE_ERRORS),
)
async def delete_task(ctx: Context, req: DeleteBareTask) -> Deleted:
    """Delete a task with its parts, and the States that were created with them.

    A claim of a task cannot be deleted: it is part of that task's history. Parts that are claims, or somebody else's,
    stay, and are parts of nothing from then on.
    """
    id, run_id = run_id_of(req.task_id), under(req.run_id)
    done = await ctx.one(
        DELETE_RUN.form(ctx.keep),
        request_id=ctx.request_id,
        keep=ctx.keep_json,
        id=id,
        run_id=run_id,
        sees_all=sees_all(ctx),
        versions=_json(versions_in(req.if_match)),
        count_max=DELETED_RUNS_MAX,
    )
    if done is None:
        await ctx.refuse_late(run_id)
        raise RunNotFound(req.task_id, field="taskId")
    if not done.matches:
        raise EtagMismatch(etag_of(done.version))
    if not done.may_delete:
        raise RunClaimed if done.is_claim else TaskReadOnly
    if done.count > DELETED_RUNS_MAX:
        raise TooManyParts(DELETED_RUNS_MAX)
    return Deleted(id=str(id))


def _json(versions: list[int] | None) -> str | None:
    return None if versions is None else msgspec.json.encode(versions).decode()
