"""Every operation as a tool: the same data and the same refusals as over HTTP, with valid and with invalid arguments.

Arguments are made from the names of fields, so an operation that joins the list is tested without being mentioned.
Where it asks for something that SAMPLES does not know, both doors get the same guess and must say the same to it.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from app.operations import OPERATIONS, create_task
from app.rpc import AGENT, Operation
from app.transports.mcp.tools import Toolbox
from tests.conftest import Caller, Server, World
from tests.mcp.connecting import ERAS, connected, named, structure_of, text_of

TOOLS = Toolbox(OPERATIONS)
EVERY_OPERATION = pytest.mark.parametrize("name", [op.name for op in OPERATIONS if op.family.tools])
EVERY_ERA = pytest.mark.parametrize("era", ERAS)

VOLATILE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|T-\d+|\d{4}-\d\d-\d\dT[\d:.]+Z")

SAMPLES: dict[str, Callable[[Any], object]] = {
    "taskId": lambda task: task.id,
    "version": lambda task: task.version,
    "title": lambda task: "A title",
    "body": lambda task: "Some **words** for `@nobody`.",
    "reason": lambda task: "For a good reason.",
    "tasks": lambda task: [{"title": "One"}, {"title": "Two", "priority": "high"}],
    "handle": lambda task: "bot",
    "token": lambda task: "no such token",
}


@EVERY_ERA
@EVERY_OPERATION
async def test_a_tool_answers_with_the_same_data_as_http(
    server: Server, workspace: World, name: str, era: str
) -> None:
    op = named(name)
    bot = await workspace.agent()
    twins = [await bot(create_task, title="A twin", assignee_agent_id=bot.id) for _ in range(2)]
    here, there = (twins[0], twins[0]) if op.read_only else twins
    http = await over_http(server, bot, op, arguments(op, there))
    async with connected(server, bot.api_key, era=era, tools=name) as client:
        shown = {tool.name: tool for tool in (await client.list_tools()).tools}
        sent = arguments(op, here)
        if (schema := shown.get(name)) is not None and not unknown(op):
            jsonschema.Draft202012Validator(schema.input_schema).validate(sent)
        result = await client.call_tool(name, sent)  # which checks the output schema
    if result.is_error or not http["success"]:
        assert unknown(op) or name not in shown, f"{op.name} was refused: {result}"
        assert same_refusal(op, json.loads(text_of(result)), http["error"])
        return
    said = json.loads(text_of(result))
    assert steady(said) == steady(http["data"])
    if isinstance(said, list):
        assert structure_of(result)["data"] == said
        if op.paged:
            assert structure_of(result)["pagination"] == http["meta"]["pagination"]
    else:
        assert result.structured_content == said
    msgspec.convert(said, op.result)


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


def arguments(op: Operation, task: Any) -> dict[str, Any]:
    """The least one can send, and every key of each item where a list would be brief."""
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(op.request):
        if field.required or field.encode_name == "handle":
            made[field.encode_name] = SAMPLES.get(field.encode_name, lambda task: "a guess")(task)
    if (tool := TOOLS.find(op.name)) is not None and tool.brief:
        schema = msgspec.json.schema(op.result)
        made["fields"] = list(next(iter(schema["$defs"].values()))["properties"])
    return made


def unknown(op: Operation) -> set[str]:
    """The fields an operation needs for which there is no sample."""
    return {field.encode_name for field in msgspec.structs.fields(op.request) if field.required} - set(
        SAMPLES
    )


def same_refusal(op: Operation, here: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether two doors say the same no. Tools speak one dialect; other families have another for the same words."""
    return here == there if op.family is AGENT else here["message"] == there["message"]


async def over_http(server: Server, caller: Caller, op: Operation, body: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url, headers=caller.headers) as http:
        return (await http.post(op.path, json=body)).json()


def steady(data: object) -> object:
    """The data without what is never twice the same: ids, identifiers and moments."""
    return json.loads(VOLATILE.sub("…", json.dumps(data)))
