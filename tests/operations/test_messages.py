"""send-message, get-messages, create-artifact, flag-needs-human and post-message."""

import asyncio
import re
from typing import Any
from uuid import uuid4

import pytest

from app.errors import (
    AttachmentNotFound,
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    MessageNotFound,
)
from app.operations import create_artifact, flag_needs_human, get_messages, post_message, send_message
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


async def test_an_artifact_is_a_message_with_a_name(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    shared = await bot(create_artifact, channel_id=channel, name="run.py", type="code", content="@ada = 1")
    assert (shared.name, shared.type) == ("run.py", "code")
    [message] = (await ada(get_messages, channel_id=channel)).messages
    assert (message.id, message.content) == (shared.message_id, "@ada = 1")
    assert message.metadata == {"artifact": {"name": "run.py", "type": "code"}}
    with pytest.raises(ChannelNotFound):
        await bot(create_artifact, channel_id=str(uuid4()), name="x", type="code", content="x")


async def test_a_flag_says_who_needs_a_human_and_why(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    message = await ada(send_message, channel_id=channel, content="x")
    flagged = await bot(flag_needs_human, message_id=message.id, reason="It costs money.")
    at = flagged.metadata.pop("needsHumanAt")
    assert RFC3339.fullmatch(at)
    assert flagged.metadata == {
        "needsHuman": True,
        "needsHumanReason": "It costs money.",
        "needsHumanBy": bot.id,
    }
    assert (flagged.version, flagged.is_edited, flagged.updated_at) == (2, False, at)
    again = await bot(flag_needs_human, message_id=message.id, reason="Still.")
    assert (again.version, again.metadata["needsHumanReason"]) == (3, "Still.")


async def test_only_who_could_answer_flags(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    message = await ada(send_message, channel_id=channel, content="x")
    stranger, reader = await workspace.agent("stranger"), await workspace.agent("reader")
    await workspace.join("builds", reader, role="reader")
    with pytest.raises(MessageNotFound):
        await stranger(flag_needs_human, message_id=message.id, reason="x")
    with pytest.raises(ChannelNotMember):
        await reader(flag_needs_human, message_id=message.id, reason="x")
    for unknown in ("x", str(uuid4())):
        with pytest.raises(MessageNotFound):
            await bot(flag_needs_human, message_id=unknown, reason="x")
    await archive(workspace, channel)
    with pytest.raises(ChannelArchived):
        await bot(flag_needs_human, message_id=message.id, reason="x")


async def test_post_message_speaks_snake_case(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    root = await bot(post_message, channel_id=channel, content="root", kind="plan", metadata={"a": [1, None]})
    assert (root.kind, root.metadata, root.thread_id, root.version) == ("plan", {"a": [1, None]}, None, 1)
    assert (root.author_identity_id, root.channel_id) == (bot.id, channel)
    shared = await bot(create_artifact, channel_id=channel, name="a", type="b", content="c")
    reply = await ada(
        post_message,
        channel_id=channel,
        content="reply",
        parent_message_id=root.id,
        reference_artifact_ids=[shared.message_id],
        mention_identity_ids=[bot.id],
    )
    assert (reply.kind, reply.thread_id) == ("text", root.id)
    assert reply.metadata == {"reference_artifact_ids": [shared.message_id]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"threadId": "x"},
        {"surprise": 1},
        {"metadata": {"a": "x" * 4096}},
        {"metadata": []},
        {"kind": ""},
    ],
)
async def test_post_message_refuses_what_it_does_not_know(workspace: World, wrong: dict[str, object]) -> None:
    _, bot, channel = await two_in_a_channel(workspace)
    with pytest.raises(InvalidInput):
        await bot(post_message, channel_id=channel, content="x", **wrong)


async def test_post_message_names_what_is_unknown(workspace: World) -> None:
    _, bot, channel = await two_in_a_channel(workspace)
    for field, error in {
        "parent_message_id": MessageNotFound,
        "reference_artifact_ids": MessageNotFound,
        "mention_identity_ids": IdentityNotFound,
    }.items():
        wrong = str(uuid4())
        with pytest.raises(error) as refused:
            await bot(
                post_message,
                channel_id=channel,
                content="x",
                **{field: [wrong] if field.endswith("s") else wrong},
            )
        assert refused.value.details == {"field": field}
    with pytest.raises(ChannelNotFound) as refused:
        await bot(post_message, channel_id="x", content="x")
    assert refused.value.details == {"field": "channel_id"}
