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
