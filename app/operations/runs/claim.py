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
from typing import Annotated, Any, Final, LiteralString
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from app.db import ITEMS, Answered, BatchQuery, Encoded
from app.db.phrases import folded, moment
from app.errors import Contended, NotClaimable, TaskNotFound, TaskReadOnly, VersionConflict
from app.ids import TICK_NOW, id_at, new_id, uuid_or_none
from app.operations.messages.message import POSTED
from app.operations.runs.bell import bell_of
from app.operations.runs.explain import facts_of, refusal
from app.operations.runs.finish import give_back
from app.operations.runs.ready import UNBLOCKED, ReadyFilter, anything_ready, ready_walks, wanted
from app.operations.runs.run import (
    LEASE_SECONDS_DEFAULT,
    PREVIOUS_JSON,
    RUN_JSON,
    Claim,
    LeaseSeconds,
)
from app.operations.tasks.card import CHANGE_CARDS
from app.operations.tasks.change import ATTEMPTS_MAX, version_conflict
from app.operations.tasks.conflict import AsRead
from app.operations.tasks.task import task_id, task_json
from app.rpc import WHO, AgentWrite, Context, IdempotencyKey, Outcome, Step, given, operation
from app.types import NO_NUL, Id
from app.writes.access import WRITABLE
from app.writes.fence import FENCE_ERRORS, acting, under
from app.writes.receipts import KEPT, NOT_KEPT, Keyed

CLAIMS_MAX: Final = 10  # per call: as many as an agent can keep alive
WAIT_SECONDS_MAX: Final = 30  # longer waits are cut by proxies on the way
CLAIM_KEY_CHARACTERS_MAX: Final = 255  # as long as an idempotency key, which does the same here
LOCKED_PAUSE_SECONDS: Final = 0.01  # before asking again for what another call has locked: a few commits

NOTHING: Final[Encoded[list[Claim]]] = Encoded(b"[]")


_HOLDERS_TASK_JSON: Final = task_json("r.holder_id")
_CLAIM_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        {_HOLDERS_TASK_JSON} AS task, {RUN_JSON} AS run, {PREVIOUS_JSON} AS "previousRuns") w))"""
# How a task differs by being claimed, as an event says it; `moved` has the tasks as they are now, and what was before.
_CHANGED: Final = f"""
    changed AS (
        SELECT m.*, d.difference
          FROM moved m
         CROSS JOIN LATERAL (SELECT jsonb_strip_nulls(jsonb_build_object(
               'status', CASE WHEN m.old_status <> m.status THEN jsonb_build_array(m.old_status, m.status) END,
               'assigneeAgentId', CASE WHEN m.old_assignee_id IS NULL AND m.actor_kind = 'agent' THEN
                   jsonb_build_array(NULL, m.actor_id) END,
               'assigneeUserId', CASE WHEN m.old_assignee_id IS NULL AND m.actor_kind = 'user' THEN
                   jsonb_build_array(NULL, m.actor_id) END,
               'startedAt', CASE WHEN m.started_at = now() THEN
                   jsonb_build_array(NULL, {moment("now()")}) END
               )) AS difference) d
    )"""

_CONSEQUENCES: Final = f"""
    event AS (
        INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id, changes)
        SELECT c.workspace_id, c.id, c.version, 'claimed', c.actor_id, c.actor_kind, c.request_id,
               c.difference || jsonb_build_object('runId', jsonb_build_array(NULL, c.run_id))
          FROM changed c
    ), participant AS (
        INSERT INTO task_participants (workspace_id, identity_id, task_id)
        SELECT c.workspace_id, p.id, c.id
          FROM changed c
          JOIN identities a ON a.workspace_id = c.workspace_id AND a.id = c.actor_id
         CROSS JOIN LATERAL (VALUES (a.id), (a.owner_id)) AS p (id)
         WHERE c.old_assignee_id IS NULL AND p.id IS NOT NULL
         ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    ), {CHANGE_CARDS}, {POSTED}"""

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

# Which inputs may claim. Under a claim there is a fence before them, and a statement of its own: of all that many agents
# send at once claims are the dearest, and they should not wait for a lock that only others need.
_UNKEPT: Final = f"""(SELECT i.* FROM i WHERE {NOT_KEPT}) i"""
_FENCE: Final = f"""{acting("i.ord")},"""
_ACTING: Final = "acting i"


def _claiming_next(fence: LiteralString, inputs: LiteralString) -> BatchQuery[Answered[list[Claim]]]:
    """The statement that claims what is next.

    The first run of an item is inserted only if its claim key was not used before: two calls with one key cannot both
    claim, even side by side. What else the item picked follows its first run. Rows that were locked for nothing are
    free again when the statement ends.
    """
    return BatchQuery(
        Answered[list[Claim]],
        f"""
    WITH RECURSIVE i AS MATERIALIZED (
        SELECT {WHO},
               (e->>'runId')::uuid         AS run_id,
               (e->>'leaseSeconds')::int   AS lease_seconds,
               (e->>'queueMax')::smallint  AS queue_max,
               (e->>'priorityMin')::smallint AS priority_min,
               (e->>'channelId')::uuid     AS channel_id,
               {folded("e->>'words'")} AS words,
               e->>'claimKey'              AS claim_key,
               ARRAY(SELECT jsonb_array_elements_text(e->'runIds')::uuid) AS run_ids,
               ARRAY(SELECT jsonb_array_elements_text(e->'messageIds')::uuid) AS message_ids,
               jsonb_array_length(e->'runIds') AS count
          FROM {ITEMS}
    ), {fence} turn AS MATERIALIZED (                     -- those who look at the same stand together
        SELECT v.*, row_number() OVER (ORDER BY v.view, v.ord) AS nth
          FROM (SELECT i.*,
                       (i.workspace_id, i.queue_max, i.priority_min, i.words, i.channel_id, ARRAY(
                           SELECT m.channel_id
                             FROM channel_members m
                            WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.role <> 'reader'
                            ORDER BY 1))::text AS view
                  FROM {inputs}) v
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
                         FROM ({
            ready_walks(
                "AND t.id <> ALL (pick.taken)",
                "AND (t.queue, t.claim_rank, t.id) > (from_.queue, from_.rank, from_.id) AND t.id <> ALL (pick.taken)",
                "LIMIT i.count FOR NO KEY UPDATE OF t SKIP LOCKED",
            )
        }) AS ready
                        ORDER BY place
                        LIMIT i.count) AS best) found
    ), granted AS MATERIALIZED (
        SELECT i.ord, i.workspace_id, i.actor_id, i.actor_kind, i.request_id, i.lease_seconds, i.claim_key, i.keep,
               x.task_id, x.queue, x.assignee_id, x.place::smallint AS place, {
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
        RETURNING t.*, g.ord, g.place, g.actor_id, g.actor_kind, g.request_id, g.message_id, g.keep,
                  g.assignee_id AS old_assignee_id,
                  CASE g.queue WHEN 0 THEN 'todo' ELSE 'backlog' END AS old_status
    ), {_CHANGED}, {_CONSEQUENCES}, answered AS (
        SELECT t.ord, t.workspace_id, t.actor_id, t.request_id, t.keep, NULL::int AS merged_from,
               array_to_json(array_agg({_CLAIM_JSON} ORDER BY t.place)) AS answer
          FROM changed t
          JOIN opened r ON r.id = t.run_id
         GROUP BY t.ord, t.workspace_id, t.actor_id, t.request_id, t.keep
    ), {KEPT}
    SELECT ord, answer FROM answered
    """,
    )


CLAIM_NEXT = Keyed(_claiming_next("", _UNKEPT))
CLAIM_NEXT_UNDER_RUN = Keyed(_claiming_next(_FENCE, _ACTING))


def _claiming(fence: LiteralString, inputs: LiteralString) -> BatchQuery[Answered[Claim]]:
    """The statement that claims by name.

    It also takes a task in progress that nobody holds: to go on where a claim ended without a result.
    """
    return BatchQuery(
        Answered[Claim],
        f"""
    WITH i AS MATERIALIZED (
        SELECT {WHO},
               (e->>'taskId')::uuid      AS task_id,
               (e->>'version')::int      AS version,
               {id_at(TICK_NOW, "e->>'newRunId'")} AS new_run_id,
               (e->>'runId')::uuid       AS run_id,
               (e->>'messageId')::uuid   AS message_id,
               (e->>'leaseSeconds')::int AS lease_seconds
          FROM {ITEMS}
    ), {fence} moved AS (
        UPDATE tasks t
           SET status = 'in_progress', assignee_id = i.actor_id, assignee_kind = i.actor_kind, run_id = i.new_run_id,
               started_at = coalesce(o.started_at, now()), version = o.version + 1, updated_at = now()
          FROM {inputs}
          JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
         WHERE t.workspace_id = i.workspace_id AND t.id = i.task_id
           AND t.version = o.version                      -- nobody came in between
           AND (i.version IS NULL OR i.version = o.version)
           AND o.run_id IS NULL
           AND o.status IN ('todo', 'backlog', 'in_progress')
           AND (o.assignee_id IS NULL OR o.assignee_id = i.actor_id)
           AND {WRITABLE}
           AND {UNBLOCKED}
        RETURNING t.*, i.ord, i.actor_id, i.actor_kind, i.request_id, i.lease_seconds, i.message_id, i.keep,
                  o.assignee_id AS old_assignee_id, o.status AS old_status
    ), {_CHANGED}, granted AS (
        SELECT c.workspace_id, c.id AS task_id, c.run_id, c.actor_id, c.actor_kind, c.lease_seconds,
               NULL::text AS claim_key, NULL::smallint AS place
          FROM changed c
    ), opened AS (
        INSERT INTO runs ({_RUN_COLUMNS})
        SELECT {_RUN_VALUES}
          FROM granted g
        RETURNING *
    ), {_CONSEQUENCES}, answered AS (
        SELECT t.ord, t.workspace_id, t.actor_id, t.request_id, t.keep, {_CLAIM_JSON} AS answer, NULL::int AS merged_from
          FROM changed t
          JOIN opened r ON r.id = t.run_id
    ), {KEPT}
    SELECT ord, answer FROM answered
    """,
        one_per="taskId",
    )


CLAIM_TASK = Keyed(_claiming("", _UNKEPT))
CLAIM_TASK_UNDER_RUN = Keyed(_claiming(_FENCE, _ACTING))


# The claims that a key got before, as they are now, with their leases renewed where they still live.
AGAIN = BatchQuery(
    Answered[list[Claim]],
    f"""
    WITH i AS MATERIALIZED (
        SELECT ord,
               (e->>'workspaceId')::uuid AS workspace_id,
               (e->>'actorId')::uuid     AS actor_id,
               e->>'claimKey'            AS claim_key,
               (e->>'taskId')::uuid      AS task_id
          FROM {ITEMS}
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
        description="Only to claim more under a claim you hold: the id of its `run`. Refused with `lease_lost` once it is over."
    ),
]


class ClaimTask(AgentWrite):
    """The task to claim, and for how long at a time."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    version: AsRead = UNSET
    lease_seconds: Annotated[
        LeaseSeconds | None | UnsetType,
        Meta(description="Seconds a sign of life keeps the claim: 300 unless told. 1 to 86,400."),
    ] = UNSET
    run_id: UnderAnother = UNSET


class ClaimNextTask(ReadyFilter):
    """What to claim, and how many."""

    lease_seconds: Annotated[
        LeaseSeconds | None | UnsetType,
        Meta(description="Seconds a sign of life keeps each claim: 300 unless told. 1 to 86,400."),
    ] = UNSET
    limit: Annotated[
        Annotated[int, Meta(ge=1, le=CLAIMS_MAX)] | None | UnsetType,
        Meta(description="How many at most: 1 unless told, never more than 10."),
    ] = UNSET
    wait_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=WAIT_SECONDS_MAX)] | None | UnsetType,
        Meta(description="Seconds to wait until something is ready: 0 unless told, at most 30."),
    ] = UNSET
    claim_key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=CLAIM_KEY_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
        | None
        | UnsetType,
        Meta(
            description="A name of your own for this request, such as a fresh UUID. If the answer is lost, send the "
            "request again with the same key: you get the same claims, not others."
        ),
    ] = UNSET
    run_id: UnderAnother = UNSET
    idempotency_key: IdempotencyKey = UNSET


@operation(
    scope="task-write",
    errors=(TaskNotFound, TaskReadOnly, NotClaimable, VersionConflict, *FENCE_ERRORS, Contended),
)
async def claim_task(ctx: Context, req: ClaimTask) -> Outcome[Claim]:
    """Claim a task: become its assignee, set it in progress, and open a run that only you can write under.

    Show a sign of life before the lease ends: heartbeat-run, or any write that says `runId`. When you are done, end
    the claim with complete-run, fail-run or release-run.

    Claiming what you hold already answers with the same run, whatever its version. If it cannot be claimed you get a
    409 that says why; explain-task says so at any time.
    """
    id, run_id = await task_id(ctx, req.task_id), under(req.run_id)
    version = given(req.version)
    item = {
        **ctx.who,
        "taskId": id,
        "runId": run_id,
        "version": version,
        "leaseSeconds": given(req.lease_seconds) or LEASE_SECONDS_DEFAULT,
    }
    statement = (CLAIM_TASK if run_id is None else CLAIM_TASK_UNDER_RUN).form(ctx.keep)
    changes = {"status": "in_progress", "assigneeId": ctx.actor.id, "assigneeKind": ctx.actor.kind}
    for _ in range(ATTEMPTS_MAX):
        row = await ctx.db.write(statement, {**item, "newRunId": new_id(), "messageId": new_id()})
        if row is not None:
            return Outcome(row.answer)
        await ctx.refuse_late(run_id)
        facts = await facts_of(ctx, id)
        if facts is None:
            raise TaskNotFound(req.task_id)
        if facts.run_id and facts.assigned_to_caller and not facts.lease_over:
            if (again := await ctx.db.write(AGAIN, {**ctx.who, "taskId": id})) is not None:
                return Outcome(Encoded(again.answer.raw[1:-1]), wrote=False)  # of the array its only element
        elif (refused := refusal(facts)) is not None:
            raise refused
        elif conflict := await version_conflict(ctx, task_id=id, version=version, changes=changes):
            raise conflict
        # Nothing is in the way any more: it was changed between the two statements.
    raise Contended


@operation(
    scope="task-write",
    errors=FENCE_ERRORS,
    patience_seconds=WAIT_SECONDS_MAX,
    core=Step(20, "Take the most urgent task. The id of its `run` is your `runId`: send it with all writes."),
)
async def claim_next_task(ctx: Context, req: ClaimNextTask) -> Outcome[list[Claim]]:
    """Claim what is to be done next: the most urgent task that is ready for you, the oldest among equals.

    The answer lists your claims, none if nothing was ready. Send the id of its `run` as `runId` with all you write.

    With `waitSeconds` the call holds until something is ready. Two callers never get the same task. Ready is what
    list-ready-tasks shows. Show a sign of life before the lease ends, and end each claim with complete-run, fail-run
    or release-run.
    """
    run_id = under(req.run_id)
    item = {
        **ctx.who,
        "runId": run_id,
        "leaseSeconds": given(req.lease_seconds) or LEASE_SECONDS_DEFAULT,
        "runIds": [new_id() for _ in range(given(req.limit) or 1)],
        "messageIds": [new_id() for _ in range(given(req.limit) or 1)],
        "claimKey": given(req.claim_key),
        **wanted(req),
    }
    if (channel := given(req.channel_id)) is not None and uuid_or_none(channel) is None:
        await ctx.refuse_late(run_id)
        return Outcome(NOTHING, wrote=False)
    bell, deadline = bell_of(ctx.db), time.monotonic() + (given(req.wait_seconds) or 0)
    for attempt in count(1):
        async with bell.turns if attempt > 1 else nullcontext():
            claims = await _claim_next(ctx, item)
        if claims is not None:
            return claims
        seconds_left = 0 if bell.closed else deadline - time.monotonic()
        if seconds_left > 0:
            await bell.wait(ctx.db, seconds_left)
            await ctx.still_admitted()
        elif attempt >= ATTEMPTS_MAX or not await _anything_ready(ctx, item):
            return Outcome(NOTHING, wrote=False)
        else:  # there is something, but another call had it locked: it may let go of it
            await asyncio.sleep(LOCKED_PAUSE_SECONDS)
    raise AssertionError


async def _anything_ready(ctx: Context, item: Mapping[str, Any]) -> bool:
    async with bell_of(ctx.db).turns:
        return await anything_ready(ctx, item)


async def _claim_next(ctx: Context, item: Mapping[str, Any]) -> Outcome[list[Claim]] | None:
    """Claim once, or find what the same claim key got before; None if nothing is ready.

    If the caller goes away in the middle, what it was just given is given back at once. With a key of either sort it
    is kept: the caller can ask for it again.

    What a claim key got stays the caller's also when the claim it was asked under has ended: it comes before the refusal.
    """
    run_id: UUID | None = item["runId"]
    statement = (CLAIM_NEXT if run_id is None else CLAIM_NEXT_UNDER_RUN).form(ctx.keep)
    writing = asyncio.ensure_future(ctx.db.write(statement, item))
    try:
        row = await asyncio.shield(writing)
    except asyncio.CancelledError:
        if item["claimKey"] is None and ctx.keep is None:
            writing.add_done_callback(lambda written: _give_back(ctx, written))
        raise
    if row is not None:
        return Outcome(row.answer)
    await ctx.unless_answered()
    if item["claimKey"] is not None and (again := await ctx.db.write(AGAIN, item)) is not None:
        return Outcome(again.answer, wrote=False)
    if run_id is not None and (lost := await ctx.why_not_live(run_id)):
        raise lost
    return None


def _give_back(ctx: Context, written: "asyncio.Future[Answered[list[Claim]] | None]") -> None:
    """Give back what was claimed for a caller who has gone away. If nobody knows what that is, its lease will end."""
    if not written.cancelled() and written.exception() is None and (row := written.result()) is not None:
        run_ids = [UUID(claim.run.id) for claim in row.answer.decode(list[Claim])]
        bell_of(ctx.db).in_background(give_back(ctx, run_ids))
