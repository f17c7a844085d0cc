"""How a claim ends: complete-run, fail-run and release-run by its holder, force-release-run by an operator.

The same statement ends the run and moves its task, and jobs/leases.py shares the second half of it:

    held     the claims to end, with their tasks locked
    ended    the runs, as they are from now on
    moved    the tasks, free for the next: done, or back to `todo`, or parked as `blocked` if too much has failed

Ending a claim twice is harmless for whoever ended it: the second time is answered with what the first one did.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Query
from app.errors import Contended, RunEnded, RunNotFound, VersionConflict
from app.ids import new_id
from app.operations.runs.run import (
    ERRORS_MAX,
    FAILURES_MAX,
    RUN_JSON,
    EncodedRun,
    NewRunProblem,
    Run,
    RunAndTask,
)
from app.operations.tasks.change import version_conflict
from app.operations.tasks.comment import COMMENT_CTES
from app.operations.tasks.conflict import AsRead
from app.operations.tasks.moved import difference, moved
from app.operations.tasks.task import ACTORS_TASK_JSON, TASK_JSON
from app.rpc import ClaimWrite, Context, Outcome, changes, given, operation
from app.types import Id, Note
from app.writes.access import CALLER, VISIBLE
from app.writes.write import Write, one

_TAKES: Final = """run_id uuid, version int, end_reason text, run_status text, goal text, said jsonb, failures_max smallint,
        comment_id uuid, message_id uuid"""

# Locks the task first, and takes from it what the event will call old: after the lock it is the latest.
_HELD: Final = """
        SELECT i.*, r.id AS held_run_id, h.id AS task_id, h.status AS old_status, h.assignee_id AS old_assignee_id,
               h.assignee_kind AS old_assignee_kind, h.failures AS old_failures, h.completed_at AS old_completed_at,
               r.id AS old_run_id
          FROM i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = i.run_id
          JOIN tasks h ON h.workspace_id = r.workspace_id AND h.id = r.work_item_id AND h.run_id = r.id"""

_ENDED: Final = """
    ended AS (
        UPDATE runs r
           SET status = held.run_status, end_reason = held.end_reason, ended_at = now(), updated_at = now(),
               version = r.version + 1, loss_unseen = CASE WHEN r.holder_id <> held.actor_id THEN true END,
               output = CASE WHEN held.said ? 'output' THEN nullif(held.said->'output', 'null') ELSE r.output END,
               errors = CASE WHEN held.said ? 'errors' THEN held.said->'errors' ELSE r.errors END,
               handoff = CASE WHEN held.said ? 'handoff' THEN held.said->>'handoff' ELSE r.handoff END
          FROM held
         WHERE r.workspace_id = held.workspace_id AND r.id = held.held_run_id AND r.ended_at IS NULL
        RETURNING r.*, held.ord, held.actor_id, held.actor_kind, held.request_id, held.goal,
                  held.failures_max, held.comment_id, held.message_id, held.old_status, held.old_assignee_id,
                  held.old_assignee_kind, held.old_failures, held.old_completed_at, held.old_run_id
    )"""

# What becomes of the task. `goal` is `done`; `keep`, which leaves it in progress with its assignee; `todo`, which
# gives it back; `retry`, which also counts a failure and parks it after too many; or `park`, which parks it at once.
_DIFFERENCE: Final = difference(
    "f.old_", "t.", "status", "assigneeAgentId", "assigneeUserId", "completedAt", "runId"
)

END_CTES: Final = f"""
    fate AS (
        SELECT e.*, f.failed, f.failures, f.parked,
               CASE WHEN e.goal = 'done' THEN 'done' WHEN e.goal = 'keep' THEN e.old_status
                    WHEN f.parked THEN 'blocked' ELSE 'todo' END AS new_status
          FROM ended e
         CROSS JOIN LATERAL (SELECT e.goal IN ('retry', 'park') AS failed) g
         CROSS JOIN LATERAL (
               SELECT g.failed,
                      CASE WHEN e.goal = 'done' THEN 0 WHEN g.failed THEN e.old_failures + 1 ELSE e.old_failures END AS failures,
                      e.goal = 'park' OR (g.failed AND e.old_failures + 1 >= e.failures_max) AS parked) f
    ), moved AS (
        UPDATE tasks t
           SET run_id = NULL, status = f.new_status, failures = f.failures,
               assignee_id = CASE WHEN f.goal IN ('done', 'keep') THEN t.assignee_id END,
               assignee_kind = CASE WHEN f.goal IN ('done', 'keep') THEN t.assignee_kind END,
               completed_at = CASE WHEN f.goal = 'done' THEN now() ELSE t.completed_at END,
               version = t.version + 1, updated_at = now()
          FROM fate f
         WHERE t.workspace_id = f.workspace_id AND t.id = f.work_item_id
        RETURNING t.*, f.ord, f.actor_id, f.actor_kind, f.request_id, f.end_reason, f.parked, f.errors, f.comment_id,
                  f.message_id, f.id AS ended_run_id, {_DIFFERENCE} AS difference,
                  CASE f.end_reason WHEN 'lease_expired' THEN 'run_expired' WHEN 'force_released' THEN 'run_force_released'
                                    ELSE 'run_' || f.end_reason END AS kind
    ), {moved()}, remark AS (
        SELECT c.ord, c.workspace_id, c.id AS task_id, c.version, c.actor_id, c.actor_kind, c.request_id,
               jsonb_build_object('id', c.comment_id, 'mentions', '[]'::jsonb, 'body',
                   'Parked as blocked after ' || c.failures
                   || CASE c.failures WHEN 1 THEN ' failed claim' ELSE ' failed claims' END
                   || '. The last one ' || CASE c.end_reason WHEN 'lease_expired'
                          THEN 'showed no sign of life until its lease ended.' ELSE 'failed.' END
                   || coalesce((SELECT string_agg(chr(10) || '- `' || (x->>'code') || '`: ' || left(x->>'message', 500), '')
                                  FROM jsonb_array_elements(c.errors) AS x), '')
                   || chr(10) || 'Set it to todo when it can be tried again.') AS comment
          FROM moved c
         WHERE c.parked
    ), {COMMENT_CTES}"""

_BOTH_JSON: Final = f"row_to_json((SELECT w FROM (SELECT {RUN_JSON} AS run, {ACTORS_TASK_JSON} AS task) w))"

# The one claim it ended, and whether the task was parked for it.
_TOLD: Final = """jsonb_strip_nulls(jsonb_build_object('claimEnded', jsonb_build_object(
            'runId', r.id, 'reason', r.end_reason, 'parked', CASE WHEN t.parked THEN true END,
            'holder', (SELECT a.handle FROM identities a
                        WHERE a.workspace_id = r.workspace_id AND a.id = r.holder_id AND a.id <> t.actor_id))))::json AS told"""

END = Write[RunAndTask](
    takes=_TAKES,
    does=f"""
    held AS MATERIALIZED ({_HELD}
         WHERE r.holder_id = i.actor_id AND r.lease_expires_at > now()
           AND (i.version IS NULL OR i.version = h.version)
           FOR NO KEY UPDATE OF h
    ), {_ENDED}, {END_CTES}""",
    answers=f"SELECT t.ord, {_BOTH_JSON} AS answer, {_TOLD} FROM moved t JOIN ended r ON r.ord = t.ord",
    tells=True,
    own_fence=True,
    locks="run_id",
    one_per=one("run_id"),
)

# An operator needs neither to be the holder nor to see the task.
FORCE_END = Write[Run](
    takes=_TAKES,
    does=f"""
    held AS MATERIALIZED ({_HELD}
           FOR NO KEY UPDATE OF h
    ), {_ENDED}, {END_CTES}""",
    answers=f"SELECT t.ord, {RUN_JSON} AS answer, {_TOLD} FROM moved t JOIN ended r ON r.ord = t.ord",
    tells=True,
    own_fence=True,
    locks="run_id",
    one_per=one("run_id"),
)


_GIVEN_BACK: Final = {"status": "todo", "assigneeId": None, "assigneeKind": None}
CHANGES_OF: Final[Mapping[str, Mapping[str, object]]] = {
    "done": {"status": "done"},
    "keep": {},
    "todo": _GIVEN_BACK,
    "retry": _GIVEN_BACK,
    "park": {**_GIVEN_BACK, "status": "blocked"},
}
"""What each goal changes of the task: who sent a version hears which of that others have changed since."""


class PastRow(msgspec.Struct):
    """A run as it is, and its task."""

    task_id: str
    end_reason: str | None
    ended_by_caller: bool
    run: EncodedRun
    both: Encoded[RunAndTask]


PAST = Query(
    PastRow,
    f"""
    WITH i AS ({CALLER})
    SELECT t.id::text, r.end_reason, r.holder_id = i.actor_id,
           {RUN_JSON}, row_to_json((SELECT w FROM (SELECT {RUN_JSON} AS run, {TASK_JSON} AS task) w))
      FROM i
      JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = %(run_id)s::uuid AND r.holder_id IS NOT NULL
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
     WHERE {VISIBLE} OR %(sees_all)s::boolean
    """,
)


class CompleteRun(ClaimWrite, kw_only=True):
    """The claim that has done its work."""

    version: AsRead = UNSET
    output: Annotated[Any | UnsetType, Meta(description="What came of it; any JSON.")] = UNSET
    complete_task: Annotated[
        bool,
        Meta(description="Also close the task. Otherwise it stays in progress and yours, without a claim."),
    ] = False


class FailRun(ClaimWrite, kw_only=True):
    """The claim that could not do its work, and why."""

    errors: Annotated[
        Annotated[list[NewRunProblem], Meta(min_length=1, max_length=ERRORS_MAX)],
        Meta(description="What went wrong, for whoever tries again."),
    ]
    version: AsRead = UNSET
    retry: Annotated[
        bool,
        Meta(description="Whether another claim may try; otherwise the task is parked at once."),
    ] = True
    handoff: Annotated[Note | None | UnsetType, Meta(description="How far it is, for whoever goes on.")] = (
        UNSET
    )


class ReleaseRun(ClaimWrite, kw_only=True):
    """The claim to give up."""

    version: AsRead = UNSET
    handoff: Annotated[Note | None | UnsetType, Meta(description="How far it is, for whoever goes on.")] = (
        UNSET
    )


class ForceReleaseRun(ClaimWrite, kw_only=True):
    """The claim to end, and why."""

    run_id: Annotated[Id, Meta(description="The run.")]
    reason: Annotated[
        Note | None | UnsetType, Meta(description="Why; the next holder reads it as the handoff.")
    ] = UNSET


@operation(scope="task-write", errors=(VersionConflict, Contended), tells=True, spared=True)
async def complete_run(ctx: Context, req: CompleteRun) -> Outcome[RunAndTask]:
    """End your claim with what came of it; complete-task does so, too, and closes the task.

    With `completeTask` the task is closed in the same step. Completing twice is harmless.
    """
    goal = "done" if req.complete_task else "keep"
    return await _end(ctx, req, "completed", "completed", goal, changes(req, "output"))


@operation(scope="task-write", errors=(VersionConflict, Contended), tells=True, spared=True)
async def fail_run(ctx: Context, req: FailRun) -> Outcome[RunAndTask]:
    """End your claim: it could not be done.

    The task goes back to `todo` for another try. After 5 claims that failed or expired, or at once with
    `retry: false`, it is parked as `blocked` with a comment that says why. Failing twice is harmless.
    """
    outcome = await _end(
        ctx,
        req,
        "failed",
        "failed",
        "retry" if req.retry else "park",
        changes(req, "errors", "handoff"),
    )
    if ctx.db.tally is not None and outcome.wrote and _is_parked(outcome.result):
        ctx.db.tally.parked(1)
    return outcome


@operation(scope="task-write", errors=(VersionConflict, Contended), tells=True, spared=True)
async def release_run(ctx: Context, req: ReleaseRun) -> Outcome[RunAndTask]:
    """End your claim and give the task back, with a `handoff` for others; for a mere assignment there is release-task.

    It goes back to `todo`, is assigned to nobody, and does not count as failed. Say in `handoff` how far you got. Releasing twice
    is harmless.
    """
    return await _end(ctx, req, "released", "cancelled", "todo", changes(req, "handoff"))


@operation(
    scope="operator", errors=(RunNotFound, RunEnded, Contended), under_claim=False, tells=True, spared=True
)
async def force_release_run(ctx: Context, req: ForceReleaseRun) -> Outcome[Run]:
    """End somebody's claim, as an operator: the task goes back to `todo`, and its holder can write nothing more.

    For a holder that is alive but stuck; a dead one loses its claim anyway. The history records it. Forcing
    twice is harmless.
    """
    said: dict[str, object] = {"handoff": reason} if (reason := given(req.reason)) else {}

    async def otherwise() -> Outcome[Run] | None:
        past = await ctx.one(PAST, run_id=ctx.run_id, sees_all=True)
        if past is None:
            raise RunNotFound(req.run_id)
        if past.end_reason == "force_released":
            return Outcome(past.run, wrote=False)
        if past.end_reason is not None:
            raise RunEnded(past.end_reason)
        return None

    return await ctx.settle(FORCE_END, otherwise, **force_ended(ctx.run_id, said))


def force_ended(run_id: UUID, said: dict[str, object] | None = None) -> dict[str, Any]:  # Any: becomes JSON
    """What FORCE_END takes to give back the task of somebody's claim."""
    return _item(run_id, "force_released", "cancelled", "todo", said or {})


class _Fate(msgspec.Struct):
    """What became of the task of a claim that failed."""

    task: "_Status"


class _Status(msgspec.Struct):
    status: str


def _is_parked(result: object) -> bool:
    return (
        isinstance(result, Encoded) and msgspec.json.decode(result.raw, type=_Fate).task.status == "blocked"
    )


async def give_back(ctx: Context, run_ids: list[UUID]) -> None:
    """Release claims whose holder went away before it heard of them. What was not claimed after all is left alone."""
    for run_id in run_ids:
        await ctx.send(END, **_item(run_id, "released", "cancelled", "todo", {}))


async def _end(
    ctx: Context,
    req: CompleteRun | FailRun | ReleaseRun,
    end_reason: str,
    status: str,
    goal: str,
    said: dict[str, object],
) -> Outcome[RunAndTask]:
    version = given(req.version)

    async def otherwise() -> Outcome[RunAndTask] | None:
        past = await ctx.one(PAST, run_id=ctx.run_id, sees_all=False)
        if past is not None and past.ended_by_caller and past.end_reason == end_reason:
            return Outcome(past.both, wrote=False)
        await ctx.unless_over()
        if past is not None and (
            conflict := await version_conflict(
                ctx, task_id=UUID(past.task_id), version=version, changes=CHANGES_OF[goal]
            )
        ):
            raise conflict
        return None  # it is alive after all: a heartbeat came between the two statements

    item = _item(ctx.run_id, end_reason, status, goal, said)
    return await ctx.settle(END, otherwise, **item, version=version)


def _item(run_id: UUID, end_reason: str, status: str, goal: str, said: dict[str, object]) -> dict[str, Any]:
    return {  # Any: what becomes JSON
        "run_id": run_id,
        "end_reason": end_reason,
        "run_status": status,
        "goal": goal,
        "said": said,
        "failures_max": FAILURES_MAX,
        "comment_id": new_id(),
        "message_id": new_id(),
    }
