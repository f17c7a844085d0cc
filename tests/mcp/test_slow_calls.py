"""Calls that take long: progress, cancellation, a client that goes away. A lock on the task's row makes them long."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
from mcp import Client

from app.operations import create_task
from tests.conftest import Caller, Server, World
from tests.mcp.connecting import ERAS, connected, request, structure_of, text_of

EVERY_ERA = pytest.mark.parametrize("era", ERAS)
WAIT_SECONDS = 20.0


class Progress:
    """What a client was told while it waited."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.begun = asyncio.Event()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert message is not None and message.startswith("Working for ")
        self.heard.append(progress)
        self.begun.set()


@asynccontextmanager
async def locked(dsn: str, task_id: str) -> AsyncGenerator[None]:
    """Nobody can change the task until the block ends."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task_id])
        yield
        await connection.rollback()


def change(task: Any, title: str) -> dict[str, Any]:
    return {"taskId": task.id, "version": task.version, "title": title, "answer": "whole"}


@EVERY_ERA
async def test_a_call_that_takes_long_reports_progress_and_then_answers(
    server: Server, dsn: str, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="Contended")
    progress = Progress()
    async with connected(server, bot.api_key, era=era) as client:
        async with locked(dsn, task.id):
            call = asyncio.create_task(
                client.call_tool("update-task", change(task, "Changed"), progress_callback=progress)
            )
            await asyncio.wait_for(progress.begun.wait(), WAIT_SECONDS)
            assert not call.done()
        result = await call
    assert not result.is_error
    assert structure_of(result)["title"] == "Changed"
    assert progress.heard == sorted(set(progress.heard))


@EVERY_ERA
async def test_a_cancelled_call_ends_on_the_server_too(
    server: Server, dsn: str, workspace: World, era: str
) -> None:
    bot = await workspace.agent(f"canceller-{era}")
    task = await bot(create_task, title="Contended")
    progress = Progress()
    async with connected(server, bot.api_key, era=era) as client, locked(dsn, task.id):
        await cancelled_while_it_works(client, "update-task", change(task, "Changed"), progress)
        await until_logged(server, bot, "cancelled")
        result = await client.call_tool("get-task", {"taskId": task.id})
        assert not result.is_error, "the session goes on"


@EVERY_ERA
async def test_a_call_that_waits_for_work_reports_progress_and_gets_what_comes(
    server: Server, workspace: World, era: str
) -> None:
    bot, other = await workspace.agent("bot"), await workspace.agent("other")
    progress = Progress()
    async with connected(server, bot.api_key, tools="core", era=era) as client:
        waiting = asyncio.create_task(
            client.call_tool("claim-next-task", {"waitSeconds": 30}, progress_callback=progress)
        )
        await asyncio.wait_for(progress.begun.wait(), WAIT_SECONDS)
        assert not waiting.done()
        task = await other(create_task, title="Mend the roof", assignee_agent_id=bot.id)
        claimed = await asyncio.wait_for(waiting, WAIT_SECONDS)
    assert [claim["task"]["identifier"] for claim in structure_of(claimed)["data"]] == [task.identifier]


@EVERY_ERA
async def test_whoever_cancels_a_call_that_waits_for_work_gets_none(
    server: Server, workspace: World, era: str
) -> None:
    bot, other = await workspace.agent(f"waits-{era}"), await workspace.agent("other")
    async with connected(server, bot.api_key, tools="core", era=era) as client:
        await cancelled_while_it_works(client, "claim-next-task", {"waitSeconds": 30}, Progress())
        await until_logged(server, bot, "cancelled")
        task = await other(create_task, title="Mend the roof", assignee_agent_id=bot.id)
        claimed = structure_of(await client.call_tool("claim-next-task", {}))["data"]
    assert [(claim["task"]["identifier"], "previousRuns" in claim) for claim in claimed] == [
        (task.identifier, False)
    ]


async def test_nobody_can_cancel_the_call_of_another_session_or_key(
    server: Server, dsn: str, workspace: World
) -> None:
    bot, other = await workspace.agent("bot"), await workspace.agent("other")
    task = await bot(create_task, title="Contended")
    mine, foreign = {"mcp-session-id": "mine"}, {"mcp-session-id": "foreign"}
    stop = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    message = request("tools/call", {"name": "update-task", "arguments": change(task, "Changed")}, 7)
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS) as http:
        async with locked(dsn, task.id):
            headers = {**bot.headers, **mine, "accept": "application/json, text/event-stream"}
            async with http.stream("POST", "/mcp", json=message, headers=headers) as answer:
                events = answer.aiter_lines()
                assert await anext(events) == ": working"
                for strange in ({**bot.headers, **foreign}, {**other.headers, **mine}, {**bot.headers}):
                    assert (await http.post("/mcp", json=stop, headers=strange)).status_code == 202
                read = await http.post(
                    "/mcp",
                    json=request("tools/call", {"name": "get-task", "arguments": {"taskId": task.id}}, 8),
                    headers={**bot.headers, **mine},
                )
                assert "result" in read.json()
                assert (
                    await http.post("/mcp", json=stop, headers={**bot.headers, **mine})
                ).status_code == 202
                last = [line async for line in events if line.startswith("data:")][-1]
        assert json.loads(last[5:]) == {
            "jsonrpc": "2.0",
            "id": 7,
            "error": {"code": -32800, "message": "Request cancelled"},
        }


async def test_a_call_ends_when_its_client_goes_away(server: Server, dsn: str, workspace: World) -> None:
    bot = await workspace.agent("goes-away")
    task = await bot(create_task, title="Contended")
    message = request("tools/call", {"name": "update-task", "arguments": change(task, "Changed")})
    headers = {**bot.headers, "accept": "application/json, text/event-stream"}
    async with locked(dsn, task.id), httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS) as http:
        async with http.stream("POST", "/mcp", json=message, headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            assert await anext(answer.aiter_lines()) == ": working"
        await until_logged(server, bot, "cancelled")


async def test_a_client_that_takes_no_stream_waits_for_its_answer(
    server: Server, dsn: str, workspace: World
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="Contended")
    message = request("tools/call", {"name": "update-task", "arguments": change(task, "Changed")})
    headers = {**bot.headers, "accept": "application/json"}
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS) as http:
        async with locked(dsn, task.id):
            call = asyncio.create_task(http.post("/mcp", json=message, headers=headers))
            began = time.monotonic()
            while time.monotonic() - began < 1.5:  # longer than the server's patience
                await http.get("/healthz")
            assert not call.done()
        answer = await call
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["structuredContent"]["title"] == "Changed"


async def test_a_call_that_takes_too_long_is_given_up(dsn: str, workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="Contended")
    server = Server(dsn, REQUEST_TIMEOUT_SECONDS="1.2")
    try:
        async with connected(server, bot.api_key) as client, locked(dsn, task.id):
            result = await client.call_tool("update-task", change(task, "Changed"))
        assert result.is_error
        error = json.loads(text_of(result))
        assert (error["code"], error["retryable"]) == ("upstream_unavailable", True)
    finally:
        server.stop()
        server.log.close()


async def cancelled_while_it_works(
    client: Client, tool: str, arguments: dict[str, Any], progress: Progress
) -> None:
    call = asyncio.create_task(client.call_tool(tool, arguments, progress_callback=progress))
    await asyncio.wait_for(progress.begun.wait(), WAIT_SECONDS)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def until_logged(server: Server, caller: Caller, code: str) -> None:
    """Wait until the server, which is another process, has noted how a call of this caller ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    async with httpx.AsyncClient(base_url=server.url) as http:
        while time.monotonic() < deadline:
            for line in server.stderr().splitlines():
                if f'"actor":"{caller.handle}"' in line and f'"error":"{code}"' in line:
                    return
            await http.get("/healthz")
    pytest.fail(f"the server noted no `{code}` for {caller.handle}")
