"""heartbeat-run and append-run-log: what a holder says while it works.

Neither touches the task: a heartbeat changes one row of `runs`, and no column of it that stands in an index, so that
it costs no more than any small update and leaves nothing behind but a version of the row on the same page.
"""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Listed, One, Query
from app.db.phrases import moment
from app.errors import Contended, LogFull, RunNotFound
from app.operations.runs.run import HELD_BY_MODELS, RUN_VISIBLE, LeaseSeconds, Progress, sees_all
from app.rpc import (
    EMPTIED,
    AgentRequest,
    Answer,
    ClaimWrite,
    Context,
    Outcome,
    Page,
    changes,
    given,
    operation,
)
from app.rpc import Step as LoopStep
from app.types import NO_NUL, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Id, Note, PageLimit, Timestamp
from app.writes.access import CALLER
from app.writes.fence import under
from app.writes.write import Write, one

STEPS_MAX: Final = 100  # per call
STEPS_LOGGED_MAX: Final = 100_000  # per run; one that says more is in a loop


class Alive(Answer):
    """A claim after a sign of life."""

    news: ClassVar[tuple[str, ...]] = ("leaseExpiresAt",)

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

    news: ClassVar[tuple[str, ...]] = ("lastNumber", "leaseExpiresAt")

    first_number: Annotated[int, Meta(description="The number of the first of these steps.")]
    last_number: Annotated[int, Meta(description="The number of the last of them.")]
    lease_expires_at: Annotated[
        Timestamp, Meta(description="When the claim is lost unless there is another sign of life before.")
    ]


_ALIVE_JSON: Final = f"""row_to_json((SELECT w FROM (SELECT
               r.id AS "runId", r.work_item_id AS "taskId", r.lease_seconds AS "leaseSeconds",
               {moment("r.lease_expires_at")} AS "leaseExpiresAt") w))"""

# A new length of the lease counts from now, also a shorter one: then the expiry job is told to look earlier.
HEARTBEAT = Write[Alive](
    takes="run_id uuid, lease_seconds int, said jsonb",
    does="""
    alive AS (
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
        RETURNING r.*, i.ord
    )""",
    answers=f"SELECT r.ord, {_ALIVE_JSON} AS answer FROM alive r",
    own_fence=True,
    locks="run_id",
    one_per=one("run_id"),
)

# The row of the run gives out the numbers, and is locked until they are committed: they follow each other without gaps.
APPEND = Write[Appended](
    takes="run_id uuid, steps jsonb, length_max int",
    does="""
    alive AS (
        UPDATE runs r
           SET log_length = r.log_length + jsonb_array_length(i.steps),
               lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
          FROM i
         WHERE r.workspace_id = i.workspace_id AND r.id = i.run_id
           AND r.holder_id = i.actor_id AND r.ended_at IS NULL AND r.lease_expires_at > now()
           AND r.log_length + jsonb_array_length(i.steps) <= i.length_max
        RETURNING r.*, i.ord, i.steps
    ), step AS (
        INSERT INTO run_log (workspace_id, run_id, number, step)
        SELECT a.workspace_id, a.id, a.log_length - jsonb_array_length(a.steps) + s.place, s.step
          FROM alive a
         CROSS JOIN LATERAL jsonb_array_elements(a.steps) WITH ORDINALITY AS s (step, place)
    )""",
    answers=f"""
        SELECT a.ord, row_to_json((SELECT w FROM (SELECT
               a.log_length - jsonb_array_length(a.steps) + 1 AS "firstNumber", a.log_length AS "lastNumber",
               {moment("a.lease_expires_at")} AS "leaseExpiresAt") w)) AS answer
          FROM alive a""",
    own_fence=True,
    locks="run_id",
    one_per=one("run_id"),
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


class HeartbeatRun(ClaimWrite, kw_only=True):
    """The claim to keep, and what is new."""

    lease_seconds: Annotated[
        LeaseSeconds | None | UnsetType,
        Meta(
            description="Seconds that you keep it, from now on. Unchanged by default.",
            extra=HELD_BY_MODELS,
        ),
    ] = UNSET
    progress: Annotated[
        Progress | None | UnsetType,
        Meta(description="How far you are, 0 to 1; null clears it.", extra=EMPTIED),
    ] = UNSET
    note: Annotated[
        Note | None | UnsetType,
        Meta(
            description="What you are doing, in one line; null clears it. The next holder reads the last one.",
            extra=EMPTIED,
        ),
    ] = UNSET


class AppendRunLog(ClaimWrite, kw_only=True):
    """Steps to write down."""

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
    errors=(Contended,),
    core=LoopStep(30, "keep your claim, every third of the lease."),
    spared=True,
)
async def heartbeat_run(ctx: Context, req: HeartbeatRun) -> Outcome[Alive]:
    """Send a heartbeat: keep your claim alive for another lease, and report progress.

    Send one about every third of the lease. After a 409 with `lease_lost` the task is not yours any more: stop.

    It never changes the task's version.
    """
    said = changes(req, "progress", "note")
    return await ctx.settle(
        HEARTBEAT, ctx.unless_over, run_id=ctx.run_id, lease_seconds=given(req.lease_seconds), said=said
    )


@operation(scope="task-write", errors=(LogFull, Contended))
async def append_run_log(ctx: Context, req: AppendRunLog) -> Outcome[Appended]:
    """Log steps of your work, for whoever follows it or takes over.

    Steps cannot be changed later. Writing counts as a sign of life. Read it with list-run-log.
    """

    async def otherwise() -> None:
        await ctx.unless_over()
        length = await ctx.one(LOG_LENGTH, run_id=ctx.run_id)
        if length is not None and length.value + len(req.steps) > STEPS_LOGGED_MAX:
            raise LogFull(STEPS_LOGGED_MAX)

    return await ctx.settle(
        APPEND, otherwise, run_id=ctx.run_id, steps=req.steps, length_max=STEPS_LOGGED_MAX
    )


@operation(scope="task-read", read_only=True, errors=(RunNotFound,))
async def list_run_log(ctx: Context, req: ListRunLog) -> Page[LoggedStep]:
    """Read the steps of a run, oldest first.

    To follow a running one, ask again with the number of the last step as `cursor`: nothing is missed.
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
