"""get-unread-mentions: what waits for an answer of the caller's.

`unread_mentions` has a row for each message and comment that waits, and loses it when the caller answers there, or says in
get-inbox that they have seen it; so this reads the caller's newest rows and looks up what they stand for. A comment waits
no longer once the caller has changed its task, or somebody has closed that: the log of the task says so.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, One, Query
from app.db.phrases import moment
from app.operations.messages.message import IN_WINDOW, SenderType
from app.rpc import AgentRequest, Answer, Context, Excerpt, HistoryCutoff, given, operation
from app.types import Limit, Timestamp, When

MENTIONS_DEFAULT: Final = 20  # the contract's number
MENTIONS_LISTED_MAX: Final = 50  # the contract's number
MENTIONS_COUNTED_MAX: Final = 1000  # whoever has more waiting needs no exact number


class MentionSummary(Answer):
    """Something that waits for your answer."""

    id: Annotated[str, Meta(description="The message, or the comment.")]
    channel_id: Annotated[str, Meta(description="The channel it stands in; of a comment, the task's id.")]
    channel_name: Annotated[
        str, Meta(description="The channel's name; of a comment, the task's identifier such as `T-42`.")
    ]
    parent_id: Annotated[
        str | None, Meta(description="The message whose thread it belongs to; of a comment, the task's id.")
    ]
    sender_type: Annotated[SenderType, Meta(description="Who spoke.")]
    sender_id: Annotated[str, Meta(description="Their id.")]
    content: Annotated[str, Meta(description="What it says, in markdown.")]
    created_at: Annotated[Timestamp, Meta(description="When it was said.")]


class UnreadMentionsResponse(Answer):
    """What waits for your answer."""

    mentions: Annotated[list[MentionSummary], Meta(description="The newest first.")]
    count: Annotated[
        int, Meta(description="How many wait in all, those not listed included; 1000 means that or more.")
    ]


class CountsRow(msgspec.Struct):
    """How many wait, how many more the history window hides, and where it starts."""

    count: int
    hidden: int
    cutoff_at: str | None


# Whether a comment that mentions somebody, the row `u`, still waits for them on its task `t`. Retention asks it, too.
COMMENT_WAITS: Final = """CASE WHEN u.version IS NULL THEN t.is_open
                                             ELSE NOT EXISTS (
                                                  SELECT FROM task_events e
                                                   WHERE e.workspace_id = u.workspace_id AND e.task_id = u.place_id
                                                     AND e.version > u.version
                                                     AND (e.actor_id = u.identity_id
                                                          OR (NOT t.is_open AND e.changes ? 'status'))) END"""

# Rows `u` of the caller that can still be seen and answered: messages of channels they are in and that are not
# archived, and comments if the key may read tasks. A mention made the task theirs to see, and nothing takes that back.
# The caller stands here as parameters: joined from `i`, the rows could not come off the index in order.
# OFFSET 0 has each row looked up; without, the planner may gather the members of all channels of all workspaces.
WAITING: Final = f"""
    WITH i AS (SELECT %(workspace_id)s::uuid AS workspace_id), waiting AS (
        SELECT u.*
          FROM unread_mentions u
         WHERE u.workspace_id = %(workspace_id)s::uuid AND u.identity_id = %(actor_id)s::uuid
           AND (%(since)s::float8 IS NULL OR u.created_at > to_timestamp(%(since)s::float8))
           AND CASE WHEN u.channel_id IS NULL THEN %(comments)s::boolean
                     AND EXISTS (SELECT FROM tasks t
                                  WHERE t.workspace_id = u.workspace_id AND t.id = u.place_id
                                    AND {COMMENT_WAITS} OFFSET 0)
                    ELSE EXISTS (SELECT FROM channel_members p
                                   JOIN channels c ON c.workspace_id = p.workspace_id AND c.id = p.channel_id
                                  WHERE p.workspace_id = u.workspace_id AND p.identity_id = u.identity_id
                                    AND p.channel_id = u.channel_id AND c.archived_at IS NULL OFFSET 0) END
         ORDER BY u.created_at DESC, u.id DESC
    )"""

LISTED: Final = f"""{WAITING}, listed AS (
        SELECT m.* FROM i CROSS JOIN waiting m WHERE m.channel_id IS NULL OR {IN_WINDOW} LIMIT %(limit)s::int
    )"""

# Each is a message `m` in a channel `c`, or a comment `r` on a task `t`.
WHAT_WAITS: Final = """FROM listed u
      LEFT JOIN messages m ON m.workspace_id = u.workspace_id AND m.id = u.id AND u.channel_id IS NOT NULL
      LEFT JOIN channels c ON c.workspace_id = u.workspace_id AND c.id = u.channel_id
      LEFT JOIN tasks t ON t.workspace_id = u.workspace_id AND t.id = u.place_id AND u.channel_id IS NULL
      LEFT JOIN task_comments r ON r.workspace_id = u.workspace_id AND r.task_id = u.place_id AND r.id = u.id
     ORDER BY u.created_at DESC, u.id DESC"""

LIST_WAITING = Query(
    One[Encoded[MentionSummary]],
    f"""
    {LISTED}
    SELECT row_to_json((SELECT w FROM (SELECT
               u.id,
               coalesce(c.id, t.id) AS "channelId",
               coalesce(c.name, 'T-' || t.number) AS "channelName",
               CASE WHEN t.id IS NULL THEN m.parent_id ELSE t.id END AS "parentId",
               coalesce(m.sender_type, CASE r.author_kind WHEN 'user' THEN 'human' ELSE 'agent' END) AS "senderType",
               coalesce(m.sender_id, r.author_id) AS "senderId",
               coalesce(m.content, r.body) AS content,
               {moment("u.created_at")} AS "createdAt") w))
      {WHAT_WAITS}
    """,
    pipelined=True,
)

COUNT_WAITING = Query(
    CountsRow,
    f"""
    {WAITING}, counted AS (SELECT * FROM waiting LIMIT %(counted_max)s::int), inside AS (
        SELECT count(*) AS messages FROM i CROSS JOIN counted m WHERE m.channel_id IS NULL OR {IN_WINDOW}
    )
    SELECT inside.messages, (SELECT count(*) FROM counted) - inside.messages,
           {moment("(now() - make_interval(days => w.history_days))")}
      FROM inside
      JOIN workspaces w ON w.id = %(workspace_id)s::uuid
    """,
    pipelined=True,
)


class GetUnreadMentions(AgentRequest):
    """Which of what waits."""

    limit: Annotated[Limit | UnsetType, Meta(description="How many at most: 20 by default, up to 50.")] = (
        UNSET
    )
    since: Annotated[
        When | None | UnsetType,
        Meta(description="Only what was said after this time, to keep your own place."),
    ] = UNSET


@operation(scope="channel-read", read_only=True)
async def get_unread_mentions(ctx: Context, req: GetUnreadMentions) -> Excerpt[UnreadMentionsResponse]:
    """List all mentions of you that wait for an answer, newest first; get-inbox shows the first few, and all the rest.

    That is every message and comment that addresses you, and every reply in a thread that you started or replied in.
    An entry leaves the list when you answer: reply with send-message in the same thread (`parentId`, or the message
    itself if that is null), or with comment-on-task where `channelName` is a task. A comment also leaves it when you
    change the task or somebody closes it, and anything when you name it as `seen` in get-inbox.
    """
    since = given(req.since)
    asked = {
        "since": since.timestamp() if isinstance(since, datetime) else None,
        "comments": "task-read" in ctx.actor.scopes,
    }
    limit = min(given(req.limit) or MENTIONS_DEFAULT, MENTIONS_LISTED_MAX)
    rows = await ctx.all(LIST_WAITING, **asked, limit=limit)
    counts = await ctx.one(COUNT_WAITING, **asked, counted_max=MENTIONS_COUNTED_MAX)
    assert counts is not None, "an aggregate has a row"
    cutoff = (
        HistoryCutoff(beyond_count=counts.hidden, cutoff_at=counts.cutoff_at) if counts.cutoff_at else None
    )
    # What began to wait between the two statements is counted with the next call.
    count = max(counts.count, len(rows))
    data = b'{"mentions":[%b],"count":%d}' % (b",".join([row.value.raw for row in rows]), count)
    return Excerpt(Encoded(data), count > len(rows), None, cutoff)
