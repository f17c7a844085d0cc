"""get-unread-mentions, get-messages and search stay fast: what they read is found by index, however much was said."""

from typing import Any, Final

import psycopg
import pytest

from app.db import Query
from app.operations.messages.reading import NEWEST_FIRST, OLDEST_FIRST
from app.operations.messages.unread import LIST_WAITING
from app.operations.search import SEARCH_MESSAGES
from tests.conftest import World

MESSAGES: Final = 30_000
GROWING: Final = ("messages", "message_search", "message_search_terms", "unread_mentions")


@pytest.fixture
async def busy(workspace: World) -> tuple[World, dict[str, object]]:
    """A workspace in which much was said: one message in a hundred waits for @bot, one in a thousand has a rare word."""
    bot = await workspace.agent("bot")
    channel = await workspace.channel("builds", bot)
    await workspace.rows(
        """INSERT INTO messages (workspace_id, channel_id, position, id, sender_id, sender_type, content)
           SELECT %(workspace)s, %(channel)s::uuid, n, gen_random_uuid(), gen_random_uuid(), 'agent', 'word ' || n
             FROM generate_series(1, %(count)s::int) AS n
        RETURNING id""",
        channel=channel,
        count=MESSAGES,
    )
    await workspace.rows(
        """INSERT INTO message_search (workspace_id, message_id, channel_id, created_at, terms)
           SELECT workspace_id, id, channel_id, created_at,
                  to_tsvector('simple', content || CASE WHEN position %% 1000 = 0 THEN ' rare' ELSE '' END)
             FROM messages WHERE workspace_id = %(workspace)s
        RETURNING message_id""",
    )
    await workspace.rows(
        """INSERT INTO unread_mentions (workspace_id, identity_id, place_id, id, channel_id, created_at)
           SELECT workspace_id, CASE WHEN position %% 100 = 0 THEN %(bot)s::uuid ELSE gen_random_uuid() END,
                  id, id, channel_id, created_at
             FROM messages WHERE workspace_id = %(workspace)s
        RETURNING id""",
        bot=bot.id,
    )
    who: dict[str, object] = {"workspace_id": workspace.id, "actor_id": bot.id, "channel_id": channel}
    return workspace, who


def rows_read(plan: dict[str, object]) -> list[tuple[str, float]]:
    """Every scan of a plan, and how many rows it read in all."""
    found: list[tuple[str, float]] = []
    stack: list[dict[str, object]] = [plan]
    while stack:
        node = stack.pop()
        relation = node.get("Relation Name") or node.get("Index Name")
        if relation and node["Actual Loops"]:
            read = float(str(node["Actual Rows"])) + float(str(node.get("Rows Removed by Filter", 0)))
            found.append((f"{node['Node Type']} on {relation}", read * float(str(node["Actual Loops"]))))
        children = node.get("Plans", [])
        assert isinstance(children, list)
        stack += children
    return found


@pytest.mark.parametrize(
    "query, fields",
    [
        (LIST_WAITING, {"since": None, "comments": True, "limit": 20}),
        (NEWEST_FIRST, {"before": 2**62, "after": 0, "limit": 21}),
        (NEWEST_FIRST, {"before": MESSAGES // 2, "after": 0, "limit": 21}),
        (OLDEST_FIRST, {"before": 2**62, "after": MESSAGES // 2, "limit": 21}),
        (SEARCH_MESSAGES, {"text": "rare", "limit": 21}),
    ],
    ids=["mentions", "newest", "before", "after", "search"],
)
async def test_no_scan_reads_more_than_a_few_pages(
    busy: tuple[World, dict[str, object]], dsn: str, query: Query[Any], fields: dict[str, object]
) -> None:
    _, who = busy
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in ("messages", "message_search", "unread_mentions", "channels", "channel_members"):
            connection.execute(f"ANALYZE {table}")
        # As it runs: prepared, with a plan for any values.
        connection.execute("SET plan_cache_mode = force_generic_plan")
        sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {query.sql}"
        row = connection.execute(sql, {**who, **fields}, prepare=True).fetchone()
    assert row is not None
    # Only of what grows with every word said: how a handful of channels is read is the planner's business.
    scans = [(scan, read) for scan, read in rows_read(row[0][0]["Plan"]) if scan.endswith(GROWING)]
    assert scans
    assert all(read <= 500 for _, read in scans), scans
