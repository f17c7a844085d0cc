"""update-task over MCP and over plain HTTP, in one run: the protocol may cost something, but not most of the call."""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import pytest

from app.operations import create_tasks_bulk
from tests.conftest import Caller, Server, World

CONNECTIONS: Final = 16
ROUNDS: Final = 3
SECONDS: Final = 0.5
RATIO_MIN: Final = 1 / 3

_VERSION: Final = re.compile(rb'"version":(\d+)')
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def over_http(caller: Caller, arguments: dict[str, object]) -> bytes:
    return posted("/v1/agent/update-task", caller, arguments)


def over_mcp(caller: Caller, arguments: dict[str, object]) -> bytes:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "update-task", "arguments": arguments},
    }
    return posted("/mcp", caller, message, "MCP-Protocol-Version: 2025-11-25")


def over_modern_mcp(caller: Caller, arguments: dict[str, object]) -> bytes:
    params = {"name": "update-task", "arguments": arguments, "_meta": _META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: update-task")
    return posted("/mcp", caller, message, *headers)


DOORS: Final = {"HTTP": over_http, "MCP": over_mcp, "MCP since 2026-07-28": over_modern_mcp}


async def test_update_task_over_mcp_reaches_a_third_of_plain_http(
    server: Server, workspace: World, capsys: pytest.CaptureFixture[str]
) -> None:
    bot = await workspace.agent()
    made = await bot(create_tasks_bulk, tasks=[{"title": f"Task {n}"} for n in range(CONNECTIONS)])
    versions = {task.id: task.version for task in made}
    rates: dict[str, list[float]] = {door: [] for door in DOORS}
    for _ in range(ROUNDS):
        for door, write in DOORS.items():
            rates[door].append(await rate(server, bot, versions, write))
    medians = {door: statistics.median(found) for door, found in rates.items()}
    with capsys.disabled():
        print()
        for door, found in medians.items():
            print(
                f"  update-task over {door:20} {found:6.0f} calls/s, {found / medians['HTTP']:.2f} of plain HTTP"
            )
    assert min(medians.values()) >= RATIO_MIN * medians["HTTP"]


async def rate(
    server: Server,
    caller: Caller,
    versions: dict[str, int],
    write: Callable[[Caller, dict[str, object]], bytes],
) -> float:
    """Calls per second, each connection changing its own task again and again."""
    began = time.perf_counter()
    counts = await asyncio.gather(
        *(change(server, caller, task_id, versions, write, began + SECONDS) for task_id in versions)
    )
    return sum(counts) / (time.perf_counter() - began)


async def change(
    server: Server,
    caller: Caller,
    task_id: str,
    versions: dict[str, int],
    write: Callable[[Caller, dict[str, object]], bytes],
    until: float,
) -> int:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    count = 0
    while time.perf_counter() < until:
        count += 1
        writer.write(
            write(
                caller,
                {"taskId": task_id, "version": versions[task_id], "title": f"Title {time.perf_counter()}"},
            )
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert head.startswith(b"HTTP/1.1 200") and length is not None
        body = await reader.readexactly(int(length[1]))
        version = _VERSION.search(body)
        assert version is not None, body
        versions[task_id] = int(version[1])
    writer.close()
    await writer.wait_closed()
    return count


def posted(path: str, caller: Caller, body: object, *headers: str) -> bytes:
    sent = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {caller.api_key}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {len(sent)}",
        *headers,
    )
    return "\r\n".join((*head, "", "")).encode() + sent
