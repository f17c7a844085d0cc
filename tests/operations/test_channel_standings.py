"""What becomes of a membership is remembered: a demotion, a removal, and that a channel keeps an admin."""

import asyncio
from typing import Any

import pytest

from app.errors import (
    AlreadyExists,
    ApiError,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    LastAdmin,
    MemberRemoved,
    NotFound,
    SoleMember,
)
from app.operations import (
    add_channel_member,
    archive_channel,
    comment_on_task,
    create_channel,
    create_task,
    get_channel_manifest,
    get_channel_members,
    get_workspace_info,
    join_channel,
    leave_channel,
    list_channel_members,
    remove_channel_member,
    rename_channel,
    resolve_identity,
    send_message,
    set_channel_member_role,
)
from app.operator import administration as admin
from tests.conftest import Caller, World


async def team(workspace: World, **settings: Any) -> tuple[Caller, Caller, Caller, str]:
    """An admin, a poster and somebody to be tried, in a channel."""
    ada = await workspace.user("ada", channels=[])
    poster = await workspace.agent("poster", channels=[])
    bot = await workspace.agent("bot", channels=[])
    channel = await workspace.channel("builds", ada, role="admin", **settings)
    await workspace.join("builds", poster)
    return ada, poster, bot, channel


async def role_of(caller: Caller, channel: str, who: Caller) -> str | None:
    members = await caller(list_channel_members, channel_id=channel)
    return next((member.role for member in members if member.member_id == who.id), None)


async def test_a_reader_who_leaves_and_joins_is_a_reader(workspace: World) -> None:
    ada, _, bot, channel = await team(workspace)
    await ada(add_channel_member, channel_id=channel, member_id=bot.id, role="reader")
    for _ in range(2):
        await bot(leave_channel, channel_id=channel)
        await bot(join_channel, channel_id=channel)
        with pytest.raises(ChannelNotMember):
            await bot(send_message, channel_id=channel, content="x")
    assert await role_of(ada, channel, bot) == "reader"


async def test_a_poster_adds_one_who_left_as_a_reader_only_as_a_reader(workspace: World) -> None:
    ada, poster, bot, channel = await team(workspace)
    await ada(add_channel_member, channel_id=channel, member_id=bot.id)
    await ada(set_channel_member_role, channel_id=channel, member_id=bot.id, role="reader")
    await bot(leave_channel, channel_id=channel)
    added = await poster(add_channel_member, channel_id=channel, member_id=bot.id, role="poster")
    assert added.role == "reader"
    await bot(leave_channel, channel_id=channel)
    added = await ada(add_channel_member, channel_id=channel, member_id=bot.id, role="poster")
    assert added.role == "poster"
    await bot(leave_channel, channel_id=channel)
    await bot(join_channel, channel_id=channel)
    assert await role_of(ada, channel, bot) == "poster", "an admin's word replaced what was remembered"


async def test_who_was_promoted_and_leaves_comes_back_as_a_poster(workspace: World) -> None:
    ada, _, bot, channel = await team(workspace)
    await ada(add_channel_member, channel_id=channel, member_id=bot.id, role="reader")
    await bot(leave_channel, channel_id=channel)
    await bot(join_channel, channel_id=channel)
    await ada(set_channel_member_role, channel_id=channel, member_id=bot.id, role="poster")
    await bot(leave_channel, channel_id=channel)
    await bot(join_channel, channel_id=channel)
    assert await role_of(ada, channel, bot) == "poster"


@pytest.mark.parametrize("private", [False, True])
async def test_who_was_removed_comes_back_only_through_an_admin(workspace: World, private: bool) -> None:
    ada, poster, bot, channel = await team(workspace, private=private)
    await ada(add_channel_member, channel_id=channel, member_id=bot.id)
    await ada(remove_channel_member, channel_id=channel, member_id=bot.id)
    if not private:
        with pytest.raises(MemberRemoved):
            await bot(join_channel, channel_id=channel)
    with pytest.raises(MemberRemoved):
        await poster(add_channel_member, channel_id=channel, member_id=bot.id)
    assert await role_of(ada, channel, bot) is None
    await ada(add_channel_member, channel_id=channel, member_id=bot.id)
    assert await role_of(ada, channel, bot) == "poster"


async def test_who_took_their_agent_out_may_bring_it_back(workspace: World) -> None:
    ada = await workspace.user("ada")
    bot = await workspace.agent("bot", owner="ada")
    channel = await workspace.channel("builds", ada, bot)
    await ada(remove_channel_member, channel_id=channel, member_id=bot.id)
    with pytest.raises(MemberRemoved):
        await bot(join_channel, channel_id=channel)
    assert (await ada(add_channel_member, channel_id=channel, member_id=bot.id)).role == "poster"


async def test_leaving_and_joining_at_once_does_not_make_a_reader_a_poster(workspace: World) -> None:
    ada, _, bot, channel = await team(workspace)
    await ada(add_channel_member, channel_id=channel, member_id=bot.id, role="reader")
    for _ in range(10):
        calls = [bot(op, channel_id=channel) for op in (leave_channel, join_channel, join_channel)]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(outcome, Exception) or isinstance(outcome, ApiError)
        await bot(join_channel, channel_id=channel)
        assert await role_of(ada, channel, bot) == "reader"


async def test_the_operator_sees_what_is_remembered_and_undoes_it(workspace: World) -> None:
    ada, poster, bot, channel = await team(workspace)
    await ada(add_channel_member, channel_id=channel, member_id=bot.id)
    await ada(remove_channel_member, channel_id=channel, member_id=bot.id)
    await ada(set_channel_member_role, channel_id=channel, member_id=poster.id, role="reader")
    await poster(leave_channel, channel_id=channel)
    listed = await admin.list_members(workspace.db, workspace.info, "builds")
    assert [(one.handle, one.standing, one.removed_by) for one in listed] == [
        ("ada", "admin", None),
        ("bot", "removed", "ada"),
        ("poster", "left as a reader", None),
    ]
    assert (await admin.readmit(workspace.db, workspace.info, "builds", "bot")).was == "removed"
    await bot(join_channel, channel_id=channel)
    assert await role_of(ada, channel, bot) == "poster"
    with pytest.raises(NotFound):
        await admin.readmit(workspace.db, workspace.info, "builds", "bot")
    await workspace.join("builds", poster)
    assert await role_of(ada, channel, poster) == "poster"


# The last admin


async def test_the_only_admin_stays_one_while_somebody_is_in_the_channel(workspace: World) -> None:
    ada, _, _, channel = await team(workspace)
    for role in ("poster", "reader"):
        with pytest.raises(LastAdmin):
            await ada(set_channel_member_role, channel_id=channel, member_id=ada.id, role=role)
        with pytest.raises(LastAdmin):
            await admin.join_channel(workspace.db, workspace.info, "builds", "ada", role=role)
    with pytest.raises(LastAdmin):
        await ada(leave_channel, channel_id=channel)
    with pytest.raises(LastAdmin):
        await ada(remove_channel_member, channel_id=channel, member_id=ada.id)
    assert await role_of(ada, channel, ada) == "admin"


async def test_who_handed_a_channel_on_may_leave_it(workspace: World) -> None:
    ada, _, _, channel = await team(workspace)
    eve = await workspace.user("eve")
    await ada(add_channel_member, channel_id=channel, member_id=eve.id, role="admin")
    await ada(set_channel_member_role, channel_id=channel, member_id=ada.id, role="poster")
    await ada(leave_channel, channel_id=channel)
    with pytest.raises(LastAdmin):
        await eve(leave_channel, channel_id=channel)


async def test_an_admin_who_is_alone_is_the_only_member(workspace: World) -> None:
    ada = await workspace.user("ada")
    made = await ada(create_channel, name="alone")
    with pytest.raises(SoleMember):
        await ada(leave_channel, channel_id=made.id)
    with pytest.raises(LastAdmin):
        await ada(set_channel_member_role, channel_id=made.id, member_id=ada.id, role="reader")


async def test_two_admins_who_demote_each_other_at_once_leave_one(workspace: World) -> None:
    ada, _, _, channel = await team(workspace)
    eve = await workspace.user("eve")
    for _ in range(5):
        await workspace.join("builds", eve, role="admin")
        await workspace.join("builds", ada, role="admin")
        calls = (
            ada(set_channel_member_role, channel_id=channel, member_id=eve.id, role="poster"),
            eve(set_channel_member_role, channel_id=channel, member_id=ada.id, role="poster"),
        )
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(outcome, Exception) or isinstance(outcome, ApiError)
        roles = [await role_of(ada, channel, who) for who in (ada, eve)]
        assert "admin" in roles


# What is hidden leaves no trace


async def test_a_private_agent_joins_no_channel_unless_told(workspace: World) -> None:
    ada, other = await workspace.user("ada"), await workspace.agent("other")
    secret = await workspace.agent("secret", owner="ada", private=True)
    [general] = await workspace.rows(
        "SELECT id FROM channels WHERE workspace_id = %(workspace)s AND name = 'general'"
    )
    assert await role_of(ada, general["id"], secret) is None
    members = await other(get_channel_members, channel_id=general["id"])
    manifest = await other(get_channel_manifest, channel_id=general["id"])
    assert secret.id not in repr((members, manifest))
    sent = await other(send_message, channel_id=general["id"], content="@secret, hello")
    assert sent.id
    with pytest.raises(IdentityNotFound):
        await other(send_message, channel_id=general["id"], content="x", mentions=[{"id": secret.id}])
    task = await other(create_task, title="x")
    assert (await other(comment_on_task, task_id=task.id, body="@secret, hello")).mentions == []


async def test_who_shares_a_channel_with_a_private_agent_on_purpose_may_name_it_there(
    workspace: World,
) -> None:
    await workspace.user("ada")
    secret = await workspace.agent("secret", owner="ada", private=True)
    other, far = await workspace.agent("other"), await workspace.agent("far")
    await workspace.channel("lab", secret, other, private=True)
    task = await other(create_task, title="x")
    said = await other(comment_on_task, task_id=task.id, body="@secret, hello")
    assert [mention.id for mention in said.mentions] == [secret.id]
    for caller in (other, far):
        with pytest.raises(IdentityNotFound):
            await caller(resolve_identity, handle="secret")


async def test_a_workspace_counts_only_what_the_caller_may_know_of(workspace: World) -> None:
    ada, other = await workspace.user("ada"), await workspace.agent("other")
    before, seen_before = await other(get_workspace_info), await ada(get_workspace_info)
    await workspace.agent("secret", owner="ada", private=True)
    await workspace.channel("lab", ada, private=True)
    assert await other(get_workspace_info) == before
    seen = await ada(get_workspace_info)
    assert seen.agent_count == seen_before.agent_count + 1
    assert seen.channel_count == seen_before.channel_count + 1


async def test_the_name_of_a_private_channel_cannot_be_guessed(workspace: World) -> None:
    ada, eve = await workspace.user("ada"), await workspace.user("eve")
    lab = await ada(create_channel, name="lab", type="private")
    for type in ("public", "private"):
        made = await eve(create_channel, name="lab", type=type) if type == "public" else None
        if made:
            await eve(rename_channel, channel_id=made.id, name=f"lab-{type}")
    mine = await eve(create_channel, name="lab", type="private")
    assert mine.id != lab.id
    for name in ("lab", "general"):
        for type in ("public", "private"):
            with pytest.raises(AlreadyExists):
                await eve(create_channel, name=name, type=type)
    other = await eve(create_channel, name="other", type="private")
    for name in ("lab", "lab-public", "general"):
        with pytest.raises(AlreadyExists):
            await eve(rename_channel, channel_id=other.id, name=name)


async def test_two_public_channels_never_share_a_name(workspace: World) -> None:
    callers = [await workspace.user(f"user-{n}") for n in range(4)]
    outcomes = await asyncio.gather(
        *(caller(create_channel, name="lab") for caller in callers), return_exceptions=True
    )
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == len(callers) - 1
    rows = await workspace.rows("SELECT id FROM channels WHERE workspace_id = %(workspace)s AND name = 'lab'")
    assert len(rows) == 1


async def test_the_operator_names_one_of_two_channels_by_its_id(workspace: World) -> None:
    ada, eve = await workspace.user("ada"), await workspace.user("eve")
    await ada(create_channel, name="lab", type="private")
    made = await eve(create_channel, name="lab", type="private")
    with pytest.raises(InvalidInput, match="by its id"):
        await admin.join_channel(workspace.db, workspace.info, "lab", "ada")
    joined = await admin.join_channel(workspace.db, workspace.info, made.id, "ada")
    assert str(joined.channel_id) == made.id
    with pytest.raises(AlreadyExists):
        await admin.create_channel(workspace.db, workspace.info, "lab")


async def test_an_archived_channel_keeps_its_admin_too(workspace: World) -> None:
    ada, _, _, channel = await team(workspace)
    await ada(archive_channel, channel_id=channel)
    with pytest.raises(LastAdmin):
        await ada(leave_channel, channel_id=channel)
