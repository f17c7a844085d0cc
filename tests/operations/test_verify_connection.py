"""verify-connection: a token works once, for its own agent, for ten minutes; the answer is never an error."""

import asyncio

import pytest
from msgspec import UNSET

from app.errors import InvalidInput
from app.operations import verify_connection
from app.operator import administration as admin
from tests.conftest import World


async def token_for(workspace: World, handle: str) -> str:
    return (await admin.create_verify_token(workspace.db, workspace.info, handle)).token


async def expire_all(workspace: World) -> None:
    await workspace.rows(
        """UPDATE verify_tokens SET expires_at = now() - interval '1 second'
            WHERE workspace_id = %(workspace)s RETURNING agent_id"""
    )


async def test_a_fresh_token_verifies_its_agent(workspace: World) -> None:
    bot = await workspace.agent("bot")
    answer = await bot(verify_connection, token=await token_for(workspace, "bot"))
    assert (answer.ok, answer.agent_id, answer.workspace_id) == (True, bot.id, workspace.id)
    assert answer.verified_at is not None
    assert answer.reason is UNSET


async def test_a_token_works_once(workspace: World) -> None:
    bot = await workspace.agent("bot")
    token = await token_for(workspace, "bot")
    assert (await bot(verify_connection, token=token)).ok
    for _ in range(2):
        again = await bot(verify_connection, token=token)
        assert (again.ok, again.reason) == (False, "already_used")
    assert (await bot(verify_connection, token=await token_for(workspace, "bot"))).ok, (
        "another token is another chance"
    )


async def test_of_echoes_at_once_one_succeeds(workspace: World) -> None:
    bot = await workspace.agent("bot")
    for _ in range(20):
        token = await token_for(workspace, "bot")
        answers = await asyncio.gather(*(bot(verify_connection, token=token) for _ in range(2)))
        assert sorted(answer.ok for answer in answers) == [False, True]
        [lost] = [answer for answer in answers if not answer.ok]
        assert lost.reason == "already_used"


@pytest.mark.parametrize("token", ["verify_nonsense", "x", "ü", " ", "a" * 500])
async def test_an_unknown_token_is_invalid(workspace: World, token: str) -> None:
    bot = await workspace.agent("bot")
    answer = await bot(verify_connection, token=token)
    assert (answer.ok, answer.reason, answer.message) == (
        False,
        "invalid_token",
        "This token is not known here.",
    )


async def test_a_token_of_another_workspace_is_unknown_here(workspace: World, other_workspace: World) -> None:
    bot, _ = await workspace.agent("bot"), await other_workspace.agent("bot")
    answer = await bot(verify_connection, token=await token_for(other_workspace, "bot"))
    assert (answer.ok, answer.reason) == (False, "invalid_token")


async def test_a_token_of_another_agent_is_a_mismatch_and_stays_good(workspace: World) -> None:
    bot, other = await workspace.agent("bot"), await workspace.agent("other")
    token = await token_for(workspace, "bot")
    answer = await other(verify_connection, token=token)
    assert (answer.ok, answer.reason) == (False, "agent_mismatch")
    assert (await bot(verify_connection, token=token)).ok


async def test_an_old_token_has_expired(workspace: World) -> None:
    bot = await workspace.agent("bot")
    token = await token_for(workspace, "bot")
    await expire_all(workspace)
    for _ in range(2):
        answer = await bot(verify_connection, token=token)
        assert (answer.ok, answer.reason) == (False, "expired")


async def test_a_used_token_stays_used_after_its_time(workspace: World) -> None:
    bot = await workspace.agent("bot")
    token = await token_for(workspace, "bot")
    await bot(verify_connection, token=token)
    await expire_all(workspace)
    assert (await bot(verify_connection, token=token)).reason == "already_used"


async def test_any_key_may_echo(workspace: World) -> None:
    bot = await workspace.agent("bot", scopes="iris-ask")
    assert (await bot(verify_connection, token=await token_for(workspace, "bot"))).ok


@pytest.mark.parametrize(
    "fields", [{}, {"token": ""}, {"token": None}, {"token": 7}, {"token": "\0"}, {"token": "x" * 501}]
)
async def test_a_token_is_required_and_is_text(workspace: World, fields: dict[str, object]) -> None:
    bot = await workspace.agent("bot")
    with pytest.raises(InvalidInput):
        await bot(verify_connection, **fields)
