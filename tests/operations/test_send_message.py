"""send-message."""

import asyncio
import re
from uuid import uuid4

import pytest

from app.errors import (
    AttachmentNotFound,
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    InvalidInput,
    MessageNotFound,
)
from app.operations import get_messages, send_message
from tests.conftest import Caller, World

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def two_in_a_channel(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.channel("builds", ada, bot)


async def contents(caller: Caller, channel: str, **fields: object) -> list[str]:
    return [m.content for m in (await caller(get_messages, channel_id=channel, **fields)).messages]


async def archive(workspace: World, channel: str) -> None:
    await workspace.rows(
        """UPDATE channels SET archived_at = now()
            WHERE workspace_id = %(workspace)s AND id = %(channel)s::uuid RETURNING id""",
        channel=channel,
    )


async def test_a_message_comes_back_whole(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    message = await bot(send_message, channel_id=channel, content="  Hello *there* ")
    assert (message.channel_id, message.content, message.parent_id) == (channel, "  Hello *there* ", None)
    assert (message.sender_type, message.sender_id) == ("agent", bot.id)
    assert (message.version, message.is_edited, message.reply_count) == (1, False, 0)
    assert (message.metadata, message.reactions, message.attachments, message.deleted_at) == (
        {},
        [],
        [],
        None,
    )
    assert RFC3339.fullmatch(message.created_at)
    assert message.updated_at == message.created_at
    [summary] = (await ada(get_messages, channel_id=channel)).messages
    assert (summary.id, summary.content) == (message.id, message.content)
    assert (await ada(send_message, channel_id=channel, content="x")).sender_type == "human"


async def test_a_reply_to_a_reply_joins_the_same_thread(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    root = await ada(send_message, channel_id=channel, content="root")
    reply = await bot(send_message, channel_id=channel, content="reply", thread_id=root.id)
    deeper = await ada(send_message, channel_id=channel, content="deeper", thread_id=reply.id)
    assert (reply.parent_id, deeper.parent_id) == (root.id, root.id)
    await bot(send_message, channel_id=channel, content="aside")
    page = (await ada(get_messages, channel_id=channel)).messages
    assert [(m.content, m.reply_count) for m in page] == [
        ("aside", 0),
        ("deeper", 0),
        ("reply", 0),
        ("root", 2),
    ]
    assert await contents(ada, channel, thread_id=root.id) == ["deeper", "reply", "root"]
    assert await contents(ada, channel, thread_id=reply.id, after=root.id) == ["reply", "deeper"]


async def test_a_thread_stays_in_its_channel(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    other = await workspace.channel("other", ada, bot)
    elsewhere = await ada(send_message, channel_id=other, content="x")
    for wrong in (elsewhere.id, str(uuid4()), "T-1"):
        with pytest.raises(MessageNotFound) as refused:
            await bot(send_message, channel_id=channel, content="x", thread_id=wrong)
        assert refused.value.details == {"field": "threadId"}
    assert await contents(ada, channel) == []


async def test_only_posters_of_an_open_channel_say_something(
    workspace: World, other_workspace: World
) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    stranger, reader = await workspace.agent("stranger"), await workspace.agent("reader")
    await workspace.join("builds", reader, role="reader")
    for caller in (stranger, reader):
        with pytest.raises(ChannelNotMember):
            await caller(send_message, channel_id=channel, content="x")
    for unknown in (
        "builds",
        str(uuid4()),
        await other_workspace.channel("builds"),
        await workspace.channel("p", private=True),
    ):
        with pytest.raises(ChannelNotFound):
            await stranger(send_message, channel_id=unknown, content="x")
    await archive(workspace, channel)
    with pytest.raises(ChannelArchived):
        await bot(send_message, channel_id=channel, content="x")
    assert await contents(ada, channel) == []


@pytest.mark.parametrize("content", ["", "x" * 100_001, "a\0b"])
async def test_content_has_1_to_100000_characters(workspace: World, content: str) -> None:
    _, bot, channel = await two_in_a_channel(workspace)
    with pytest.raises(InvalidInput):
        await bot(send_message, channel_id=channel, content=content)


async def test_the_longest_messages_are_stored_and_searchable_or_not_but_never_refused(
    workspace: World,
) -> None:
    _, bot, channel = await two_in_a_channel(workspace)
    one_word, many_words = (
        "ü" * 100_000,
        "-".join(chr(0x10400 + n % 0xFFF) + str(n) for n in range(20_000))[:100_000],
    )
    for content in (one_word, many_words, "\U0001f980 " * 50_000):
        assert (await bot(send_message, channel_id=channel, content=content)).content == content


async def test_there_are_no_attachments_to_send(workspace: World) -> None:
    _, bot, channel = await two_in_a_channel(workspace)
    with pytest.raises(AttachmentNotFound):
        await bot(send_message, channel_id=channel, content="x", attachment_ids=["a"])
    await bot(send_message, channel_id=channel, content="x", attachment_ids=[])
    await bot(
        send_message, channel_id=channel, content="x", attachment_ids=None, thread_id=None, mentions=None
    )


async def test_positions_have_no_gaps(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    await asyncio.gather(
        *(caller(send_message, channel_id=channel, content="x") for caller in (ada, bot) * 50)
    )
    rows = await workspace.rows(
        "SELECT position, created_at FROM messages WHERE workspace_id = %(workspace)s ORDER BY position"
    )
    assert [row["position"] for row in rows] == list(range(1, 101))
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
