"""What 2026-07-28 adds on the wire: how long lists may be kept, and headers that must agree with the message."""

import asyncio
import base64
import json
from typing import Any, Final

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.inbound import x_mcp_header_map

from app.operations import OPERATIONS, create_task
from app.transports.mcp.endpoint import LISTS, LISTS_KEPT
from app.transports.mcp.tools import Toolbox
from tests.conftest import Caller, Server, World
from tests.mcp.connecting import request

REVISION: Final = "2026-07-28"
BEFORE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022
KEPT: Final = {"ttlMs": LISTS_KEPT.ttl_ms, "cacheScope": "private"}
TASKS: Final = "io.modelcontextprotocol/tasks"


def asked(method: str, capabilities: dict[str, Any] | None = None, **params: object) -> dict[str, Any]:
    """A request as this revision has it: it says which version it speaks, and what its client can do."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    return request(method, {**params, "_meta": meta})


async def post(
    server: Server, caller: Caller, message: dict[str, Any], *headers: tuple[str, str]
) -> httpx.Response:
    """A bare POST with these headers, beside those that any request has."""
    sent = [*caller.headers.items(), ("accept", "application/json, text/event-stream"), *headers]
    async with httpx.AsyncClient(base_url=server.url) as http:
        return await http.post("/mcp", json=message, headers=sent)


async def tell(
    server: Server,
    caller: Caller,
    method: str,
    called: str = "",
    capabilities: dict[str, Any] | None = None,
    **params: object,
) -> httpx.Response:
    """A request in order."""
    named = [("mcp-name", called)] if called else []
    headers = [("mcp-protocol-version", REVISION), ("mcp-method", method), *named]
    return await post(server, caller, asked(method, capabilities, **params), *headers)


# --- what may be kept


@pytest.mark.parametrize("method", LISTS)
async def test_a_list_may_be_kept_for_minutes_by_whoever_asked_for_it(
    server: Server, workspace: World, method: str
) -> None:
    result = (await tell(server, await workspace.agent(), method)).json()["result"]
    assert {key: result[key] for key in KEPT} == KEPT


async def test_what_agents_work_on_is_old_at_once(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="To be read")
    uri = "task://T-1"
    read = (await tell(server, bot, "resources/read", uri, uri=uri)).json()["result"]
    assert (read["ttlMs"], read["cacheScope"]) == (0, "private")
    called = (await tell(server, bot, "tools/call", "get-me", name="get-me", arguments={})).json()["result"]
    assert not called.keys() & KEPT.keys()


@pytest.mark.parametrize("version", BEFORE)
async def test_earlier_versions_hear_nothing_of_it(server: Server, workspace: World, version: str) -> None:
    bot = await workspace.agent()
    for method in ("tools/list", "resources/list", "resources/templates/list"):
        answer = await post(server, bot, request(method), ("mcp-protocol-version", version))
        assert not answer.json()["result"].keys() & {*KEPT, "resultType"}


async def test_the_official_client_asks_for_the_tools_once(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    asked_for: list[str] = []

    async def note(sent: httpx2.Request) -> None:
        asked_for.append(sent.headers.get("mcp-method", ""))

    async with (
        httpx2.AsyncClient(headers=bot.headers, event_hooks={"request": [note]}) as http,
        Client(streamable_http_client(f"{server.url}/mcp?tools=core", http_client=http)) as client,
    ):
        first = await client.list_tools()
        assert await client.list_tools() == first
    assert asked_for.count("tools/list") == 1


# --- headers


def refusal_of(answer: httpx.Response) -> int:
    assert answer.status_code == 400
    assert answer.json()["id"] == 1
    return answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("mcp-method", "tools/call"), ("mcp-name", "get-me")],
        [("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/call"), ("mcp-name", "get-me")],
        [("mcp-protocol-version", REVISION), ("mcp-name", "get-me")],
        [("mcp-protocol-version", REVISION), ("mcp-method", "tools/list"), ("mcp-name", "get-me")],
        [("mcp-protocol-version", REVISION), ("mcp-method", "TOOLS/CALL"), ("mcp-name", "get-me")],
        [("mcp-protocol-version", REVISION), ("mcp-method", "tools/call")],
        [("mcp-protocol-version", REVISION), ("mcp-method", "tools/call"), ("mcp-name", "get-inbox")],
        [("mcp-protocol-version", REVISION), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?Z2V0?=")],
    ],
)
async def test_headers_that_are_missing_or_say_otherwise_are_refused(
    server: Server, workspace: World, headers: list[tuple[str, str]]
) -> None:
    message = asked("tools/call", name="get-me", arguments={})
    answer = await post(server, await workspace.agent(), message, *headers)
    assert refusal_of(answer) == HEADER_MISMATCH


@pytest.mark.parametrize("twice", ["mcp-protocol-version", "mcp-method", "mcp-name"])
async def test_a_header_that_is_there_twice_is_refused(server: Server, workspace: World, twice: str) -> None:
    headers = {"mcp-protocol-version": REVISION, "mcp-method": "tools/call", "mcp-name": "get-me"}
    message = asked("tools/call", name="get-me", arguments={})
    answer = await post(server, await workspace.agent(), message, *headers.items(), (twice, headers[twice]))
    assert answer.status_code == 400
    assert twice in answer.text.lower()


@pytest.mark.parametrize(
    "method, name",
    [
        ("tools/call", "get-me"),
        (" tools/call ", "  get-me\t"),
        ("tools/call", f"=?base64?{base64.b64encode(b'get-me').decode()}?="),
    ],
)
async def test_space_around_a_header_and_base64_in_it_change_nothing(
    server: Server, workspace: World, method: str, name: str
) -> None:
    bot = await workspace.agent()
    body = json.dumps(asked("tools/call", name="get-me", arguments={})).encode()
    host, port = server.url.removeprefix("http://").split(":")
    lines = [
        "POST /mcp HTTP/1.1",
        f"Host: {host}:{port}",
        *(f"{key}: {value}" for key, value in bot.headers.items()),
        "Accept: application/json",
        "Content-Type: application/json",
        f"MCP-PROTOCOL-VERSION: {REVISION}",
        f"mcp-method:{method}",
        f"Mcp-Name:{name}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_notification_in_a_version_nobody_knows_is_refused_with_those_we_speak(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = await post(server, bot, message, ("mcp-protocol-version", "2099-01-01"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == UNSUPPORTED_VERSION
    assert answer.json()["error"]["data"]["supported"] == [REVISION]
    for version in (*BEFORE, REVISION):
        answer = await post(server, bot, message, ("mcp-protocol-version", version))
        assert (answer.status_code, answer.content) == (202, b"")


def test_no_tool_wants_an_argument_in_a_header() -> None:
    """Then there is none to compare: `Mcp-Param-` headers are only for tools that ask for them."""
    toolbox = Toolbox(OPERATIONS)
    scopes = frozenset(op.scope for op in OPERATIONS if op.scope)
    for tool in toolbox.shown(toolbox.chosen("all"), scopes):
        assert not x_mcp_header_map(tool.json["inputSchema"])


# --- what we do not do, whatever a client can


async def test_a_client_of_tasks_and_elicitation_is_answered_like_any_other(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    able = {"elicitation": {"form": {}, "url": {}}, "extensions": {TASKS: {}}}
    found = (await tell(server, bot, "server/discover", capabilities=able)).json()["result"]
    assert found["capabilities"].keys() == {"tools", "resources"}
    answer = await tell(server, bot, "tools/call", "get-me", able, name="get-me", arguments={})
    assert answer.json()["result"]["resultType"] == "complete"
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        answer = await tell(server, bot, method, capabilities=able)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32601)
