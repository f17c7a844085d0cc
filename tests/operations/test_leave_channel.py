"""leave-channel."""

import asyncio

import pytest

from app.errors import (
    ChannelNotMember,
    SoleMember,
)
from app.operations import (
    create_channel,
    join_channel,
    leave_channel,
    remove_channel_member,
)
from tests.conftest import World


async def test_a_sole_member_cannot_leave(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await ada(create_channel, name="builds")
    for op, fields in [(leave_channel, {}), (remove_channel_member, {"member_id": ada.id})]:
        with pytest.raises(SoleMember):
            await ada(op, channel_id=channel.id, **fields)
    await bot(join_channel, channel_id=channel.id)
    eve = await workspace.user("eve")
    await workspace.join("builds", eve, role="admin")
    gone = await ada(leave_channel, channel_id=channel.id)
    assert (gone.channel_id, gone.member_id) == (channel.id, ada.id)
    with pytest.raises(ChannelNotMember):
        await ada(leave_channel, channel_id=channel.id)


async def test_of_two_who_leave_at_once_one_stays(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    for n in range(10):
        channel = await workspace.channel(f"c{n}", ada, bot)
        outcomes = await asyncio.gather(
            *(caller(leave_channel, channel_id=channel) for caller in (ada, bot)), return_exceptions=True
        )
        assert sorted(type(o).__name__ for o in outcomes) == ["Departure", "SoleMember"]
