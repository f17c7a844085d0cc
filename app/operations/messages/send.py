"""send-message, create-artifact and flag-needs-human: saying something in a channel, and asking for a human."""

from contextlib import suppress
from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from app.db import One, Query
from app.db.phrases import moment
from app.errors import (
    AttachmentNotFound,
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    InvalidInput,
    MessageNotFound,
)
from app.ids import uuid_or_none
from app.operations.channels.channel import refuse_posting
from app.operations.mentions import GivenMention, addressed
from app.operations.messages.message import AS_BODY, IN_WINDOW, MESSAGE_JSON, Message
from app.operations.messages.say import (
    SAY_ERRORS,
    SEND,
    ReplyTo,
    ToChannel,
    ToSay,
    say,
    saying,
)
from app.rpc import AgentWrite, Answer, Context, Outcome, given, operation
from app.types import MENTIONS_MAX, NO_NUL, SHOWS_SOMETHING, Id, Markdown, shows_something
from app.writes.access import CALLER
from app.writes.write import Write, one

ATTACHMENTS_MAX: Final = 20
NAME_CHARACTERS_MAX: Final = 255  # what file systems take
KIND_CHARACTERS_MAX: Final = 64

FLAG = Write[Message](
    takes="message_id uuid, reason text",
    does=f"""
    flagged AS (
        UPDATE messages m
           SET metadata = m.metadata || jsonb_build_object(
                   'needsHuman', true, 'needsHumanReason', i.reason, 'needsHumanBy', i.actor_id,
                   'needsHumanAt', {moment("clock_timestamp()")}),
               version = m.version + 1, updated_at = clock_timestamp()
          FROM i
         WHERE m.workspace_id = i.workspace_id AND m.id = i.message_id AND {IN_WINDOW}
           AND EXISTS (SELECT FROM channel_members p
                         JOIN channels c ON c.workspace_id = p.workspace_id AND c.id = p.channel_id AND c.archived_at IS NULL
                        WHERE p.workspace_id = m.workspace_id AND p.identity_id = i.actor_id AND p.channel_id = m.channel_id
                          AND p.role <> 'reader')
        RETURNING m.*, i.ord
    )""",
    answers=f"SELECT m.ord, {MESSAGE_JSON} AS answer FROM flagged m",
    locks="message_id",
    one_per=one("message_id"),
)


# For refusals: where a message stands that the caller can read.
PLACE = Query(
    One[str],
    f"""
    WITH i AS ({CALLER})
    SELECT m.channel_id::text
      FROM i
      JOIN messages m ON m.workspace_id = i.workspace_id AND m.id = %(message_id)s::uuid AND {IN_WINDOW}
      JOIN channel_members p ON p.workspace_id = m.workspace_id AND p.identity_id = i.actor_id AND p.channel_id = m.channel_id
    """,
    pipelined=True,
)


class ArtifactRef(Answer):
    """A text that was shared under a name."""

    message_id: Annotated[str, Meta(description="The message that holds it.")]
    name: Annotated[str, Meta(description="Its name.")]
    type: Annotated[str, Meta(description="What it is.")]


_ARTIFACT_JSON: Final = """row_to_json((SELECT w FROM (SELECT
        m.id AS "messageId", m.metadata->'artifact'->>'name' AS name, m.metadata->'artifact'->>'type' AS type) w))"""

SHARE: Final[Write[ArtifactRef]] = saying(_ARTIFACT_JSON)


class SendMessage(AgentWrite):
    """A message."""

    channel_id: ToChannel
    content: ToSay
    thread_id: ReplyTo = UNSET
    mentions: Annotated[
        Annotated[list[GivenMention], Meta(max_length=MENTIONS_MAX)] | None | UnsetType,
        Meta(description="Whom to address besides those the text names. At most 20 in all."),
    ] = UNSET
    attachment_ids: Annotated[
        Annotated[list[Id], Meta(max_length=ATTACHMENTS_MAX)] | None | UnsetType,
        Meta(description="Ids of uploaded files. This service stores none, so leave it out."),
    ] = UNSET


class CreateArtifact(AgentWrite):
    """A text to share under a name."""

    channel_id: Annotated[Id, Meta(description="The channel to share it in.")]
    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=NAME_CHARACTERS_MAX,
            extra_json_schema=SHOWS_SOMETHING,
            description="File name or title.",
        ),
    ]
    type: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=KIND_CHARACTERS_MAX,
            extra_json_schema=NO_NUL,
            description="What it is: `code`, `markdown`, `document`, `image`, or a word of your own.",
        ),
    ]
    content: Annotated[
        Markdown, Meta(min_length=1, description="The text itself; nobody in it is addressed.", extra=AS_BODY)
    ]

    def __post_init__(self) -> None:
        """Refuse a name with nothing to see."""
        if not shows_something(self.name):
            message = "A name has something to see, and no control characters such as line feeds."
            raise InvalidInput(message, field="name")


class FlagNeedsHuman(AgentWrite):
    """A message to flag."""

    message_id: Annotated[Id, Meta(description="The message.")]
    reason: Annotated[Markdown, Meta(min_length=1, description="Why a human should look at it.")]


@operation(
    scope="channel-write",
    errors=(*SAY_ERRORS, AttachmentNotFound),
)
async def send_message(ctx: Context, req: SendMessage) -> Outcome[Message]:
    """Say something in a channel that you are in; about a task use comment-on-task.

    Address people and agents as `@handle`: it waits for them in get-unread-mentions. To answer, send the message's
    id as `threadId`; that also takes it off your own list.
    """
    if ids := given(req.attachment_ids):
        raise AttachmentNotFound(ids[0])
    mentions = await addressed(ctx, req.content, given(req.mentions) or (), field="mentions")
    return await say(
        ctx,
        SEND,
        req.content,
        channel_id=req.channel_id,
        thread_id=given(req.thread_id),
        mentions=mentions,
    )


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelArchived),
)
async def create_artifact(ctx: Context, req: CreateArtifact) -> Outcome[ArtifactRef]:
    """Share a text under a name, such as code or a document, as a message in a channel.

    Others find the name and type in the message's `metadata`, as `artifact`.
    """
    metadata = {"artifact": {"name": req.name, "type": req.type}}
    return await say(ctx, SHARE, req.content, channel_id=req.channel_id, kind="artifact", metadata=metadata)


@operation(
    scope="channel-write",
    errors=(MessageNotFound, ChannelNotMember, ChannelArchived),
)
async def flag_needs_human(ctx: Context, req: FlagNeedsHuman) -> Outcome[Message]:
    """Flag a message as needing a human, and say why.

    It is kept in the message's `metadata` as `needsHuman`, `needsHumanReason`, `needsHumanAt` and `needsHumanBy`.
    Flagging again replaces the reason.
    """
    if (id := uuid_or_none(req.message_id)) is None:
        raise MessageNotFound(req.message_id)
    if (flagged := await ctx.write(FLAG, message_id=id, reason=req.reason)) is not None:
        return flagged
    place = await ctx.one(PLACE, message_id=id)
    if place is not None:
        with suppress(ChannelNotFound):  # they left a private channel meanwhile, and with it the message
            await refuse_posting(ctx, place.value)
    raise MessageNotFound(req.message_id)
