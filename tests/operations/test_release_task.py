"""release-task: only its assignee gives a task back, and only the assignment goes."""

import asyncio

import pytest

from app.errors import NotAssigned, NotAssignee, TaskNotFound, TaskReadOnly
from app.operations import create_task, get_task, list_my_tasks, list_tasks, release_task, update_task
from tests.conftest import World


@pytest.mark.parametrize(
    "status", ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
)
async def test_the_assignment_goes_and_the_status_stays(workspace: World, status: str) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x", assignee_agent_id=bot.id)
    before = await bot(update_task, task_id=task.id, version=1, status=status)
    released = await bot(release_task, task_id="t-1")
    assert (released.assignee_agent_id, released.assignee_user_id) == (None, None)
    assert (released.status, released.version) == (status, before.version + 1)
    assert released.started_at == before.started_at
    assert await bot(list_my_tasks) == []


async def test_a_human_releases_too(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    task = await bot(create_task, title="x", assignee_user_id=ada.id)
    assert (await ada(release_task, task_id=task.id)).assignee_user_id is None


async def test_someone_elses_task_cannot_be_released_not_even_by_its_creator_or_their_owner(
    workspace: World,
) -> None:
    ada = await workspace.user("ada")
    bot, helper = await workspace.agent("bot", owner="ada"), await workspace.agent("helper", owner="ada")
    task = await bot(create_task, title="x", assignee_agent_id=helper.id)
    for caller in (bot, ada):
        with pytest.raises(NotAssignee) as refused:
            await caller(release_task, task_id=task.id)
        assert (refused.value.status, refused.value.code) == (403, "permission_denied")
    assert (await bot(get_task, task_id=task.id)).assignee_agent_id == helper.id


async def test_nobodys_task_is_a_conflict(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x", assignee_agent_id=bot.id)
    await bot(release_task, task_id=task.id)
    with pytest.raises(NotAssigned) as refused:
        await bot(release_task, task_id=task.id)
    assert (refused.value.status, refused.value.retryable) == (409, False)
    assert refused.value.details == {"reason": "not_assigned"}
    assert len(await workspace.events(task.id)) == 2


async def test_a_reader_who_is_not_assigned_may_not(workspace: World) -> None:
    author, reader = await workspace.agent("author"), await workspace.agent("reader")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", reader, role="reader")
    task = await author(create_task, title="x", channel_id=channel)
    with pytest.raises(TaskReadOnly):
        await reader(release_task, task_id=task.id)
    await author(update_task, task_id=task.id, version=1, assignee_agent_id=reader.id)
    assert (await reader(release_task, task_id=task.id)).assignee_agent_id is None


async def test_an_invisible_task_does_not_exist(workspace: World) -> None:
    bot, stranger = await workspace.agent("bot"), await workspace.agent("stranger")
    await bot(create_task, title="x", assignee_agent_id=bot.id)
    with pytest.raises(TaskNotFound):
        await stranger(release_task, task_id="T-1")


async def test_whoever_released_it_still_sees_it_and_anyone_may_take_it_up(workspace: World) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    task = await author(create_task, title="x", assignee_agent_id=bot.id)
    released = await bot(release_task, task_id=task.id)
    assert [seen.id for seen in await bot(list_tasks)] == [task.id]
    taken = await author(update_task, task_id=task.id, version=released.version, assignee_agent_id=author.id)
    assert taken.assignee_agent_id == author.id


async def test_releasing_at_once_releases_once(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x", assignee_agent_id=bot.id)
    answers = await asyncio.gather(
        *(bot(release_task, task_id=task.id) for _ in range(6)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["NotAssigned"] * 5 + ["Task"]
    assert (await bot(get_task, task_id=task.id)).version == 2


async def test_the_log_says_who_gave_it_back(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="x", assignee_agent_id=bot.id)
    await bot(release_task, task_id=task.id)
    _, event = await workspace.events(task.id)
    assert (event["kind"], event["version"], event["actor_id"]) == ("released", 2, bot.id)
    assert event["request_id"] == "test-bot"
    assert event["changes"] == {"assigneeAgentId": [bot.id, None]}
