"""Who asks for too much through tools hears it as the error of a tool, and keeps their claim all the same."""

import asyncio
from typing import Any

import httpx
import pytest

from app.operations import OPERATIONS, claim_task, create_task, get_me, get_task
from app.operator import administration as admin
from tests.conftest import Caller, Server, World
from tests.mcp.connecting import ERAS, connected, text_of
from tests.operations.writes import told

HARDLY = 1e-3  # a second: nothing comes again while a test runs


async def exhausted(server: Server, caller: Caller, workspace: World) -> None:
    """Have somebody who has not called yet use up all that they may ask for."""
    key_id = str(caller.context.actor.key_id)
    await admin.limit_key(workspace.db, workspace.info, key_id, HARDLY, 1)
    async with httpx.AsyncClient(base_url=server.url, headers=caller.headers) as client:
        assert (await client.get(get_me.path)).status_code == 200


def request(method: str, params: dict[str, Any], id: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


async def test_every_tool_is_refused_with_the_seconds_to_wait_unless_it_is_spared(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent(scopes="all,operator")
    await exhausted(server, bot, workspace)
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=60) as client:

        async def said(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            answer = await client.post(
                "/mcp", json=request("tools/call", {"name": tool, "arguments": arguments})
            )
            assert answer.status_code == 200
            return answer.json()["result"]

        ops = [op for op in OPERATIONS if op.family.tools]
        results = await asyncio.gather(*(said(op.name, told(op)) for op in ops))
        nonsense = await asyncio.gather(*(said(op.name, {"fields": 3, "taskId": []}) for op in ops))
    for op, result in zip(ops * 2, [*results, *nonsense], strict=True):
        code = result["structuredContent"].get("code")
        if op.spared is True:
            assert code != "rate_limited", op.name
            continue
        assert (result["isError"], code) == (True, "rate_limited"), op.name
        body, meta = result["structuredContent"], result["_meta"]
        seconds = body["details"]["retryAfterSeconds"]
        assert 1 <= seconds <= 30
        assert f"Wait {seconds} seconds" in body["message"]
        assert body["retryable"] is True
        assert body["helps"][0]["operation"] == op.name
        assert (meta["retry-after"], meta["ratelimit"]) == (str(seconds), f'"key";r=0;t={seconds}')


@pytest.mark.parametrize("era", ERAS)
async def test_whoever_has_used_up_everything_connects_anew_and_keeps_a_claim_and_ends_it(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    await exhausted(server, bot, workspace)
    async with connected(server, bot.api_key, era=era) as client:
        refused = await client.call_tool("get-task", {"taskId": task.id})
        assert refused.is_error
        assert '"rate_limited"' in text_of(refused)
        for tool in ("heartbeat-run", "complete-run"):
            result = await client.call_tool(tool, {"runId": claim.run.id})
            assert not result.is_error, text_of(result)
        result = await client.call_tool("complete-task", {"taskId": task.id})
        assert not result.is_error, text_of(result)
    assert (await bot(get_task, task_id=task.id)).status == "done"


async def test_a_batch_is_refused_message_by_message(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    await exhausted(server, bot, workspace)
    messages = [
        request("tools/call", {"name": "get-task", "arguments": {"taskId": task.id}}, 1),
        request("resources/list", {}, 2),
        request("tools/call", {"name": "heartbeat-run", "arguments": {"runId": claim.run.id}}, 3),
        request("ping", {}, 4),
    ]
    headers = {**bot.headers, "MCP-Protocol-Version": "2025-03-26"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        answers = (await client.post("/mcp", json=messages)).json()
    assert answers[0]["result"]["structuredContent"]["code"] == "rate_limited"
    assert answers[1]["error"]["data"]["code"] == "rate_limited"
    assert answers[2]["result"]["isError"] is False
    assert answers[3]["result"] == {}


async def test_what_is_no_tool_is_refused_with_the_status_and_the_headers_of_http(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    await exhausted(server, bot, workspace)
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers, timeout=60) as client:
        for method in ("resources/list", "resources/templates/list", "nothing"):
            answer = await client.post("/mcp", json=request(method, {}))
            error = answer.json()["error"]
            assert (answer.status_code, answer.json()["id"], error["data"]["code"]) == (
                429,
                1,
                "rate_limited",
            )
            assert int(answer.headers["retry-after"]) == error["data"]["details"]["retryAfterSeconds"]
            assert answer.headers["ratelimit-policy"] == '"key";q=1;w=1000'
        for uri in ("workspace://me", "nothing://here"):
            read = await client.post("/mcp", json=request("resources/read", {"uri": uri}))
            assert read.json()["error"]["data"]["code"] == "rate_limited"
