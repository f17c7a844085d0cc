"""get-channel-manifest."""

from app.operations import (
    get_channel_manifest,
    send_message,
)
from tests.conftest import World


async def test_a_manifest_counts_the_messages_of_the_last_day(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, bot, purpose="Ship it")
    for _ in range(5):
        await bot(send_message, channel_id=channel, content="x")
    await workspace.rows(
        """UPDATE messages SET created_at = now() - interval '25 hours'
            WHERE workspace_id = %(workspace)s AND position <= 2 RETURNING id"""
    )
    manifest = await bot(get_channel_manifest, channel_id=channel)
    assert (manifest.name, manifest.purpose, manifest.type) == ("builds", "Ship it", "public")
    assert (manifest.recent_message_count, manifest.domain, manifest.iris_enabled) == (3, None, False)
    assert {(m.member_id, m.member_type) for m in manifest.members} == {(ada.id, "human"), (bot.id, "agent")}
