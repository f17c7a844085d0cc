"""What a message is: its shapes on the wire, and the SQL by which anything is said in a channel.

    POSTED     puts what `said` holds into its channels. Task cards end here: Baton is speaking, and to nobody
    SPOKEN     does the rest for what somebody said: the thread, who is addressed, the words for search

Each is a list of CTEs for a statement of its own, so that what is said is written by the same statement as what
it speaks of. `said` has the columns that `posted` takes over, and `ord`, the order in which it was said.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, LiteralString

from msgspec import Meta

from app.db.phrases import folded, moment
from app.rpc import Answer, SdkAnswer
from app.types import Timestamp

AS_BODY: Final = {"tools_word": "body"}
"""For the `Meta` of what is said: tools call it as they call the text of a comment."""

SYSTEM: Final[LiteralString] = "00000000-0000-0000-0000-000000000000"
"""Who speaks when Baton itself does: the nil id, which nobody has."""

SenderType = Literal["human", "agent", "system"]

# What messages have in every shape.
MessageId = Annotated[str, Meta(description="Its id, for `threadId`, `before` and `after`.")]
InThread = Annotated[
    str | None, Meta(description="The message whose thread it belongs to; null if it is no reply.")
]
Speaker = Annotated[SenderType, Meta(description="Who spoke; `system` for task cards.")]
SpeakerId = Annotated[str, Meta(description="Their id; all zeros for `system`.")]
Content = Annotated[str, Meta(description="What it says, in markdown.")]
Metadata = Annotated[
    dict[str, Any],  # Any: what machines put there is theirs
    Meta(description="What machines are to know of it."),
]
Version = Annotated[int, Meta(description="1, and one more each time it is flagged.")]
ReplyCount = Annotated[int, Meta(description="How many replies its thread has.")]
SentAt = Annotated[Timestamp, Meta(description="When it was sent.")]


class MessageReaction(Answer):
    """How some answered a message with an emoji."""

    emoji: Annotated[str, Meta(description="The emoji.")]
    user_ids: Annotated[list[str], Meta(description="Who chose it.")]
    count: Annotated[int, Meta(description="How many chose it.")]


class MessageAttachment(Answer):
    """A file that came with a message."""

    id: Annotated[str, Meta(description="Its id.")]
    message_id: Annotated[str, Meta(description="The message it came with.")]
    name: Annotated[str, Meta(description="Its file name.")]
    file_type: Annotated[str, Meta(description="pdf, markdown, code or image.")]
    size: Annotated[str, Meta(description="How large it is, for people.")]
    size_bytes: Annotated[int | None, Meta(description="How large it is, in bytes.")]
    url: Annotated[str | None, Meta(description="Where it is.")]
    mime_type: Annotated[str | None, Meta(description="Its media type.")]
    created_at: Annotated[Timestamp, Meta(description="When it was uploaded.")]


class Message(Answer):
    """A message. All keys are always there."""

    news: ClassVar[tuple[str, ...]] = ("id", "version")

    id: MessageId
    channel_id: Annotated[str, Meta(description="The channel it stands in.")]
    parent_id: InThread
    sender_type: Speaker
    sender_id: SpeakerId
    content: Content
    metadata: Metadata
    is_edited: Annotated[bool, Meta(description="Always false here: messages are not edited.")]
    version: Version
    reply_count: ReplyCount
    reactions: Annotated[list[MessageReaction], Meta(description="Always empty here.")]
    attachments: Annotated[list[MessageAttachment], Meta(description="Always empty here.")]
    created_at: SentAt
    updated_at: Annotated[Timestamp, Meta(description="When it was last changed; replies do not count.")]
    deleted_at: Annotated[Timestamp | None, Meta(description="Always null here.")]


class MessageSummary(Answer):
    """A message in a list."""

    id: MessageId
    parent_id: InThread
    sender_type: Speaker
    sender_id: SpeakerId
    content: Content
    metadata: Metadata
    reply_count: ReplyCount
    created_at: SentAt


class MessageOutput(SdkAnswer):
    """A message, in snake_case."""

    news: ClassVar[tuple[str, ...]] = ("id", "version")

    id: Annotated[str, Meta(description="Its id.")]
    channel_id: Annotated[str, Meta(description="The channel it stands in.")]
    thread_id: InThread
    author_identity_id: Annotated[str, Meta(description="Who wrote it.")]
    kind: Annotated[str, Meta(description="What its author calls this kind of message.")]
    content: Content
    metadata: Metadata
    created_at: SentAt
    version: Version


# What the workspace's history window lets be seen of messages `m`.
IN_WINDOW: Final = """
    m.created_at >= coalesce(
        (SELECT now() - make_interval(days => w.history_days) FROM workspaces w WHERE w.id = i.workspace_id), '-infinity')"""

# The one definition of each shape: a message `m` as it goes out.
MESSAGE_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        m.id, m.channel_id AS "channelId", m.parent_id AS "parentId", m.sender_type AS "senderType",
        m.sender_id AS "senderId", m.content, m.metadata::json, false AS "isEdited", m.version,
        m.reply_count AS "replyCount", '[]'::json AS reactions, '[]'::json AS attachments,
        {moment("m.created_at")} AS "createdAt",
        {moment("coalesce(m.updated_at, m.created_at)")} AS "updatedAt",
        NULL AS "deletedAt") w))"""

SUMMARY_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        m.id, m.parent_id AS "parentId", m.sender_type AS "senderType", m.sender_id AS "senderId", m.content,
        m.metadata::json, m.reply_count AS "replyCount",
        {moment("m.created_at")} AS "createdAt") w))"""

OUTPUT_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        m.id, m.channel_id, m.parent_id AS thread_id, m.sender_id AS author_identity_id, m.kind, m.content,
        m.metadata::json, {moment("m.created_at")} AS created_at,
        m.version) w))"""

# The channels' rows are locked in the order of their ids and held to the commit; that is what makes positions
# appear in order. An archived channel takes nothing: what was said there is not posted.
POSTED: Final = """
    room AS (
        UPDATE channels c
           SET last_position = c.last_position + w.messages
          FROM (SELECT workspace_id, channel_id, count(*) AS messages FROM said GROUP BY 1, 2 ORDER BY 1, 2) w
         WHERE c.workspace_id = w.workspace_id AND c.id = w.channel_id AND c.archived_at IS NULL
        RETURNING c.workspace_id, c.id AS channel_id, c.last_position - w.messages AS before
    ), posted AS (
        INSERT INTO messages (workspace_id, channel_id, position, id, parent_id, sender_id, sender_type, kind, content, metadata)
        SELECT s.workspace_id, s.channel_id,
               r.before + row_number() OVER (PARTITION BY s.workspace_id, s.channel_id ORDER BY s.ord),
               s.id, s.parent_id, s.sender_id, s.sender_type, s.kind, s.content, s.metadata
          FROM said s
          JOIN room r ON r.workspace_id = s.workspace_id AND r.channel_id = s.channel_id
        RETURNING *
    )"""

# `said` also has `mentions`, the ids of those it addresses. A reply updates the message it hangs under, and learns
# from that row who has a part in the thread, also from those who replied a moment ago. For each of them and for
# everyone addressed it waits, unless they spoke in the thread after it; what waited for its sender is answered.
SPOKEN: Final = f"""
    thread AS (
        UPDATE messages m
           SET reply_count = m.reply_count + r.replies,
               repliers = ARRAY(SELECT DISTINCT who FROM unnest(m.repliers || r.senders) AS who)
          FROM (SELECT workspace_id, parent_id, count(*) AS replies, array_agg(sender_id) AS senders
                  FROM posted
                 WHERE parent_id IS NOT NULL
                 GROUP BY 1, 2
                 ORDER BY 1, 2) r
         WHERE m.workspace_id = r.workspace_id AND m.id = r.parent_id
        RETURNING m.workspace_id, m.id, m.repliers, m.sender_id, m.sender_type
    ), heard AS (
        DELETE FROM unread_mentions u
         USING posted p
         WHERE u.workspace_id = p.workspace_id AND u.identity_id = p.sender_id AND u.place_id = p.parent_id
    ), told AS (
        INSERT INTO unread_mentions (workspace_id, identity_id, place_id, id, channel_id, created_at)
        SELECT p.workspace_id, who.id, coalesce(p.parent_id, p.id), p.id, p.channel_id, p.created_at
          FROM posted p
          JOIN said s ON s.workspace_id = p.workspace_id AND s.id = p.id
          LEFT JOIN thread t ON t.workspace_id = p.workspace_id AND t.id = p.parent_id
         CROSS JOIN LATERAL (
               SELECT m::uuid AS id FROM jsonb_array_elements_text(s.mentions) AS m
                UNION
               SELECT unnest(t.repliers)
                UNION
               SELECT t.sender_id WHERE t.sender_type <> 'system') who
         WHERE who.id <> p.sender_id
           AND NOT EXISTS (SELECT FROM posted q
                            WHERE q.workspace_id = p.workspace_id AND q.parent_id = p.parent_id
                              AND q.sender_id = who.id AND q.position > p.position)
    ), indexed AS (
        INSERT INTO message_search (workspace_id, message_id, channel_id, created_at, terms)
        SELECT workspace_id, id, channel_id, created_at, to_tsvector('simple', {folded("left(content, 50000)")}) FROM posted
         WHERE sender_type <> 'system'
    )"""
