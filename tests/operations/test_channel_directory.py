"""get-channels, get-channel-members, list-channel-members and get-channel-manifest."""

from uuid import uuid4

import pytest

from app.errors import ChannelNotFound, ChannelNotMember, MemberNotFound
from app.operations import (
    get_channel_manifest,
    get_channel_members,
    get_channels,
    list_channel_members,
    send_message,
)
from tests.conftest import World


async def test_a_caller_lists_their_own_channels_by_name(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await workspace.channel("zoo", bot, private=True)
    await workspace.channel("attic", bot, purpose="Old things")
    await workspace.channel("elsewhere")
    await workspace.channel("secret", private=True)
    channels = await bot(get_channels)
    assert [(c.name, c.type, c.purpose) for c in channels] == [
        ("attic", "public", "Old things"),
        ("general", "public", None),
        ("zoo", "private", None),
    ]
    assert [c.name for c in await bot(get_channels, include_public=True)] == [
        "attic",
        "elsewhere",
        "general",
        "zoo",
    ]


async def test_an_archived_channel_is_left_out_unless_asked_for(workspace: World) -> None:
    bot = await workspace.agent("bot", channels=[])
    channel = await workspace.channel("old", bot)
    await workspace.rows(
        "UPDATE channels SET archived_at = now() WHERE workspace_id = %(workspace)s AND id = %(c)s::uuid RETURNING id",
        c=channel,
    )
    assert await bot(get_channels) == []
    assert [c.name for c in await bot(get_channels, include_archived=True)] == ["old"]


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


async def test_memberships_have_roles(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, role="admin")
    await workspace.join("builds", bot, role="reader")
    assert {
        (m.handle, m.member_type, m.role) for m in await bot(list_channel_members, channel_id=channel)
    } == {
        ("ada", "human", "admin"),
        ("bot", "agent", "reader"),
    }
    first = await bot(list_channel_members, channel_id=channel, limit=1)
    second = await bot(list_channel_members, channel_id=channel, limit=1, cursor=first.cursor)
    assert {m.member_id for m in (*first, *second)} == {ada.id, bot.id}


async def test_a_manifest_counts_the_messages_of_the_last_day(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, bot, purpose="Ship it")
    for _ in range(5):
        await bot(send_message, channel_id=channel, content="x")
    await workspace.rows(
        """UPDATE messages SET created_at = now() - interval '25 hours'
            WHERE workspace_id = %(workspace)s AND position <= 2 RETURNING id"""
    )
    manifest = await bot(get_channel_manifest, channel_id=channel)
    assert (manifest.name, manifest.purpose, manifest.type) == ("builds", "Ship it", "public")
    assert (manifest.recent_message_count, manifest.domain, manifest.iris_enabled) == (3, None, False)
    assert {(m.member_id, m.member_type) for m in manifest.members} == {(ada.id, "human"), (bot.id, "agent")}


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
