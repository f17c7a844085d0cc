"""What is read from the database: right, bounded, from indexes, and given up in time."""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from app.db import Database, One, Query
from app.db.watcher import Unseen, Watcher
from app.operations import claim_task, complete_task, create_task, link_tasks, update_task
from app.operator import administration as admin
from app.server.metrics import gauges as reading
from app.server.metrics.catalogue import OTHERS, READ, WORKSPACES_MAX
from app.server.metrics.gauges import LOOKS, WORKSPACES, Gauges
from app.server.metrics.text import text
from tests.conftest import World, drop_database, new_database
from tests.metrics.scrape import Scrape, read
from tests.operations.claims import expire


@pytest.fixture(scope="module")
def own_dsn(postgres: str) -> Iterator[str]:
    """A database of its own: gauges tell of all workspaces of one, and of the database."""
    name = f"baton_gauges_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_db(own_dsn: str) -> AsyncIterator[Database]:
    async with Database(own_dsn, connections_max=4, statement_timeout_seconds=10, pooler=False) as db:
        yield db


@pytest_asyncio.fixture(loop_scope="session")
async def watcher(own_dsn: str) -> AsyncIterator[Watcher]:
    watcher = Watcher(own_dsn, seconds_max=5)
    yield watcher
    await watcher.close()


async def looked(watcher: Watcher) -> Scrape:
    """All gauges, as /metrics would show them."""
    gauges = Gauges(watcher)
    for look in LOOKS:
        await gauges.read(look)
    return read(text(gauges.samples).decode())


async def test_what_waits_and_what_is_held_is_told_by_workspace(own_db: Database, watcher: Watcher) -> None:
    world = World(own_db, await admin.create_workspace(own_db, "busy"))
    await admin.create_workspace(own_db, "quiet")
    bot = await world.agent("bot")
    mine = [await bot(create_task, title=str(n)) for n in range(3)]
    await bot(create_task, title="given", assignee_agent_id=bot.id)
    await bot(create_task, title="later", status="backlog")
    waiting = await bot(create_task, title="waits for another")
    await bot(link_tasks, task_id=mine[0].id, other_task_id=waiting.id, kind="blocks")
    done = await bot(create_task, title="done")
    await bot(complete_task, task_id=done.id)
    held = await bot(create_task, title="held")
    await bot(claim_task, task_id=held.id)
    late = await bot(create_task, title="late")
    claim = await bot(claim_task, task_id=late.id)
    await expire(world, claim.run.id)
    await world.rows(
        """UPDATE tasks SET updated_at = now() - interval '1 hour'
            WHERE workspace_id = %(workspace)s AND id = %(task)s::uuid RETURNING id""",
        task=mine[1].id,
    )
    now = await looked(watcher)
    assert now("baton_ready_tasks", workspace="busy", assigned="false") == 3
    assert now("baton_ready_tasks", workspace="busy", assigned="true") == 1
    assert 3600 <= now("baton_oldest_ready_seconds", workspace="busy", assigned="false") < 3700
    assert now("baton_oldest_ready_seconds", workspace="busy", assigned="true") < 60
    assert (now("baton_live_claims", workspace="busy"), now("baton_overdue_claims", workspace="busy")) == (
        2,
        1,
    )
    assert now("baton_ready_tasks", workspace="quiet") == 0
    assert now("baton_oldest_ready_seconds", workspace="quiet") == 0
    await bot(update_task, task_id=mine[0].id, version=1, status="done")
    assert (await looked(watcher))(
        "baton_ready_tasks", workspace="busy", assigned="false"
    ) == 3  # one less, one more


async def test_keys_are_told_a_week_before_they_expire(own_db: Database, watcher: Watcher) -> None:
    info = await admin.create_workspace(own_db, "keys")
    await World(own_db, info).agent("bot")
    for days in (6, 8, None):
        await admin.create_key(own_db, info, "bot", scopes=None, expires_days=days)
    gone = await admin.create_key(own_db, info, "bot", scopes=None, expires_days=3)
    await admin.revoke_key(own_db, info, gone.prefix)
    assert (await looked(watcher))("baton_expiring_keys", workspace="keys") == 1


async def test_the_database_is_told_as_postgres_has_it(
    own_db: Database, own_dsn: str, watcher: Watcher
) -> None:
    async with await psycopg.AsyncConnection.connect(own_dsn) as other:
        await other.execute("SELECT 1")
        now = await looked(watcher)
        [size] = await (await other.execute("SELECT pg_database_size(current_database())")).fetchone() or [0]
    assert now("baton_database_up") == 1
    assert 0.5 < now("baton_database_bytes") / size < 2
    assert now("baton_database_connections", state="idle_in_transaction") == 1
    assert now("baton_database_oldest_transaction_seconds") > 0
    assert now("baton_database_connections_max") >= 100
    assert now.labels("baton_database_dead_rows", "table") == set(reading.HOT_TABLES)
    assert set(now.kinds) == {metric.name.removesuffix("_total") for metric in READ}


async def test_no_more_than_a_hundred_workspaces_have_series_of_their_own(
    own_db: Database, watcher: Watcher
) -> None:
    for n in range(WORKSPACES_MAX):
        await admin.create_workspace(own_db, f"crowd-{n}")
    bot = await World(own_db, await admin.create_workspace(own_db, "crowd-last")).agent("bot")
    await bot(create_task, title="in the last")
    now = await looked(watcher)
    for name in ("baton_ready_tasks", "baton_live_claims", "baton_expiring_keys"):
        labels = now.labels(name, "workspace")
        assert len(labels) == WORKSPACES_MAX + 1 and OTHERS in labels
    assert now("baton_ready_tasks", workspace=OTHERS, assigned="false") == 1


async def test_a_look_reads_no_large_table_from_end_to_end(own_db: Database, own_dsn: str) -> None:
    info = await admin.create_workspace(own_db, "large")
    bot = await World(own_db, info).agent("bot")
    async with await psycopg.AsyncConnection.connect(own_dsn, autocommit=True) as connection:
        await connection.execute(
            """INSERT INTO tasks (workspace_id, id, number, title, status, created_by_id, created_by_kind)
               SELECT %s, gen_random_uuid(), n, 'Task ' || n, CASE WHEN n %% 100 = 0 THEN 'todo' ELSE 'done' END, %s, 'agent'
                 FROM generate_series(100, 20000) AS n""",
            [info.id, bot.id],
        )
        await connection.execute(
            """INSERT INTO runs (workspace_id, id, author_id, author_kind)
               SELECT %s, gen_random_uuid(), %s, 'agent' FROM generate_series(1, 20000)""",
            [info.id, bot.id],
        )
        await connection.execute("ANALYZE")
        sql = "EXPLAIN (FORMAT JSON) " + WORKSPACES.sql
        [[[plan]]] = await (await connection.execute(sql.encode(), {"rows_max": 10_000})).fetchall()
    read_whole = {n["Relation Name"] for n in nodes(plan["Plan"]) if n["Node Type"] == "Seq Scan"}
    assert not read_whole & {"tasks", "runs"}


def nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield top
    for below in top.get("Plans", []):
        yield from nodes(below)


SLEEP = Query(One[bool], "SELECT pg_sleep(30) IS NOT NULL", everywhere=True)
WRITES = Query(One[int], "SELECT nextval('unread_mentions_seq')::int8", everywhere=True)


async def test_what_takes_too_long_is_given_up_left_out_and_counted(
    own_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher(own_dsn, seconds_max=0.05)
    gauges = Gauges(watcher)

    async def slow(watcher: Watcher) -> Any:
        return await watcher.all(SLEEP)

    for look in LOOKS:
        await gauges.read(look if look.name != "workspaces" else look._replace(read=slow))
    now = read(text(gauges.samples).decode())
    assert now("baton_gauge_failures_total", gauges="workspaces") == 1
    assert "baton_ready_tasks" not in now.kinds
    assert now("baton_database_up") == 1, "one that is slow does not hide the others"
    await watcher.close()


async def test_whoever_looks_cannot_write(watcher: Watcher) -> None:
    with pytest.raises(Unseen, match="read-only"):
        await watcher.all(WRITES)


async def test_a_database_that_is_away_is_told_as_such() -> None:
    gauges = Gauges(Watcher("postgresql://nobody@127.0.0.1:1/nowhere", seconds_max=1))
    for look in LOOKS:
        await gauges.read(look)
    now = read(text(gauges.samples).decode())
    assert (now("baton_database_up"), now("baton_gauge_failures_total")) == (0, len(LOOKS))
