"""Task cards: what Baton says in a channel about the tasks bound to it."""

import pytest

from app.errors import VersionConflict
from app.operations import (
    block_task,
    cancel_task,
    comment_on_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    get_messages,
    get_unread_mentions,
    release_task,
    update_task,
)
from tests.conftest import Caller, World


async def cards(caller: Caller, channel: str) -> list[str]:
    page = await caller(get_messages, channel_id=channel, limit=100)
    return [m.content for m in reversed(page.messages) if m.sender_type == "system"]


async def a_bound_task(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, bot)
    await ada(create_task, title="Ship", channel_id=channel)
    return ada, bot, channel


async def test_each_step_of_a_task_is_a_card(workspace: World) -> None:
    ada, bot, channel = await a_bound_task(workspace)
    await bot(update_task, task_id="T-1", version=1, assignee_agent_id=bot.id)
    await bot(update_task, task_id="T-1", version=2, status="in_progress")
    await bot(block_task, task_id="T-1", reason="no key")
    await ada(update_task, task_id="T-1", version=4, status="todo", assignee_user_id=ada.id)
    await ada(complete_task, task_id="T-1")
    assert await cards(bot, channel) == [
        "T-1 created: Ship",
        "T-1 assigned to @bot: Ship",
        "T-1 todo → in_progress: Ship",
        "T-1 in_progress → blocked: Ship",
        "T-1 blocked → todo, assigned to @ada: Ship",
        "T-1 completed: Ship",
    ]


async def test_a_card_is_small_and_says_for_machines_what_happened(workspace: World) -> None:
    _, bot, channel = await a_bound_task(workspace)
    task = await bot(create_task, title="x" * 500, channel_id=channel, assignee_agent_id=bot.id)
    card = (await bot(get_messages, channel_id=channel)).messages[0]
    assert card.content == f"T-2 created, assigned to @bot: {'x' * 119}…"
    assert card.metadata == {
        "taskId": task.id,
        "identifier": "T-2",
        "version": 1,
        "event": "created",
        "status": "todo",
        "actorId": bot.id,
    }
    assert (card.sender_type, card.sender_id) == ("system", "00000000-0000-0000-0000-000000000000")
    await bot(complete_task, task_id="T-2")
    card = (await bot(get_messages, channel_id=channel)).messages[0]
    assert (card.metadata["event"], card.metadata["version"]) == ("completed", 2)


async def test_what_is_not_told(workspace: World) -> None:
    ada, bot, channel = await a_bound_task(workspace)
    await bot(update_task, task_id="T-1", version=1, title="Ship it", priority="high")
    await bot(comment_on_task, task_id="T-1", body="@ada?")
    await bot(update_task, task_id="T-1", version=2, assignee_agent_id=bot.id)
    await bot(release_task, task_id="T-1")
    await bot(create_task, title="unbound")
    await bot(cancel_task, task_id="T-2")
    assert await cards(ada, channel) == ["T-1 created: Ship", "T-1 assigned to @bot: Ship it"]
    assert (await bot(get_unread_mentions)).mentions == []


async def test_a_summary_takes_the_place_of_the_cards_in_its_channel(workspace: World) -> None:
    ada, bot, channel = await a_bound_task(workspace)
    other = await workspace.channel("other", ada, bot)
    await ada(
        create_tasks_bulk,
        tasks=[
            {"title": "one", "channelId": channel},
            {"title": "two", "channelId": other},
            {"title": "three"},
        ],
        summary_channel_id=channel,
    )
    assert (await cards(bot, channel), await cards(bot, other)) == (
        ["T-1 created: Ship"],
        ["T-3 created: two"],
    )
    [summary] = (await bot(get_messages, channel_id=channel, limit=1)).messages
    assert (summary.content, summary.sender_id) == ("Created T-2, T-3, T-4", ada.id)
    await ada(
        create_tasks_bulk,
        tasks=[{"title": "five", "channelId": channel}, {"title": "six", "channelId": channel}],
    )
    assert await cards(bot, channel) == ["T-1 created: Ship", "T-5 created: five", "T-6 created: six"]


async def test_a_task_of_an_archived_channel_goes_on_without_cards(workspace: World) -> None:
    ada, bot, channel = await a_bound_task(workspace)
    await workspace.rows(
        "UPDATE channels SET archived_at = now() WHERE workspace_id = %(workspace)s AND id = %(c)s::uuid RETURNING id",
        c=channel,
    )
    assert (await bot(complete_task, task_id="T-1")).status == "done"
    assert await cards(ada, channel) == ["T-1 created: Ship"]


async def test_a_private_agent_is_not_named_before_the_channel(workspace: World) -> None:
    ada, _, channel = await a_bound_task(workspace)
    shy = await workspace.agent("shy", owner="ada", private=True)
    await ada(update_task, task_id="T-1", version=1, assignee_agent_id=shy.id)
    assert (await cards(ada, channel))[-1] == "T-1 assigned to a private agent: Ship"


async def test_a_refused_change_tells_nothing(workspace: World) -> None:
    ada, bot, channel = await a_bound_task(workspace)
    await ada(update_task, task_id="T-1", version=1, priority="high")
    with pytest.raises(VersionConflict):
        await bot(update_task, task_id="T-1", version=1, status="done")
    assert await cards(ada, channel) == ["T-1 created: Ship"]
