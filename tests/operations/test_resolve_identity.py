"""resolve-identity: from a handle or an email to the id that assignments need."""

from uuid import uuid4

import pytest

from app.errors import IdentityNotFound, InvalidInput
from app.operations import resolve_identity
from tests.conftest import World


@pytest.mark.parametrize("handle", ["ada", "@ada", "Ada", "@ADA"])
async def test_a_handle_is_found_with_or_without_at_sign_in_any_case(workspace: World, handle: str) -> None:
    ada, bot = await workspace.user("ada", name="Ada Lovelace"), await workspace.agent("bot")
    found = await bot(resolve_identity, handle=handle)
    assert (found.id, found.kind, found.handle, found.display_name) == (ada.id, "user", "ada", "Ada Lovelace")


async def test_an_agent_is_found_by_handle(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    assert (await ada(resolve_identity, handle="bot")).id == bot.id
    assert (await ada(resolve_identity, handle="bot")).kind == "agent"
    assert (await bot(resolve_identity, handle="@bot")).id == bot.id


@pytest.mark.parametrize("email", ["Ada.L@Example.test", "ada.l@example.test", "ADA.L@EXAMPLE.TEST"])
async def test_an_email_is_found_in_any_case(workspace: World, email: str) -> None:
    ada, bot = await workspace.user("ada", email="Ada.L@Example.test"), await workspace.agent("bot")
    assert (await bot(resolve_identity, email=email)).id == ada.id


@pytest.mark.parametrize(
    "handle", ["nobody", "@", "@@ada", "ada ", "a%", "ada@example.test", "a" * 500, "'; --"]
)
async def test_a_handle_that_nobody_has_is_not_found(workspace: World, handle: str) -> None:
    await workspace.user("ada")
    bot = await workspace.agent("bot")
    with pytest.raises(IdentityNotFound) as refused:
        await bot(resolve_identity, handle=handle)
    assert refused.value.details == {"field": "handle"}


@pytest.mark.parametrize("email", ["ada", "bob@example.test", "@ada", "%", "x" * 500])
async def test_an_email_that_nobody_has_is_not_found(workspace: World, email: str) -> None:
    await workspace.user("ada")
    bot = await workspace.agent("bot")
    with pytest.raises(IdentityNotFound) as refused:
        await bot(resolve_identity, email=email)
    assert refused.value.details == {"field": "email"}


async def test_other_workspaces_are_not_searched(workspace: World, other_workspace: World) -> None:
    await other_workspace.user("ada")
    bot = await workspace.agent("bot")
    for sought in ({"handle": "ada"}, {"email": "ada@example.test"}):
        with pytest.raises(IdentityNotFound):
            await bot(resolve_identity, **sought)
    mine = await workspace.user("ada")
    for sought in ({"handle": "ada"}, {"email": "ada@example.test"}):
        assert (await bot(resolve_identity, **sought)).id == mine.id


async def test_a_private_agent_exists_only_for_its_owner_and_their_agents(workspace: World) -> None:
    ada, bob = await workspace.user("ada"), await workspace.user("bob")
    secret = await workspace.agent("secret", owner="ada", private=True)
    sister, foreign = (
        await workspace.agent("sister", owner="ada"),
        await workspace.agent("foreign", owner="bob"),
    )
    ownerless = await workspace.agent("ownerless")
    for caller in (ada, sister, secret):
        assert (await caller(resolve_identity, handle="secret")).id == secret.id
    for caller in (bob, foreign, ownerless):
        with pytest.raises(IdentityNotFound):
            await caller(resolve_identity, handle="secret")


async def test_a_handle_and_an_email_together_must_be_those_of_one_person(workspace: World) -> None:
    ada, bot = await workspace.user("ada", email="ada@example.test"), await workspace.agent("bot")
    await workspace.user("bob", email="bob@example.test")
    assert (await bot(resolve_identity, handle="@ada", email="Ada@example.test")).id == ada.id
    for handle, email in (
        ("ada", "bob@example.test"),
        ("ada", "ada"),
        ("bot", "ada@example.test"),
        ("bot", "bot"),
    ):
        with pytest.raises(IdentityNotFound):
            await bot(resolve_identity, handle=handle, email=email)


async def test_a_handle_or_an_email_is_asked_for(workspace: World) -> None:
    bot = await workspace.agent("bot")
    with pytest.raises(InvalidInput, match="a handle or an email"):
        await bot(resolve_identity)


@pytest.mark.parametrize(
    "sought",
    [
        {"handle": ""},
        {"handle": 7},
        {"handle": "a" * 10_000},
        {"email": "\0"},
        {"email": ""},
        {"handle": [str(uuid4())]},
    ],
)
async def test_what_cannot_be_a_name_is_refused(workspace: World, sought: dict[str, object]) -> None:
    bot = await workspace.agent("bot")
    with pytest.raises(InvalidInput):
        await bot(resolve_identity, **sought)
