"""get-task: one task, by either of its names, whole or only what the caller wants to pay for."""

from typing import Any

import pytest

from app.errors import InvalidInput, TaskNotFound
from app.operations import create_task, get_task
from app.operations.tasks.task import Task
from app.rpc import execute
from tests.conftest import World


async def test_a_task_is_read_by_id_or_identifier_in_any_case(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    for name in (task.id, task.id.upper(), "T-1", "t-1"):
        assert await bot(get_task, task_id=name) == task


async def test_identifiers_belong_to_a_workspace(workspace: World, other_workspace: World) -> None:
    here, there = await workspace.agent(), await other_workspace.agent()
    await here(create_task, title="here")
    await there(create_task, title="there")
    assert (await here(get_task, task_id="T-1")).title == "here"
    assert (await there(get_task, task_id="T-1")).title == "there"


@pytest.mark.parametrize(
    "name",
    [
        "T-2",
        "T-0",
        "T--1",
        "T-",
        "T",
        "T-1 ",
        "T-１",  # noqa: RUF001 - a digit, but not an ASCII one
        "T-99999999999999999999",
        "1",
        "x" * 500,
        "00000000-0000-0000-0000-000000000000",
        "1f0c9a52-3d6e-4b7a-8c15-9e2d4f6a7b80",
    ],
)
async def test_a_name_that_no_task_has_is_not_found_and_quoted_shortly(workspace: World, name: str) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    with pytest.raises(TaskNotFound) as refused:
        await bot(get_task, task_id=name)
    assert refused.value.details == {"field": "taskId", "taskId": name[:80]}
    assert refused.value.message == f"No task `{name[:80]}` is visible to you. Find tasks with list-tasks."


@pytest.mark.parametrize("name", ["", "x" * 501, "x" * 10_000, None, 1, ["T-1"], "\0"])
async def test_what_cannot_be_a_name_is_refused(workspace: World, name: object) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput):
        await bot(get_task, task_id=name)


async def test_every_key_is_there_in_the_documented_order(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    sent: Any = await execute(get_task, bot.context, query=f"taskId={task.id}".encode())
    assert list(sent.decode(dict)) == list(Task.__struct_encode_fields__)


async def test_fields_trim_the_answer_and_keep_its_order(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    trimmed = await bot(get_task, task_id=task.id, fields=["version", "title", "dueAt", "title"])
    assert list(trimmed.items()) == [("title", "x"), ("version", 1), ("dueAt", None)]
    whole = await bot(get_task, task_id=task.id, fields=list(Task.__struct_encode_fields__))
    assert list(whole) == list(Task.__struct_encode_fields__)


@pytest.mark.parametrize("fields", [[], ["nope"], ["due_at"], "title", ["title"] * 41, [None]])
async def test_fields_are_a_list_of_known_keys(workspace: World, fields: object) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    with pytest.raises(InvalidInput, match="fields"):
        await bot(get_task, task_id="T-1", fields=fields)
