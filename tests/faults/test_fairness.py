"""One key with any number of slow calls under way keeps nobody else waiting, and is no reason to call the service dead."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import psycopg
import pytest_asyncio

from app.db import Database
from app.operator import administration as admin
from tests.conftest import Server, drop_database, new_database
from tests.installation import eventually

SLOW_CALLS = 60  # far more than there are connections
PATIENCE = {
    "STATEMENT_TIMEOUT_SECONDS": "60",
    "REQUEST_TIMEOUT_SECONDS": "60",
}  # what is slow here stays slow


@pytest_asyncio.fixture(loop_scope="session")
async def apart(postgres: str) -> AsyncIterator[str]:
    """A database that nobody else is kept waiting in."""
    name = f"baton_fair_{os.getpid()}"
    yield await asyncio.to_thread(new_database, postgres, name)
    await asyncio.to_thread(drop_database, postgres, name)


async def workspaces(dsn: str) -> tuple[str, str, str]:
    """The keys of two agents of one workspace, and of one of another."""
    db = Database(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False)
    await db.open()
    busy, quiet = [await admin.create_workspace(db, slug) for slug in ("busy", "quiet")]
    keys = [
        (await admin.create_identity(db, workspace, kind="agent", handle=handle)).api_key
        for workspace, handle in ((busy, "one"), (busy, "two"), (quiet, "one"))
    ]
    await db.close()
    return keys[0], keys[1], keys[2]


def waiting(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ).fetchone()
    assert row is not None
    return row[0]


async def call(client: httpx.AsyncClient, key: str, operation: str, **fields: Any) -> httpx.Response:
    return await client.post(
        f"/v1/agent/{operation}", json=fields, headers={"Authorization": f"Bearer {key}"}
    )


async def test_slow_calls_of_one_key_keep_neither_others_nor_health_waiting(apart: str) -> None:
    busy, beside, quiet = await workspaces(apart)
    async with AsyncExitStack() as stack:
        server = await asyncio.to_thread(lambda: Server(apart, **PATIENCE))
        stack.callback(server.close)
        stack.callback(server.stop)
        limits = httpx.Limits(max_connections=SLOW_CALLS + 10)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits)
        )
        holder = stack.enter_context(psycopg.connect(apart))
        watcher = stack.enter_context(psycopg.connect(apart, autocommit=True))
        claim = await call(client, busy, "create-task", title="x")
        claim = await call(client, busy, "claim-task", taskId="T-1")

        holder.execute("LOCK TABLE message_search")  # so every search waits until the test says so
        slow = [
            asyncio.create_task(call(client, busy, "search-messages", query="words"))
            for _ in range(SLOW_CALLS)
        ]
        await asyncio.to_thread(eventually, lambda: waiting(watcher) > 0)
        for _ in range(3):
            health = await client.get("/healthz")
            assert health.status_code == 200, health.text
            for key in (quiet, beside):
                for operation, fields in (
                    ("get-me", {}),
                    ("create-task", {"title": "y"}),
                    ("list-tasks", {}),
                    ("list-tasks", {"query": "yyy", "includeTotal": True}),
                    ("claim-next-task", {"limit": 1}),
                    ("search-tasks", {"query": "y"}),
                ):
                    answer = await call(client, key, operation, **fields)
                    assert answer.status_code == 200, (operation, answer.text)
        alive = await call(client, busy, "heartbeat-run", runId=claim.json()["data"]["run"]["id"])
        assert alive.status_code == 200, alive.text
        assert not any(task.done() and task.result().status_code == 200 for task in slow)
        assert 0 < waiting(watcher) < 4, "a few of one key at once"

        holder.rollback()
        statuses = {answer.status_code for answer in await asyncio.gather(*slow)}
        assert statuses <= {200, 503}
        assert 200 in statuses
