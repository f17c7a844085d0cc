"""heartbeat-run and append-run-log: what a holder says while it works.

Neither touches the task: a heartbeat changes one row of `runs`, and no column of it that stands in an index, so that
it costs no more than any small update and leaves nothing behind but a version of the row on the same page.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import ITEMS, Answered, BatchQuery, Encoded, Listed, One, Query
from app.db.phrases import moment
from app.errors import Contended, LogFull, RunNotFound
from app.operations.runs.run import RUN_VISIBLE, LeaseSeconds, Note, Progress, sees_all
from app.operations.tasks.change import ATTEMPTS_MAX
from app.rpc import EMPTIED, WHO, AgentRequest, AgentWrite, Answer, Context, Page, changes, given, operation
from app.rpc import Step as LoopStep
from app.types import NO_NUL, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Id, PageLimit, Timestamp
from app.writes.access import CALLER
from app.writes.fence import FENCE_ERRORS, under
from app.writes.receipts import KEPT, NOT_KEPT, Keyed

STEPS_MAX: Final = 100  # per call
STEPS_LOGGED_MAX: Final = 100_000  # per run; one that says more is in a loop


class Alive(Answer):
    """A claim after a sign of life."""

    run_id: Annotated[str, Meta(description="The run.")]
    task_id: Annotated[str, Meta(description="Its task, which is still yours.")]
    lease_seconds: Annotated[int, Meta(description="How long a sign of life keeps the claim.")]
    lease_expires_at: Annotated[
        Timestamp, Meta(description="When the claim is lost unless there is another sign of life before.")
    ]


class Step(msgspec.Struct, rename="camel"):
    """One step of a run."""

    text: Annotated[Note, Meta(min_length=1, description="What was done or found.")]
    kind: Annotated[
        Annotated[str, Meta(max_length=64, extra_json_schema=NO_NUL)] | None | UnsetType,
        Meta(description="What sort of step, in your own words."),
    ] = UNSET
    data: Annotated[Any | UnsetType, Meta(description="Whatever belongs to it; any JSON.")] = UNSET


class LoggedStep(Answer):
    """One step of a run, as it stands in the log."""

    number: Annotated[int, Meta(description="Its place, from 1.")]
    kind: Annotated[str | None, Meta(description="What sort of step.")]
    text: Annotated[str, Meta(description="What was done or found.")]
    data: Annotated[Any, Meta(description="Whatever belongs to it.")]
    created_at: Annotated[Timestamp, Meta(description="When it was written.")]


class Appended(Answer):
    """What was appended, and the claim after this sign of life."""

    first_number: Annotated[int, Meta(description="The number of the first of these steps.")]
    last_number: Annotated[int, Meta(description="The number of the last of them.")]
    lease_expires_at: Annotated[
        Timestamp, Meta(description="When the claim is lost unless there is another sign of life before.")
    ]


_ALIVE_JSON: Final = f"""row_to_json((SELECT w FROM (SELECT
               r.id AS "runId", r.work_item_id AS "taskId", r.lease_seconds AS "leaseSeconds",
               {moment("r.lease_expires_at")} AS "leaseExpiresAt") w))"""

# A new length of the lease counts from now, also a shorter one: then the expiry job is told to look earlier.
HEARTBEAT = Keyed(
    BatchQuery(
        Answered[Alive],
        f"""
    WITH i AS MATERIALIZED (
        SELECT {WHO},
               (e->>'runId')::uuid       AS run_id,
               (e->>'leaseSeconds')::int AS lease_seconds,
               e->'said'                 AS said
          FROM {ITEMS}
    ), alive AS (
        UPDATE runs r
           SET lease_seconds = coalesce(i.lease_seconds, r.lease_seconds),
               lease_expires_at = CASE WHEN i.lease_seconds IS NULL
                                       THEN greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
                                       ELSE now() + make_interval(secs => i.lease_seconds) END,
               lease_check_at = CASE WHEN i.lease_seconds IS NULL THEN r.lease_check_at
                                     ELSE least(r.lease_check_at, now() + make_interval(secs => i.lease_seconds)) END,
               -- Rounded, because a real has no room for 1e-200 and says so with an error.
               progress = CASE WHEN i.said ? 'progress' THEN round((i.said->>'progress')::numeric, 6)::real ELSE r.progress END,
               note = CASE WHEN i.said ? 'note' THEN i.said->>'note' ELSE r.note END
          FROM i
         WHERE r.workspace_id = i.workspace_id AND r.id = i.run_id
           AND r.holder_id = i.actor_id AND r.ended_at IS NULL AND r.lease_expires_at > now()
           AND {NOT_KEPT}
        RETURNING r.*, i.ord, i.actor_id, i.request_id, i.keep
    ), answered AS (
        SELECT r.ord, r.workspace_id, r.actor_id, r.request_id, r.keep, {_ALIVE_JSON} AS answer, NULL::int AS merged_from
          FROM alive r
    ), {KEPT}
    SELECT ord, answer FROM answered""",
        one_per="runId",
    )
)

# The row of the run gives out the numbers, and is locked until they are committed: they follow each other without gaps.
APPEND = Keyed(
    BatchQuery(
        Answered[Appended],
        f"""
    WITH i AS MATERIALIZED (
        SELECT {WHO},
               (e->>'runId')::uuid       AS run_id,
               (e->>'lengthMax')::int    AS length_max,
               e->'steps'                AS steps
          FROM {ITEMS}
    ), alive AS (
        UPDATE runs r
           SET log_length = r.log_length + jsonb_array_length(i.steps),
               lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
          FROM i
         WHERE r.workspace_id = i.workspace_id AND r.id = i.run_id
           AND r.holder_id = i.actor_id AND r.ended_at IS NULL AND r.lease_expires_at > now()
           AND r.log_length + jsonb_array_length(i.steps) <= i.length_max
           AND {NOT_KEPT}
        RETURNING r.*, i.ord, i.steps, i.actor_id, i.request_id, i.keep
    ), step AS (
        INSERT INTO run_log (workspace_id, run_id, number, step)
        SELECT a.workspace_id, a.id, a.log_length - jsonb_array_length(a.steps) + s.place, s.step
          FROM alive a
         CROSS JOIN LATERAL jsonb_array_elements(a.steps) WITH ORDINALITY AS s (step, place)
    ), answered AS (
        SELECT a.ord, a.workspace_id, a.actor_id, a.request_id, a.keep, row_to_json((SELECT w FROM (SELECT
               a.log_length - jsonb_array_length(a.steps) + 1 AS "firstNumber", a.log_length AS "lastNumber",
               {moment("a.lease_expires_at")} AS "leaseExpiresAt") w)) AS answer,
               NULL::int AS merged_from
          FROM alive a
    ), {KEPT}
    SELECT ord, answer FROM answered
    """,
        one_per="runId",
    )
)

SEES_RUN = Query(
    One[str],
    f"""
    WITH i AS ({CALLER}, %(sees_all)s::boolean AS sees_all)
    SELECT r.id::text
      FROM i
      JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = %(run_id)s::uuid
     WHERE {RUN_VISIBLE}
    """,
    pipelined=True,
)


LOG_LENGTH = Query(
    One[int],
    """
    SELECT log_length FROM runs WHERE workspace_id = %(workspace_id)s::uuid AND id = %(run_id)s::uuid
    """,
    pipelined=True,
)

LIST_LOG = Query(
    Listed[LoggedStep],
    f"""
    SELECT row_to_json((SELECT w FROM (SELECT
               l.number, l.step->>'kind' AS kind, l.step->>'text' AS text, l.step->'data' AS data,
               {moment("l.created_at")} AS "createdAt") w)),
           l.number::text
      FROM run_log l
     WHERE l.workspace_id = %(workspace_id)s::uuid AND l.run_id = %(run_id)s::uuid AND l.number > %(after)s::int
     ORDER BY l.number
     LIMIT %(limit)s
    """,
)


class HeartbeatRun(AgentWrite):
    """The claim to keep, and what is new."""

    run_id: Annotated[Id, Meta(description="Your claim: the id of its `run`.")]
    lease_seconds: Annotated[
        LeaseSeconds | None | UnsetType,
        Meta(description="Seconds a sign of life keeps the claim from now on. As before unless told."),
    ] = UNSET
    progress: Annotated[
        Progress | None | UnsetType,
        Meta(description="How far you are, 0 to 1; null forgets it.", extra=EMPTIED),
    ] = UNSET
    note: Annotated[
        Note | None | UnsetType,
        Meta(
            description="What you are at, in a line; null forgets it. The next holder reads the last one.",
            extra=EMPTIED,
        ),
    ] = UNSET


class AppendRunLog(AgentWrite):
    """Steps to write down."""

    run_id: Annotated[Id, Meta(description="Your claim: the id of its `run`.")]
    steps: Annotated[
        Annotated[list[Step], Meta(min_length=1, max_length=STEPS_MAX)],
        Meta(description="1 to 100 steps, in order."),
    ]


class ListRunLog(AgentRequest):
    """Whose log, and from where."""

    run_id: Annotated[Id, Meta(description="The run.")]
    limit: PageLimit = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^[0-9]{1,9}$(?!\\n)")] | None | UnsetType,
        Meta(description="The number of the last step you know; the `pagination.cursor` of the page before."),
    ] = UNSET


@operation(
    scope="task-write",
    errors=(*FENCE_ERRORS, Contended),
    core=LoopStep(
        30, "While you work, every third of the lease. On `lease_lost` stop: it is not yours any more."
    ),
)
async def heartbeat_run(ctx: Context, req: HeartbeatRun) -> Encoded[Alive]:
    """Show a sign of life, so that your claim is kept for another lease; and report how far you are.

    Send one every third of the lease or so. After a 409 with `lease_lost` the task is not yours any more: stop.

    It never changes the task's version.
    """
    run_id = under(req.run_id)
    item = {
        **ctx.who,
        "runId": run_id,
        "leaseSeconds": given(req.lease_seconds),
        "said": changes(req, "progress", "note"),
    }
    for _ in range(ATTEMPTS_MAX):
        row = await ctx.db.write(HEARTBEAT.form(ctx.keep), item)
        if row is not None:
            return row.answer
        await ctx.unless_answered()
        assert run_id is not None, "a run id was sent"
        if (lost := await ctx.why_not_live(run_id)) is not None:
            raise lost
    raise Contended


@operation(scope="task-write", errors=(LogFull, *FENCE_ERRORS, Contended))
async def append_run_log(ctx: Context, req: AppendRunLog) -> Encoded[Appended]:
    """Write down steps of your work, for whoever follows it or takes over.

    The log is only ever appended to. Writing is a sign of life. Read it with list-run-log.
    """
    run_id = under(req.run_id)
    assert run_id is not None, "a run id was sent"
    for _ in range(ATTEMPTS_MAX):
        row = await ctx.db.write(
            APPEND.form(ctx.keep),
            {**ctx.who, "runId": run_id, "steps": req.steps, "lengthMax": STEPS_LOGGED_MAX},
        )
        if row is not None:
            return row.answer
        await ctx.unless_answered()
        if (lost := await ctx.why_not_live(run_id)) is not None:
            raise lost
        length = await ctx.one(LOG_LENGTH, run_id=run_id)
        if length is not None and length.value + len(req.steps) > STEPS_LOGGED_MAX:
            raise LogFull(STEPS_LOGGED_MAX)
    raise Contended


@operation(scope="task-read", read_only=True, errors=(RunNotFound,))
async def list_run_log(ctx: Context, req: ListRunLog) -> Page[LoggedStep]:
    """Read the steps of a run, oldest first.

    To follow a run that is going on, ask again with the number of the last step as `cursor`: nothing is missed.
    """
    run_id = under(req.run_id)
    if not await ctx.one(
        SEES_RUN,
        sees_all=sees_all(ctx),
        run_id=run_id,
    ):
        raise RunNotFound(req.run_id)
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    rows = await ctx.all(
        LIST_LOG,
        run_id=run_id,
        after=int(given(req.cursor) or 0),
        limit=limit + 1,
    )
    return Page[LoggedStep].cut(rows, limit)
