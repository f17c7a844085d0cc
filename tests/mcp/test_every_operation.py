"""Every operation as a tool: the same data and the same refusals as over HTTP, with valid and with invalid arguments.

The arguments are the examples of the documentation, in the home that they fit; so an operation that joins the list is
tested without being mentioned. What writes is done in two such homes, through one door each.
"""

import json
import re
from itertools import cycle
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from app.operations import OPERATIONS
from app.operations.told import Told
from app.rpc import AGENT, Operation
from app.transports.mcp.arguments import words_of
from app.transports.mcp.tools import Toolbox
from tests.conftest import Caller, Server, World
from tests.http.conftest import at_home
from tests.mcp.connecting import (
    ERAS,
    connected,
    named,
    structure_of,
    substance,
    text_of,
    without_names,
)

TOOLS = Toolbox(OPERATIONS)
NAMES = [op.name for op in OPERATIONS if op.family.tools]
EVERY_OPERATION = pytest.mark.parametrize("name", NAMES)
EVERY_OPERATION_IN_AN_ERA = pytest.mark.parametrize("name, era", list(zip(NAMES, cycle(ERAS), strict=False)))
"""In one of the two by turns, because it takes a while to make a home."""

BESIDE = {field.encode_name for field in msgspec.structs.fields(Told)}

EVERY_ERA = pytest.mark.parametrize("era", ERAS)

VOLATILE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|(?<=\")\d+-\d+(?=\")"
)
"""What is never twice the same: ids, moments, and cursors of the log."""
COUNTDOWN = re.compile(r"(?<=\"secondsLeft\": )\d+")


@EVERY_OPERATION_IN_AN_ERA
async def test_a_tool_answers_with_the_same_data_as_http(
    server: Server, workspace: World, other_workspace: World, name: str, era: str
) -> None:
    op = named(name)
    here = await at_home(workspace)
    there = here if op.read_only and not op.uses_up else await at_home(other_workspace)
    there_sent = whole(op, there.request(op))
    http = await over_http(
        server, there.caller(op), op, {k: v for k, v in there_sent.items() if k != "answer"}
    )
    assert http["success"], http
    words = words_of(op.request)
    sent = {words.get(name, name): value for name, value in whole(op, here.request(op)).items()}
    async with connected(server, here.caller(op).api_key, era=era, tools=name) as client:
        [shown] = (await client.list_tools()).tools
        jsonschema.Draft202012Validator(shown.input_schema).validate(sent)
        result = await client.call_tool(name, sent)  # which checks the output schema
    assert not result.is_error, result
    said = json.loads(text_of(result))
    if op.tells:  # what HTTP says in a header, the result of a tool says among its keys
        for key in BESIDE & set(said):
            said.pop(key)
    assert same(said, http["data"])
    if isinstance(said, list):
        assert structure_of(result)["data"] == said
        if op.paged:
            assert substance(structure_of(result)["pagination"]) == substance(http["meta"]["pagination"])
    elif not op.tells:
        assert result.structured_content == said


@EVERY_ERA
@pytest.mark.parametrize(
    "name", [op.name for op in OPERATIONS if op.family.tools and op.request.__struct_fields__]
)
async def test_a_tool_refuses_with_the_same_error_as_http(
    server: Server, workspace: World, name: str, era: str
) -> None:
    op = named(name)
    bot = await workspace.agent()
    wrong = {op.request.__struct_encode_fields__[0]: {"neither": "this"}}
    http = await over_http(server, bot, op, wrong)
    async with connected(server, bot.api_key, era=era, tools=name) as client:
        result = await client.call_tool(name, wrong)
    assert result.is_error
    assert same_refusal(op, json.loads(text_of(result)), http["error"])
    assert result.structured_content == json.loads(text_of(result))


@EVERY_OPERATION
async def test_a_tool_whose_scope_the_key_lacks_is_neither_shown_nor_run(
    server: Server, workspace: World, name: str
) -> None:
    op = named(name)
    other = "task-read" if op.scope != "task-read" else "workspace-read"
    bot = await workspace.agent(scopes=other)
    async with connected(server, bot.api_key) as client:
        shown = {tool.name for tool in (await client.list_tools()).tools}
        assert (name in shown) is (op.scope in (None, other))
        if name not in shown:
            result = await client.call_tool(name, {})
            assert result.is_error
            assert json.loads(text_of(result))["details"] == {"scope": op.scope}


def same(said: Any, http: Any) -> bool:
    """Whether a tool that was asked for the whole said what HTTP says."""
    like = in_words_of_tools(substance(steady(http)))
    return without_names(substance(steady(said)), like) == like


def in_words_of_tools(value: Any) -> Any:
    """What HTTP says, in the words of tools: the text of a message is called as that of a comment."""
    match value:
        case dict():
            words = {"content": "body"} if "body" not in value else {}
            return {words.get(key, key): in_words_of_tools(inner) for key, inner in value.items()}
        case list():
            return [in_words_of_tools(inner) for inner in value]
        case _:
            return value


def whole(op: Operation, request: dict[str, Any]) -> dict[str, Any]:
    """The request, with every key of the answer where it would be short over MCP and whole over HTTP."""
    tool = TOOLS.find(op.name)
    if tool is not None and tool.shortened:
        return {**request, "answer": "whole"}
    if tool is None or not tool.brief:
        return request
    schema = msgspec.json.schema(op.result)
    return {**request, "fields": list(next(iter(schema["$defs"].values()))["properties"])}


def same_refusal(op: Operation, here: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether two doors say the same no. Tools speak one dialect; other families have another for the same words."""
    return (
        here == substance(there) | {"retryable": there.get("retryable")}
        if op.family is AGENT
        else here["message"] == there["message"]
    )


async def over_http(server: Server, caller: Caller, op: Operation, body: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url, headers=caller.headers) as http:
        return (await http.post(op.path, json=body)).json()


def steady(data: object) -> object:
    """The data without what is never twice the same."""
    return json.loads(COUNTDOWN.sub("0", VOLATILE.sub("…", json.dumps(data))))
