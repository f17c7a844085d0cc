"""get-inbox: everything that waits for the caller, in one call.

An inbox is a list of sections. Each is one statement that reads a few rows off an index, and says how many more
there are. What is read must fit `maxBytes`; `_fitted` takes from the least important section first. A section more
is a field of Inbox and of LeftOut, and a name in TRIM_ORDER at its place.

What changed is read from the event log by its horizon, as schema.sql explains: below it nothing can still appear,
so a cursor misses nothing and repeats nothing.
"""

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, One, Query
from app.db.phrases import moment
from app.operations.messages.message import SenderType
from app.operations.messages.unread import COUNT_WAITING, LISTED, MENTIONS_COUNTED_MAX, WHAT_WAITS
from app.operations.tasks.history import EventKind
from app.operations.tasks.task import priority
from app.rpc import AgentRequest, Answer, Context, Step, given, operation
from app.types import IdentityKind, TaskPriority, TaskStatus, Timestamp
from app.writes.access import CALLER, VISIBLE

BYTES_DEFAULT: Final = 8_000  # some 2,000 tokens: what an agent reads before it starts
BYTES_MIN: Final = 1_000  # an empty inbox has some 300
BYTES_MAX: Final = 200_000  # the most that rows of the sizes below can be
SECTION_ROWS_MAX: Final = 50
PREVIEW_CHARACTERS_MAX: Final = 280
COUNTED_MAX: Final = 1_000  # whoever has more of something needs no exact number
EVENTS_READ_MAX: Final = 2_000  # in one call; a cursor further behind catches up with the next


class InboxClaim(Answer):
    """A claim of yours that lives, in short."""

    brief: ClassVar[tuple[str, ...]] = ("runId", "identifier", "title", "secondsLeft")

    run_id: Annotated[str, Meta(description="The run: heartbeat-run keeps it, release-run gives it back.")]
    task_id: Annotated[str, Meta(description="The task you hold.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    lease_expires_at: Annotated[
        Timestamp, Meta(description="When you lose it unless there is a sign of life before.")
    ]
    seconds_left: Annotated[int, Meta(description="Whole seconds until then.")]


class InboxTask(Answer):
    """A task in short."""

    brief: ClassVar[tuple[str, ...]] = ("identifier", "title", "status", "priority", "version", "dueAt")

    id: Annotated[str, Meta(description="Its id.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]
    priority: Annotated[TaskPriority, Meta(description="How urgent it is.")]
    version: Annotated[int, Meta(description="The optimistic lock: send it with your next update.")]
    due_at: Annotated[Timestamp | None, Meta(description="When it is due.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed.")]


class InboxMention(Answer):
    """Something that waits for your answer, in short."""

    brief: ClassVar[tuple[str, ...]] = ("id", "placeId", "channelName", "senderId", "preview")

    id: Annotated[str, Meta(description="The message, or the comment.")]
    place_id: Annotated[
        str, Meta(description="Where an answer belongs: the `threadId` for send-message, or the task.")
    ]
    channel_id: Annotated[str | None, Meta(description="The channel; null if it is a comment on a task.")]
    channel_name: Annotated[
        str, Meta(description="The channel's name, or the task's identifier such as `T-42`.")
    ]
    sender_type: Annotated[SenderType, Meta(description="Who spoke.")]
    sender_id: Annotated[str, Meta(description="Their id.")]
    preview: Annotated[str, Meta(description="The first 280 characters of what it says.")]
    created_at: Annotated[Timestamp, Meta(description="When it was said.")]


class InboxChange(Answer):
    """Something that others did to a task you can see."""

    brief: ClassVar[tuple[str, ...]] = ("identifier", "kind", "fields", "actorId")

    task_id: Annotated[str, Meta(description="The task.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title as it is now.")]
    kind: EventKind
    version: Annotated[int, Meta(description="The task's version after it.")]
    fields: Annotated[list[str], Meta(description="Which fields changed.")]
    actor_id: Annotated[str, Meta(description="Who did it.")]
    actor_type: Annotated[IdentityKind, Meta(description="Whether that is a user or an agent.")]
    at: Annotated[Timestamp, Meta(description="When.")]


SectionName = Literal["claims", "openTasks", "mentions", "forReview", "changes"]


class LeftOut(Answer):
    """How many of each are not listed, for want of room; 1000 means that or more."""

    claims: Annotated[int, Meta(description="Your live claims: list-runs with `mine` and `live` has them.")]
    open_tasks: Annotated[int, Meta(description="Your open tasks: list-my-tasks has them.")]
    mentions: Annotated[int, Meta(description="What waits for an answer: get-unread-mentions has it.")]
    for_review: Annotated[
        int, Meta(description="Tasks for your review: list-tasks with `status=in_review` has them.")
    ]
    changes: Annotated[
        int,
        Meta(description="Changes among the next 2,000 events: call again with the `cursor` of this answer."),
    ]


class Inbox(Answer):
    """What waits for you."""

    claims: Annotated[list[InboxClaim], Meta(description="Your live claims, the next to expire first.")]
    open_tasks: Annotated[list[InboxTask], Meta(description="Your open tasks, the most urgent first.")]
    mentions: Annotated[list[InboxMention], Meta(description="What waits for your answer, the newest first.")]
    for_review: Annotated[
        list[InboxTask],
        Meta(description="Tasks you created that are in review with someone else, oldest first."),
    ]
    changes: Annotated[
        list[InboxChange],
        Meta(description="What others did since your `cursor`, in order; without one, nothing."),
    ]
    cursor: Annotated[
        str, Meta(description="Send it with your next call to hear what changed since this one.")
    ]
    left_out: Annotated[LeftOut, Meta(description="How many of each are not listed.")]
    not_allowed: Annotated[list[SectionName], Meta(description="Sections that need a scope your key lacks.")]


class CountedRow(msgspec.Struct):
    """A row of a section, and how many the section has in all."""

    item: Encoded[Answer]
    count: int


class ChangeRow(msgspec.Struct):
    """An event, and the cursor that continues behind it. Without an item: one the caller does not see."""

    item: Encoded[InboxChange] | None
    cursor: str


CLAIMS = Query(
    CountedRow,
    f"""
    WITH live AS (
        SELECT r.id, r.workspace_id, r.work_item_id, r.lease_expires_at
          FROM runs r
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.holder_id = %(actor_id)s::uuid AND r.ended_at IS NULL
           AND r.lease_expires_at > now()
         ORDER BY r.lease_expires_at, r.id
         LIMIT %(counted_max)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT
               r.id AS "runId", t.id AS "taskId", 'T-' || t.number AS identifier, t.title,
               {moment("r.lease_expires_at")} AS "leaseExpiresAt",
               floor(extract(epoch FROM r.lease_expires_at - now()))::int AS "secondsLeft") w)),
           (SELECT count(*) FROM live)
      FROM live r
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
     ORDER BY r.lease_expires_at, r.id
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

_TASK_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        t.id, 'T-' || t.number AS identifier, t.title, t.status,
        {priority("t.priority")} AS priority, t.version,
        {moment("t.due_at")} AS "dueAt",
        {moment("t.updated_at")} AS "updatedAt") w))"""

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
    SELECT {_TASK_JSON}, (SELECT count(*) FROM mine) FROM mine t ORDER BY t.urgency, t.id LIMIT %(limit)s::int
    """,
    pipelined=True,
)

FOR_REVIEW = Query(
    CountedRow,
    f"""
    WITH waiting AS (
        SELECT t.*
          FROM tasks t
         WHERE t.workspace_id = %(workspace_id)s::uuid AND t.created_by_id = %(actor_id)s::uuid AND t.is_open
           AND t.status = 'in_review' AND t.assignee_id IS DISTINCT FROM %(actor_id)s::uuid
         ORDER BY t.id
         LIMIT %(counted_max)s::int
    )
    SELECT {_TASK_JSON}, (SELECT count(*) FROM waiting) FROM waiting t ORDER BY t.id LIMIT %(limit)s::int
    """,
    pipelined=True,
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
               left(coalesce(m.content, r.body), %(preview)s::int) AS preview,
               {moment("u.created_at")} AS "createdAt") w))
      {WHAT_WAITS}
    """,
    pipelined=True,
)

HORIZON = Query(
    One[str], "SELECT pg_snapshot_xmin(pg_current_snapshot())::text", pipelined=True, everywhere=True
)

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
    SELECT CASE WHEN e.actor_id <> i.actor_id AND {VISIBLE} THEN
               row_to_json((SELECT w FROM (SELECT
                   t.id AS "taskId", 'T-' || t.number AS identifier, t.title, e.kind, e.version,
                   ARRAY(SELECT key FROM jsonb_object_keys(e.changes) AS key WHERE e.kind <> 'created' ORDER BY key) AS fields,
                   e.actor_id AS "actorId", e.actor_kind AS "actorType",
                   {moment("e.created_at")} AS at) w)) END,
           e.xid::text || '-' || e.seq
      FROM i CROSS JOIN event e
      JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = e.task_id
     ORDER BY e.xid, e.seq
    """,
)


class GetInbox(AgentRequest):
    """How much to read, and since when."""

    max_bytes: Annotated[
        Annotated[int, Meta(ge=BYTES_MIN, le=BYTES_MAX)] | UnsetType,
        Meta(description="How many bytes at most: 8,000 unless told. 1,000 to 200,000."),
    ] = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,17})$(?!\\n)")] | None | UnsetType,
        Meta(description="The `cursor` of your last inbox: lists what changed since."),
    ] = UNSET


class Section(msgspec.Struct):
    """A part of an inbox: what was read of it, and how many there are in all."""

    items: list[bytes]
    count: int


TRIM_ORDER: Final[tuple[SectionName, ...]] = ("changes", "forReview", "openTasks", "mentions", "claims")
"""Where room is taken from, last item first: what can be read again or matters least goes first."""


@operation(
    scope="task-read",
    read_only=True,
    core=Step(10, "Start here: what is yours, what waits for you, what changed."),
)
async def get_inbox(ctx: Context, req: GetInbox) -> Encoded[Inbox]:
    """See everything that waits for you in one call: the one to start with when you remember nothing.

    It lists your claims, your open tasks, what waits for your answer or your review, and what others changed since the
    `cursor` of your last inbox.

    Claims that expire next come first. If it would be larger than `maxBytes`, room is taken from `changes` first, then
    from `forReview`, `openTasks`, `mentions` and `claims`, each from its end; `leftOut` says how many are missing.
    Changes that were left out come with the next cursor.
    """
    may_read_channels = "channel-read" in ctx.actor.scopes
    sections: dict[SectionName, Section] = {
        "claims": await _counted(ctx, CLAIMS),
        "openTasks": await _counted(ctx, OPEN_TASKS),
        "mentions": await _mentions(ctx) if may_read_channels else Section([], 0),
        "forReview": await _counted(ctx, FOR_REVIEW),
    }
    sections["changes"], cursors = await _changes(ctx, given(req.cursor))
    not_allowed: list[SectionName] = [] if may_read_channels else ["mentions"]
    return _fitted(sections, cursors, not_allowed, given(req.max_bytes) or BYTES_DEFAULT)


async def _counted(ctx: Context, query: Query[CountedRow]) -> Section:
    rows = await ctx.all(query, limit=SECTION_ROWS_MAX, counted_max=COUNTED_MAX)
    return Section([row.item.raw for row in rows], rows[0].count if rows else 0)


async def _mentions(ctx: Context) -> Section:
    rows = await ctx.all(
        MENTIONS, since=None, comments=True, limit=SECTION_ROWS_MAX, preview=PREVIEW_CHARACTERS_MAX
    )
    counts = await ctx.one(COUNT_WAITING, since=None, comments=True, counted_max=MENTIONS_COUNTED_MAX)
    return Section([row.value.raw for row in rows], max(counts.count if counts else 0, len(rows)))


async def _changes(ctx: Context, cursor: str | None) -> tuple[Section, list[str]]:
    """The changes since a cursor, and where each listed one begins: `cursors[n]` continues with item n.

    The last cursor continues behind everything that was read.
    """
    horizon = await ctx.one(HORIZON)
    assert horizon is not None, "a SELECT without FROM has a row"
    if cursor is None:
        return Section([], 0), [f"{horizon.value}-0"]
    xid, _, seq = cursor.partition("-")
    rows = await ctx.all(CHANGES, xid=xid, seq=int(seq), horizon=horizon.value, read_max=EVENTS_READ_MAX)
    items: list[bytes] = []
    cursors = [cursor]
    for row in rows:
        if row.item is not None:
            items.append(row.item.raw)
            cursors.append(row.cursor)
        else:
            cursors[-1] = row.cursor
    listed = items[:SECTION_ROWS_MAX]
    return Section(listed, len(items)), cursors[: len(listed) + 1]


def _fitted(
    sections: dict[SectionName, Section], cursors: list[str], not_allowed: list[SectionName], bytes_max: int
) -> Encoded[Inbox]:
    """The inbox, with as much of each section as fits."""
    room = sum(len(item) + 1 for section in sections.values() for item in section.items)
    empty: dict[SectionName, Section] = {
        name: Section([], section.count) for name, section in sections.items()
    }
    room += len(_inbox(empty, [max(cursors, key=len)], not_allowed))  # with every number at its longest
    for name in TRIM_ORDER:
        items = sections[name].items
        while room > bytes_max and items:
            room -= len(items.pop()) + 1
    return Encoded(_inbox(sections, cursors, not_allowed))


def _inbox(sections: dict[SectionName, Section], cursors: list[str], not_allowed: list[SectionName]) -> bytes:
    left_out = {name: section.count - len(section.items) for name, section in sections.items()}
    lists = b",".join(
        b'"%b":[%b]' % (name.encode(), b",".join(section.items)) for name, section in sections.items()
    )
    tail = {"cursor": cursors[len(sections["changes"].items)], "leftOut": left_out, "notAllowed": not_allowed}
    return b"{%b,%b" % (lists, msgspec.json.encode(tail)[1:])
