"""get-channel-members."""

from uuid import uuid4

import pytest

from app.errors import ChannelNotFound, ChannelNotMember, MemberNotFound
from app.operations import (
    get_channel_manifest,
    get_channel_members,
    list_channel_members,
)
from tests.conftest import World


async def test_members_are_humans_and_agents_page_by_page(workspace: World) -> None:
    ada, bot = await workspace.user("ada", name="Ada L"), await workspace.agent("bot", agent_type="cloud")
    channel = await workspace.channel("builds", ada, bot)
    everyone = await bot(get_channel_members, channel_id=channel)
    assert {type(m).__struct_config__.tag: (m.id, m.name, m.handle) for m in everyone.members} == {
        "human": (ada.id, "Ada L", "ada"),
        "agent": (bot.id, "bot", "bot"),
    }
    assert [m.agent_type for m in everyone.members if m.id == bot.id] == ["cloud"]
    assert (everyone.has_more, everyone.cursor) == (False, None)
    first = await bot(get_channel_members, channel_id=channel, limit=1)
    assert (first.has_more, first.cursor) == (True, first.members[0].id)
    second = await bot(get_channel_members, channel_id=channel, limit=1, after=first.cursor)
    assert (second.has_more, {m.id for m in (*first.members, *second.members)}) == (False, {ada.id, bot.id})
    with pytest.raises(MemberNotFound):
        await bot(get_channel_members, channel_id=channel, after="x")


async def test_a_channel_opens_to_members_only(workspace: World, other_workspace: World) -> None:
    bot = await workspace.agent()
    public, private = await workspace.channel("public"), await workspace.channel("private", private=True)
    foreign = await other_workspace.channel("public")
    for op in (get_channel_members, get_channel_manifest, list_channel_members):
        with pytest.raises(ChannelNotMember):
            await bot(op, channel_id=public)
        for unknown in (private, foreign, str(uuid4()), "general"):
            with pytest.raises(ChannelNotFound):
                await bot(op, channel_id=unknown)
