"""search-messages and search-tasks: ranked search by words, with Postgres' own full-text search.

Both take what people type: words, all of which must be there, `"a phrase"`, `or`, and `-not`. No text is a bad
query; one that says only what must not be there finds nothing, for it would ask for everything else. Words are
compared as they are, without regard to case, so that no language is preferred.
"""

import itertools
import re
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, One, Query
from app.db.phrases import folded, moment
from app.errors import ChannelNotFound, ChannelNotMember
from app.operations.channels.channel import readable
from app.operations.messages.message import SenderType
from app.operations.tasks.task import ASKERS_TASK_JSON, Task
from app.rpc import AgentRequest, Answer, Context, Excerpt, HistoryCutoff, given, operation
from app.types import NO_NUL, PAGE_ROWS_MAX, Id, Limit, Timestamp
from app.writes.access import CALLER, VISIBLE

SEARCH_COST: Final = 20  # among calls that are limited: Postgres looks at many rows for a few
HITS_DEFAULT: Final = 20  # the contract's number
SEARCH_CHARACTERS_MAX: Final = 10_000  # some 1,500 words, each an index probe; more than anybody would type

SearchText = Annotated[str, Meta(max_length=SEARCH_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""What to search for, as one types it. Empty finds nothing."""


class MessageSearchHit(Answer):
    """A message that was found."""

    id: Annotated[str, Meta(description="Its id.")]
    channel_id: Annotated[str, Meta(description="The channel it stands in.")]
    sender_type: Annotated[SenderType, Meta(description="Who spoke.")]
    sender_id: Annotated[str, Meta(description="Their id.")]
    content: Annotated[str, Meta(description="What it says, in markdown.")]
    created_at: Annotated[Timestamp, Meta(description="When it was sent.")]
    rank: Annotated[float, Meta(description="How well it fits; larger is better.")]


class SearchMessagesResponse(Answer):
    """Messages that were found."""

    messages: Annotated[list[MessageSearchHit], Meta(description="The best first.")]


class TaskSearchHit(Answer):
    """A task that was found."""

    task: Annotated[Task, Meta(description="The task.")]
    rank: Annotated[float, Meta(description="How well it fits; larger is better.")]


class SearchTasksResponse(Answer):
    """Tasks that were found."""

    tasks: Annotated[list[TaskSearchHit], Meta(description="The best first.")]


class WindowRow(msgspec.Struct):
    """What the history window hides of a search."""

    hidden: int
    cutoff_at: str


# The query tree is what of a query an index can serve: all but the exclusions, with which ts_rank cannot reckon. It is
# 'T' or nothing where there is nothing else.
_ASKED: Final = f"""
    i AS MATERIALIZED (
        {CALLER}, asked, querytree(asked)::tsquery AS ranked
          FROM websearch_to_tsquery('simple', {folded("%(text)s::text")}) AS asked
         WHERE querytree(asked) NOT IN ('', 'T')
    )"""

# OFFSET 0 keeps the planner from reading all of a workspace and comparing afterwards: inside, the words are known
# and the index over both finds them.
_FOUND: Final = f"""
    WITH {_ASKED}, window_start AS (
        SELECT coalesce(now() - make_interval(days => w.history_days), '-infinity') AS at
          FROM workspaces w WHERE w.id = %(workspace_id)s::uuid
    ), found AS (
        SELECT s.*, ts_rank(s.terms, i.ranked) AS rank
          FROM i
         CROSS JOIN LATERAL (
               SELECT * FROM message_search x WHERE x.workspace_id = i.workspace_id AND x.terms @@ i.asked OFFSET 0) s
         WHERE (%(channel_id)s::uuid IS NULL OR s.channel_id = %(channel_id)s::uuid)
           AND EXISTS (SELECT FROM channel_members p
                        WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.channel_id = s.channel_id)
    )"""

SEARCH_MESSAGES = Query(
    One[Encoded[Answer]],
    f"""
    {_FOUND}, best AS (
        SELECT f.* FROM found f CROSS JOIN window_start b
         WHERE f.created_at >= b.at
         ORDER BY f.rank DESC, f.created_at DESC, f.message_id
         LIMIT %(limit)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT
               m.id, m.channel_id AS "channelId", m.sender_type AS "senderType", m.sender_id AS "senderId", m.content,
               {moment("m.created_at")} AS "createdAt", b.rank) w))
      FROM best b
      JOIN messages m ON m.workspace_id = b.workspace_id AND m.id = b.message_id
     ORDER BY b.rank DESC, b.created_at DESC, b.message_id
    """,
)

# Only asked where there is a window.
COUNT_HIDDEN = Query(
    WindowRow,
    f"""
    {_FOUND}
    SELECT (SELECT count(*) FROM found f WHERE f.created_at < b.at),
           {moment("b.at")}
      FROM window_start b
     WHERE b.at > '-infinity'
    """,
)

SEARCH_TASKS = Query(
    One[Encoded[Answer]],
    f"""
    WITH {_ASKED}, best AS (
        SELECT t.*, ts_rank(x.terms, i.ranked) AS rank
          FROM i
         CROSS JOIN LATERAL (
               SELECT * FROM task_search x WHERE x.workspace_id = i.workspace_id AND x.terms @@ i.asked OFFSET 0) x
          JOIN tasks t ON t.workspace_id = x.workspace_id AND t.id = x.task_id
         WHERE {VISIBLE} AND (%(channel_id)s::uuid IS NULL OR t.channel_id = %(channel_id)s::uuid)
           AND (t.is_open OR NOT %(open_only)s::boolean)
         ORDER BY rank DESC, t.id DESC
         LIMIT %(limit)s::int
    )
    SELECT row_to_json((SELECT w FROM (SELECT {ASKERS_TASK_JSON} AS task, t.rank) w)) FROM best t ORDER BY t.rank DESC, t.id DESC
    """,
)


class SearchMessages(AgentRequest):
    """What to find."""

    query: Annotated[SearchText, Meta(description='Words, `"phrases"`, `or`, `-not`.')]
    channel_id: Annotated[Id | None | UnsetType, Meta(description="Only in this channel.")] = UNSET
    limit: Annotated[Limit | UnsetType, Meta(description="How many at most: 20 by default, up to 100.")] = (
        UNSET
    )


class SearchTasks(AgentRequest):
    """What to find."""

    query: Annotated[
        SearchText, Meta(description='Words, `"phrases"`, `or`, `-not`, in title or description.')
    ]
    channel_id: Annotated[Id | None | UnsetType, Meta(description="Only tasks bound to this channel.")] = (
        UNSET
    )
    open_only: Annotated[bool, Meta(description="Only tasks that are neither done nor cancelled.")] = False
    limit: Annotated[Limit | UnsetType, Meta(description="How many at most: 20 by default, up to 100.")] = (
        UNSET
    )


@operation(scope="channel-read", read_only=True, errors=(ChannelNotFound, ChannelNotMember), cost=SEARCH_COST)
async def search_messages(ctx: Context, req: SearchMessages) -> Excerpt[SearchMessagesResponse]:
    """Search messages: find what was said in your channels by its words, best match first.

    Cards of tasks are left out.
    """
    channel = await readable(ctx, req.channel_id) if req.channel_id else None
    asked = {
        "text": _asked(req.query),
        "channel_id": channel.id if channel else None,
    }
    limit = min(given(req.limit) or HITS_DEFAULT, PAGE_ROWS_MAX)
    rows = await ctx.all(SEARCH_MESSAGES, **asked, limit=limit + 1)
    hidden = await ctx.one(COUNT_HIDDEN, **asked)
    cutoff = HistoryCutoff(beyond_count=hidden.hidden, cutoff_at=hidden.cutoff_at) if hidden else None
    hits = b",".join([row.value.raw for row in rows[:limit]])
    return Excerpt(Encoded(b'{"messages":[%b]}' % hits), len(rows) > limit, None, cutoff)


@operation(scope="task-read", read_only=True, errors=(ChannelNotFound, ChannelNotMember), cost=SEARCH_COST)
async def search_tasks(ctx: Context, req: SearchTasks) -> Excerpt[SearchTasksResponse]:
    """Search tasks: find those whose title or description has these words, best match first.

    To find part of a word, or an identifier, use list-tasks with `query`.
    """
    channel = await readable(ctx, req.channel_id) if req.channel_id else None
    limit = min(given(req.limit) or HITS_DEFAULT, PAGE_ROWS_MAX)
    rows = await ctx.all(
        SEARCH_TASKS,
        text=_asked(req.query),
        channel_id=channel.id if channel else None,
        open_only=req.open_only,
        limit=limit + 1,
    )
    hits = b",".join([row.value.raw for row in rows[:limit]])
    return Excerpt(Encoded(b'{"tasks":[%b]}' % hits), len(rows) > limit, None, None)


EXCLUSIONS_MAX: Final = 16  # Postgres gives up at 32 that follow one another without a word

_EXCLUSION: Final = re.compile(r"-(?![^\W_])|(?<![^\W_])-")
"""A minus that is not inside of a word."""


def _asked(text: str) -> str:
    """The query with no more exclusions than Postgres can take; further ones become words that must be there."""
    minuses = itertools.count()
    return _EXCLUSION.sub(lambda match: match[0] if next(minuses) < EXCLUSIONS_MAX else " ", text)
