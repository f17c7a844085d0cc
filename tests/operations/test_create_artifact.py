"""create-artifact."""

from uuid import uuid4

import pytest

from app.errors import (
    ChannelNotFound,
)
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
