"""get-messages: paging through a channel and its threads."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.errors import (
    MessageNotFound,
)
from app.operations import get_messages, send_message
from tests.conftest import Caller, World


async def two_in_a_channel(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.channel("builds", ada, bot)


async def test_pages_join_without_gaps_in_both_directions(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    for n in range(25):
        await bot(send_message, channel_id=channel, content=str(n))
    newest = await ada(get_messages, channel_id=channel)
    assert [m.content for m in newest.messages] == [str(n) for n in range(24, 4, -1)]
    assert newest.has_more
    assert ada.meta["pagination"] == {"hasMore": True, "cursor": None, "historyCutoff": None}
    rest = await ada(get_messages, channel_id=channel, before=newest.messages[-1].id)
    assert ([m.content for m in rest.messages], rest.has_more) == ([str(n) for n in range(4, -1, -1)], False)
    forward = await ada(get_messages, channel_id=channel, after=rest.messages[-1].id, limit=10.0)
    assert ([m.content for m in forward.messages], forward.has_more) == ([str(n) for n in range(1, 11)], True)
    between = await ada(
        get_messages, channel_id=channel, after=forward.messages[0].id, before=forward.messages[3].id
    )
    assert ([m.content for m in between.messages], between.has_more) == (["2", "3"], False)


async def test_an_unknown_cursor_is_refused(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    elsewhere = await bot(send_message, channel_id=await workspace.channel("other", bot), content="x")
    for field in ("before", "after", "thread_id"):
        for wrong in (elsewhere.id, str(uuid4()), "x"):
            with pytest.raises(MessageNotFound):
                await ada(get_messages, channel_id=channel, **{field: wrong})


async def test_who_reads_on_while_others_post_sees_every_message_once_and_in_order(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    first = await bot(send_message, channel_id=channel, content="first")
    bots = [await workspace.agent(f"bot-{n}") for n in range(8)]
    for other in bots:
        await workspace.join("builds", other)

    async def post(other: Caller) -> None:
        for n in range(40):
            await other(
                send_message,
                channel_id=channel,
                content=f"{other.handle} {n}",
                thread_id=first.id if n % 3 else None,
            )

    posting = asyncio.gather(*(post(other) for other in bots))
    seen: list[Any] = []
    last = first.id
    while len(seen) < 8 * 40:
        page = (await ada(get_messages, channel_id=channel, after=last, limit=7)).messages
        seen += page
        last = page[-1].id if page else last
        if posting.done() and not page:
            break
    await posting
    assert len(seen) == len({m.id for m in seen}) == 8 * 40
    assert [m.created_at for m in seen] == sorted(m.created_at for m in seen)
    for other in bots:
        assert [m.content for m in seen if m.sender_id == other.id] == [
            f"{other.handle} {n}" for n in range(40)
        ]
    assert (await ada(get_messages, channel_id=channel, thread_id=first.id, limit=1)).messages[
        0
    ].parent_id == first.id
    [root] = [m for m in await all_messages(ada, channel) if m.id == first.id]
    assert root.reply_count == 8 * 26


async def all_messages(caller: Caller, channel: str) -> list[Any]:
    seen: list[Any] = []
    before: dict[str, object] = {}
    while True:
        page = await caller(get_messages, channel_id=channel, limit=100, **before)
        seen += page.messages
        if not page.has_more:
            return seen
        before = {"before": page.messages[-1].id}
