"""The protocol over real HTTP: how a session begins, who is let in, what is refused at the door, and fifty at once."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError

from app.operations import create_task
from app.operator import administration as admin
from app.transports.bodies import BODY_BYTES_MAX
from tests.conftest import Caller, Server, World
from tests.mcp.connecting import ERAS, connected, read, request, structure_of, text_of

EVERY_ERA = pytest.mark.parametrize("era", ERAS)
CLIENTS_AT_ONCE = 50
SAME_MACHINE = ("http://localhost", "http://localhost:6274", "https://127.0.0.1:8443", "http://[::1]:3000")
ELSEWHERE = (
    "https://evil.example",
    "http://localhost.evil.example",
    "https://allowed.example.evil",
    "http://[",
    "null",
    "",
)


async def post(
    server: Server, caller: Caller | None, message: object, *, tools: str = "", **headers: str
) -> httpx.Response:
    """One bare POST, as the official client would never send it."""
    sent = {
        "accept": "application/json, text/event-stream",
        **(caller.headers if caller else {}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    async with httpx.AsyncClient(base_url=server.url, headers=sent) as http:
        body: dict[str, Any] = {"content": message} if isinstance(message, bytes) else {"json": message}
        return await http.post("/mcp" + (f"?tools={tools}" if tools else ""), **body)


@EVERY_ERA
async def test_a_session_begins_with_who_we_are_and_what_we_teach(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    async with connected(server, bot.api_key, era=era) as client:
        assert client.server_info is not None and client.server_info.name == "baton"
        assert client.server_capabilities is not None
        assert (
            client.server_capabilities.tools is not None and client.server_capabilities.resources is not None
        )
        assert "Work in this loop:\n1. " in (client.instructions or "")


@EVERY_ERA
async def test_a_connection_is_taught_only_what_it_can_do(server: Server, workspace: World, era: str) -> None:
    reader = await workspace.agent(scopes="task-read")
    async with connected(server, reader.api_key, era=era) as client:
        assert "1. get-inbox: " in (client.instructions or "")
        assert "update-task" not in (client.instructions or "")
    async with connected(server, reader.api_key, era=era, tools="search-tasks") as client:
        assert "loop" not in (client.instructions or "")


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_earlier_version_of_the_protocol_is_spoken(
    server: Server, workspace: World, version: str
) -> None:
    bot = await workspace.agent()
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = await post(server, bot, request("initialize", params))
    assert answer.json()["result"]["protocolVersion"] == version
    assert answer.headers["mcp-session-id"]
    answer = await post(server, bot, request("tools/list"), mcp_protocol_version=version)
    assert answer.json()["result"]["tools"]


async def test_a_version_nobody_knows_is_refused_with_those_we_speak(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2099-01-01",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    answer = await post(
        server,
        bot,
        request("tools/list", {"_meta": meta}),
        mcp_protocol_version="2099-01-01",
        mcp_method="tools/list",
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


async def test_headers_that_contradict_the_message_are_refused(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "get-me"}
    message = request("tools/call", {"name": "get-workspace-info", "arguments": {}, "_meta": meta})
    answer = await post(server, bot, message, **headers)
    assert answer.status_code == 400
    assert "mcp-name" in answer.json()["error"]["message"]


@EVERY_ERA
async def test_a_client_may_go_and_come_back_as_often_as_it_likes(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    for number in range(1, 4):
        async with connected(server, bot.api_key, era=era) as client:
            result = await client.call_tool("create-task", {"title": f"Visit {number}"})
            assert structure_of(result)["identifier"] == f"T-{number}"


async def test_a_session_outlives_the_server(dsn: str, workspace: World) -> None:
    """Nothing is kept between requests, so a worker that has just started answers like the one before it."""
    bot = await workspace.agent()
    first = Server(dsn)
    port = first.url.rpartition(":")[2]
    async with connected(first, bot.api_key, era="legacy") as client:
        await client.call_tool("create-task", {"title": "Before"})
        assert first.stop() == 0
        second = Server(dsn, PORT=port)
        result = await client.call_tool("create-task", {"title": "After"})
        assert not result.is_error
    second.stop()
    first.log.close()
    second.log.close()


async def test_fifty_clients_at_once_each_get_their_own_answers(server: Server, workspace: World) -> None:
    bots = [await workspace.agent(f"bot-{number}") for number in range(CLIENTS_AT_ONCE)]

    async def work(bot: Caller, era: str) -> None:
        async with connected(server, bot.api_key, era=era, tools="core,get-me,list-my-tasks") as client:
            me = await client.call_tool("get-me", {})
            assert structure_of(me)["handle"] == bot.handle
            made = await client.call_tool("create-task", {"title": bot.handle, "assigneeAgentId": bot.id})
            mine = await client.call_tool("list-my-tasks", {})
            assert [task["identifier"] for task in structure_of(mine)["data"]] == [
                structure_of(made)["identifier"]
            ]

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(bot, ERAS[number % 2]) for number, bot in enumerate(bots)))


@EVERY_ERA
async def test_a_key_revoked_in_mid_session_is_refused_within_a_second(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    async with connected(server, bot.api_key, era=era) as client:
        await client.call_tool("get-me", {})
        await admin.revoke_key(workspace.db, workspace.info, str(bot.context.actor.key_id))
        with pytest.raises(MCPError, match="API key has been revoked"):
            await _call_for_a_second(client)


async def _call_for_a_second(client: Client) -> None:
    async with asyncio.timeout(1.0):
        while True:
            await client.call_tool("get-me", {})


@pytest.mark.parametrize(
    "authorization, code, challenge",
    [
        (None, "AUTH_MISSING", 'Bearer realm="Baton"'),
        ("Basic YTpi", "AUTH_MISSING", 'Bearer realm="Baton"'),
        ("Bearer baton_sk_unknown", "AUTH_INVALID_API_KEY", 'Bearer realm="Baton", error="invalid_token", '),
    ],
)
async def test_without_a_good_key_nobody_gets_in(
    server: Server, authorization: str | None, code: str, challenge: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for message in (request("initialize"), b"not even JSON"):
        answer = await post(server, None, message, **headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith(challenge)
        assert answer.json()["error"]["data"]["code"] == code


@pytest.mark.parametrize("origin", SAME_MACHINE)
async def test_pages_of_this_machine_may_call(server: Server, workspace: World, origin: str) -> None:
    answer = await post(server, await workspace.agent(), request("ping"), origin=origin)
    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ELSEWHERE)
async def test_pages_from_elsewhere_may_not_even_with_a_key(
    server: Server, workspace: World, origin: str
) -> None:
    answer = await post(server, await workspace.agent(), request("ping"), origin=origin)
    assert answer.status_code == 403
    assert "WEB_ORIGINS" in answer.json()["error"]["message"]


async def test_an_operator_can_let_other_pages_call(dsn: str, workspace: World) -> None:
    bot = await workspace.agent()
    server = Server(dsn, MCP_ORIGINS="https://allowed.example, https://also.example/")
    try:
        for origin in ("https://allowed.example", "https://also.example"):
            assert (await post(server, bot, request("ping"), origin=origin)).status_code == 200
        assert (await post(server, bot, request("ping"), origin="https://evil.example")).status_code == 403
    finally:
        server.stop()
        server.log.close()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD"])
async def test_only_post_is_answered_because_nothing_is_kept(
    server: Server, workspace: World, method: str
) -> None:
    bot = await workspace.agent()
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers) as http:
        answer = await http.request(method, "/mcp")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    "message, status, code",
    [
        (b"{", 400, -32700),
        (b"\xff", 400, -32700),
        (b"[" * 100_000, 400, -32600),
        (b'{"params":{"a":' + b"[" * 100_000, 400, -32700),
        ("ping", 400, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, 400, -32600),
        (request("no/such/method"), 200, -32601),
        (request("tools/call", {"name": 7}), 200, -32602),
        (request("tools/call", {"name": "no-such-tool"}), 200, -32602),
        (request("tools/call", {"name": "get-me", "arguments": []}), 200, -32602),
        (request("resources/read", {"uri": "task://T-1/x"}), 200, -32002),
        (request("resources/read", {"uri": "task://%00"}), 200, -32602),
    ],
)
async def test_what_is_no_request_is_refused_in_the_words_of_the_protocol(
    server: Server, workspace: World, message: object, status: int, code: int
) -> None:
    answer = await post(server, await workspace.agent(), message, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


async def test_a_message_that_is_too_large_is_refused(server: Server, workspace: World) -> None:
    answer = await post(
        server, await workspace.agent(), b" " * (BODY_BYTES_MAX + 1), content_type="application/json"
    )
    assert answer.status_code == 413


async def test_a_message_must_be_json_and_say_so(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    assert (await post(server, bot, b"{}", content_type="text/plain")).status_code == 415
    assert (await post(server, bot, request("ping"), accept="text/html")).status_code == 406
    assert (await post(server, bot, request("ping"), accept="*/*")).status_code == 200


async def test_notifications_and_answers_to_nothing_are_taken_note_of(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    for message in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ):
        answer = await post(server, bot, message)
        assert (answer.status_code, answer.content) == (202, b"")


async def test_an_unknown_set_of_tools_is_refused_with_those_there_are(
    server: Server, workspace: World
) -> None:
    answer = await post(server, await workspace.agent(), request("tools/list"), tools="cor")
    assert answer.status_code == 400
    assert "core, tasks" in answer.json()["error"]["message"]


@EVERY_ERA
async def test_a_connection_has_the_tools_it_asked_for_and_no_others(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    async with connected(server, bot.api_key, era=era, tools="get-me,workspace") as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "get-me" in names and "create-task" not in names
        with pytest.raises(MCPError, match="no tool `create-task` on this connection"):
            await client.call_tool("create-task", {"title": "Hidden"})


@EVERY_ERA
async def test_tasks_and_the_workspace_are_resources(server: Server, workspace: World, era: str) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="To be read")
    async with connected(server, bot.api_key, era=era) as client:
        listed = {resource.uri for resource in (await client.list_resources()).resources}
        assert listed == {"workspace://me", "workspace://info"}
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["task://{taskId}"]
        for uri in (f"task://{task.identifier}", f"task://{task.id}"):
            assert json.loads(await read(client, uri))["title"] == task.title
        assert json.loads(await read(client, "workspace://info"))["slug"] == workspace.slug


async def test_a_resource_that_is_not_there_is_refused_as_the_version_has_it(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    for era, code in zip(ERAS, (-32002, -32602), strict=True):
        async with connected(server, bot.api_key, era=era) as client:
            with pytest.raises(MCPError, match="No task `T-404`") as refused:
                await client.read_resource("task://T-404")
            assert refused.value.error.code == code


async def test_a_resource_needs_the_scope_of_its_operation(server: Server, workspace: World) -> None:
    bot = await workspace.agent(scopes="task-read")
    async with connected(server, bot.api_key) as client:
        assert [r.uri for r in (await client.list_resources()).resources] == ["workspace://me"]
        with pytest.raises(MCPError, match="lacks the scope `workspace-read`"):
            await client.read_resource("workspace://info")


async def test_lists_are_brief_unless_told_and_say_how_they_go_on(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    for title in ("One", "Two", "Three"):
        await bot(create_task, title=title, assignee_agent_id=bot.id)
    async with connected(server, bot.api_key) as client:
        first = await client.call_tool("list-my-tasks", {"limit": 2})
        assert [set(task) for task in structure_of(first)["data"]] == [
            {"identifier", "title", "status", "priority", "version", "assignee"}
        ] * 2
        cursor = structure_of(first)["pagination"]["cursor"]
        assert cursor in text_of(first, 1)
        rest = await client.call_tool("list-my-tasks", {"cursor": cursor, "fields": ["title", "description"]})
        assert structure_of(rest)["data"] == [{"title": "Three"}]
        assert len(rest.content) == 1


async def test_a_session_that_began_at_one_process_goes_on_at_another(
    server: Server, dsn: str, workspace: World
) -> None:
    bot = await workspace.agent()
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    begun = await post(server, bot, request("initialize", params))
    other = Server(dsn)
    try:
        headers = {"mcp_session_id": begun.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
        message = request(
            "tools/call", {"name": "create-task", "arguments": {"title": "Elsewhere", "answer": "whole"}}, 2
        )
        answer = await post(other, bot, message, **headers)
        assert answer.json()["result"]["structuredContent"]["title"] == "Elsewhere"
    finally:
        other.stop()
        other.log.close()


@EVERY_ERA
async def test_what_http_says_in_headers_stands_in_the_metadata_of_a_result(
    server: Server, workspace: World, era: str
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="To be merged")
    first = {"taskId": task.id, "version": 1, "title": "Changed", "idempotencyKey": "once"}
    other = {"taskId": task.id, "version": 1, "priority": "high", "onConflict": "merge"}
    async with connected(server, bot.api_key, era=era) as client:
        assert "idempotency-replayed" not in ((await client.call_tool("update-task", first)).meta or {})
        assert ((await client.call_tool("update-task", first)).meta or {})["idempotency-replayed"] == "true"
        assert ((await client.call_tool("update-task", other)).meta or {})["baton-merged-from"] == "1"


# --- batches, a thing of 2025-03-26 only


async def test_a_batch_is_answered_in_its_order(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    batch = [
        request("tools/call", {"name": "create-task", "arguments": {"title": "First", "answer": "whole"}}, 1),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request("tools/call", {"name": "get-task", "arguments": {"taskId": "T-1"}}, 2),
        request("no/such/method", None, 3),
        request("ping", None, 4),
    ]
    for headers in ({}, {"mcp_protocol_version": "2025-03-26"}):
        answer = await post(server, bot, batch, tools="core", **headers)
        assert answer.status_code == 200
        said = answer.json()
        assert [one["id"] for one in said] == [1, 2, 3, 4]
        assert said[1]["result"]["structuredContent"]["title"] == "First"
        assert said[2]["error"]["code"] == -32601
        assert said[3]["result"] == {}


async def test_a_batch_of_notifications_is_noted(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    answer = await post(server, bot, [{"jsonrpc": "2.0", "method": "notifications/initialized"}] * 2)
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"])
async def test_other_versions_know_no_batches(server: Server, workspace: World, version: str) -> None:
    bot = await workspace.agent()
    answer = await post(server, bot, [request("ping")], mcp_protocol_version=version)
    assert answer.status_code == 400
    assert "knows no batches: send one message at a time" in answer.json()["error"]["message"]


async def test_a_batch_is_bounded_and_holds_no_handshake(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    for batch in ([], [request("ping")] * 51):
        answer = await post(server, bot, batch)
        assert answer.status_code == 400 and "A batch holds 1 to 50 messages" in answer.text
    params = {
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    answer = await post(server, bot, [request("initialize", params), request("ping", None, 2)])
    assert answer.status_code == 400 and "stands by itself" in answer.text


async def test_a_byte_order_mark_is_skipped(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    message = b"\xef\xbb\xbf" + json.dumps(request("ping")).encode()
    answer = await post(server, bot, message, content_type="application/json")
    assert answer.json()["result"] == {}


# --- schemas for models that must fill in every argument


async def test_strict_schemas_are_told_on_request(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    answer = await post(server, bot, request("tools/list"), tools="core&strict=true")
    for tool in answer.json()["result"]["tools"]:
        schema = tool["inputSchema"]
        assert schema["additionalProperties"] is False
        assert schema["required"] == [*schema["properties"]]
    loose = await post(server, bot, request("tools/list"), tools="core&strict=false")
    assert "additionalProperties" not in loose.json()["result"]["tools"][0]["inputSchema"]
    refused = await post(server, bot, request("tools/list"), tools="core&strict=1")
    assert refused.status_code == 400 and "`strict` in the address is `true` or `false`" in refused.text
