"""Calls that wait: how long they may, and what becomes of them when their caller hangs up."""

import asyncio
import time
from contextlib import suppress

import httpx
import pytest

from app.operations import claim_next_task, create_task, get_task
from tests.conftest import Server, World


async def test_a_call_that_waits_is_answered_when_something_is_ready(
    server: Server, workspace: World
) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=40) as client:
        waiting = asyncio.create_task(client.post(claim_next_task.path, json={"waitSeconds": 30}))
        task = await other(create_task, title="a", assignee_agent_id=bot.id)
        async with asyncio.timeout(10):
            answer = await waiting
    assert [claim["task"]["id"] for claim in answer.json()["data"]] == [task.id]


async def test_whoever_hangs_up_while_waiting_gets_nothing(server: Server, workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=1) as client:
        with suppress(httpx.ReadTimeout):
            await client.post(claim_next_task.path, json={"waitSeconds": 30})
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=20) as client:
        answer = await client.post(claim_next_task.path, json={"waitSeconds": 10})
    assert [claim["task"]["id"] for claim in answer.json()["data"]] == [task.id]
    assert (await other(get_task, task_id=task.id)).status == "in_progress"


async def test_a_claim_is_repeated_under_its_idempotency_key(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    for title in "ab":
        await bot(create_task, title=title)
    headers = {**bot.headers, "Idempotency-Key": "once"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=20) as client:
        answers = [await client.post(claim_next_task.path, json={"waitSeconds": 5}) for _ in range(2)]
        other = await client.post(claim_next_task.path, json={"limit": 2})
    assert answers[0].content == answers[1].content
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true"]
    assert (other.status_code, other.json()["error"]["details"]["reason"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_sends_home_who_waits(dsn: str, workspace: World, workers: str) -> None:
    bot = await workspace.agent()
    server = await asyncio.to_thread(Server, dsn, WORKERS=workers)
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=60) as client:
        waiting = asyncio.create_task(client.post(claim_next_task.path, json={"waitSeconds": 30}))
        await somebody_waits(workspace)
        assert not waiting.done()
        began = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0, server.stderr()
        assert time.monotonic() - began < 5, "well before the ten seconds after which calls are cut off"
        answer = await waiting
    assert (answer.status_code, answer.json()["data"]) == (200, [])
    server.log.close()


async def somebody_waits(workspace: World) -> None:
    """Return when some process has begun to look for ready work, on behalf of one who waits."""
    [asked] = await workspace.rows("SELECT clock_timestamp() AS at WHERE %(workspace)s::uuid IS NOT NULL")
    async with asyncio.timeout(20):
        while not await workspace.rows(  # noqa: ASYNC110 - only the database knows
            """SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE '%%task_events_seq_seq' AND query_start > %(asked)s::timestamptz
                  AND %(workspace)s::uuid IS NOT NULL""",
            asked=asked["at"],
        ):
            await asyncio.sleep(0.05)
