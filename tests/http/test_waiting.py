"""Calls that wait: how long they may, and what becomes of them when their caller hangs up."""

import asyncio
import json
from contextlib import suppress
from typing import LiteralString

import httpx
import pytest

from app.operations import OPERATIONS, claim_next_task, create_task, get_inbox, get_task, list_tasks
from app.operations.runs.bell import COUNTER
from app.operator import administration as admin
from app.rpc import Operation
from tests.conftest import Caller, Server, World


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


@pytest.mark.parametrize("op, workers", [(claim_next_task, "1"), (claim_next_task, "2"), (get_inbox, "1")])
async def test_a_stop_sends_home_who_waits(dsn: str, workspace: World, op: Operation, workers: str) -> None:
    bot = await workspace.agent()
    server = await asyncio.to_thread(Server, dsn, WORKERS=workers)
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=60) as client:
        waiting = asyncio.create_task(client.post(op.path, json={"waitSeconds": 30}))
        await somebody_waits(workspace)
        assert not waiting.done()
        assert await asyncio.to_thread(server.stop) == 0, server.stderr()
        answer = await waiting
    assert answer.status_code == 200, "and not what a call gets that is cut off after ten seconds"
    assert (answer.json()["data"] == []) == (op is claim_next_task)
    server.log.close()


# A key that ends while its caller waits


WAITING: dict[str, tuple[Operation, dict[str, object]]] = {
    "claim-next-task": (claim_next_task, {"waitSeconds": 30, "claimKey": "mine"}),
    "get-inbox": (get_inbox, {"waitSeconds": 30}),
}
ENDS: dict[str, tuple[LiteralString, int, str]] = {
    "revoked": ("revoked_at = now()", 401, "AUTH_API_KEY_REVOKED"),
    "expired": ("expires_at = now()", 401, "AUTH_API_KEY_EXPIRED"),
    "without its scope": ("scopes = '{channel-read}'", 403, "permission_denied"),
}


def test_every_operation_that_waits_is_tried_with_a_key_that_ends() -> None:
    assert {op.name for op in OPERATIONS if op.patience_seconds} == set(WAITING)


@pytest.mark.parametrize("door", ["http", "mcp"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", WAITING)
async def test_who_waits_with_a_key_that_ends_is_sent_away_and_given_nothing(
    server: Server, workspace: World, door: str, end: str, name: str
) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    op, fields = WAITING[name]
    change, status, code = ENDS[end]
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=60) as client:
        waiting = asyncio.create_task(asked(client, door, op, fields))
        await somebody_waits(workspace)
        await end_key(workspace, bot, change)
        async with asyncio.timeout(10):  # of the thirty seconds that it would wait
            said = await waiting
    assert said == (status, code)
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    assert (await other(get_task, task_id=task.id)).status == "todo"


@pytest.mark.parametrize("door", ["http", "mcp"])
async def test_work_that_comes_right_after_a_key_ended_is_not_given_to_who_waits_with_it(
    server: Server, workspace: World, door: str
) -> None:
    bots = [await workspace.agent(f"bot-{n}") for n in range(5)]
    other = await workspace.agent("other")
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        waiting = [
            asyncio.create_task(asked(client, door, claim_next_task, {"waitSeconds": 30}, bot.headers))
            for bot in bots
        ]
        await somebody_waits(workspace)
        for bot in bots:
            await end_key(workspace, bot, "revoked_at = now()")
            task = await other(create_task, title="a", assignee_agent_id=bot.id)
            assert task.status == "todo"
        async with asyncio.timeout(20):
            said = await asyncio.gather(*waiting)
    assert said == [(401, "AUTH_API_KEY_REVOKED")] * len(bots)
    assert {task.status for task in await other(list_tasks)} == {"todo"}


async def test_another_key_of_the_same_agent_goes_on_waiting(server: Server, workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    second = await admin.create_key(workspace.db, workspace.info, "bot")
    headers = {"Authorization": f"Bearer {second.api_key}"}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        first = asyncio.create_task(asked(client, "http", claim_next_task, {"waitSeconds": 30}, bot.headers))
        waiting = asyncio.create_task(
            client.post(claim_next_task.path, json={"waitSeconds": 30}, headers=headers)
        )
        await somebody_waits(workspace)
        await admin.revoke_key(workspace.db, workspace.info, str(bot.context.actor.key_id))
        assert await first == (401, "AUTH_API_KEY_REVOKED")
        task = await other(create_task, title="a", assignee_agent_id=bot.id)
        async with asyncio.timeout(10):
            answer = await waiting
    assert [claim["task"]["id"] for claim in answer.json()["data"]] == [task.id]


async def end_key(workspace: World, bot: Caller, change: LiteralString) -> None:
    await workspace.rows(
        f"UPDATE api_keys SET {change} WHERE workspace_id = %(workspace)s AND id = %(key)s::uuid RETURNING id",
        key=bot.context.actor.key_id,
    )


async def asked(
    client: httpx.AsyncClient,
    door: str,
    op: Operation,
    fields: dict[str, object],
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """The status and code of a refusal; through MCP, where all is a 200, the status that goes with the code."""
    if door == "http":
        answer = await client.post(op.path, json=fields, headers=headers)
        return answer.status_code, answer.json()["error"]["code"]
    params = {"name": op.name, "arguments": fields}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    sent = {**(headers or {}), "Accept": "application/json, text/event-stream"}
    answer = await client.post("/mcp?tools=all", json=message, headers=sent)
    [said] = [line for line in answer.text.splitlines() if '"isError"' in line]
    error = json.loads(said.removeprefix("data: "))["result"]["structuredContent"]
    return 401 if error["code"].startswith("AUTH") else 403, error["code"]


async def somebody_waits(workspace: World) -> None:
    """Return when some process has begun to look for ready work, on behalf of one who waits."""
    [asked] = await workspace.rows("SELECT clock_timestamp() AS at WHERE %(workspace)s::uuid IS NOT NULL")
    async with asyncio.timeout(20):
        while not await workspace.rows(  # noqa: ASYNC110 - only the database knows
            """SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND query = %(look)s AND query_start > %(asked)s::timestamptz
                  AND %(workspace)s::uuid IS NOT NULL""",
            look=COUNTER.sql,
            asked=asked["at"],
        ):
            await asyncio.sleep(0.05)
