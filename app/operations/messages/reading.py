"""get-messages: reading a channel, page by page.

Positions in a channel have no gaps and appear in order, so a page is a walk along the primary key from one
position, and nobody who reads on from there can miss a message or see one twice.
"""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, One, Query
from app.errors import ChannelNotFound, ChannelNotMember, MessageNotFound
from app.ids import uuid_or_none
from app.operations.channels.channel import readable
from app.operations.messages.message import SUMMARY_JSON, MessageSummary
from app.rpc import AgentRequest, Answer, Context, Excerpt, given, operation
from app.types import PAGE_ROWS_MAX, Id, Limit

MESSAGES_DEFAULT: Final = 20  # the contract's number
POSITION_MAX: Final = 9_223_372_036_854_775_807  # what a Postgres bigint holds


class PositionRow(msgspec.Struct):
    """Where a message stands in its channel, and in which thread."""

    position: int
    thread_id: UUID


MEMBER: Final = """
    EXISTS (SELECT FROM channel_members p
             WHERE p.workspace_id = m.workspace_id AND p.identity_id = %(actor_id)s::uuid AND p.channel_id = m.channel_id)"""

NEWEST_FIRST = Query(
    One[Encoded[MessageSummary]],
    f"""
    SELECT {SUMMARY_JSON}
      FROM messages m
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid AND {MEMBER}
       AND m.position > %(after)s::bigint AND m.position < %(before)s::bigint
     ORDER BY m.position DESC
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

OLDEST_FIRST = Query(
    One[Encoded[MessageSummary]],
    f"""
    SELECT {SUMMARY_JSON}
      FROM messages m
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid AND {MEMBER}
       AND m.position > %(after)s::bigint AND m.position < %(before)s::bigint
     ORDER BY m.position
     LIMIT %(limit)s::int
    """,
    pipelined=True,
)

# The same for one thread: the message it hangs under, and its replies.
_THREAD: Final = f"""
    SELECT m.*
      FROM messages m
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid AND {MEMBER}
       AND m.id = %(thread_id)s::uuid AND m.position > %(after)s::bigint AND m.position < %(before)s::bigint
     UNION ALL
    SELECT m.*
      FROM messages m
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid AND {MEMBER}
       AND m.parent_id = %(thread_id)s::uuid AND m.position > %(after)s::bigint AND m.position < %(before)s::bigint"""

THREAD_NEWEST_FIRST = Query(
    One[Encoded[MessageSummary]],
    f"""
    SELECT {SUMMARY_JSON} FROM ({_THREAD}) m ORDER BY m.position DESC LIMIT %(limit)s::int
    """,
    pipelined=True,
)

THREAD_OLDEST_FIRST = Query(
    One[Encoded[MessageSummary]],
    f"""
    SELECT {SUMMARY_JSON} FROM ({_THREAD}) m ORDER BY m.position LIMIT %(limit)s::int
    """,
    pipelined=True,
)

FIND_POSITION = Query(
    PositionRow,
    """
    SELECT m.position, coalesce(m.parent_id, m.id)
      FROM messages m
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.id = %(message_id)s::uuid AND m.channel_id = %(channel_id)s::uuid
    """,
    pipelined=True,
)


class MessagesPage(Answer):
    """Part of a channel."""

    messages: Annotated[list[MessageSummary], Meta(description="The messages.")]
    has_more: Annotated[bool, Meta(description="Whether there are more that way.")]


class GetMessages(AgentRequest):
    """Which part of a channel."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    limit: Annotated[Limit | UnsetType, Meta(description="How many at most: 20 by default, up to 100.")] = (
        UNSET
    )
    before: Annotated[Id | None | UnsetType, Meta(description="Only messages before this one.")] = UNSET
    after: Annotated[
        Id | None | UnsetType,
        Meta(description="Only messages after this one; the list is then oldest first."),
    ] = UNSET
    thread_id: Annotated[
        Id | None | UnsetType,
        Meta(description="Only this thread: its first message and the replies."),
    ] = UNSET


@operation(scope="channel-read", read_only=True, errors=(ChannelNotFound, ChannelNotMember, MessageNotFound))
async def get_messages(ctx: Context, req: GetMessages) -> Excerpt[MessagesPage]:
    """Read a channel: the newest messages first, or with `after` what is new since then, oldest first.

    The last message of a page is the cursor of the next: send its id as `before`, or as `after` if you read that
    way. Nothing is missed or repeated, even while others write.
    """
    channel = await readable(ctx, req.channel_id)
    before, after, thread_id = given(req.before), given(req.after), given(req.thread_id)
    limit = min(given(req.limit) or MESSAGES_DEFAULT, PAGE_ROWS_MAX)
    newest_first, oldest_first = (
        (THREAD_NEWEST_FIRST, THREAD_OLDEST_FIRST) if thread_id else (NEWEST_FIRST, OLDEST_FIRST)
    )
    statement = oldest_first if after else newest_first
    parameters: dict[str, object] = {
        "channel_id": channel.id,
        "before": (await _find(ctx, channel.id, before, "before")).position if before else POSITION_MAX,
        "after": max((await _find(ctx, channel.id, after, "after")).position if after else 0, channel.hidden),
        "limit": limit + 1,
    }
    if thread_id:
        parameters["thread_id"] = (await _find(ctx, channel.id, thread_id, "threadId")).thread_id
    rows = await ctx.all(statement, **parameters)
    has_more = len(rows) > limit
    messages = b",".join([row.value.raw for row in rows[:limit]])
    page = b'{"messages":[%b],"hasMore":%b}' % (messages, b"true" if has_more else b"false")
    return Excerpt(Encoded(page), has_more, None, channel.history_cutoff)


async def _find(ctx: Context, channel_id: UUID, sent: str, field: str) -> PositionRow:
    if (id := uuid_or_none(sent)) is not None:
        row = await ctx.one(FIND_POSITION, message_id=id, channel_id=channel_id)
        if row is not None:
            return row
    raise MessageNotFound(sent, field=field)
