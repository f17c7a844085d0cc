"""What looks like a task that is about to be created, so that nobody files one thing twice.

It compares titles by their trigrams, over the newest open tasks of the channel, or of all the caller's channels, and those
the caller created. That bounds what it costs, however large the workspace is: an older one is not found. It is only told
to models, and an operator can turn it off.
"""

from typing import Final, LiteralString

import msgspec

from app.db import Query
from app.operations.told import SHOWN_MAX, TITLE_CHARACTERS, SimilarTask
from app.rpc import Context
from app.writes.access import CALLER

CHANNEL_ROWS_MAX: Final[LiteralString] = (
    "200"  # of the one channel: some four milliseconds where titles are long
)
CHANNELS_ROWS_MAX: Final[LiteralString] = "50"  # of each, where no channel is named
OWN_ROWS_MAX: Final[LiteralString] = "100"
SIMILARITY_MIN: Final[LiteralString] = "0.35"  # "Fix the login page" and "Login page is broken" have 0.38


class SimilarRow(msgspec.Struct):
    """An open task that looks like the new one."""

    identifier: str
    title: str
    status: str
    holder: str | None


# What differs only in its numbers is one of a series.
SIMILAR = Query(
    SimilarRow,
    f"""
    WITH i AS ({CALLER}, %(channel_id)s::uuid AS channel_id, lower(%(title)s::text) AS title), near AS (
        SELECT t.id, t.title
          FROM i
          JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id
           AND (i.channel_id IS NULL OR m.channel_id = i.channel_id)
         CROSS JOIN LATERAL (
               SELECT t.id, t.title
                 FROM tasks t
                WHERE t.workspace_id = i.workspace_id AND t.channel_id = m.channel_id AND t.is_open
                ORDER BY t.id DESC
                LIMIT CASE WHEN i.channel_id IS NULL THEN {CHANNELS_ROWS_MAX} ELSE {CHANNEL_ROWS_MAX} END) t
         UNION
        SELECT t.id, t.title
          FROM i
         CROSS JOIN LATERAL (
               SELECT t.id, t.title
                 FROM tasks t
                WHERE t.workspace_id = i.workspace_id AND t.created_by_id = i.actor_id AND t.is_open
                ORDER BY t.id DESC
                LIMIT {OWN_ROWS_MAX}) t
    ), like_it AS (
        SELECT n.id, s.likeness
          FROM i CROSS JOIN near n
         CROSS JOIN LATERAL (SELECT similarity(lower(n.title), i.title) AS likeness OFFSET 0) s   -- worked out once
         WHERE s.likeness >= {SIMILARITY_MIN}
           AND (n.title !~ '[0-9]' OR i.title !~ '[0-9]'
                OR regexp_replace(n.title, '[^0-9]+', ' ', 'g') = regexp_replace(i.title, '[^0-9]+', ' ', 'g'))
         ORDER BY s.likeness DESC, n.id DESC
         LIMIT {SHOWN_MAX}
    )
    SELECT 'T-' || t.number, left(t.title, {TITLE_CHARACTERS}), t.status,
           (SELECT a.handle FROM identities a WHERE a.workspace_id = t.workspace_id AND a.id = t.assignee_id)
      FROM like_it l
      JOIN tasks t ON t.workspace_id = %(workspace_id)s::uuid AND t.id = l.id
     ORDER BY l.likeness DESC, t.id DESC
    """,
)


async def similar(ctx: Context, title: str, channel_id: object) -> list[SimilarTask]:
    """The open tasks that look most like one with this title, if the caller wants to know."""
    if not (ctx.for_model and ctx.finds_similar):
        return []
    rows = await ctx.all(SIMILAR, title=title, channel_id=channel_id)
    return [
        msgspec.convert(
            {name: value for name, value in msgspec.to_builtins(row).items() if value}, SimilarTask
        )
        for row in rows
    ]
