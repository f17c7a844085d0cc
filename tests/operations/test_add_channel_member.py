"""add-channel-member."""

from uuid import uuid4

import pytest

from app.errors import (
    ChannelNotAdmin,
    ChannelNotMember,
    IdentityNotFound,
)
from app.operations import (
    add_channel_member,
    create_channel,
    join_channel,
    list_channel_members,
    remove_channel_member,
    set_channel_member_role,
)
from tests.conftest import Caller, World


async def roles(caller: Caller, channel: str) -> dict[str, str]:
    return {m.handle: m.role for m in await caller(list_channel_members, channel_id=channel)}


async def test_posters_add_and_only_admins_make_admins(workspace: World) -> None:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("bot"), await workspace.user("eve")
    channel = await ada(create_channel, name="builds")
    await ada(add_channel_member, channel_id=channel.id, member_id=bot.id)
    added = await bot(add_channel_member, channel_id=channel.id, member_id=eve.id, role="reader")
    assert (added.handle, added.member_type, added.role) == ("eve", "human", "reader")
    assert (await bot(add_channel_member, channel_id=channel.id, member_id=eve.id)).role == "reader"
    with pytest.raises(ChannelNotMember):
        await eve(add_channel_member, channel_id=channel.id, member_id=bot.id)
    with pytest.raises(ChannelNotAdmin):
        await bot(add_channel_member, channel_id=channel.id, member_id=eve.id, role="admin")
    changed = await ada(set_channel_member_role, channel_id=channel.id, member_id=eve.id, role="admin")
    assert (changed.role, (await roles(bot, channel.id))["eve"]) == ("admin", "admin")


async def test_a_private_agent_is_added_by_its_owner_only(workspace: World) -> None:
    ada, eve = await workspace.user("ada"), await workspace.user("eve")
    shy = await workspace.agent("shy", owner="ada", private=True, channels=[])
    channel = await eve(create_channel, name="builds")
    for unknown in (shy.id, str(uuid4()), "shy"):
        with pytest.raises(IdentityNotFound):
            await eve(add_channel_member, channel_id=channel.id, member_id=unknown)
    await ada(join_channel, channel_id=channel.id)
    await ada(add_channel_member, channel_id=channel.id, member_id=shy.id)
    await ada(remove_channel_member, channel_id=channel.id, member_id=shy.id)
    assert set(await roles(eve, channel.id)) == {"ada", "eve"}
