"""complete-task: done, without a version, and harmless to repeat."""

import asyncio

import pytest

from app.errors import TaskNotFound
from app.operations import block_task, complete_task, create_task, get_task, list_comments, update_task
from tests.conftest import World

OTHER_STATUSES = ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "cancelled"]


@pytest.mark.parametrize("status", OTHER_STATUSES)
async def test_a_task_is_done_from_any_status(workspace: World, status: str) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    before = await bot(update_task, task_id=task.id, version=1, status=status)
    done = await bot(complete_task, task_id=task.id)
    assert (done.status, done.version) == ("done", before.version + 1)
    assert done.completed_at == done.updated_at
    assert (done.started_at, done.cancelled_at) == (before.started_at, before.cancelled_at)
    assert await bot(get_task, task_id=task.id) == done


async def test_completing_twice_changes_nothing(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    done = await bot(complete_task, task_id=task.id)
    assert await bot(complete_task, task_id=task.id) == done
    assert [event["kind"] for event in await workspace.events(task.id)] == ["created", "completed"]


async def test_completing_at_once_completes_once(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    answers = await asyncio.gather(*(bot(complete_task, task_id=task.id) for _ in range(8)))
    assert {(answer.status, answer.version, answer.completed_at) for answer in answers} == {
        ("done", 2, answers[0].completed_at)
    }
    assert len(await workspace.events(task.id)) == 2


async def test_it_gets_its_turn_among_others_who_change_the_task(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    async with asyncio.TaskGroup() as group:
        done = group.create_task(bot(complete_task, task_id=task.id))
        for n in range(4):
            group.create_task(bot(block_task, task_id=task.id, reason=f"{n}"))
    assert done.result().status == "done"
    kinds = [event["kind"] for event in await workspace.events(task.id) if event["kind"] != "commented"]
    assert sorted(kinds) in (
        ["blocked", "completed", "created"],
        ["blocked", "blocked", "completed", "created"],
    )


async def test_the_log_says_who_completed_it(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    task = await bot(create_task, title="x", assignee_user_id=ada.id)
    done = await ada(complete_task, task_id="t-1")
    _, event = await workspace.events(task.id)
    assert (event["kind"], event["version"], event["request_id"]) == ("completed", 2, "test-ada")
    assert (event["actor_id"], event["actor_kind"]) == (ada.id, "user")
    assert event["changes"] == {"status": ["todo", "done"], "completedAt": [None, done.completed_at]}


async def test_nothing_is_said_about_it(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    await bot(complete_task, task_id=task.id)
    assert await bot(list_comments, task_id=task.id) == []


@pytest.mark.parametrize(
    "name", ["T-2", "T-", "x", "t-0", "T-99999999999999999999", "00000000-0000-7000-8000-000000000000"]
)
async def test_a_task_that_is_not_there_cannot_be_done(workspace: World, name: str) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    with pytest.raises(TaskNotFound):
        await bot(complete_task, task_id=name)
