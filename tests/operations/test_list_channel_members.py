"""list-channel-members."""

from app.operations import (
    list_channel_members,
)
from tests.conftest import World


async def test_memberships_have_roles(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, role="admin")
    await workspace.join("builds", bot, role="reader")
    assert {
        (m.handle, m.member_type, m.role) for m in await bot(list_channel_members, channel_id=channel)
    } == {
        ("ada", "human", "admin"),
        ("bot", "agent", "reader"),
    }
    first = await bot(list_channel_members, channel_id=channel, limit=1)
    second = await bot(list_channel_members, channel_id=channel, limit=1, cursor=first.cursor)
    assert {m.member_id for m in (*first, *second)} == {ada.id, bot.id}
