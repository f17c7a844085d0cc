"""get-inbox with waitSeconds: one wait for work, answers and changes of what one holds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.config import Config
from app.jobs import leases
from app.operations import (
    claim_next_task,
    claim_task,
    comment_on_task,
    create_task,
    get_inbox,
    heartbeat_run,
    link_tasks,
    send_message,
    update_task,
)
from app.operations.runs.bell import bell_of
from tests.conftest import Caller, World
from tests.operations.claims import expire, until_waiting

LONG = 30  # seconds that no test takes: whoever waits is woken


async def scene(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user(), await workspace.agent()
    channel = await workspace.channel("work", ada, bot)
    return ada, bot, channel


async def woken(workspace: World, bot: Caller, what: Callable[[], Awaitable[Any]], **fields: Any) -> Any:
    """The inbox of a caller who waited until something happened."""
    cursor = (await bot(get_inbox)).cursor
    waiting = asyncio.create_task(bot(get_inbox, wait_seconds=LONG, cursor=cursor, **fields))
    await until_waiting(workspace, 1)
    await what()
    async with asyncio.timeout(15):
        return await waiting


async def test_a_task_to_claim_wakes(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    inbox = await woken(workspace, bot, lambda: ada(create_task, title="a", channel_id=channel))
    assert inbox.woken_by == "claimable"


async def test_a_task_that_is_set_free_wakes(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    for title in ("first", "second"):
        await ada(
            create_task,
            title=title,
            channel_id=channel,
            assignee_user_id=ada.id if title == "first" else None,
        )
    await ada(link_tasks, task_id="T-1", kind="blocks", other_task_id="T-2")
    inbox = await woken(workspace, bot, lambda: ada(update_task, task_id="T-1", version=1, status="done"))
    assert inbox.woken_by == "claimable"


async def test_a_message_that_addresses_me_wakes_though_it_changes_no_task(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    inbox = await woken(
        workspace, bot, lambda: ada(send_message, channel_id=channel, content="@bot, are you there?")
    )
    assert (inbox.woken_by, inbox.mentions[0].preview) == ("mention", "@bot, are you there?")


async def test_an_answer_on_a_task_i_take_part_in_wakes(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    await ada(create_task, title="a", channel_id=channel, assignee_user_id=ada.id)
    await bot(comment_on_task, task_id="T-1", body="Which colour?")
    inbox = await woken(workspace, bot, lambda: ada(comment_on_task, task_id="T-1", body="Blue."))
    assert (inbox.woken_by, [change.kind for change in inbox.changes]) == ("answer", ["commented"])


async def test_a_change_of_what_is_mine_wakes(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    await ada(create_task, title="a", channel_id=channel)
    await bot(claim_next_task)
    inbox = await woken(workspace, bot, lambda: ada(update_task, task_id="T-1", version=2, title="b"))
    assert (inbox.woken_by, [change.fields for change in inbox.changes]) == ("held", [["title"]])
    inbox = await woken(
        workspace, bot, lambda: ada(update_task, task_id="T-1", version=3, assignee_user_id=ada.id)
    )
    assert (inbox.woken_by, len(inbox.lost_claims)) == ("held", 1)


async def test_a_lease_that_ran_out_wakes_its_late_holder(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    await ada(create_task, title="a", channel_id=channel)
    [claim] = await bot(claim_next_task)

    async def run_out() -> None:
        await expire(workspace, claim.run.id)
        while await leases.run_once(workspace.db, Config()):
            pass

    inbox = await woken(workspace, bot, run_out)
    assert (inbox.woken_by, inbox.lost_claims[0].run_id) == ("held", claim.run.id)


async def test_whoever_holds_something_is_not_woken_by_work_nor_by_what_is_none_of_theirs(
    workspace: World,
) -> None:
    ada, bot, channel = await scene(workspace)
    await ada(create_task, title="a", channel_id=channel)
    [claim] = await bot(claim_next_task)

    async def happen() -> None:
        await ada(create_task, title="b", channel_id=channel)
        await ada(send_message, channel_id=channel, content="Hello, all.")
        await bot(heartbeat_run, run_id=claim.run.id)
        await bot(comment_on_task, task_id="T-1", body="my own words")
        await ada(comment_on_task, task_id="T-1", body="@bot, stop.")

    inbox = await woken(workspace, bot, happen)
    assert inbox.woken_by in {"held", "mention"}  # the comment, and not what came before it
    assert inbox.mentions[0].preview == "@bot, stop."


async def test_what_came_between_two_calls_is_answered_at_once_and_only_once(workspace: World) -> None:
    ada, bot, channel = await scene(workspace)
    await ada(create_task, title="a", channel_id=channel, assignee_agent_id=bot.id)
    await bot(claim_task, task_id="T-1")
    cursor = (await bot(get_inbox)).cursor
    await ada(send_message, channel_id=channel, content="@bot, one")
    await ada(comment_on_task, task_id="T-1", body="two")
    async with asyncio.timeout(15):
        first = await bot(get_inbox, cursor=cursor, wait_seconds=LONG)
    assert first.woken_by in {"held", "mention"}
    again = await bot(get_inbox, cursor=first.cursor, wait_seconds=0)
    assert (again.woken_by, len(again.mentions)) == (None, 1)  # it waits for an answer still, and is no news


async def test_nothing_is_said_of_waking_to_whoever_does_not_wait(workspace: World) -> None:
    bot = await workspace.agent()
    inbox = await bot(get_inbox)
    assert not isinstance(inbox.woken_by, str | None)


async def test_many_who_wait_are_woken_by_one_statement_each_for_their_own(workspace: World) -> None:
    ada = await workspace.user()
    bots = [await workspace.agent(f"bot-{n}") for n in range(12)]
    channel = await workspace.channel("work", ada, *bots)
    for bot in bots:
        await ada(create_task, title="a", assignee_agent_id=bot.id)
        await bot(claim_next_task)
    waiting = [asyncio.create_task(bot(get_inbox, wait_seconds=LONG)) for bot in bots]
    await until_waiting(workspace, len(bots))
    for n in range(len(bots) - 1):
        await ada(send_message, channel_id=channel, content=f"@bot-{n}, hello")
    async with asyncio.timeout(15):
        assert [inbox.woken_by for inbox in await asyncio.gather(*waiting[:-1])] == ["mention"] * (
            len(bots) - 1
        )
    assert not waiting[-1].done()
    assert len(bell_of(workspace.db)._waiters) <= 1
    waiting[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[-1]
