"""What a model is told when a call is refused: in words for people, with help among the tools it has, as data too."""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from app.documents.refusals import ERRORS
from app.errors import ApiError, InvalidInput, RunNotFound, TaskNotFound
from app.operations import OPERATIONS, claim_task, create_task
from app.rpc import Operation
from app.transports.mcp import messages, refusals
from app.transports.mcp.results import Reader, shape_of_refusals
from app.transports.mcp.tools import Toolbox
from tests.conftest import Server, World
from tests.mcp.connecting import connected, text_of

TOOLS = Toolbox(OPERATIONS)
SCOPES = frozenset(op.scope for op in OPERATIONS if op.scope)
NAMES = sorted((op.name for op in OPERATIONS if op.family.tools), key=len, reverse=True)
TOOL = re.compile(rf"(?<![\w-])({'|'.join(NAMES)})(?![\w-])")
OF_THE_LANGUAGE: Final = re.compile(
    r"\b(str|int|float|bool|dict|NoneType|UnsetType|Literal|Struct|datetime|msgspec)\b"
    r"|`(array|object|null)`|\| null|\bNone\b(?! of)|\[<>\]=?|<class"
)
"""Types of the language, and how its libraries spell them."""

CONNECTIONS = [*TOOLS.sets, "core,channels", *NAMES]
TELLABLE = [error for kind, error in ERRORS.items() if kind.__name__ not in {"UnknownHost", "EtagMismatch"}]
"""All errors but two, which no tool can meet: one is told before any call, the other is of plain HTTP."""


@pytest.mark.parametrize("error", TELLABLE, ids=lambda error: type(error).__name__)
def test_a_refusal_names_only_tools_at_hand_and_says_the_next_call_as_data(error: ApiError) -> None:
    shape = shape_of_refusals()
    for connection in CONNECTIONS:
        names = TOOLS.chosen(connection)
        at_hand = TOOLS.at_hand(names, SCOPES)
        told = refusals.told(error, "update-task", {"taskId": "T-1"}, at_hand)
        if error.details:
            details = msgspec.json.decode(messages.encode(error.details))
            told["details"] = shape.told(details, Reader({}, at_hand))
        called = {"update-task"}
        said = json.dumps({**told, "helps": []}, ensure_ascii=False)
        assert set(TOOL.findall(said)) - called <= names, (connection, said)
        assert told["message"], connection
        assert {call["operation"] for call in told.get("helps", [])} - called <= names
        named = set(TOOL.findall(told["message"])) & names
        assert not named or told.get("helps") or "obstacles" in (told.get("details") or {}), said


@pytest.mark.parametrize("error", ERRORS.values(), ids=lambda error: type(error).__name__)
def test_an_error_speaks_the_language_of_people(error: ApiError) -> None:
    for text in (error.message, error.to_models or "", *(way.says for way in error.ways)):
        assert not OF_THE_LANGUAGE.search(text), text
        assert not text or text.endswith(".")


@pytest.mark.parametrize("error", ERRORS.values(), ids=lambda error: type(error).__name__)
def test_every_way_out_is_an_operation_and_its_arguments_are_fields_of_it(error: ApiError) -> None:
    for way in error.ways:
        op = next(op for op in OPERATIONS if op.name == way.operation)
        assert set(way.arguments) <= set(op.request.__struct_encode_fields__)
        assert way.operation in way.says or way.says.startswith("That is done")


WRONG: Final[tuple[Any, ...]] = (
    *(3, -1, 2.5, True, "", "x", [], [3], [None], {}, {"a": 1}, [[1]], [{"id": 3}], [{"kind": []}]),
    *("x" * 600, 10**30, "nowhen"),
)


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.family.tools], ids=lambda op: op.name)
def test_whatever_is_sent_is_refused_in_words(op: Operation) -> None:
    tool = TOOLS.find(op.name)
    assert tool is not None
    example: dict[str, Any] = {field.encode_name: None for field in msgspec.structs.fields(op.request)}
    for name in example:
        for value in WRONG:
            for read in (op.decoder.from_json, lambda body: tool_reads(op, body)):
                message = refusal_of(read, json.dumps({name: value}).encode())
                assert not OF_THE_LANGUAGE.search(message), message
                assert len(message) < 400


def refusal_of(read: Callable[[bytes], object], body: bytes) -> str:
    """What is said of a body that is not in order; nothing if it is."""
    try:
        read(body)
    except InvalidInput as refused:
        return refused.message
    return ""


def tool_reads(op: Operation, body: bytes) -> object:
    """A call as a tool reads it."""
    tool = TOOLS.find(op.name)
    assert tool is not None
    return op.decoder.from_json(json.dumps(tool.arguments.read(json.loads(body)).arguments).encode())


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.family.tools], ids=lambda op: op.name)
def test_a_choice_that_there_is_not_is_refused_with_those_there_are(op: Operation) -> None:
    for field in msgspec.structs.fields(op.request):
        choices = literals(msgspec.inspect.type_info(field.type))
        if not choices:
            continue
        with pytest.raises(InvalidInput) as refused:
            op.decoder.from_json(json.dumps({field.encode_name: "neither"}).encode())
        assert all(str(choice) in refused.value.message for choice in choices), refused.value.message


def literals(kind: msgspec.inspect.Type) -> list[object]:
    """The values of a field that takes only some."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return literals(inner)
        case msgspec.inspect.UnionType(types=kinds):
            return next((found for inner in kinds if (found := literals(inner))), [])
        case msgspec.inspect.LiteralType(values=values):
            return list(values)
        case _:
            return []


async def test_help_comes_from_the_tools_of_the_connection(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    for tools, helps in (
        ("core", "get-inbox"),
        ("core,tasks", "list-tasks"),
        ("update-task,search-tasks", "search-tasks"),
    ):
        async with connected(server, bot.api_key, tools=tools) as client:
            refused = await client.call_tool("update-task", {"taskId": "T-9", "version": 1, "title": "x"})
        said = json.loads(text_of(refused))
        assert said["message"].startswith("No task `T-9` is visible to you.") and helps in said["message"]
        assert said["helps"] == [{"operation": helps, "arguments": {}}]
    async with connected(server, bot.api_key, tools="update-task") as client:
        refused = await client.call_tool("update-task", {"taskId": "T-9", "version": 1, "title": "x"})
    assert json.loads(text_of(refused))["message"] == "No task `T-9` is visible to you."


async def test_a_passed_version_comes_with_the_call_to_make_next(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="Mend it")
    claim = await bot(claim_task, task_id=task.id)
    async with connected(server, bot.api_key, tools="core") as client:
        sent = {"taskId": "T-1", "runId": claim.run.id, "version": 1, "title": "Mend the roof"}
        said = json.loads(text_of(await client.call_tool("update-task", sent)))
        assert "current" not in said["details"] and "details.current" not in said["message"]
        [call] = said["helps"]
        assert call == {
            "operation": "update-task",
            "arguments": {"taskId": "T-1", "runId": claim.run.id, "version": 2},
        }
        assert not (await client.call_tool("update-task", {**sent, **call["arguments"]})).is_error


async def test_a_refusal_that_is_repeated_under_its_key_names_no_tool_that_is_not_there(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    sent = {"taskId": "T-9", "version": 1, "title": "x", "idempotencyKey": "once"}
    async with connected(server, bot.api_key, tools="core") as client:
        await client.call_tool("update-task", sent)
        again = json.loads(text_of(await client.call_tool("update-task", sent)))
    assert again["replayed"] is True
    assert again["message"] == "No task `T-9` is visible to you."


def test_over_http_the_best_way_ends_the_message() -> None:
    assert TaskNotFound("T-9").message == "No task `T-9` is visible to you. Find tasks with list-tasks."
    assert RunNotFound("x").message == "No run `x` is visible to you. Find runs with list-runs."
