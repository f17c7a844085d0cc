"""The history window: older messages are kept, counted and not shown."""

from typing import Any, Final

import pytest

from app.errors import MessageNotFound
from app.operations import (
    flag_needs_human,
    get_channel_manifest,
    get_messages,
    get_unread_mentions,
    search_messages,
    send_message,
)
from app.operator import administration as admin
from tests.conftest import Caller, World

AGED: Final = "created_at = now() - make_interval(secs => %(seconds)s) WHERE workspace_id = %(workspace)s"
AGED_ID: Final = "%(message)s::uuid RETURNING workspace_id"


async def story(workspace: World, hours_ago: list[float]) -> tuple[Caller, str, list[Any]]:
    """A channel with one message to @bot for each of the ages, oldest first."""
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, bot)
    sent = [
        await ada(send_message, channel_id=channel, content=f"@bot fox {n}") for n in range(len(hours_ago))
    ]
    for message, hours in zip(sent, hours_ago, strict=True):
        for aged in (
            f"UPDATE messages SET {AGED} AND id = {AGED_ID}",
            f"UPDATE message_search SET {AGED} AND message_id = {AGED_ID}",
            f"UPDATE unread_mentions SET {AGED} AND id = {AGED_ID}",
        ):
            await workspace.rows(aged, seconds=hours * 3600, message=message.id)
    return bot, channel, sent


EDGE = [72.0, 48.001, 47.999, 30.0, 0.0]


async def test_without_a_window_everything_is_shown(workspace: World) -> None:
    bot, channel, _ = await story(workspace, EDGE)
    assert len((await bot(get_messages, channel_id=channel)).messages) == 5
    for op, fields in [
        (get_messages, {"channel_id": channel}),
        (search_messages, {"query": "fox"}),
        (get_unread_mentions, {}),
    ]:
        await bot(op, **fields)
        assert bot.meta["pagination"]["historyCutoff"] is None


async def test_what_is_older_is_hidden_everywhere_and_counted(workspace: World) -> None:
    bot, channel, sent = await story(workspace, EDGE)
    await admin.set_history(workspace.db, workspace.info, 2)
    shown = ["@bot fox 4", "@bot fox 3", "@bot fox 2"]

    async def cutoff() -> int:
        found = bot.meta["pagination"]["historyCutoff"]
        assert set(found) == {"beyondCount", "cutoffAt"}
        assert sent[0].created_at > found["cutoffAt"]  # two days ago, and the message was sent just now
        return found["beyondCount"]

    assert [m.content for m in (await bot(get_messages, channel_id=channel)).messages] == shown
    assert await cutoff() == 2
    page = await bot(get_messages, channel_id=channel, limit=3)
    assert (page.has_more, await cutoff()) == (False, 2)
    assert [
        m.content for m in (await bot(get_messages, channel_id=channel, after=sent[0].id)).messages
    ] == shown[::-1]
    assert {m.content for m in (await bot(search_messages, query="fox")).messages} == set(shown)
    assert await cutoff() == 2
    answer = await bot(get_unread_mentions)
    assert ([m.content for m in answer.mentions], answer.count, await cutoff()) == (shown, 3, 2)


async def test_nobody_answers_or_flags_what_is_hidden(workspace: World) -> None:
    bot, channel, sent = await story(workspace, EDGE)
    await admin.set_history(workspace.db, workspace.info, 2)
    with pytest.raises(MessageNotFound):
        await bot(send_message, channel_id=channel, content="x", thread_id=sent[0].id)
    with pytest.raises(MessageNotFound):
        await bot(flag_needs_human, message_id=sent[0].id, reason="x")
    await bot(send_message, channel_id=channel, content="x", thread_id=sent[2].id)


@pytest.mark.parametrize("hidden", range(8))
async def test_the_edge_is_found_wherever_it_is(workspace: World, hidden: int) -> None:
    bot, channel, _ = await story(workspace, [72.0] * hidden + [1.0] * (7 - hidden))
    await admin.set_history(workspace.db, workspace.info, 2)
    page = await bot(get_messages, channel_id=channel)
    assert len(page.messages) == 7 - hidden
    assert bot.meta["pagination"]["historyCutoff"]["beyondCount"] == hidden
    assert (await bot(get_channel_manifest, channel_id=channel)).recent_message_count == 7 - hidden


async def test_a_wider_window_shows_it_again(workspace: World) -> None:
    bot, channel, _ = await story(workspace, EDGE)
    for days, count in ((2, 3), (3, 4), (None, 5), (1, 1)):
        await admin.set_history(workspace.db, workspace.info, days)
        assert len((await bot(get_messages, channel_id=channel)).messages) == count
