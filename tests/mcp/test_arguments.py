"""Arguments as models and frameworks write them: null is left out, what is quoted counts, what is unknown is refused.

Over every tool, with the examples of the documentation in the home that they fit, as in test_every_operation.
"""

import json
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from app.errors import InvalidInput
from app.operations import OPERATIONS, create_task, get_run, get_task, list_tasks
from app.rpc import Operation, emptied_by_null
from app.transports.mcp.arguments import FOREIGN, Arguments
from tests.conftest import Server, World
from tests.http.conftest import at_home
from tests.mcp.connecting import connected, named, structure_of, text_of
from tests.mcp.test_every_operation import steady

TOOLS = [op for op in OPERATIONS if op.family.tools]
EVERY_TOOL = pytest.mark.parametrize("name", [op.name for op in TOOLS])
EVERY_TOOL_WITH_ARGUMENTS = pytest.mark.parametrize(
    "op", [op for op in TOOLS if op.request.__struct_fields__], ids=lambda op: op.name
)


@EVERY_TOOL
async def test_null_in_every_argument_that_may_be_left_out_changes_nothing(
    server: Server, workspace: World, other_workspace: World, name: str
) -> None:
    op = named(name)
    here, there = await homes(workspace, other_workspace, op)
    required = {f.encode_name for f in msgspec.structs.fields(op.request) if f.required}
    optional = {f.encode_name for f in msgspec.structs.fields(op.request)} - required
    absent = {name: value for name, value in here.request(op).items() if name in required}
    null = {name: value for name, value in there.request(op).items() if name in required}
    null |= dict.fromkeys([*optional, "clear"])
    assert await said(server, here, op, absent) == await said(server, there, op, null)


@EVERY_TOOL
async def test_quoted_values_and_choices_in_any_case_say_the_same(
    server: Server, workspace: World, other_workspace: World, name: str
) -> None:
    op = named(name)
    here, there = await homes(workspace, other_workspace, op)
    plain, written = here.request(op), quoted(op, there.request(op))
    assert await said(server, here, op, plain) == await said(server, there, op, written)


@EVERY_TOOL_WITH_ARGUMENTS
def test_a_misspelt_argument_is_named_with_the_one_that_was_meant(op: Operation) -> None:
    for field in op.request.__struct_encode_fields__:
        for wrong in (
            field.upper() + "_",
            f"the{field.title()}",
            field[:-1] if len(field) > 4 else f"{field}s",
        ):
            with pytest.raises(InvalidInput) as refused:
                Arguments(op.request).read({wrong: "x"})
            message = refused.value.message
            assert message.startswith(f"Unknown argument `{wrong}`")
            assert "; did you mean `" in message or ". There are " in message
    with pytest.raises(InvalidInput, match=r"^Unknown argument `zzz`(\. There are |: this tool takes none)"):
        Arguments(op.request).read({"zzz": 1})


async def test_an_unknown_argument_is_refused_and_nothing_happens(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    async with connected(server, bot.api_key, tools="core") as client:
        refused = await client.call_tool("create-task", {"title": "Mend it", "runID": "x"})
        assert refused.is_error
        assert json.loads(text_of(refused))["message"] == "Unknown argument `runID`; did you mean `runId`?"
        nested = await client.call_tool(
            "comment-on-task", {"taskId": "T-1", "body": "x", "mentions": [{"id": "y", "kind": "user"}]}
        )
        assert "Unknown argument `mentions[0].kind`" in text_of(nested)
    assert await bot(list_tasks) == []


async def test_what_a_framework_adds_is_set_aside_and_said_so(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    added = {**dict.fromkeys(FOREIGN, "x"), "_run_manager": {"a": 1}}
    async with connected(server, bot.api_key, tools="core") as client:
        made = await client.call_tool("create-task", {"title": "Mend it", **added})
        assert not made.is_error
        assert made.meta is not None
        assert set(made.meta["baton-ignored-arguments"].split(", ")) == set(added)
        refused = await client.call_tool("create-task", {"title": "Mend it", "_runId": "x"})
        assert "did you mean `runId`?" in text_of(refused)


def test_no_operation_takes_what_frameworks_add() -> None:
    for op in TOOLS:
        assert not FOREIGN & set(op.request.__struct_encode_fields__)
        assert "clear" not in op.request.__struct_encode_fields__


def test_a_field_that_null_empties_says_so_and_no_other_does() -> None:
    for op in TOOLS:
        emptied = set(emptied_by_null(op.request))
        for field in msgspec.structs.fields(op.request):
            kind = inspect.type_info(field.type)
            assert isinstance(kind, inspect.Metadata)
            told = (kind.extra_json_schema or {}).get("description", "")
            assert ("null" in told) is (field.encode_name in emptied), (op.name, field.encode_name)


# --- emptying


async def test_null_leaves_a_task_alone_and_clear_empties_it(server: Server, workspace: World) -> None:
    ada, bot = await workspace.user(), await workspace.agent()
    channel = await workspace.channel("roofs", ada, bot)
    roof = await bot(create_task, title="The house")
    whole = {
        "description": "It rains in.",
        "dueAt": "2027-01-01T09:00:00Z",
        "assigneeAgentId": bot.id,
        "channelId": channel,
        "parentTaskId": roof.id,
    }
    clearable = emptied_by_null(named("update-task").request)
    assert set(clearable) == {*whole, "assigneeUserId"}
    async with connected(server, bot.api_key, tools="core") as client:
        asked = {"title": "Mend the roof", **whole, "answer": "whole"}
        made = structure_of(await client.call_tool("create-task", asked))
        change = {
            "taskId": made["id"],
            "version": 1,
            "title": "Mend it",
            **dict.fromkeys(clearable),
            "answer": "whole",
        }
        kept = structure_of(await client.call_tool("update-task", change))
        assert {name: kept[name] for name in whole} == {name: made[name] for name in whole}
        for version, name in enumerate(whole, 2):
            change = {"taskId": made["id"], "version": version, "clear": [name], "answer": "whole"}
            emptied = structure_of(await client.call_tool("update-task", change))
            assert name not in emptied
        human = {"taskId": made["id"], "version": 7, "assigneeUserId": ada.id, "answer": "whole"}
        given = structure_of(await client.call_tool("update-task", human))
        assert given["assigneeUserId"] == ada.id
        change = {"taskId": made["id"], "version": 8, "clear": "assignee_user_id", "answer": "whole"}
        assert "assigneeUserId" not in structure_of(await client.call_tool("update-task", change))
    task = await bot(get_task, task_id=made["id"])
    assert (task.title, task.description, task.due_at, task.parent_task_id) == ("Mend it", None, None, None)


async def test_clear_takes_a_list_of_what_can_be_emptied_and_nothing_that_is_given(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="Mend it")
    async with connected(server, bot.api_key, tools="core,rename-channel") as client:
        for clear in (["title"], ["dueAt", 3], "everything", 7, {"dueAt": True}):
            refused = await client.call_tool("update-task", {"taskId": "T-1", "version": 1, "clear": clear})
            assert "`clear` takes a list of these: description, assigneeAgentId, " in text_of(refused)
        both = {"taskId": "T-1", "version": 1, "clear": '["DUE AT"]', "dueAt": "2027-01-01T09:00:00Z"}
        assert "`dueAt` is both given and named in `clear`" in text_of(
            await client.call_tool("update-task", both)
        )
        [claim] = structure_of(await client.call_tool("claim-next-task", {}))["data"]
        run = {"runId": claim["run"]["id"]}
        await client.call_tool("heartbeat-run", {**run, "progress": "0.5", "note": "Half of it."})
        await client.call_tool("heartbeat-run", {**run, "progress": None, "note": None})
        seen = await bot(get_run, run_id=run["runId"])
        assert (seen.progress, seen.note) == (0.5, "Half of it.")
        await client.call_tool("heartbeat-run", {**run, "clear": ["progress", "note"]})
        seen = await bot(get_run, run_id=run["runId"])
        assert (seen.progress, seen.note) == (None, None)


# --- what is certain, and what is not


@pytest.mark.parametrize(
    "name, sent, taken",
    [
        ("list-tasks", {"limit": " 5 "}, {"limit": 5}),
        ("list-tasks", {"limit": "5.0"}, {"limit": 5}),
        ("list-tasks", {"limit": "five"}, {"limit": "five"}),
        ("list-tasks", {"limit": "9" * 5000}, {"limit": "9" * 5000}),
        ("list-tasks", {"limit": "1e999"}, {"limit": float("inf")}),
        ("list-tasks", {"limit": "NaN"}, {"limit": "NaN"}),
        ("list-tasks", {"includeTotal": "True"}, {"includeTotal": True}),
        ("list-tasks", {"includeTotal": "yes"}, {"includeTotal": "yes"}),
        ("list-tasks", {"status": "In Progress"}, {"status": "in_progress"}),
        ("list-tasks", {"status": '["DONE", "in-review"]'}, {"status": ["done", "in_review"]}),
        ("list-tasks", {"fields": "title"}, {"fields": ["title"]}),
        ("list-tasks", {"fields": '\ufeff["title"]'}, {"fields": ["title"]}),
        ("list-tasks", {"fields": "[title"}, {"fields": "[title"}),
        ("list-tasks", {"fields": "[" * 100_000}, {"fields": "[" * 100_000}),
        ("list-tasks", {"query": '["a"]'}, {"query": '["a"]'}),
        ("create-task", {"title": "null", "description": "3"}, {"title": "null", "description": "3"}),
        ("create-task", {"title": None}, {}),
        ("heartbeat-run", {"progress": "0.5", "leaseSeconds": "60"}, {"progress": 0.5, "leaseSeconds": 60}),
        (
            "comment-on-task",
            {"mentions": '{"id": "x", "type": "USER"}'},
            {"mentions": [{"id": "x", "type": "user"}]},
        ),
        (
            "create-tasks-bulk",
            {"tasks": '[{"title": "a", "priority": "High", "dueAt": null}]'},
            {"tasks": [{"title": "a", "priority": "high"}]},
        ),
        (
            "complete-run",
            {"output": '{"a": 1}', "completeTask": "true"},
            {"output": '{"a": 1}', "completeTask": True},
        ),
        ("post-message", {"metadata": '{"a": [null]}'}, {"metadata": {"a": [None]}}),
    ],
)
def test_what_can_only_mean_one_thing_is_taken_as_that(
    name: str, sent: dict[str, Any], taken: dict[str, Any]
) -> None:
    assert Arguments(named(name).request).read(sent) == (taken, [], False)


async def homes(workspace: World, other_workspace: World, op: Operation) -> tuple[Any, Any]:
    """Two alike, or one twice for a read."""
    here = await at_home(workspace)
    return here, here if op.read_only and not op.uses_up else await at_home(other_workspace)


async def said(server: Server, home: Any, op: Operation, arguments: dict[str, Any]) -> object:
    """What a tool answers, without what is never twice the same."""
    async with connected(server, home.caller(op).api_key, tools=op.name) as client:
        result = await client.call_tool(op.name, arguments)
    return steady(json.loads(text_of(result)))


def quoted(op: Operation, request: dict[str, Any]) -> dict[str, Any]:
    """The request as a careless model writes it."""
    kinds = {field.encode_name: inspect.type_info(field.type) for field in msgspec.structs.fields(op.request)}
    return {name: careless(kinds[name], value) for name, value in request.items()}


def careless(kind: inspect.Type, value: Any) -> Any:
    match kind, value:
        case inspect.Metadata(type=inner), _:
            return careless(inner, value)
        case inspect.UnionType(types=kinds), str():
            literal = [inner for inner in kinds if isinstance(inner, inspect.LiteralType)]
            return careless(literal[0], value) if literal else value
        case inspect.LiteralType(), str():
            return value.upper().replace("_", " ")
        case inspect.AnyType(), _:
            return value
        case _, str():
            return value
        case _:
            return json.dumps(value)
