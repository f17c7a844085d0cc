"""join-channel."""

import pytest

from app.errors import (
    ChannelNotFound,
)
from app.operations import (
    add_channel_member,
    create_channel,
    join_channel,
    list_channel_members,
)
from tests.conftest import Caller, World


async def roles(caller: Caller, channel: str) -> dict[str, str]:
    return {m.handle: m.role for m in await caller(list_channel_members, channel_id=channel)}


async def test_public_channels_are_joined_and_private_ones_are_not_there(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    public = await ada(create_channel, name="public")
    private = await ada(create_channel, name="private", type="private")
    for _ in range(2):
        assert (await bot(join_channel, channel_id=public.id)).name == "public"
    assert await roles(bot, public.id) == {"ada": "admin", "bot": "poster"}
    with pytest.raises(ChannelNotFound):
        await bot(join_channel, channel_id=private.id)
    await ada(add_channel_member, channel_id=private.id, member_id=bot.id)
    assert (await bot(join_channel, channel_id=private.id)).name == "private"
