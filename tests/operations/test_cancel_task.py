"""cancel-task: closed without being done, with the reason, if any, kept as a comment."""

import pytest

from app.errors import InvalidInput, TaskNotFound, TaskReadOnly
from app.operations import cancel_task, complete_task, create_task, list_comments, list_tasks, update_task
from tests.conftest import World


@pytest.mark.parametrize(
    "status", ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done"]
)
async def test_a_task_is_cancelled_from_any_status(workspace: World, status: str) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    before = await bot(update_task, task_id=task.id, version=1, status=status)
    cancelled = await bot(cancel_task, task_id=task.id)
    assert (cancelled.status, cancelled.version) == ("cancelled", before.version + 1)
    assert cancelled.cancelled_at == cancelled.updated_at
    assert (cancelled.started_at, cancelled.completed_at) == (before.started_at, before.completed_at)


async def test_the_reason_becomes_a_comment_of_the_same_change(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    cancelled = await bot(cancel_task, task_id=task.id, reason="Done *elsewhere*.")
    [comment] = await bot(list_comments, task_id=task.id)
    assert (comment.body, comment.author_agent_id, comment.task_id) == ("Done *elsewhere*.", bot.id, task.id)
    assert comment.created_at == cancelled.updated_at
    _, change, remark = await workspace.events(task.id)
    assert (change["kind"], change["version"]) == ("cancelled", 2)
    assert change["changes"] == {
        "status": ["todo", "cancelled"],
        "cancelledAt": [None, cancelled.cancelled_at],
    }
    assert (remark["kind"], remark["version"], remark["subject_id"]) == ("commented", 2, comment.id)


@pytest.mark.parametrize("nothing", [{}, {"reason": None}, {"reason": ""}])
async def test_without_a_reason_there_is_no_comment(workspace: World, nothing: dict[str, object]) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    await bot(cancel_task, task_id=task.id, **nothing)
    assert await bot(list_comments, task_id=task.id) == []
    assert len(await workspace.events(task.id)) == 2


async def test_cancelling_again_changes_nothing_but_keeps_the_new_reason(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    first = await bot(cancel_task, task_id=task.id, reason="first")
    assert await bot(cancel_task, task_id=task.id, reason="second") == first
    assert await bot(cancel_task, task_id=task.id) == first
    assert [comment.body for comment in await bot(list_comments, task_id=task.id)] == ["first", "second"]
    kinds = [event["kind"] for event in await workspace.events(task.id)]
    assert kinds == ["created", "cancelled", "commented", "commented"]


async def test_a_cancelled_task_can_still_be_completed_and_both_stamps_stay(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    cancelled = await bot(cancel_task, task_id=task.id)
    done = await bot(complete_task, task_id=task.id)
    assert (done.status, done.cancelled_at) == ("done", cancelled.cancelled_at)
    assert done.completed_at is not None


async def test_whoever_the_reason_mentions_sees_the_task(workspace: World) -> None:
    bot, helper = await workspace.agent("bot"), await workspace.agent("helper")
    task = await bot(create_task, title="x")
    await bot(cancel_task, task_id=task.id, reason="@helper already did it")
    [comment] = await helper(list_comments, task_id=task.id)
    assert [(mention.id, mention.type) for mention in comment.mentions] == [(helper.id, "agent")]
    assert [seen.id for seen in await helper(list_tasks)] == [task.id]


async def test_a_refused_cancellation_leaves_no_reason(workspace: World) -> None:
    author, reader = await workspace.agent("author"), await workspace.agent("reader")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", reader, role="reader")
    task = await author(create_task, title="x", channel_id=channel)
    with pytest.raises(TaskReadOnly):
        await reader(cancel_task, task_id=task.id, reason="mine")
    with pytest.raises(TaskNotFound):
        await (await workspace.agent("stranger"))(cancel_task, task_id=task.id, reason="mine")
    assert await author(list_comments, task_id=task.id) == []


@pytest.mark.parametrize("reason", ["x" * 100_001, "a\0b", 7, ["x"]])
async def test_a_reason_is_text_of_a_comments_size(workspace: World, reason: object) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    with pytest.raises(InvalidInput):
        await bot(cancel_task, task_id="T-1", reason=reason)


async def test_a_reason_addresses_twenty_at_most(workspace: World) -> None:
    bot = await workspace.agent()
    for n in range(21):
        await workspace.agent(f"helper-{n}")
    task = await bot(create_task, title="x")
    with pytest.raises(InvalidInput, match="at most 20") as refused:
        await bot(cancel_task, task_id=task.id, reason=" ".join(f"@helper-{n}" for n in range(21)))
    assert refused.value.details == {"field": "mentions"}
    assert len(await workspace.events(task.id)) == 1
