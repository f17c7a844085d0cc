"""Saying something in a channel: the one write behind send-message, create-artifact and post-message."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, LiteralString, TypeVar

from msgspec import Meta, UnsetType

from app.errors import (
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    MessageNotFound,
)
from app.ids import new_id, uuid_or_none
from app.operations.channels.channel import CHANNEL_OPEN, refuse_posting
from app.operations.mentions import Addressed
from app.operations.messages.message import (
    AS_BODY,
    IN_WINDOW,
    MESSAGE_JSON,
    OUTPUT_JSON,
    POSTED,
    SPOKEN,
    Message,
    MessageOutput,
)
from app.rpc import Context, Outcome
from app.types import Id, Markdown
from app.writes.write import Write

T = TypeVar("T")

# What is sent, whatever the dialect calls it; and what it can be refused with.
ToChannel = Annotated[Id, Meta(description="The channel to say it in.")]
ToSay = Annotated[
    Markdown,
    Meta(
        min_length=1,
        description="What to say, in markdown. `@handle` outside code addresses someone.",
        extra=AS_BODY,
    ),
]
ReplyTo = Annotated[
    Id | None | UnsetType,
    Meta(description="The message to reply to; a reply to a reply joins the same thread."),
]
SAY_ERRORS: Final = (
    InvalidInput,
    ChannelNotFound,
    ChannelNotMember,
    ChannelArchived,
    MessageNotFound,
    IdentityNotFound,
)


def saying(answer: LiteralString) -> Write[Any]:  # Any: what the JSON says, which the caller knows
    """The write that says it, and answers with this JSON of the message `m` that was posted."""
    return Write(
        takes="channel_id uuid, thread_id uuid, id uuid, kind text, content text, metadata jsonb, mentions jsonb",
        does=f"""
    said AS (
        SELECT i.ord, i.workspace_id, i.channel_id, i.id,
               coalesce(m.parent_id, m.id) AS parent_id,  -- a reply to a reply belongs to the same thread
               i.actor_id AS sender_id, CASE i.actor_kind WHEN 'user' THEN 'human' ELSE 'agent' END AS sender_type,
               i.kind, i.content, i.metadata, i.mentions
          FROM i
          LEFT JOIN messages m
            ON m.workspace_id = i.workspace_id AND m.id = i.thread_id AND m.channel_id = i.channel_id AND {IN_WINDOW}
         WHERE {CHANNEL_OPEN} AND (i.thread_id IS NULL OR m.id IS NOT NULL)
    ), {POSTED}, {SPOKEN}""",
        answers=f"""
        SELECT s.ord, {answer} AS answer
          FROM posted m
          JOIN said s ON s.workspace_id = m.workspace_id AND s.id = m.id""",
        locks="channel_id",
    )


SEND: Final[Write[Message]] = saying(MESSAGE_JSON)
POST: Final[Write[MessageOutput]] = saying(OUTPUT_JSON)


async def say(
    ctx: Context,
    write: Write[T],
    content: str,
    *,
    channel_id: str,
    thread_id: str | None = None,
    kind: str = "text",
    metadata: Mapping[str, Any] | None = None,  # Any: what machines put there is theirs
    mentions: Sequence[Addressed] = (),
    channel_field: str = "channelId",
    thread_field: str = "threadId",
) -> Outcome[T]:
    """Say something as the caller, or raise what stands in the way.

    The fields are what the request calls the channel and the thread, for errors.
    """
    if (channel := uuid_or_none(channel_id)) is None:
        raise ChannelNotFound(channel_id, field=channel_field)
    if (thread := uuid_or_none(thread_id) if thread_id else None) is None and thread_id:
        raise MessageNotFound(thread_id, field=thread_field)
    said = await ctx.write(
        write,
        channel_id=channel,
        thread_id=thread,
        id=new_id(),
        kind=kind,
        content=content,
        metadata=metadata or {},
        mentions=[someone.id for someone in mentions],
    )
    if said is not None:
        return said
    await refuse_posting(ctx, channel_id, field=channel_field)
    if thread_id:
        raise MessageNotFound(thread_id, field=thread_field)
    # It was closed and opened again between the statements.
    raise ChannelNotFound(channel_id, field=channel_field)
