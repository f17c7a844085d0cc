"""get-unread-mentions: what waits for an answer."""

import asyncio
from operator import ge, gt
from typing import Any

from app.operations import (
    block_task,
    comment_on_task,
    create_task,
    create_tasks_bulk,
    get_task,
    get_unread_mentions,
    post_message,
    send_message,
)
from tests.conftest import Caller, World


async def waiting(caller: Caller, **fields: object) -> list[str]:
    answer = await caller(get_unread_mentions, **fields)
    return [mention.content for mention in answer.mentions]


async def three(workspace: World) -> tuple[Caller, Caller, Caller, str]:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("bot"), await workspace.agent("eve")
    return ada, bot, eve, await workspace.channel("builds", ada, bot, eve)


async def test_a_mention_waits_until_it_is_answered_in_its_thread(workspace: World) -> None:
    ada, bot, eve, channel = await three(workspace)
    asked = await ada(send_message, channel_id=channel, content="@bot, please look")
    [mention] = (await bot(get_unread_mentions)).mentions
    assert (mention.id, mention.channel_id, mention.channel_name, mention.parent_id) == (
        asked.id,
        channel,
        "builds",
        None,
    )
    assert (mention.sender_type, mention.sender_id, mention.created_at) == ("human", ada.id, asked.created_at)
    await bot(send_message, channel_id=channel, content="elsewhere")
    assert await waiting(bot) == ["@bot, please look"]
    await bot(send_message, channel_id=channel, content="done", thread_id=asked.id)
    assert await waiting(bot) == []
    assert await waiting(eve) == []


async def test_replies_wait_for_everyone_in_the_thread_but_who_spoke_last(workspace: World) -> None:
    ada, bot, eve, channel = await three(workspace)
    root = await ada(send_message, channel_id=channel, content="root")
    await bot(send_message, channel_id=channel, content="one", thread_id=root.id)
    assert (await waiting(ada), await waiting(bot), await waiting(eve)) == (["one"], [], [])
    await eve(send_message, channel_id=channel, content="two", thread_id=root.id)
    assert (await waiting(ada), await waiting(bot), await waiting(eve)) == (["two", "one"], ["two"], [])
    await ada(post_message, channel_id=channel, content="three", parent_message_id=root.id)
    assert (await waiting(ada), await waiting(bot), await waiting(eve)) == ([], ["three", "two"], ["three"])


async def test_whoever_is_named_is_addressed_once_whatever_the_way(workspace: World) -> None:
    ada, bot, eve, channel = await three(workspace)
    await ada(
        send_message,
        channel_id=channel,
        content="@bot @BOT `@eve`\n```\n@eve\n```\nmail@eve @nobody @ada",
        mentions=[{"id": bot.id, "type": "agent"}],
    )
    assert (len(await waiting(bot)), await waiting(eve), await waiting(ada)) == (1, [], [])


async def test_a_comment_waits_until_the_task_is_commented_on(workspace: World) -> None:
    ada, bot, _, _ = await three(workspace)
    task = await ada(create_task, title="x")
    comment = await ada(comment_on_task, task_id=task.id, body="@bot?")
    [mention] = (await bot(get_unread_mentions)).mentions
    assert (mention.id, mention.channel_id, mention.channel_name, mention.parent_id) == (
        comment.id,
        task.id,
        "T-1",
        task.id,
    )
    assert (mention.sender_type, mention.sender_id, mention.content) == ("human", ada.id, "@bot?")
    assert (await bot(get_task, task_id="T-1")).id == task.id
    await bot(block_task, task_id="T-1", reason="@ada, I have no key")
    assert (await waiting(bot), await waiting(ada)) == ([], ["@ada, I have no key"])


async def test_a_summary_waits_for_all_assignees_and_for_who_is_named(workspace: World) -> None:
    ada, bot, eve, channel = await three(workspace)
    await ada(
        create_tasks_bulk,
        tasks=[{"title": "one", "assigneeAgentId": bot.id, "channelId": channel}],
        summary_channel_id=channel,
        summary_message="The plan; @eve reviews.",
    )
    assert (await waiting(bot), await waiting(eve)) == (
        ["The plan; @eve reviews."],
        ["The plan; @eve reviews."],
    )


async def test_the_newest_come_first_and_since_keeps_the_callers_place(workspace: World) -> None:
    ada, bot, _, channel = await three(workspace)
    sent = [await ada(send_message, channel_id=channel, content=f"@bot {n}") for n in range(60)]
    assert await waiting(bot) == [f"@bot {n}" for n in range(59, 39, -1)]
    assert bot.meta["pagination"]["hasMore"]
    answer = await bot(get_unread_mentions, limit=1000.0)
    assert (len(answer.mentions), answer.count) == (50, 60)
    moment = sent[56].created_at  # cut to milliseconds, and others may have come in the same one
    newer, not_older = (sum(compare(m.created_at, moment) for m in sent) for compare in (gt, ge))
    told = await waiting(bot, since=moment)
    assert newer <= len(told) <= not_older
    assert told == [f"@bot {n}" for n in range(59, 59 - len(told), -1)]
    assert await waiting(bot, since="2999-01-01T00:00:00Z") == []


async def test_nothing_waits_from_a_channel_that_was_left_or_archived(workspace: World) -> None:
    ada, bot, _, channel = await three(workspace)
    await ada(send_message, channel_id=channel, content="@bot")
    await workspace.leave(channel, bot)
    assert await waiting(bot) == []
    await workspace.join("builds", bot)
    assert await waiting(bot) == ["@bot"]
    await workspace.rows(
        "UPDATE channels SET archived_at = now() WHERE workspace_id = %(workspace)s AND id = %(c)s::uuid RETURNING id",
        c=channel,
    )
    assert (await waiting(bot), (await bot(get_unread_mentions)).count) == ([], 0)


async def test_a_key_that_may_not_read_tasks_hears_of_no_comments(workspace: World) -> None:
    ada, _, _, channel = await three(workspace)
    scout = await workspace.agent("scout", scopes="channel-read", channels=["builds"])
    task = await ada(create_task, title="x")
    await ada(comment_on_task, task_id=task.id, body="@scout in a comment")
    await ada(send_message, channel_id=channel, content="@scout in a message")
    assert await waiting(scout) == ["@scout in a message"]


async def test_every_reply_in_a_thread_that_many_answer_at_once_waits_for_its_author(
    workspace: World,
) -> None:
    ada, bot, eve, channel = await three(workspace)
    root = await ada(send_message, channel_id=channel, content="root")

    async def reply(caller: Caller, n: int) -> Any:
        return await caller(
            send_message, channel_id=channel, content=f"{caller.handle} {n}", thread_id=root.id
        )

    await asyncio.gather(*(reply(caller, n) for n in range(10) for caller in (bot, eve)))
    assert (await ada(get_unread_mentions)).count == 20
