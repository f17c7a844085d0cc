"""post-message: send-message in the dialect of the SDK family."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import One, Query
from app.errors import InvalidInput, MessageNotFound
from app.ids import uuid_or_none
from app.operations.mentions import GivenMention, addressed
from app.operations.messages.message import IN_WINDOW, MessageOutput
from app.operations.messages.say import POST, SAY_ERRORS, ReplyTo, ToChannel, ToSay, say
from app.rpc import Context, Outcome, SdkWrite, given, operation
from app.types import MENTIONS_MAX, NO_NUL, Id
from app.writes.access import CALLER

METADATA_BYTES_MAX: Final = 4096  # the contract's number
KIND_CHARACTERS_MAX: Final = 64
ARTIFACTS_MAX: Final = 20


READABLE = Query(
    One[str],
    f"""
    WITH i AS ({CALLER})
    SELECT m.id::text
      FROM i
      JOIN messages m ON m.workspace_id = i.workspace_id AND m.id = ANY(%(ids)s::uuid[]) AND {IN_WINDOW}
      JOIN channel_members p ON p.workspace_id = m.workspace_id AND p.identity_id = i.actor_id AND p.channel_id = m.channel_id
    """,
    pipelined=True,
)


class PostMessage(SdkWrite):
    """A message."""

    channel_id: ToChannel
    content: ToSay
    kind: Annotated[
        Annotated[str, Meta(min_length=1, max_length=KIND_CHARACTERS_MAX, extra_json_schema=NO_NUL)],
        Meta(description="What you call this kind of message: `text` unless told."),
    ] = "text"
    parent_message_id: ReplyTo = UNSET
    mention_identity_ids: Annotated[
        Annotated[list[Id], Meta(max_length=MENTIONS_MAX)] | None | UnsetType,
        Meta(description="Whom to address besides those the text names. At most 20 in all."),
    ] = UNSET
    reference_artifact_ids: Annotated[
        Annotated[list[Id], Meta(max_length=ARTIFACTS_MAX)] | None | UnsetType,
        Meta(description="Messages made with create-artifact that this one speaks of; kept in its metadata."),
    ] = UNSET
    metadata: Annotated[
        dict[str, Any] | None | UnsetType,  # Any: what machines put there is theirs
        Meta(description="What machines are to know of it: an object of at most 4,096 bytes as JSON."),
    ] = UNSET


@operation(
    scope="channel-write",
    errors=SAY_ERRORS,
    path="post",
    status=201,
)
async def post_message(ctx: Context, req: PostMessage) -> Outcome[MessageOutput]:
    """The same as send-message, in snake_case and for who needs metadata of their own."""
    metadata = given(req.metadata) or {}
    if artifacts := given(req.reference_artifact_ids):
        metadata = {**metadata, "reference_artifact_ids": await _readable(ctx, artifacts)}
    if (size := len(msgspec.json.encode(metadata))) > METADATA_BYTES_MAX:
        message = f"`metadata` has at most {METADATA_BYTES_MAX} bytes as JSON; this has {size}. Share it as an artifact."
        raise InvalidInput(message, field="metadata")
    mentions = [GivenMention(id=id) for id in given(req.mention_identity_ids) or ()]
    return await say(
        ctx,
        POST,
        req.content,
        channel_id=req.channel_id,
        thread_id=given(req.parent_message_id),
        kind=req.kind,
        metadata=metadata,
        mentions=await addressed(ctx, req.content, mentions, field="mention_identity_ids"),
        channel_field="channel_id",
        thread_field="parent_message_id",
    )


async def _readable(ctx: Context, sent: list[str]) -> list[str]:
    """The ids of messages as we write them; MessageNotFound names the first that the caller cannot read."""
    ids = [str(uuid_or_none(id)) for id in sent]
    asked = [id for id in ids if id != "None"]
    rows = await ctx.all(READABLE, ids=asked)
    known = {row.value for row in rows}
    for id, as_sent in zip(ids, sent, strict=True):
        if id not in known:
            raise MessageNotFound(as_sent, field="reference_artifact_ids")
    return ids
