"""Where each section of an inbox is read: one statement each, a few rows off an index, and how many more there are.

What changed is read from the event log by its horizon, as schema.sql explains: below it nothing can still appear,
so a cursor misses nothing and repeats nothing.
"""

from typing import Final, LiteralString

import msgspec

from app.db import Command, Encoded, One, Query
from app.db.phrases import moment
from app.errors import CursorExpired
from app.operations.inbox.shapes import InboxChange, InboxMention, You, YourChannel
from app.operations.messages.unread import COUNT_WAITING, LISTED, MENTIONS_COUNTED_MAX, WHAT_WAITS
from app.operations.tasks.task import priority
from app.operations.told import open_blockers
from app.rpc import Answer, Context
from app.writes.access import CALLER, VISIBLE

SECTION_ROWS_MAX: Final = 50
PREVIEW_CHARACTERS_MAX: Final = 1_000  # long enough to answer from; some 250 tokens
NOTE_CHARACTERS_MAX: Final[LiteralString] = "500"
COUNTED_MAX: Final = 1_000  # whoever has more of something needs no exact number
REVIEWED_MAX: Final[LiteralString] = (
    "300"  # of the newest open tasks of each channel, those in review are for its posters
)
EVENTS_READ_MAX: Final = 2_000  # in one call; a cursor further behind catches up with the next
LATEST_READ_MAX: Final[LiteralString] = (
    "200"  # of the whole workspace, to find the last ones that the caller sees
)
LATEST_MAX: Final[LiteralString] = "10"


CHANNELS_NAMED_MAX: Final[LiteralString] = "20"  # whoever is in more has get-channels
MEMBERS_NAMED_MAX: Final[LiteralString] = "20"


class CountedRow(msgspec.Struct):
    """A row of a section, and how many the section has in all."""

    item: Encoded[Answer]
    count: int


class ChangeRow(msgspec.Struct):
    """An event, and the cursor that continues behind it. Without an item: one the caller does not see.

    Without a cursor: some of what was to be read is gone.
    """

    item: Encoded[InboxChange] | None
    cursor: str | None


CLAIMS = Query(
    CountedRow,
    f"""
    WITH live AS (
        SELECT r.id, r.workspace_id, r.work_item_id, r.lease_expires_at, r.progress, r.note
          FROM runs r
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.holder_id = %(actor_id)s::uuid AND r.ended_at IS NULL
           AND r.lease_expires_at > now()
         ORDER BY r.lease_expires_at, r.id
         LIMIT %(counted_max)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT
               r.id AS "runId", t.id AS "taskId", 'T-' || t.number AS identifier, t.title,
               {moment("r.lease_expires_at")} AS "leaseExpiresAt",
               floor(extract(epoch FROM r.lease_expires_at - now()))::int AS "secondsLeft",
               r.progress, left(r.note, {NOTE_CHARACTERS_MAX}) AS note) w)),
           (SELECT count(*) FROM live)
      FROM live r
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
     ORDER BY r.lease_expires_at, r.id
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

# Whoever holds the task again has lost nothing.
LOST = Query(
    CountedRow,
    f"""
    WITH lost AS (
        SELECT r.id, r.end_reason, r.ended_at, t.workspace_id, t.id AS task_id, t.number, t.title, t.status, t.assignee_id
          FROM runs r
          JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.holder_id = %(actor_id)s::uuid AND r.loss_unseen
           AND NOT (t.run_id IS NOT NULL AND t.assignee_id = r.holder_id)
         ORDER BY r.id DESC
         LIMIT %(counted_max)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT
               r.id AS "runId", r.task_id AS "taskId", 'T-' || r.number AS identifier, r.title, r.status,
               (SELECT a.handle FROM identities a WHERE a.workspace_id = r.workspace_id AND a.id = r.assignee_id) AS holder,
               r.end_reason AS reason, {moment("r.ended_at")} AS "endedAt") w)),
           (SELECT count(*) FROM lost)
      FROM lost r
     ORDER BY r.id DESC
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

_TASK: Final = f"""
        t.id, 'T-' || t.number AS identifier, t.title, t.status,
        {priority("t.priority")} AS priority, t.version,
        {moment("t.due_at")} AS "dueAt",
        {moment("t.updated_at")} AS "updatedAt\""""

_HOLDER: Final = """
        (SELECT a.handle FROM identities a WHERE a.workspace_id = t.workspace_id AND a.id = t.assignee_id) AS holder"""

OPEN_TASKS = Query(
    CountedRow,
    f"""
    WITH mine AS (
        SELECT t.*
          FROM tasks t
         WHERE t.workspace_id = %(workspace_id)s::uuid AND t.assignee_id = %(actor_id)s::uuid AND t.urgency < 5
         ORDER BY t.urgency, t.id
         LIMIT %(counted_max)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT {_TASK}) w)), (SELECT count(*) FROM mine)
      FROM mine t
     ORDER BY t.urgency, t.id
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

# No index has the status, which so many changes would move in it. So of each channel only its newest open tasks are looked
# at, and of one's own the newest thousand.
FOR_REVIEW = Query(
    CountedRow,
    f"""
    WITH i AS ({CALLER}), waiting AS (
        SELECT t.*
          FROM (SELECT t.id
                  FROM i
                 CROSS JOIN LATERAL (
                       SELECT t.id, t.status
                         FROM tasks t
                        WHERE t.workspace_id = i.workspace_id AND t.created_by_id = i.actor_id AND t.is_open
                        ORDER BY t.id DESC
                        LIMIT %(counted_max)s::int) t
                 WHERE t.status = 'in_review'
                 UNION
                SELECT t.id
                  FROM i
                  JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.role <> 'reader'
                 CROSS JOIN LATERAL (
                       SELECT t.id, t.status
                         FROM tasks t
                        WHERE t.workspace_id = i.workspace_id AND t.channel_id = m.channel_id AND t.is_open
                        ORDER BY t.id DESC
                        LIMIT {REVIEWED_MAX}) t
                 WHERE t.status = 'in_review') found
          JOIN tasks t ON t.workspace_id = %(workspace_id)s::uuid AND t.id = found.id
         WHERE t.assignee_id IS DISTINCT FROM %(actor_id)s::uuid
         ORDER BY t.id
         LIMIT %(counted_max)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT {_TASK}, {_HOLDER},
               CASE WHEN t.created_by_id = %(actor_id)s::uuid THEN 'created_by_you' ELSE 'in_your_channel' END AS why) w)),
           (SELECT count(*) FROM waiting)
      FROM waiting t
     ORDER BY t.id
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

CHANNEL_TASKS = Query(
    CountedRow,
    f"""
    WITH i AS ({CALLER}), around AS (
        SELECT t.*, c.name AS channel
          FROM i
          JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id
          JOIN channels c ON c.workspace_id = m.workspace_id AND c.id = m.channel_id AND c.archived_at IS NULL
         CROSS JOIN LATERAL (
               SELECT t.*
                 FROM tasks t
                WHERE t.workspace_id = i.workspace_id AND t.channel_id = m.channel_id AND t.is_open
                  AND t.assignee_id IS DISTINCT FROM i.actor_id
                ORDER BY t.id DESC
                LIMIT %(counted_max)s::int) t
         ORDER BY t.id DESC
         LIMIT %(counted_max)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT
               'T-' || t.number AS identifier, t.title, t.status, {priority("t.priority")} AS priority, t.version,
               t.channel, {_HOLDER}, {open_blockers("t.workspace_id", "t.id")} AS "openBlockers") w)),
           (SELECT count(*) FROM around)
      FROM around t
     ORDER BY t.urgency, t.id
     LIMIT %(limit)s::int
    """,
)

MENTIONS = Query(
    One[Encoded[InboxMention]],
    f"""
    {LISTED}
    SELECT row_to_json((SELECT w FROM (SELECT
               u.id, u.place_id AS "placeId", u.channel_id AS "channelId",
               coalesce(c.name, 'T-' || t.number) AS "channelName",
               coalesce(m.sender_type, CASE r.author_kind WHEN 'user' THEN 'human' ELSE 'agent' END) AS "senderType",
               coalesce(m.sender_id, r.author_id) AS "senderId",
               coalesce((SELECT a.handle FROM identities a
                          WHERE a.workspace_id = u.workspace_id AND a.id = coalesce(m.sender_id, r.author_id)), 'baton')
                   AS "senderHandle",
               left(coalesce(m.content, r.body), %(preview)s::int) AS preview,
               {moment("u.created_at")} AS "createdAt") w))
      {WHAT_WAITS}
    """,
    pipelined=True,
)

HORIZON = Query(
    One[str], "SELECT pg_snapshot_xmin(pg_current_snapshot())::text", pipelined=True, everywhere=True
)

_CHANGE_JSON: Final = f"""
               row_to_json((SELECT w FROM (SELECT
                   t.id AS "taskId", 'T-' || t.number AS identifier, t.title, e.kind, e.version,
                   ARRAY(SELECT key FROM jsonb_object_keys(e.changes) AS key WHERE e.kind <> 'created' ORDER BY key) AS fields,
                   e.actor_id AS "actorId", e.actor_kind AS "actorType",
                   coalesce((SELECT a.handle FROM identities a
                              WHERE a.workspace_id = e.workspace_id AND a.id = e.actor_id), 'baton') AS "actorHandle",
                   {moment("e.created_at")} AS at) w))"""

# Where something was removed from the log an entry stands that says so. One behind the cursor: the caller has missed it.
_EXPIRED: Final = """
           EXISTS (SELECT FROM task_events x
                    WHERE x.workspace_id = %(workspace_id)s::uuid AND x.kind = 'removed'
                      AND (x.xid, x.seq) > (%(xid)s::text::xid8, %(seq)s::bigint)
                      AND x.xid < pg_snapshot_xmin(pg_current_snapshot()))"""

EXPIRED = Query(One[bool], f"SELECT {_EXPIRED}", pipelined=True)

# The horizon is taken before this runs. An event is the caller's to see if its task is; their own are no news.
CHANGES = Query(
    ChangeRow,
    f"""
    WITH i AS ({CALLER}), event AS (
        SELECT e.*
          FROM task_events e
         WHERE e.workspace_id = %(workspace_id)s::uuid
           AND (e.xid, e.seq) > (%(xid)s::text::xid8, %(seq)s::bigint) AND e.xid < %(horizon)s::text::xid8
         ORDER BY e.xid, e.seq
         LIMIT %(read_max)s::int
    )
    SELECT NULL AS item, NULL AS cursor WHERE {_EXPIRED}
     UNION ALL
    SELECT c.item, c.cursor
      FROM (SELECT CASE WHEN e.actor_id <> i.actor_id AND {VISIBLE} THEN {_CHANGE_JSON} END AS item,
                   e.xid::text || '-' || e.seq AS cursor
              FROM i CROSS JOIN event e
              JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = e.task_id
             ORDER BY e.xid, e.seq) c
    """,
)

# The last ones that the caller sees, for who remembers nothing: their own are news to them.
LATEST = Query(
    One[Encoded[InboxChange]],
    f"""
    WITH i AS ({CALLER}), event AS (
        SELECT e.*
          FROM task_events e
         WHERE e.workspace_id = %(workspace_id)s::uuid AND e.xid < %(horizon)s::text::xid8 AND e.kind <> 'removed'
         ORDER BY e.xid DESC, e.seq DESC
         LIMIT {LATEST_READ_MAX}
    ), seen AS (
        SELECT e.xid, e.seq, {_CHANGE_JSON} AS change
          FROM i CROSS JOIN event e
          JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = e.task_id
         WHERE {VISIBLE}
         ORDER BY e.xid DESC, e.seq DESC
         LIMIT {LATEST_MAX}
    )
    SELECT change FROM seen ORDER BY xid, seq
    """,
)

SEE = Command(
    One[int],
    """
    WITH mention AS (
        DELETE FROM unread_mentions u
         WHERE u.workspace_id = %(workspace_id)s::uuid AND u.identity_id = %(actor_id)s::uuid AND u.id = ANY(%(ids)s::uuid[])
        RETURNING 1
    ), loss AS (
        UPDATE runs r
           SET loss_unseen = NULL
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.holder_id = %(actor_id)s::uuid AND r.loss_unseen
           AND r.id = ANY(%(ids)s::uuid[])
        RETURNING 1
    )
    SELECT count(*) FROM (SELECT FROM mention UNION ALL SELECT FROM loss) seen
    """,
)


class Section(msgspec.Struct):
    """A part of an inbox: what was read of it, and how many there are in all."""

    items: list[bytes]
    count: int


async def counted(ctx: Context, query: Query[CountedRow]) -> Section:
    """A section whose statement counts what there is."""
    rows = await ctx.all(query, limit=SECTION_ROWS_MAX, counted_max=COUNTED_MAX)
    return Section([row.item.raw for row in rows], rows[0].count if rows else 0)


async def mentions(ctx: Context) -> Section:
    """What waits for the caller's answer."""
    rows = await ctx.all(
        MENTIONS, since=None, comments=True, limit=SECTION_ROWS_MAX, preview=PREVIEW_CHARACTERS_MAX
    )
    counts = await ctx.one(COUNT_WAITING, since=None, comments=True, counted_max=MENTIONS_COUNTED_MAX)
    return Section([row.value.raw for row in rows], max(counts.count if counts else 0, len(rows)))


async def refuse_expired(ctx: Context, cursor: str) -> None:
    """Raise if the changes since a cursor cannot all be told any more: before waiting for more of them."""
    xid, _, seq = cursor.partition("-")
    expired = await ctx.one(EXPIRED, xid=xid, seq=int(seq))
    if expired is not None and expired.value:
        raise CursorExpired


async def changes(ctx: Context, cursor: str | None) -> tuple[Section, list[str]]:
    """The changes since a cursor, and where each listed one begins: `cursors[n]` continues with item n.

    The last cursor continues behind everything that was read: at the horizon, if that was all there is.
    """
    horizon = await ctx.one(HORIZON)
    assert horizon is not None, "a SELECT without FROM has a row"
    if cursor is None:
        latest = await ctx.all(LATEST, horizon=horizon.value)
        shown = [row.value.raw for row in latest]
        return Section(shown, len(shown)), [f"{horizon.value}-0"] * (len(shown) + 1)
    xid, _, seq = cursor.partition("-")
    rows = await ctx.all(CHANGES, xid=xid, seq=int(seq), horizon=horizon.value, read_max=EVENTS_READ_MAX)
    items: list[bytes] = []
    cursors = [cursor]
    for row in rows:
        if row.cursor is None:
            raise CursorExpired
        if row.item is not None:
            items.append(row.item.raw)
            cursors.append(row.cursor)
        else:
            cursors[-1] = row.cursor
    if len(rows) < EVENTS_READ_MAX and int(xid) < int(horizon.value):
        cursors[-1] = f"{horizon.value}-0"
    listed = items[:SECTION_ROWS_MAX]
    return Section(listed, len(items)), cursors[: len(listed) + 1]


YOUR_CHANNELS = Query(
    One[Encoded[YourChannel]],
    f"""
    SELECT row_to_json((SELECT w FROM (SELECT c.name, (
               SELECT coalesce(json_agg(o.handle ORDER BY o.handle), '[]')
                 FROM (SELECT a.handle
                         FROM channel_members m
                         JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
                        WHERE m.workspace_id = c.workspace_id AND m.channel_id = c.id
                          AND m.identity_id <> %(actor_id)s::uuid AND a.deactivated_at IS NULL
                        ORDER BY m.identity_id
                        LIMIT {MEMBERS_NAMED_MAX}) o) AS members) w))
      FROM channel_members me
      JOIN channels c ON c.workspace_id = me.workspace_id AND c.id = me.channel_id AND c.archived_at IS NULL
     WHERE me.workspace_id = %(workspace_id)s::uuid AND me.identity_id = %(actor_id)s::uuid
     ORDER BY c.name
     LIMIT {CHANNELS_NAMED_MAX}
    """,
    pipelined=True,
)


async def you(ctx: Context, bytes_max: int) -> You:
    """Who the caller is, with as much of whom they work with as fits: members go first, then channels."""
    rows = await ctx.all(YOUR_CHANNELS) if "channel-read" in ctx.actor.scopes else []
    channels = [row.value.decode(YourChannel) for row in rows]
    found = You(handle=ctx.actor.handle, kind=ctx.actor.kind, channels=channels)
    if len(msgspec.json.encode(found)) > bytes_max:
        found.channels = [YourChannel(name=channel.name) for channel in channels]
    if len(msgspec.json.encode(found)) > bytes_max:
        found.channels = []
    return found
