"""Saying something in a channel: the one statement behind send-message, create-artifact and post-message."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, LiteralString, TypeVar

import msgspec
from msgspec import Meta, UnsetType

from app.db import ITEMS, Answered, BatchQuery
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
    IN_WINDOW,
    MESSAGE_JSON,
    OUTPUT_JSON,
    POSTED,
    SPOKEN,
    Message,
    MessageOutput,
)
from app.rpc import WHO, Context
from app.types import Id, Markdown
from app.writes.fence import ALIVE, FENCE_ERRORS, FENCED, HELD, under
from app.writes.receipts import KEPT, NOT_KEPT, Keyed

R = TypeVar("R", bound=msgspec.Struct)

# What is sent, whatever the dialect calls it; and what it can be refused with.
ToChannel = Annotated[Id, Meta(description="The channel to say it in.")]
ToSay = Annotated[
    Markdown,
    Meta(min_length=1, description="What to say, in markdown. `@handle` outside code addresses someone."),
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
    *FENCE_ERRORS,
)


def answering(answer: LiteralString) -> LiteralString:
    """The statement that says it, and answers with this JSON of the message `s`, posted at `m`."""
    return f"""
    WITH i AS MATERIALIZED (
        SELECT {WHO},
               (e->>'channelId')::uuid   AS channel_id,
               (e->>'threadId')::uuid    AS thread_id,
               (e->>'id')::uuid          AS id,
               (e->>'runId')::uuid       AS run_id,
               e->>'kind'                AS kind,
               e->>'content'             AS content,
               e->'metadata'             AS metadata,
               e->'mentions'             AS mentions
          FROM {ITEMS}
    ), {HELD}, said AS (
        SELECT i.ord, i.workspace_id, i.channel_id, i.id,
               coalesce(m.parent_id, m.id) AS parent_id,  -- a reply to a reply belongs to the same thread
               i.actor_id AS sender_id, CASE i.actor_kind WHEN 'user' THEN 'human' ELSE 'agent' END AS sender_type,
               i.kind, i.content, i.metadata, i.mentions, i.request_id, i.keep
          FROM i
          LEFT JOIN messages m
            ON m.workspace_id = i.workspace_id AND m.id = i.thread_id AND m.channel_id = i.channel_id AND {IN_WINDOW}
         WHERE {CHANNEL_OPEN} AND (i.thread_id IS NULL OR m.id IS NOT NULL) AND {FENCED} AND {NOT_KEPT}
    ), {ALIVE}, {POSTED}, {SPOKEN}, answered AS (
        SELECT s.ord, s.workspace_id, s.sender_id AS actor_id, s.request_id, s.keep, {answer} AS answer, NULL::int AS merged_from
          FROM posted m
          JOIN said s ON s.workspace_id = m.workspace_id AND s.id = m.id
    ), {KEPT}
    SELECT ord, answer FROM answered"""


SEND = Keyed(BatchQuery(Answered[Message], answering(MESSAGE_JSON)))
POST = Keyed(BatchQuery(Answered[MessageOutput], answering(OUTPUT_JSON)))


async def say(
    ctx: Context,
    statement: Keyed[BatchQuery[R]],
    content: str,
    *,
    channel_id: str,
    thread_id: str | None = None,
    kind: str = "text",
    metadata: Mapping[str, Any] | None = None,  # Any: what machines put there is theirs
    mentions: Sequence[Addressed] = (),
    under_run: str | UnsetType | None = None,
    fields: tuple[str, str, str] = ("channelId", "threadId", "runId"),
) -> R:
    """Say something as the caller, and answer with the statement's row; or raise what stands in the way.

    `fields` is what the request calls the channel, the thread and the claim, for errors.
    """
    channel_field, thread_field, run_field = fields
    run_id = under(under_run, field=run_field)
    if (channel := uuid_or_none(channel_id)) is None:
        raise ChannelNotFound(channel_id, field=channel_field)
    if (thread := uuid_or_none(thread_id) if thread_id else None) is None and thread_id:
        raise MessageNotFound(thread_id, field=thread_field)
    item = {
        **ctx.who,
        "channelId": channel,
        "threadId": thread,
        "id": new_id(),
        "runId": run_id,
        "kind": kind,
        "content": content,
        "metadata": metadata or {},
        "mentions": [someone.id for someone in mentions],
    }
    if (row := await ctx.db.write(statement.form(ctx.keep), item)) is not None:
        return row
    await ctx.unless_answered()
    if run_id is not None and (lost := await ctx.why_not_live(run_id, field=run_field)):
        raise lost
    await refuse_posting(ctx, channel_id, field=channel_field)
    if thread_id:
        raise MessageNotFound(thread_id, field=thread_field)
    # It was closed and opened again between the statements.
    raise ChannelNotFound(channel_id, field=channel_field)
