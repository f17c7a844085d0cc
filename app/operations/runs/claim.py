"""claim-task and claim-next-task: make a task yours for as long as you show signs of life.

A claim is one statement: it locks the task, opens a run, makes the caller the assignee and the task in progress, and
writes the event. tasks.run_id names the run from then on, and a column holds one value: two claims of a task at once
cannot be written down.

claim-next-task serves many callers at once. Its items take turns in a recursive query: each sees what the ones
before it have taken, walks the queues for the best that is left, and locks it. Those who look at the same, which is
what agents of one team do, go on where the one before left off. Tasks that another transaction has locked are passed
over, so that claimers never wait for each other.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import count
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from app.db import Answered, BatchCommand, Encoded
from app.db.phrases import folded
from app.errors import Contended, NotClaimable, TaskNotFound, TaskReadOnly, VersionConflict
from app.ids import TICK_NOW, id_at, new_id, uuid_or_none
from app.operations.runs.bell import bell_of
from app.operations.runs.explain import facts_of, refusal
from app.operations.runs.finish import give_back
from app.operations.runs.idle import told
from app.operations.runs.ready import UNBLOCKED, ReadyFilter, anything_ready, ready_walks, wanted
from app.operations.runs.run import (
    HELD_BY_MODELS,
    LEASE_SECONDS_DEFAULT,
    PREVIOUS_JSON,
    RUN_JSON,
    Claim,
    LeaseSeconds,
)
from app.operations.tasks.change import version_conflict
from app.operations.tasks.conflict import AsRead
from app.operations.tasks.moved import difference, moved
from app.operations.tasks.task import task_id, task_json
from app.rpc import ATTEMPTS_MAX, UNTOLD, AgentWrite, Context, IdempotencyKey, Outcome, Step, given, operation
from app.types import NO_NUL, Id
from app.writes.access import WRITABLE
from app.writes.write import Write, calls, one

CLAIMS_MAX: Final = 10  # per call: as many as an agent can keep alive
WAIT_SECONDS_MAX: Final = 30  # longer waits are cut by proxies on the way
CLAIM_KEY_CHARACTERS_MAX: Final = 255  # as long as an idempotency key, which does the same here
LOCKED_PAUSE_SECONDS: Final = 0.01  # before asking again for what another call has locked: a few commits

NOTHING: Final[Encoded[list[Claim]]] = Encoded(b"[]")


_HOLDERS_TASK_JSON: Final = task_json("r.holder_id")
_CLAIM_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        {_HOLDERS_TASK_JSON} AS task, {RUN_JSON} AS run, {PREVIOUS_JSON} AS "previousRuns") w))"""


_RUN_COLUMNS: Final = """workspace_id, id, kind, status, work_item_id, author_id, author_kind, started_at, holder_id, holder_kind,
        attempt, claim_key, claim_place, lease_seconds, lease_expires_at, lease_check_at"""

_RUN_VALUES: Final = """
               g.workspace_id, g.run_id, 'claim', 'running', g.task_id, g.actor_id, g.actor_kind, now(), g.actor_id, g.actor_kind,
               1 + coalesce((SELECT p.attempt
                               FROM runs p
                              WHERE p.workspace_id = g.workspace_id AND p.work_item_id = g.task_id AND p.attempt IS NOT NULL
                              ORDER BY p.id DESC
                              LIMIT 1), 0),
               g.claim_key, g.place, g.lease_seconds,
               now() + make_interval(secs => g.lease_seconds), now() + make_interval(secs => g.lease_seconds)"""

# How a task differs by being claimed. One from a queue was claimed by nobody, and is `started_at` now or was before.
_FROM_QUEUE: Final = difference(
    "g.old_",
    "t.",
    "status",
    "assigneeAgentId",
    "assigneeUserId",
    "startedAt",
    "runId",
    started_at="nullif(t.started_at, now())",
)
_BY_NAME: Final = difference("o.", "t.", "status", "assigneeAgentId", "assigneeUserId", "startedAt", "runId")

_OWN_WALK: Final = "AND t.id <> ALL (pick.taken)"
_SHARED_WALK: Final = (
    "AND (t.queue, t.claim_rank, t.id) > (from_.queue, from_.rank, from_.id) AND t.id <> ALL (pick.taken)"
)
_WALKS: Final = ready_walks(_OWN_WALK, _SHARED_WALK, "LIMIT i.count FOR NO KEY UPDATE OF t SKIP LOCKED")

# The first run of a call is inserted only if its claim key was not used before: two calls with one key cannot both claim,
# even side by side. What else the call picked follows its first run. Rows that were locked for nothing are free again
# when the statement ends.
CLAIM_NEXT = Write[list[Claim]](
    takes="""lease_seconds int, queue_max smallint, priority_min smallint, channel_id uuid, search text, claim_key text,
        run_ids uuid[], message_ids uuid[], count int""",
    does=f"""
    turn AS MATERIALIZED (                     -- those who look at the same stand together
        SELECT v.*, row_number() OVER (ORDER BY v.view, v.ord) AS nth
          FROM (SELECT i.*, {folded("i.search")} AS words,
                       (i.workspace_id, i.queue_max, i.priority_min, i.search, i.channel_id, ARRAY(
                           SELECT m.channel_id
                             FROM channel_members m
                            WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.role <> 'reader'
                            ORDER BY 1))::text AS view
                  FROM i) v
    ), pick AS (
        SELECT 0::bigint AS nth, ''::text AS view, ARRAY[]::uuid[] AS taken,
               ARRAY[]::uuid[] AS ids, ARRAY[]::smallint[] AS queues, ARRAY[]::uuid[] AS assignees,
               (-1)::smallint AS last_queue, 0::bigint AS last_rank, NULL::uuid AS last_id
         UNION ALL
        SELECT i.nth, i.view, pick.taken || found.ids, found.ids, found.queues, found.assignees,
               coalesce(found.last_queue, from_.queue), coalesce(found.last_rank, from_.rank), coalesce(found.last_id, from_.id)
          FROM pick
          JOIN turn i ON i.nth = pick.nth + 1
         CROSS JOIN LATERAL (                             -- where the one before, who looked at the same, left off
               SELECT CASE WHEN pick.view = i.view THEN pick.last_queue ELSE (-1)::smallint END AS queue,
                      CASE WHEN pick.view = i.view THEN pick.last_rank ELSE 0 END AS rank,
                      coalesce(CASE WHEN pick.view = i.view THEN pick.last_id END,
                               '00000000-0000-0000-0000-000000000000') AS id) from_
         CROSS JOIN LATERAL (
               SELECT coalesce(array_agg(best.id ORDER BY best.place), '{{}}') AS ids,
                      coalesce(array_agg(best.queue ORDER BY best.place), '{{}}') AS queues,
                      coalesce(array_agg(best.assignee_id ORDER BY best.place), '{{}}') AS assignees,
                      (array_agg(best.queue ORDER BY best.place DESC) FILTER (WHERE best.is_shared))[1] AS last_queue,
                      (array_agg(best.claim_rank ORDER BY best.place DESC) FILTER (WHERE best.is_shared))[1] AS last_rank,
                      (array_agg(best.id ORDER BY best.place DESC) FILTER (WHERE best.is_shared))[1] AS last_id
                 FROM (SELECT ready.*, row_number() OVER (ORDER BY ready.queue, ready.claim_rank, ready.id) AS place
                         FROM ({_WALKS}) AS ready
                        ORDER BY place
                        LIMIT i.count) AS best) found
    ), granted AS MATERIALIZED (
        SELECT i.ord, i.workspace_id, i.actor_id, i.actor_kind, i.request_id, i.lease_seconds, i.claim_key,
               x.task_id, CASE x.queue WHEN 0 THEN 'todo' ELSE 'backlog' END AS old_status, x.assignee_id AS old_assignee_id,
               i.actor_kind AS old_assignee_kind, NULL::uuid AS old_run_id, x.place::smallint AS place, {
        id_at(f"{TICK_NOW} + x.place", "i.run_ids[x.place]")
    } AS run_id,
               i.message_ids[x.place] AS message_id
          FROM pick
          JOIN turn i ON i.nth = pick.nth
         CROSS JOIN LATERAL unnest(pick.ids, pick.queues, pick.assignees)
               WITH ORDINALITY AS x (task_id, queue, assignee_id, place)
    ), first AS (
        INSERT INTO runs ({_RUN_COLUMNS})
        SELECT {_RUN_VALUES}
          FROM granted g
         WHERE g.place = 1
        ON CONFLICT DO NOTHING
        RETURNING *
    ), further AS (
        INSERT INTO runs ({_RUN_COLUMNS})
        SELECT {_RUN_VALUES}
          FROM granted g
         WHERE g.place > 1 AND EXISTS (SELECT FROM granted f JOIN first ON first.id = f.run_id WHERE f.ord = g.ord)
        RETURNING *
    ), opened AS (
        SELECT * FROM first UNION ALL SELECT * FROM further
    ), moved AS (
        UPDATE tasks t
           SET status = 'in_progress', assignee_id = g.actor_id, assignee_kind = g.actor_kind, run_id = r.id,
               started_at = coalesce(t.started_at, now()), version = t.version + 1, updated_at = now()
          FROM granted g
          JOIN opened r ON r.id = g.run_id
         WHERE t.workspace_id = g.workspace_id AND t.id = g.task_id
        RETURNING t.*, g.ord, g.place, g.actor_id, g.actor_kind, g.request_id, g.message_id, 'claimed' AS kind,
                  {_FROM_QUEUE} AS difference
    ), {moved(assigns=True)}""",
    answers=f"""
        SELECT t.ord, array_to_json(array_agg({_CLAIM_JSON} ORDER BY t.place)) AS answer
          FROM moved t
          JOIN opened r ON r.id = t.run_id
         GROUP BY t.ord""",
)

# It also takes a task in progress that nobody holds: to go on where a claim ended without a result.
CLAIM_TASK = Write[Claim](
    takes="task_id uuid, version int, new_run_id uuid, message_id uuid, lease_seconds int",
    does=f"""
    moved AS (
        UPDATE tasks t
           SET status = 'in_progress', assignee_id = i.actor_id, assignee_kind = i.actor_kind,
               run_id = {id_at(TICK_NOW, "i.new_run_id")},
               started_at = coalesce(o.started_at, now()), version = o.version + 1, updated_at = now()
          FROM i
          JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
         WHERE t.workspace_id = i.workspace_id AND t.id = i.task_id
           AND t.version = o.version                      -- nobody came in between
           AND (i.version IS NULL OR i.version = o.version)
           AND o.run_id IS NULL
           AND o.status IN ('todo', 'backlog', 'in_progress')
           AND (o.assignee_id IS NULL OR o.assignee_id = i.actor_id)
           AND {WRITABLE}
           AND {UNBLOCKED}
        RETURNING t.*, i.ord, i.actor_id, i.actor_kind, i.request_id, i.lease_seconds, i.message_id, 'claimed' AS kind,
                  {_BY_NAME} AS difference
    ), granted AS (
        SELECT m.workspace_id, m.id AS task_id, m.run_id, m.actor_id, m.actor_kind, m.lease_seconds,
               NULL::text AS claim_key, NULL::smallint AS place
          FROM moved m
    ), opened AS (
        INSERT INTO runs ({_RUN_COLUMNS})
        SELECT {_RUN_VALUES}
          FROM granted g
        RETURNING *
    ), {moved(assigns=True)}""",
    answers=f"SELECT t.ord, {_CLAIM_JSON} AS answer FROM moved t JOIN opened r ON r.id = t.run_id",
    locks="task_id",
    one_per=one("task_id"),
)

# The claims that a key got before, as they are now, with their leases renewed where they still live.
AGAIN = BatchCommand(
    Answered[list[Claim]],
    f"""
    WITH i AS MATERIALIZED ({calls("claim_key text, task_id uuid")}
    ), found AS MATERIALIZED (
        SELECT i.ord, r.workspace_id, r.id
          FROM i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.holder_id = i.actor_id AND r.claim_key = i.claim_key
         UNION ALL
        SELECT i.ord, t.workspace_id, t.run_id
          FROM i
          JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id AND t.assignee_id = i.actor_id
         WHERE t.run_id IS NOT NULL
    ), renewed AS (
        UPDATE runs r
           SET lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
          FROM found
         WHERE r.workspace_id = found.workspace_id AND r.id = found.id AND r.ended_at IS NULL AND r.lease_expires_at > now()
        RETURNING r.*, found.ord
    ), latest AS (
        SELECT * FROM renewed
         UNION ALL
        SELECT r.*, found.ord
          FROM found
          JOIN runs r ON r.workspace_id = found.workspace_id AND r.id = found.id
         WHERE NOT EXISTS (SELECT FROM renewed WHERE renewed.id = found.id)
    )
    SELECT r.ord, array_to_json(array_agg({_CLAIM_JSON} ORDER BY r.claim_place))
      FROM latest r
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
     GROUP BY r.ord
    """,
)


# Not in the words of UnderRun: whoever has just ended a claim should not send its run again to get the next task.
UnderAnother = Annotated[
    Id | None | UnsetType,
    Meta(
        description="Only to claim more under a claim you hold: the id of its `run`. Refused with `lease_lost` once it is over.",
        extra=UNTOLD,
    ),
]


class ClaimTask(AgentWrite, kw_only=True):
    """The task to claim, and for how long at a time."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    version: AsRead = UNSET
    lease_seconds: Annotated[
        LeaseSeconds | None | UnsetType,
        Meta(
            description="Seconds a sign of life keeps the claim: 300 by default, at most 86,400. "
            "Plain HTTP takes 1, tools 30 at least.",
            extra=HELD_BY_MODELS,
        ),
    ] = UNSET
    run_id: UnderAnother = UNSET


class ClaimNextTask(ReadyFilter, kw_only=True):
    """What to claim, and how many."""

    lease_seconds: Annotated[
        LeaseSeconds | None | UnsetType,
        Meta(
            description="Seconds a sign of life keeps each claim: 300 by default, at most 86,400. "
            "Plain HTTP takes 1, tools 30 at least.",
            extra=HELD_BY_MODELS,
        ),
    ] = UNSET
    limit: Annotated[
        Annotated[int, Meta(ge=1, le=CLAIMS_MAX)] | None | UnsetType,
        Meta(description="How many at most: 1 by default, up to 10."),
    ] = UNSET
    wait_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=WAIT_SECONDS_MAX)] | None | UnsetType,
        Meta(description="Seconds to wait until something is ready: 0 by default, up to 30."),
    ] = UNSET
    claim_key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=CLAIM_KEY_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
        | None
        | UnsetType,
        Meta(
            description="A key of your own, such as a fresh UUID: sent again after a lost answer it gets the same claims, as "
            "they are now. With `idempotencyKey` you would get the first answer, as they were then."
        ),
    ] = UNSET
    run_id: UnderAnother = UNSET
    idempotency_key: Annotated[IdempotencyKey, Meta(extra=UNTOLD)] = UNSET  # `claimKey` does more


@operation(
    scope="task-write",
    errors=(TaskNotFound, TaskReadOnly, NotClaimable, VersionConflict, Contended),
)
async def claim_task(ctx: Context, req: ClaimTask) -> Outcome[Claim]:
    """Claim a task: become its assignee, set it in progress, and open a run that only you can write under.

    Show a sign of life before the lease ends: heartbeat-run, or any write that says `runId`. When you are done, end
    the claim with complete-run, fail-run or release-run.

    Claiming a task that you already hold answers with the same run, whatever the version. If it cannot be claimed you
    get a 409 that says why; explain-task says so at any time.
    """
    id, version = await task_id(ctx, req.task_id), given(req.version)
    changes = {"status": "in_progress", "assigneeId": ctx.actor.id, "assigneeKind": ctx.actor.kind}

    async def otherwise() -> Outcome[Claim] | None:
        facts = await facts_of(ctx, id)
        if facts is None:
            raise TaskNotFound(req.task_id)
        if facts.run_id and facts.assigned_to_caller and not facts.lease_over:
            if (again := await _again(ctx, task_id=id)) is not None:
                return Outcome(Encoded(again.raw[1:-1]), wrote=False)  # of the array its only element
        elif (refused := refusal(facts)) is not None:
            raise refused
        elif conflict := await version_conflict(ctx, task_id=id, version=version, changes=changes):
            raise conflict
        return None

    return await ctx.settle(
        CLAIM_TASK,
        otherwise,
        task_id=id,
        version=version,
        new_run_id=new_id(),
        message_id=new_id(),
        lease_seconds=given(req.lease_seconds) or LEASE_SECONDS_DEFAULT,
    )


@operation(
    scope="task-write",
    patience_seconds=WAIT_SECONDS_MAX,
    core=Step(
        20,
        "take the next task; `run.id` is your `runId`.",
        "Send `runId` with all you write; on `lease_lost` stop: the task is not yours any more.",
    ),
    cost=5,
)
async def claim_next_task(ctx: Context, req: ClaimNextTask) -> Outcome[list[Claim]]:
    """Take the next task to work on: claim the most urgent task that is ready for you, the oldest among equals.

    The answer lists your claims; if nothing is ready, it says what waits for what.

    With `waitSeconds` the call waits until something is ready. Two callers never get the same task. Ready is what
    list-ready-tasks shows. Show a sign of life before the lease ends, and end each claim with complete-run, fail-run
    or release-run.
    """
    limit = given(req.limit) or 1
    asked = wanted(req)
    item = {
        **asked,
        "lease_seconds": given(req.lease_seconds) or LEASE_SECONDS_DEFAULT,
        "run_ids": [new_id() for _ in range(limit)],
        "message_ids": [new_id() for _ in range(limit)],
        "count": limit,
        "claim_key": given(req.claim_key),
    }
    if (channel := given(req.channel_id)) is not None and uuid_or_none(channel) is None:
        await ctx.unless_late()
        return Outcome(NOTHING, wrote=False)
    bell, deadline = bell_of(ctx.db), time.monotonic() + (given(req.wait_seconds) or 0)
    for attempt in count(1):
        async with bell.turns if attempt > 1 else nullcontext():
            claims = await _claim_next(ctx, item)
        if claims is not None:
            return claims
        seconds_left = 0 if bell.closed else deadline - time.monotonic()
        if seconds_left > 0:
            ctx.about_to_wait()
            await bell.wait(ctx.db, seconds_left)
            await ctx.still_admitted()
        elif attempt >= ATTEMPTS_MAX or not await _anything_ready(ctx, asked):
            return Outcome(NOTHING, wrote=False, told=await told(ctx, asked))
        else:  # there is something, but another call had it locked: it may let go of it
            await asyncio.sleep(LOCKED_PAUSE_SECONDS)
    raise AssertionError


async def _anything_ready(ctx: Context, asked: Mapping[str, object]) -> bool:
    async with bell_of(ctx.db).turns:
        return await anything_ready(ctx, asked)


async def _claim_next(ctx: Context, item: Mapping[str, Any]) -> Outcome[list[Claim]] | None:
    """Claim once, or find what the same claim key got before; None if nothing is ready.

    If the caller goes away in the middle, what it was just given is given back at once. With a key of either sort it
    is kept: the caller can ask for it again.

    What a claim key got stays the caller's also when the claim it was asked under has ended: it comes before the refusal.
    """
    writing = asyncio.ensure_future(ctx.send(CLAIM_NEXT, **item))
    try:
        row = await asyncio.shield(writing)
    except asyncio.CancelledError:
        if item["claim_key"] is None and ctx.receipt is None:
            writing.add_done_callback(lambda written: _give_back(ctx, written))
        raise
    if row is not None:
        return Outcome(row.answer)
    await ctx.unless_answered()
    if (
        item["claim_key"] is not None
        and (again := await _again(ctx, claim_key=item["claim_key"])) is not None
    ):
        return Outcome(again, wrote=False)
    await ctx.unless_late()
    return None


async def _again(
    ctx: Context, *, claim_key: str | None = None, task_id: UUID | None = None
) -> Encoded[list[Claim]] | None:
    row = await ctx.db.write(AGAIN, {**ctx.caller, "claim_key": claim_key, "task_id": task_id})
    return row.answer if row else None


def _give_back(ctx: Context, written: "asyncio.Future[Answered[list[Claim]] | None]") -> None:
    """Give back what was claimed for a caller who has gone away. If nobody knows what that is, its lease will end."""
    if not written.cancelled() and written.exception() is None and (row := written.result()) is not None:
        run_ids = [UUID(claim.run.id) for claim in row.answer.decode(list[Claim])]
        bell_of(ctx.db).in_background(give_back(ctx, run_ids))
