"""remove-channel-member."""

import pytest

from app.errors import (
    ChannelNotFound,
    ChannelNotMember,
    MemberNotFound,
)
from app.operations import (
    add_channel_member,
    create_channel,
    get_messages,
    list_channel_members,
    remove_channel_member,
    send_message,
)
from tests.conftest import World


async def test_who_is_removed_sees_nothing_more_from_the_next_call_on(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    for kind, refusal in (("public", ChannelNotMember), ("private", ChannelNotFound)):
        channel = (await ada(create_channel, name=f"c-{kind}", type=kind)).id
        await ada(add_channel_member, channel_id=channel, member_id=bot.id)
        await bot(send_message, channel_id=channel, content="x")
        gone = await ada(remove_channel_member, channel_id=channel, member_id=bot.id)
        assert gone.member_id == bot.id
        for op, fields in [(get_messages, {}), (send_message, {"content": "x"}), (list_channel_members, {})]:
            with pytest.raises(refusal):
                await bot(op, channel_id=channel, **fields)
        with pytest.raises(MemberNotFound):
            await ada(remove_channel_member, channel_id=channel, member_id=bot.id)


async def test_an_owner_takes_no_agent_out_of_a_channel_that_is_hidden_from_them(workspace: World) -> None:
    ada, eve = await workspace.user("ada"), await workspace.user("eve")
    bot = await workspace.agent("bot", owner="ada")
    channel = await eve(create_channel, name="secret", type="private")
    await eve(add_channel_member, channel_id=channel.id, member_id=bot.id)
    with pytest.raises(ChannelNotFound):
        await ada(remove_channel_member, channel_id=channel.id, member_id=bot.id)
    assert {m.handle for m in await eve(list_channel_members, channel_id=channel.id)} == {"eve", "bot"}
