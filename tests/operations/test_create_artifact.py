"""create-artifact."""

from uuid import uuid4

import pytest

from app.errors import ChannelNotFound, InvalidInput
from app.operations import create_artifact, get_messages
from tests.conftest import Caller, World


async def two_in_a_channel(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.channel("builds", ada, bot)


async def test_an_artifact_is_a_message_with_a_name(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    shared = await bot(create_artifact, channel_id=channel, name="run.py", type="code", content="@ada = 1")
    assert (shared.name, shared.type) == ("run.py", "code")
    [message] = (await ada(get_messages, channel_id=channel)).messages
    assert (message.id, message.content) == (shared.message_id, "@ada = 1")
    assert message.metadata == {"artifact": {"name": "run.py", "type": "code"}}
    with pytest.raises(ChannelNotFound):
        await bot(create_artifact, channel_id=str(uuid4()), name="x", type="code", content="x")


@pytest.mark.parametrize("name", [" ", "\u200b", "\u200b\u2060\u00ad", "a\nb", "a\u001b[31mred", "a\u0007"])
async def test_a_name_has_something_to_see_and_no_control_characters(workspace: World, name: str) -> None:
    _, bot, channel = await two_in_a_channel(workspace)
    with pytest.raises(InvalidInput) as refused:
        await bot(create_artifact, channel_id=channel, name=name, type="code", content="x")
    assert refused.value.details == {"field": "name"}
