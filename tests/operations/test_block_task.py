"""block-task: stuck, with the reason kept as a comment."""

import asyncio

import pytest

from app.errors import InvalidInput
from app.operations import block_task, create_task, list_comments, list_tasks, update_task
from tests.conftest import World


@pytest.mark.parametrize(
    "status", ["triage", "backlog", "todo", "in_progress", "in_review", "done", "cancelled"]
)
async def test_a_task_is_blocked_from_any_status_and_keeps_its_stamps(workspace: World, status: str) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    before = await bot(update_task, task_id=task.id, version=1, status=status)
    blocked = await bot(block_task, task_id=task.id, reason="waiting")
    assert (blocked.status, blocked.version) == ("blocked", before.version + 1)
    assert (blocked.started_at, blocked.completed_at, blocked.cancelled_at) == (
        before.started_at,
        before.completed_at,
        before.cancelled_at,
    )


async def test_the_reason_becomes_a_comment(workspace: World) -> None:
    bot, helper = await workspace.agent("bot"), await workspace.agent("helper")
    task = await bot(create_task, title="x")
    await bot(block_task, task_id="T-1", reason="waiting for @helper")
    [comment] = await helper(list_comments, task_id=task.id)
    assert (comment.body, comment.author_agent_id) == ("waiting for @helper", bot.id)
    assert [mention.id for mention in comment.mentions] == [helper.id]
    assert [seen.status for seen in await helper(list_tasks)] == ["blocked"]


async def test_blocking_again_changes_nothing_but_keeps_the_new_reason(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    first = await bot(block_task, task_id=task.id, reason="the network")
    assert await bot(block_task, task_id=task.id, reason="and the disk") == first
    assert [c.body for c in await bot(list_comments, task_id=task.id)] == ["the network", "and the disk"]
    assert [(event["kind"], event["version"]) for event in await workspace.events(task.id)] == [
        ("created", 1),
        ("blocked", 2),
        ("commented", 2),
        ("commented", 2),
    ]


async def test_blocking_at_once_blocks_once_and_keeps_every_reason(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    answers = await asyncio.gather(
        *(bot(block_task, task_id=task.id, reason=f"reason {n}") for n in range(8))
    )
    assert {(answer.status, answer.version) for answer in answers} == {("blocked", 2)}
    said = {comment.body for comment in await bot(list_comments, task_id=task.id)}
    assert said == {f"reason {n}" for n in range(8)}


@pytest.mark.parametrize(
    "fields",
    [{}, {"reason": None}, {"reason": ""}, {"reason": 7}, {"reason": "x" * 100_001}, {"reason": "\0"}],
)
async def test_a_reason_is_required(workspace: World, fields: dict[str, object]) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    with pytest.raises(InvalidInput):
        await bot(block_task, task_id=task.id, **fields)
    assert len(await workspace.events(task.id)) == 1


async def test_a_reason_has_up_to_a_hundred_thousand_characters(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    await bot(block_task, task_id=task.id, reason="é" * 100_000)
    [comment] = await bot(list_comments, task_id=task.id)
    assert comment.body == "é" * 100_000


async def test_the_log_says_who_blocked_it(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="x")
    await bot(block_task, task_id=task.id, reason="waiting")
    _, event, _ = await workspace.events(task.id)
    assert (event["actor_id"], event["request_id"], event["version"]) == (bot.id, "test-bot", 2)
    assert event["changes"] == {"status": ["todo", "blocked"]}
