"""What a model is shown: derived from the operations, valid, and small enough to be worth its context."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

import app.transports.mcp
from app.errors import InvalidInput
from app.operations import OPERATIONS
from app.rpc import UNTOLD, Operation, emptied_by_null, marked
from app.transports.mcp.arguments import words_of
from app.transports.mcp.documents import documents
from app.transports.mcp.endpoint import instructions
from app.transports.mcp.tools import (
    COMMON_TOOLS_MIN,
    CORE_BYTES_MAX,
    CORE_TOOLS_MAX,
    TOOL_BYTES_MAX,
    Tool,
    Toolbox,
    loop,
)
from app.types import Scope

TOOLS = Toolbox(OPERATIONS)
SCOPES = frozenset(op.scope for op in OPERATIONS if op.scope)
EVERY_OPERATION = pytest.mark.parametrize(
    "op", [op for op in OPERATIONS if op.family.tools], ids=lambda op: op.name
)
INSTRUCTIONS_CHARACTERS_MAX = 1650  # some clients cut off after 2,048


def shown(tools: str, scopes: frozenset[str] = SCOPES) -> list[Tool]:
    return TOOLS.shown(TOOLS.chosen(tools), scopes)


def listed(tools: str) -> list[dict[str, Any]]:
    return [tool.json for tool in shown(tools)]


def named_in(text: str) -> set[str]:
    """The operations that a text names."""
    return {op.name for op in OPERATIONS if re.search(rf"(?<![\w-]){op.name}(?![\w-])", text)}


def test_every_operation_is_a_tool_under_its_own_name_the_loop_first() -> None:
    rest = [op.name for op in OPERATIONS if op.family.tools and not op.core]
    assert [tool["name"] for tool in listed("all")] == [step.name for step in loop(shown("core"))] + rest
    assert listed("") == listed("all")


@EVERY_OPERATION
def test_a_tool_says_what_its_operation_says(op: Operation) -> None:
    [tool] = listed(op.name)
    assert tool["description"].startswith(op.summary)
    hints = tool["annotations"]
    assert hints.get("readOnlyHint", False) is (op.read_only and not op.uses_up)
    if not hints.get("readOnlyHint", False):
        assert hints.get("destructiveHint", True) is op.destructive
        assert hints.get("idempotentHint", False) is op.idempotent


def test_a_read_that_uses_up_what_it_is_given_is_not_called_one() -> None:
    spending = [op for op in OPERATIONS if op.uses_up]
    assert spending
    for op in spending:
        [tool] = listed(op.name)
        assert tool["annotations"] == {"destructiveHint": False}


@EVERY_OPERATION
def test_schemas_are_valid_inlined_objects_to_an_independent_implementation(op: Operation) -> None:
    [tool] = listed(op.name)
    for schema in (tool["inputSchema"], tool["outputSchema"]):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert "$ref" not in msgspec.json.encode(schema).decode()


@EVERY_OPERATION
def test_a_tool_takes_exactly_the_fields_of_its_request(op: Operation) -> None:
    [tool] = listed(op.name)
    fields = msgspec.structs.fields(op.request)
    found = TOOLS.find(op.name)
    assert found is not None
    own = {
        "clear": bool(emptied_by_null(op.request)),
        "answer": found.shortened and found.shape.is_short_outside,
    }
    words = words_of(op.request)
    told = {words.get(field.encode_name, field.encode_name) for field in fields}
    told -= set(marked(op.request, UNTOLD))
    assert set(tool["inputSchema"]["properties"]) == told | {name for name, there in own.items() if there}
    required = {words.get(f.encode_name, f.encode_name) for f in fields if f.required}
    assert set(tool["inputSchema"].get("required", ())) == required


@EVERY_OPERATION
def test_the_brief_keys_of_an_answer_exist(op: Operation) -> None:
    schema = msgspec.json.schema(op.result)
    [tool] = listed(op.name)
    shape = tool["outputSchema"]["properties"]
    if "items" in shape.get("data", {}):
        shape = shape["data"]["items"]["properties"]
    known = {name for struct in schema["$defs"].values() for name in struct["properties"]}
    words = {re.sub(r"(Agent|User)?Id$", "", name) for name in known if name.endswith("Id")} | {"body"}
    assert shape and set(shape) <= known | words


def test_the_core_is_the_daily_loop_and_no_more_than_eight_tools() -> None:
    core = {op.name for op in OPERATIONS if op.core}
    assert {tool["name"] for tool in listed("core")} == core
    assert 0 < len(core) <= CORE_TOOLS_MAX, (
        f"{len(core)} tools are core; take the Step from one to give it to another"
    )
    orders = [op.core.order for op in OPERATIONS if op.core]
    assert len(set(orders)) == len(orders)


def test_tools_are_small(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {
        name: (len(listed(name)), len(msgspec.json.encode({"tools": listed(name)}))) for name in TOOLS.sets
    }
    with capsys.disabled():
        print()
        for name, (count, size) in sizes.items():
            print(f"  tools/list of {name:10} {count:3} tools {size:6} bytes")
    assert sizes["core"][1] <= CORE_BYTES_MAX
    assert sizes["all"][1] <= TOOL_BYTES_MAX * sizes["all"][0]


def test_there_is_a_set_for_each_noun_and_sets_and_names_can_be_combined() -> None:
    tasks = {op.name for op in OPERATIONS if op.handler.__module__.startswith("app.operations.tasks.")}
    assert {tool["name"] for tool in listed("tasks")} == tasks
    assert {tool["name"] for tool in listed("tasks,get-me")} == tasks | {"get-me"}
    assert [tool["name"] for tool in listed("get-me")] == ["get-me"]


def test_an_unknown_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"no tool or tool set `cor`. The sets are core, tasks, "):
        TOOLS.chosen("cor")


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_a_key_is_shown_only_what_it_may_call(scope: Scope) -> None:
    names = {tool.name for tool in shown("all", frozenset({scope}))}
    assert names == {op.name for op in OPERATIONS if op.family.tools and op.scope in (None, scope)}


@pytest.mark.parametrize("tools", ["core", "all"])
def test_the_instructions_teach_the_loop_in_a_few_words(tools: str) -> None:
    said = instructions(TOOLS, shown(tools))
    assert len(said) < INSTRUCTIONS_CHARACTERS_MAX
    steps = sorted((op for op in OPERATIONS if op.core), key=lambda op: op.core.order if op.core else 0)
    places = [
        said.index(f"{place}. {op.name}: {op.core.line}") for place, op in enumerate(steps, 1) if op.core
    ]
    assert places == sorted(places)


def test_the_core_sends_nobody_to_a_tool_outside_of_it() -> None:
    core = {tool.name for tool in shown("core")}
    for tool in listed("core"):
        fields = [field.get("description", "") for field in tool["inputSchema"]["properties"].values()]
        assert named_in("\n".join([tool["description"], *fields])) <= core


@pytest.mark.parametrize("tools", TOOLS.sets)
@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_the_instructions_name_only_what_a_connection_has(tools: str, scope: Scope) -> None:
    tools_shown = shown(tools, frozenset({scope}))
    said = instructions(TOOLS, tools_shown)
    assert named_in(said) == {tool.name for tool in tools_shown if tool.operation.core}
    assert ("Work in this loop" in said) is bool(loop(tools_shown))
    taken = {name for tool in tools_shown for name in tool.json["inputSchema"]["properties"]}
    assert {name for name, _ in TOOLS.common(tools_shown)} <= taken


def test_what_many_tools_take_is_told_once() -> None:
    said = instructions(TOOLS, shown("all"))
    told = [
        (name, schema.get("description"))
        for tool in listed("all")
        for name, schema in tool["inputSchema"]["properties"].items()
    ]
    common = TOOLS.common(shown("all"))
    assert common
    for name, what in common:
        assert said.count(f"\n{name}: {what}\n") == 1
        assert (name, what) not in told and (name, None) in told
    counts = Counter(field for field in told if field[1])
    assert max(counts.values()) < COMMON_TOOLS_MIN


def test_a_resource_has_the_fields_of_its_request() -> None:
    found = documents(OPERATIONS)
    assert found
    for document in found:
        assert document.operation.read_only
        names = set(re.findall(r"{(\w+)}", document.uri))
        assert names == {
            f.encode_name for f in msgspec.structs.fields(document.operation.request) if f.required
        }


def test_the_documentation_names_the_core_as_it_is() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "mcp.md").read_text().split())
    names = ", ".join(step.name for step in loop(shown("core")))
    assert f"The core, in the order of the loop: {names}." in text


def test_nothing_in_the_mcp_layer_names_an_operation_by_hand() -> None:
    for path in Path(app.transports.mcp.__path__[0]).glob("*.py"):
        source = path.read_text()
        for op in OPERATIONS:
            by_hand = re.search(rf"(?<![\w.])({op.name}|{op.name.replace('-', '_')})\b", source)
            assert by_hand is None, (path.name, op.name)
