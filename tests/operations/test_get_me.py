"""get-me: who am I, where, with what rights and in which channels."""

import pytest

from app.auth import Keys
from app.operations import get_me
from app.operator import administration as admin
from app.rpc import Context
from tests.conftest import Caller, World


async def test_an_agent_learns_who_and_where_it_is(workspace: World) -> None:
    ada = await workspace.user("ada", name="Ada Lovelace")
    bot = await workspace.agent("bot", name="Build Bot", owner="ada")
    me = await bot(get_me)
    assert (me.id, me.kind, me.handle, me.name) == (bot.id, "agent", "bot", "Build Bot")
    assert (me.workspace_id, me.workspace_slug, me.owner_id) == (workspace.id, workspace.slug, ada.id)
    her = await ada(get_me)
    assert (her.id, her.kind, her.handle, her.name, her.owner_id) == (
        ada.id,
        "user",
        "ada",
        "Ada Lovelace",
        None,
    )


async def test_channels_come_by_name_with_the_role_there(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await workspace.channel("not-mine")
    zoo = await workspace.channel("zoo", bot)
    alerts = await workspace.channel("alerts")
    await workspace.join("alerts", bot, role="reader")
    me = await bot(get_me)
    assert [(channel.name, channel.role) for channel in me.channels] == [
        ("alerts", "reader"),
        ("general", "poster"),
        ("zoo", "poster"),
    ]
    assert [me.channels[0].id, me.channels[2].id] == [alerts, zoo]


async def test_archived_channels_are_left_out(workspace: World) -> None:
    bot = await workspace.agent("bot", channels=[])
    old = await workspace.channel("old", bot)
    await workspace.rows(
        """UPDATE channels SET archived_at = now()
            WHERE workspace_id = %(workspace)s AND id = %(old)s::uuid RETURNING id""",
        old=old,
    )
    assert (await bot(get_me)).channels == []


@pytest.mark.parametrize(
    "scopes, expected",
    [
        ("read-only", ["channel-read", "task-read"]),
        ("read-and-post", ["channel-read", "channel-write", "task-read", "task-write"]),
        ("task-read, agents-read", ["agents-read", "task-read"]),
        ("iris-ask", ["iris-ask"]),
        ("all", sorted({*admin.ALL_SCOPES} - {"operator"})),
        ("all,operator", sorted(admin.ALL_SCOPES)),
    ],
)
async def test_any_key_may_ask_and_learns_its_own_scopes(
    workspace: World, scopes: str, expected: list[str]
) -> None:
    bot = await workspace.agent("bot", scopes=scopes)
    assert (await bot(get_me)).scopes == expected


async def test_scopes_are_those_of_the_key_and_not_of_the_agent(workspace: World) -> None:
    bot = await workspace.agent("bot")
    key = await admin.create_key(workspace.db, workspace.info, "bot", scopes="task-read")
    actor = await Keys(workspace.db).actor(f"Bearer {key.api_key}".encode())
    me = await get_me.handler(Context(workspace.db, actor, "test"), get_me.decoder.from_json(b""))
    assert [getattr(me, name) for name in ("id", "scopes")] == [bot.id, ["task-read"]]


async def test_whatever_is_sent_along_is_ignored(workspace: World) -> None:
    bot: Caller = await workspace.agent("bot")
    assert await bot(get_me, handle="ada") == await bot.post(get_me, b"") == await bot.post(get_me, b"{}")
