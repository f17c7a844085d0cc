"""archive-channel."""

import pytest

from app.errors import (
    ChannelArchived,
)
from app.operations import (
    add_channel_member,
    archive_channel,
    create_channel,
    get_channels,
    get_messages,
    join_channel,
    send_message,
)
from tests.conftest import World


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
