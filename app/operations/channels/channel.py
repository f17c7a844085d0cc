"""What a channel is: its shape on the wire, who may read it or write to it, and the SQL that all statements on channels share.

Fragments speak of `i`, the input: `i.workspace_id`, `i.actor_id` and `i.channel_id`. A private channel does not
exist for who is not in it (404); a public one does, but nothing can be done there before joining (403).
"""

from typing import Annotated, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.db import Query
from app.db.phrases import moment
from app.errors import ChannelArchived, ChannelNotAdmin, ChannelNotFound, ChannelNotMember
from app.ids import uuid_or_none
from app.rpc import Answer, Context, HistoryCutoff

Role = Literal["reader", "poster", "admin"]
ChannelKind = Literal["public", "private", "dm"]


class Channel(Answer):
    """A channel."""

    news: ClassVar[tuple[str, ...]] = ("id", "name", "type")

    id: Annotated[str, Meta(description="Its id, for `channelId`.")]
    name: Annotated[str, Meta(description="Its name, without `#`.")]
    purpose: Annotated[str | None, Meta(description="What it is for, in one line.")]
    type: Annotated[ChannelKind, Meta(description="Who finds it: everyone, or only its members.")]


# A channel `c` as it goes out.
CHANNEL_JSON: Final = """row_to_json((SELECT w FROM (SELECT c.id, c.name, c.purpose, c.kind AS type) w))"""

# Whether the caller may know that the channel is there.
CHANNEL_KNOWN: Final = """EXISTS (
        SELECT FROM channels c
          LEFT JOIN channel_members m
            ON m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = i.actor_id
         WHERE c.workspace_id = i.workspace_id AND c.id = i.channel_id
           AND (c.kind = 'public' OR m.role IS NOT NULL))"""

# Whether the caller may put something into it: a message, or a task.
CHANNEL_OPEN: Final = """EXISTS (
        SELECT FROM channel_members m
          JOIN channels c ON c.workspace_id = m.workspace_id AND c.id = m.channel_id AND c.archived_at IS NULL
         WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = i.channel_id
           AND m.role <> 'reader')"""


# Whether the caller manages it.
CHANNEL_MANAGED: Final = """EXISTS (
        SELECT FROM channel_members me
         WHERE me.workspace_id = i.workspace_id AND me.channel_id = i.channel_id AND me.identity_id = i.actor_id
           AND me.role = 'admin')"""


class Look(msgspec.Struct):
    """A channel that the caller may know of, as it stands to them."""

    id: UUID
    name: str
    kind: ChannelKind
    role: Role | None  # None: not a member
    archived: bool
    cutoff_at: str | None  # start of what the workspace's history window shows; None: it shows everything
    hidden: int  # messages before that, which are those at positions 1 to here

    @property
    def history_cutoff(self) -> HistoryCutoff | None:
        """What the history window hides of this channel, if the workspace has one."""
        return HistoryCutoff(beyond_count=self.hidden, cutoff_at=self.cutoff_at) if self.cutoff_at else None


# How many messages of the channel `found` are older than its `moment`. Times follow positions and positions have no
# gaps, so the last such message is found by halving: twenty look-ups among a million messages. `low` is always older
# (or 0), `high` never (or one past the end).
HALVING: Final = """
    halving (low, high) AS (
        SELECT 0::bigint, f.last_position + 1 FROM found f WHERE f.moment IS NOT NULL
         UNION ALL
        SELECT CASE WHEN m.created_at < f.moment THEN m.position ELSE h.low END,
               CASE WHEN m.created_at < f.moment THEN h.high ELSE m.position END
          FROM halving h
         CROSS JOIN found f
          JOIN messages m ON m.workspace_id = f.workspace_id AND m.channel_id = f.id AND m.position = (h.low + h.high) / 2
         WHERE h.high - h.low > 1
    ), older AS (
        SELECT coalesce(max(low), 0) AS messages FROM halving
    )"""

LOOK = Query(
    Look,
    f"""
    WITH RECURSIVE found AS (
        SELECT c.workspace_id, c.id, c.name, c.kind, c.last_position, m.role, c.archived_at IS NOT NULL AS archived,
               now() - make_interval(days => w.history_days) AS moment
          FROM channels c
          JOIN workspaces w ON w.id = c.workspace_id
          LEFT JOIN channel_members m
            ON m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = %(actor_id)s::uuid
         WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = %(channel_id)s::uuid
           AND (c.kind = 'public' OR m.role IS NOT NULL)
    ), {HALVING}
    SELECT f.id, f.name, f.kind, f.role, f.archived,
           {moment("f.moment")}, older.messages
      FROM found f CROSS JOIN older
    """,
    pipelined=True,
)


async def look(ctx: Context, sent: str, *, field: str = "channelId") -> Look:
    """The channel that a caller named, if they may know of it; else ChannelNotFound."""
    if (id := uuid_or_none(sent)) is not None:
        found = await ctx.one(LOOK, channel_id=id)
        if found is not None:
            return found
    raise ChannelNotFound(sent, field=field)


async def readable(ctx: Context, sent: str, *, field: str = "channelId") -> Look:
    """The channel that a caller named, if they may read it."""
    channel = await look(ctx, sent, field=field)
    if channel.role is None:
        raise ChannelNotMember(str(channel.id))
    return channel


async def managed(ctx: Context, sent: str) -> Look:
    """The channel that a caller named, if they are an admin of it."""
    channel = await readable(ctx, sent)
    if channel.role != "admin":
        raise ChannelNotAdmin
    return channel


async def refuse_posting(ctx: Context, sent: str, *, field: str = "channelId") -> Look:
    """Say why the caller cannot put anything into a channel, if that is so; else the channel."""
    channel = await look(ctx, sent, field=field)
    if channel.role is None or channel.role == "reader":
        raise ChannelNotMember(str(channel.id))
    if channel.archived:
        raise ChannelArchived(channel.name)
    return channel
