"""list-task-history, list-my-activity and get-task with atVersion."""

import pytest

from app.errors import TaskNotFound, VersionNotFound
from app.operations import (
    block_task,
    cancel_task,
    comment_on_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    get_task,
    list_comments,
    list_my_activity,
    list_task_history,
    release_task,
    update_task,
)
from tests.conftest import World


async def test_history_tells_every_change_with_who_when_and_in_which_request(workspace: World) -> None:
    bot = await workspace.agent("bot")
    ada = await workspace.user("ada")
    channel = await workspace.channel("build", bot, ada)
    created = await bot(create_task, title="A", priority="low", channel_id=channel, assignee_agent_id=bot.id)
    renamed = await ada(update_task, task_id=created.id, version=1, title="B", priority="none")
    await bot(comment_on_task, task_id=created.id, body="Hm.")
    await bot(block_task, task_id=created.id, reason="x" * 500)
    await bot(release_task, task_id=created.id)
    history = await ada(list_task_history, task_id="T-1", order="oldest")
    told = [(e.kind, e.version, e.by.handle, e.by.kind, e.comment and e.comment[:4]) for e in history]
    assert told == [
        ("created", 1, "bot", "agent", None),
        ("updated", 2, "ada", "user", None),
        ("commented", 2, "bot", "agent", "Hm."),
        ("blocked", 3, "bot", "agent", None),
        ("commented", 3, "bot", "agent", "xxxx"),
        ("released", 4, "bot", "agent", None),
    ]
    assert [(c.field, c.was, c.now) for c in history[0].changes] == [
        ("assigneeAgentId", None, bot.id),
        ("channelId", None, channel),
        ("priority", None, "low"),
        ("status", None, "todo"),
        ("title", None, "A"),
    ]
    assert [(c.field, c.was, c.now) for c in history[1].changes] == [
        ("priority", "low", "none"),
        ("title", "A", "B"),
    ]
    assert (history[1].at, history[1].request_id, history[1].by.id) == (
        renamed.updated_at,
        "test-ada",
        ada.id,
    )
    comments = await bot(list_comments, task_id=created.id)
    assert [e.comment_id for e in history if e.kind == "commented"] == [c.id for c in comments]
    assert len(history[4].comment) == 200
    assert history == list(reversed(await ada(list_task_history, task_id="T-1")))


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_history_is_paged_without_gaps_or_repetitions(workspace: World, order: str) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    for version in range(1, 8):
        await bot(update_task, task_id=task.id, version=version, title=f"A{version}")
        await bot(comment_on_task, task_id=task.id, body=f"{version}")
    whole = await bot(list_task_history, task_id=task.id, order=order, limit=100)
    assert len(whole) == 15 and not whole.has_more
    walked, cursor = [], None
    while True:
        page = await bot(list_task_history, task_id=task.id, order=order, limit=4, cursor=cursor)
        walked += page
        if (cursor := page.cursor) is None:
            break
    assert walked == list(whole)


async def test_a_walk_through_history_is_not_disturbed_by_what_happens_meanwhile(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    for version in range(1, 5):
        await bot(update_task, task_id=task.id, version=version, title=f"A{version}")
    first = await bot(list_task_history, task_id=task.id, limit=2)
    await bot(complete_task, task_id=task.id)
    rest = await bot(list_task_history, task_id=task.id, cursor=first.cursor)
    assert [e.version for e in [*first, *rest]] == [5, 4, 3, 2, 1]


async def test_the_history_of_an_unseen_task_is_not_found(workspace: World, other_workspace: World) -> None:
    bot, scout = await workspace.agent("bot"), await workspace.agent("scout")
    stranger = await other_workspace.agent("bot")
    task = await bot(create_task, title="A")
    for caller in (scout, stranger):
        for op, fields in ((list_task_history, {}), (get_task, {"at_version": 1})):
            with pytest.raises(TaskNotFound):
                await caller(op, task_id=task.id, **fields)
    with pytest.raises(TaskNotFound):
        await bot(list_task_history, task_id="T-9")


async def test_every_version_of_a_task_can_be_seen_again_as_it_was_answered_then(workspace: World) -> None:
    bot = await workspace.agent("bot")
    ada = await workspace.user("ada")
    channel = await workspace.channel("build", bot, ada)
    parent = await bot(create_task, title="Parent")
    answers = [await bot(create_task, title="A")]

    async def change(**fields: object) -> None:
        answers.append(await bot(update_task, task_id="T-2", version=len(answers), **fields))

    await change(title="B", description="More.", due_at="2026-12-01T09:00:00.123+01:00", priority="urgent")
    await change(status="in_progress", assignee_agent_id=bot.id)
    await change(assignee_user_id=ada.id, channel_id=channel)
    await change(parent_task_id=parent.id, description=None)
    answers.append(await bot(complete_task, task_id="T-2"))
    await change(status="todo", due_at=None)
    await bot(comment_on_task, task_id="T-2", body="Never mind.")
    answers.append(await bot(cancel_task, task_id="T-2"))
    await change(channel_id=None, assignee_user_id=None, parent_task_id=None)
    for version, answer in enumerate(answers, start=1):
        assert await bot(get_task, task_id="T-2", at_version=version) == answer
    assert await bot(get_task, task_id="T-2", at_version=2, fields=["title"]) == {"title": "B"}
    assert await bot.post(get_task, {"taskId": "T-2", "atVersion": None}) == answers[-1]


async def test_a_version_that_has_not_been_yet_is_not_found(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await bot(create_task, title="A")
    with pytest.raises(VersionNotFound) as refused:
        await bot(get_task, task_id="T-1", at_version=2)
    assert bot.decoded(refused.value).current_version == 1


async def test_my_activity_is_what_i_did_newest_first(workspace: World) -> None:
    bot, scout = await workspace.agent("bot"), await workspace.agent("scout")
    channel = await workspace.channel("build", bot, scout)
    await bot(
        create_tasks_bulk,
        tasks=[{"title": "One", "channelId": channel}, {"title": "Two", "channelId": channel}],
    )
    await scout(update_task, task_id="T-1", version=1, title="Uno")
    await bot(comment_on_task, task_id="T-2", body="Mine.")
    await bot(complete_task, task_id="T-1")
    mine = await bot(list_my_activity)
    assert [(e.kind, e.task.identifier, e.task.title, e.version, e.comment) for e in mine] == [
        ("completed", "T-1", "Uno", 3, None),
        ("commented", "T-2", "Two", 1, "Mine."),
        ("created", "T-2", "Two", 1, None),
        ("created", "T-1", "Uno", 1, None),
    ]
    assert {e.by.id for e in mine} == {bot.id}
    first = await bot(list_my_activity, limit=3)
    assert [*first, *await bot(list_my_activity, cursor=first.cursor)] == list(mine)


async def test_my_activity_leaves_out_tasks_i_cannot_see_any_more(workspace: World) -> None:
    bot, scout = await workspace.agent("bot"), await workspace.agent("scout")
    channel = await workspace.channel("build", bot, scout)
    task = await bot(create_task, title="A", channel_id=channel)
    await scout(update_task, task_id=task.id, version=1, title="B")
    assert len(await scout(list_my_activity)) == 1
    await bot(update_task, task_id=task.id, version=2, channel_id=None)
    assert await scout(list_my_activity) == []


async def test_a_new_agent_has_done_nothing(workspace: World) -> None:
    bot = await workspace.agent("bot")
    assert await bot(list_my_activity) == []
