"""add-channel-member."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

from app.db import Database
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


async def test_of_many_who_add_somebody_at_once_all_hear_of_the_same_membership(
    workspace: World, dsn: str
) -> None:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("bot"), await workspace.user("eve")
    elsewhere = Database(dsn, connections_max=4, statement_timeout_seconds=10, pooler=True)
    await elsewhere.open()
    bot.context = msgspec.structs.replace(bot.context, db=elsewhere)
    for n in range(20):
        channel = await workspace.channel(f"c{n}", ada, bot)
        added = await asyncio.gather(
            *(caller(add_channel_member, channel_id=channel, member_id=eve.id) for caller in (ada, bot) * 4)
        )
        assert {(m.handle, m.joined_at) for m in added} == {("eve", added[0].joined_at)}
    await elsewhere.close()
