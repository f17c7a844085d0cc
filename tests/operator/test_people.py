"""Users and agents who are there already: list, rename, deactivate, reactivate."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.auth import Keys
from app.errors import ApiError, Conflict, IdentityDeactivated, InvalidInput, KeyRevoked, LastAdmin
from app.operations import (
    add_channel_member,
    claim_task,
    comment_on_task,
    create_channel,
    create_task,
    create_tasks_bulk,
    get_channel_members,
    get_inbox,
    get_task,
    get_workspace_info,
    list_channel_members,
    list_comments,
    list_task_history,
    post_message,
    resolve_identity,
    send_message,
    set_channel_member_role,
    update_task,
)
from app.operator import administration as admin
from tests.conftest import Caller, World

Call = Callable[[Caller, str, str], Awaitable[object]]


async def deactivated(workspace: World, caller: Caller) -> admin.Deactivation:
    return await admin.deactivate(
        workspace.db, workspace.info, caller.context.actor.kind, caller.handle, settle_seconds=0
    )


async def test_everybody_is_listed_with_what_they_have_in_hand(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot", owner="ada", agent_type="cloud")
    await workspace.agent("aside", private=True, owner="ada")
    await ada(create_task, title="held", assignee_agent_id=bot.id)
    await bot(claim_task, task_id="T-1")
    [aside, listed] = await admin.list_people(workspace.db, workspace.info, "agent")
    assert (listed.handle, listed.owner, listed.agent_type, listed.private) == ("bot", "ada", "cloud", False)
    assert (listed.keys, listed.claims, listed.open_tasks, listed.state) == (1, 1, 1, "active")
    assert (aside.handle, aside.private, aside.claims) == ("aside", True, 0)
    [person] = await admin.list_people(workspace.db, workspace.info, "user")
    assert (person.handle, person.email, person.agent_type) == ("ada", "ada@example.test", None)


async def test_a_display_name_changes_and_the_handle_stays(workspace: World) -> None:
    bot = await workspace.agent("bot")
    renamed = await admin.rename(workspace.db, workspace.info, "agent", "@bot", "The Builder")
    assert (renamed.id, renamed.handle, renamed.name) == (bot.context.actor.id, "bot", "The Builder")
    assert (await bot(resolve_identity, handle="bot")).display_name == "The Builder"
    with pytest.raises(InvalidInput):
        await admin.rename(workspace.db, workspace.info, "agent", "bot", " ")


async def test_a_user_is_no_agent(workspace: World) -> None:
    await workspace.user("ada")
    with pytest.raises(InvalidInput, match="is a user: use `user` instead"):
        await admin.deactivate(workspace.db, workspace.info, "agent", "ada")


async def test_who_is_deactivated_has_no_key_and_no_claim_and_keeps_their_history(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot", owner="ada")
    await bot(create_task, title="mine", assignee_agent_id=bot.id)
    await bot(create_task, title="held")
    claim = await bot(claim_task, task_id="T-2")
    await bot(comment_on_task, task_id="T-2", body="halfway")
    done = await deactivated(workspace, bot)
    assert (done.handle, done.keys_revoked, done.claims_released, done.open_tasks) == ("bot", 1, 1, 1)
    assert done.undo == f"agent reactivate bot --workspace {workspace.slug}"
    with pytest.raises(KeyRevoked):
        await Keys(workspace.db).actor(bot.headers["Authorization"].encode())
    freed = await ada(get_task, task_id="T-2")
    assert (freed.status, freed.assignee_agent_id) == ("todo", None)
    [released, comment, claimed, _] = await ada(list_task_history, task_id="T-2")
    assert (released.kind, released.by.handle, released.request_id) == (
        "run_force_released", "baton", "operator-deactivate",
    )  # fmt: skip
    assert {comment.by.handle, claimed.by.handle} == {"bot"}
    assert (await ada(list_comments, task_id="T-2"))[0].author_agent_id == bot.id
    assert (await ada(resolve_identity, handle="bot")).display_name == "bot"
    assert claim.run.id


async def test_deactivating_twice_changes_nothing_more(workspace: World) -> None:
    bot = await workspace.agent("bot")
    first, second = await deactivated(workspace, bot), await deactivated(workspace, bot)
    assert (first.keys_revoked, second.keys_revoked, second.claims_released) == (1, 0, 0)
    assert first.deactivated_at == second.deactivated_at


NEW_THINGS: dict[str, Call] = {
    "a new task": lambda eve, bot, _: eve(create_task, title="x", assignee_agent_id=bot),
    "one of many new tasks": lambda eve, bot, _: eve(
        create_tasks_bulk, tasks=[{"title": "x", "assigneeAgentId": bot}]
    ),
    "a task that is there": lambda eve, bot, _: eve(
        update_task, task_id="T-1", version=1, assignee_agent_id=bot
    ),
    "a task, by name": lambda eve, _, __: eve(
        update_task, task_id="T-1", version=1, assignee_agent_id="@bot"
    ),
    "a mention on purpose": lambda eve, bot, _: eve(
        comment_on_task, task_id="T-1", body="look", mentions=[{"id": bot}]
    ),
    "a mention in a message": lambda eve, bot, channel: eve(
        send_message, channel_id=channel, content="look", mentions=[{"id": bot}]
    ),
    "a mention in a message of the other family": lambda eve, bot, channel: eve(
        post_message, channel_id=channel, content="look", mention_identity_ids=[bot]
    ),
    "a channel": lambda eve, bot, channel: eve(add_channel_member, channel_id=channel, member_id=bot),
}


@pytest.mark.parametrize("new", NEW_THINGS)
async def test_who_is_deactivated_takes_nothing_new(workspace: World, new: str) -> None:
    eve, bot = await workspace.agent("eve"), await workspace.agent("bot")
    channel = await workspace.channel("builds", eve)
    await eve(create_task, title="x", channel_id=channel)
    await deactivated(workspace, bot)
    with pytest.raises(IdentityDeactivated, match="@bot was deactivated by an operator") as refused:
        await NEW_THINGS[new](eve, bot.id, channel)
    assert eve.decoded(refused.value).reason == "identity_deactivated"
    await admin.reactivate(workspace.db, workspace.info, "agent", "bot")
    await NEW_THINGS[new](eve, bot.id, channel)


async def test_a_handle_in_a_text_is_just_text_once_nobody_listens(workspace: World) -> None:
    eve, bot = await workspace.agent("eve"), await workspace.agent("bot")
    await eve(create_task, title="x")
    await deactivated(workspace, bot)
    comment = await eve(comment_on_task, task_id="T-1", body="as @bot said")
    assert comment.mentions == []


async def test_an_operator_gives_nothing_new_to_who_is_deactivated(workspace: World) -> None:
    ada = await workspace.user("ada")
    await deactivated(workspace, ada)
    for refused in (
        admin.create_key(workspace.db, workspace.info, "ada"),
        admin.create_verify_token(workspace.db, workspace.info, "ada"),
        admin.join_channel(workspace.db, workspace.info, "general", "ada"),
        admin.create_identity(workspace.db, workspace.info, kind="agent", handle="hers", owner="ada"),
    ):
        with pytest.raises(Conflict, match=f"`user reactivate ada --workspace {workspace.slug}`"):
            await refused


async def test_who_is_reactivated_gets_a_new_key_and_finds_their_places(workspace: World) -> None:
    ada = await workspace.user("ada", scopes="read-only")
    await deactivated(workspace, ada)
    again = await admin.reactivate(workspace.db, workspace.info, "user", "ada")
    assert (again.state, again.keys, again.deactivated_at) == ("active", 0, None)
    key = await admin.create_key(workspace.db, workspace.info, "ada")
    assert key.scopes == ["channel-read", "task-read"]
    members = await admin.list_members(workspace.db, workspace.info, "general")
    assert [member.handle for member in members] == ["ada"]


async def test_who_is_deactivated_is_not_listed_among_those_to_address(workspace: World) -> None:
    eve, bot = await workspace.agent("eve"), await workspace.agent("bot")
    general = str((await admin.find_channels(workspace.db, workspace.info, ["general"]))[0].id)
    await deactivated(workspace, bot)
    members = (await eve(get_channel_members, channel_id=general)).members
    assert [member.handle for member in members] == ["eve"]
    assert [m.handle for m in await eve(list_channel_members, channel_id=general)] == ["eve"]
    assert (await eve(get_inbox)).you.channels[0].members == []
    assert (await eve(get_workspace_info)).agent_count == 1


async def test_what_a_user_leaves_behind_is_named(workspace: World) -> None:
    ada, eve = await workspace.user("ada"), await workspace.user("eve")
    await workspace.agent("hers", owner="ada")
    channel = await ada(create_channel, name="builds")
    await ada(add_channel_member, channel_id=channel.id, member_id=eve.id, role="admin")
    assert (await deactivated(workspace, eve)).only_admin_of == []
    with pytest.raises(LastAdmin):
        await ada(set_channel_member_role, channel_id=channel.id, member_id=ada.id, role="poster")
    done = await deactivated(workspace, ada)
    assert (done.only_admin_of, done.agents) == (["builds"], ["hers"])


async def test_a_key_that_is_made_while_its_owner_is_deactivated_is_revoked_or_refused(
    workspace: World,
) -> None:
    for n in range(5):
        bot = await workspace.agent(f"bot-{n}")
        made, _ = await asyncio.gather(
            admin.create_key(workspace.db, workspace.info, bot.handle),
            deactivated(workspace, bot),
            return_exceptions=True,
        )
        assert isinstance(made, (admin.NewKey, ApiError))
        keys = await admin.list_keys(workspace.db, workspace.info, bot.handle)
        assert {key.state for key in keys} == {"revoked"}
