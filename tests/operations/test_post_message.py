"""post-message: the SDK family."""

from uuid import uuid4

import pytest

from app.errors import (
    ChannelNotFound,
    IdentityNotFound,
    InvalidInput,
    MessageNotFound,
)
from app.operations import create_artifact, post_message
from tests.conftest import Caller, World


async def two_in_a_channel(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.channel("builds", ada, bot)


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
