"""One wait for everything: until there is something to claim, an answer, or a change of what the caller holds.

It waits at the bell of app/operations/runs/bell.py, as claim-next-task does: one look per process says that something was
written somewhere, and then those who wait ask together, in one statement, whether it was for them. Each asks of what came
since it asked last, below the horizon; so what it is woken by stands in the inbox that it then reads, and behind its cursor.

Work to claim wakes only who holds nothing: whoever waits for an answer about what they hold is not to be sent back at once.
"""

import time
from contextlib import nullcontext
from typing import Final, LiteralString

import msgspec

from app.db import BatchQuery
from app.operations.inbox.sections import HORIZON
from app.operations.inbox.shapes import Waker
from app.operations.runs.bell import bell_of
from app.operations.runs.ready import ready_walks
from app.rpc import Context
from app.writes.write import calls

EVENTS_READ_MAX: Final[LiteralString] = "2000"  # by the first look of who is far behind; the next sees little


class NewsRow(msgspec.Struct):
    """What there is for one caller, and how far that was looked for."""

    ord: int
    horizon: str
    mention: bool
    answer: bool
    held: bool
    claimable: bool


_READY: Final = ready_walks("", "", "LIMIT 1")

NEWS = BatchQuery(
    NewsRow,
    f"""
    WITH i AS MATERIALIZED (
        SELECT c.*, c.since_xid::xid8 AS xid, 0::smallint AS queue_max, 0::smallint AS priority_min, NULL::uuid AS channel_id,
               NULL::text AS words
          FROM ({calls("since_xid text, since_seq bigint, channels boolean, claims boolean")}) c
    )
    SELECT i.ord, h.xid::text,
           i.channels AND EXISTS (
               SELECT FROM unread_mentions u
                WHERE u.workspace_id = i.workspace_id AND u.identity_id = i.actor_id
                  AND (u.xid > i.xid OR (u.xid = i.xid AND i.since_seq = 0)) AND u.xid < h.xid),
           coalesce(e.answer, false), coalesce(e.held, false),
           i.claims
           AND NOT EXISTS (SELECT FROM runs r
                            WHERE r.workspace_id = i.workspace_id AND r.holder_id = i.actor_id AND r.ended_at IS NULL
                              AND r.lease_expires_at > now())
           AND EXISTS (SELECT FROM ({_READY}) w)
      FROM i
     CROSS JOIN (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) h
     CROSS JOIN LATERAL (
           SELECT bool_or(e.kind = 'commented' AND EXISTS (
                      SELECT FROM task_participants p
                       WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = e.task_id)) AS answer,
                  bool_or(t.assignee_id = i.actor_id
                          OR i.actor_id::text IN (
                              e.changes->'assigneeAgentId'->>0, e.changes->'assigneeUserId'->>0)) AS held
             FROM (SELECT e.*
                     FROM task_events e
                    WHERE e.workspace_id = i.workspace_id AND (e.xid, e.seq) > (i.xid, i.since_seq) AND e.xid < h.xid
                    ORDER BY e.xid, e.seq
                    LIMIT {EVENTS_READ_MAX}) e
             JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = e.task_id
            WHERE e.actor_id <> i.actor_id) e
    """,
)


async def woken_by(ctx: Context, cursor: str | None, seconds: float) -> Waker | None:
    """Wait until there is something for the caller that came since the cursor, or since now; None if nothing comes in time."""
    if cursor is None:
        horizon = await ctx.one(HORIZON)
        assert horizon is not None, "a SELECT without FROM has a row"
        cursor = f"{horizon.value}-0"
    xid, _, seq = cursor.partition("-")
    scopes = ctx.actor.scopes
    asked = {"channels": "channel-read" in scopes, "claims": "task-write" in scopes}
    bell, deadline, first = bell_of(ctx.db), time.monotonic() + seconds, True
    while True:
        async with nullcontext() if first else bell.turns:
            news = await ctx.ask(NEWS, since_xid=xid, since_seq=int(seq), **asked)
        assert news is not None, "each call has a row"
        if (waker := _waker(news)) is not None:
            return waker
        if int(xid) < int(news.horizon):
            xid, seq = news.horizon, "0"
        first = False
        seconds_left = 0 if bell.closed else deadline - time.monotonic()
        if seconds_left <= 0:
            return None
        ctx.about_to_wait()
        await bell.wait(ctx.db, seconds_left)
        await ctx.still_admitted()


def _waker(news: NewsRow) -> Waker | None:
    """The first that somebody would look at."""
    if news.held:
        return "held"
    if news.mention:
        return "mention"
    if news.answer:
        return "answer"
    return "claimable" if news.claimable else None
