"""set-channel-member-role."""

import pytest

from app.errors import (
    InvalidInput,
)
from app.operations import (
    add_channel_member,
    create_channel,
    set_channel_member_role,
)
from tests.conftest import World


async def test_an_agent_is_never_admin(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await ada(create_channel, name="builds")
    with pytest.raises(InvalidInput):
        await ada(add_channel_member, channel_id=channel.id, member_id=bot.id, role="admin")
    await ada(add_channel_member, channel_id=channel.id, member_id=bot.id)
    with pytest.raises(InvalidInput):
        await ada(set_channel_member_role, channel_id=channel.id, member_id=bot.id, role="admin")
