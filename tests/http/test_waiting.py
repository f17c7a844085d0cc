"""Calls that wait: how long they may, and what becomes of them when their caller hangs up."""

import asyncio
from contextlib import suppress

import httpx

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
