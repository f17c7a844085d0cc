"""create-channel, rename-channel, archive-channel, join-channel, leave-channel and what is done about members."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.errors import (
    AlreadyExists,
    ApiError,
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    MemberNotFound,
    SoleMember,
)
from app.operations import (
    add_channel_member,
    archive_channel,
    create_channel,
    get_channels,
    get_messages,
    join_channel,
    leave_channel,
    list_channel_members,
    remove_channel_member,
    rename_channel,
    send_message,
    set_channel_member_role,
)
from tests.conftest import Caller, World


async def roles(caller: Caller, channel: str) -> dict[str, str]:
    return {m.handle: m.role for m in await caller(list_channel_members, channel_id=channel)}


async def test_who_makes_a_channel_is_its_admin_and_of_an_agents_its_owner(workspace: World) -> None:
    ada = await workspace.user("ada")
    bot, free = await workspace.agent("bot", owner="ada"), await workspace.agent("free")
    by_ada = await ada(create_channel, name="#builds", purpose="Ship it", type="private")
    assert (by_ada.name, by_ada.purpose, by_ada.type) == ("builds", "Ship it", "private")
    assert await roles(ada, by_ada.id) == {"ada": "admin"}
    by_bot = await bot(create_channel, name="bots")
    assert (by_bot.type, await roles(bot, by_bot.id)) == ("public", {"ada": "admin", "bot": "poster"})
    assert await roles(free, (await free(create_channel, name="alone")).id) == {"free": "poster"}


@pytest.mark.parametrize("name", ["", "#", "Builds", "1st", "a b", "a" * 64, "-a", "ä", "a\n", "a_b"])
async def test_names_are_lowercase_letters_digits_and_hyphens(workspace: World, name: str) -> None:
    ada = await workspace.user("ada")
    with pytest.raises(InvalidInput):
        await ada(create_channel, name=name)


async def test_a_name_is_given_once_also_in_a_race(workspace: World) -> None:
    ada = await workspace.user("ada")
    first = await ada(create_channel, name="first")
    with pytest.raises(AlreadyExists):
        await ada(create_channel, name="first")
    outcomes = await asyncio.gather(
        *(ada(create_channel, name="wanted") for _ in range(4)),
        *(ada(rename_channel, channel_id=first.id, name="wanted") for _ in range(4)),
        return_exceptions=True,
    )
    assert all(not isinstance(o, BaseException) or isinstance(o, AlreadyExists) for o in outcomes)
    assert [c.name for c in await ada(get_channels)].count("wanted") == 1


async def test_renaming_keeps_the_purpose_unless_told(workspace: World) -> None:
    ada = await workspace.user("ada")
    channel = await ada(create_channel, name="old", purpose="Talk")
    renamed = await ada(rename_channel, channel_id=channel.id, name="new")
    assert (renamed.id, renamed.name, renamed.purpose) == (channel.id, "new", "Talk")
    assert (await ada(rename_channel, channel_id=channel.id, name="new", purpose="Work")).purpose == "Work"
    assert (await ada(rename_channel, channel_id=channel.id, name="new", purpose=None)).purpose is None


async def test_an_archived_channel_can_be_read_and_takes_nothing(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await ada(create_channel, name="builds")
    await bot(join_channel, channel_id=channel.id)
    await bot(send_message, channel_id=channel.id, content="last words")
    await ada(archive_channel, channel_id=channel.id)
    assert [c.name for c in await bot(get_channels)] == ["general"]
    assert len((await bot(get_messages, channel_id=channel.id)).messages) == 1
    for op, fields in [
        (send_message, {"content": "x"}),
        (join_channel, {}),
        (add_channel_member, {"member_id": bot.id}),
    ]:
        with pytest.raises(ChannelArchived):
            await ada(op, channel_id=channel.id, **fields)
    await ada(archive_channel, channel_id=channel.id, archived=False)
    await bot(send_message, channel_id=channel.id, content="back")


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


async def test_a_sole_member_cannot_leave(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await ada(create_channel, name="builds")
    for op, fields in [(leave_channel, {}), (remove_channel_member, {"member_id": ada.id})]:
        with pytest.raises(SoleMember):
            await ada(op, channel_id=channel.id, **fields)
    await bot(join_channel, channel_id=channel.id)
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


async def test_an_agent_is_never_admin(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await ada(create_channel, name="builds")
    with pytest.raises(InvalidInput):
        await ada(add_channel_member, channel_id=channel.id, member_id=bot.id, role="admin")
    await ada(add_channel_member, channel_id=channel.id, member_id=bot.id)
    with pytest.raises(InvalidInput):
        await ada(set_channel_member_role, channel_id=channel.id, member_id=bot.id, role="admin")


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


MANAGING: list[tuple[Any, dict[str, Any]]] = [
    (rename_channel, {"name": "other"}),
    (archive_channel, {}),
    (set_channel_member_role, {"role": "reader"}),
    (remove_channel_member, {}),
]


@pytest.mark.parametrize("op, fields", MANAGING, ids=lambda x: getattr(x, "name", ""))
async def test_only_admins_manage(workspace: World, op: Any, fields: dict[str, Any]) -> None:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("bot"), await workspace.agent("eve")
    public, private = (
        (await ada(create_channel, name="pub")).id,
        (await ada(create_channel, name="pri", type="private")).id,
    )
    whom = {"member_id": ada.id} if "member_id" in op.request.__struct_fields__ else {}

    async def refused(caller: Caller, channel: str) -> type[ApiError]:
        with pytest.raises(ApiError) as error:
            await caller(op, channel_id=channel, **fields, **whom)
        return error.type

    assert (await refused(eve, public), await refused(eve, private)) == (ChannelNotMember, ChannelNotFound)
    for channel in (public, private):
        await ada(add_channel_member, channel_id=channel, member_id=bot.id)
        assert await refused(bot, channel) is ChannelNotAdmin
