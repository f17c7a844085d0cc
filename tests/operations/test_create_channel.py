"""create-channel."""

import asyncio

import pytest

from app.errors import (
    AlreadyExists,
    InvalidInput,
)
from app.operations import (
    create_channel,
    get_channels,
    list_channel_members,
    rename_channel,
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
