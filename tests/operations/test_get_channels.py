"""get-channels."""

from app.operations import (
    get_channels,
)
from tests.conftest import World


async def test_a_caller_lists_their_own_channels_by_name(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await workspace.channel("zoo", bot, private=True)
    await workspace.channel("attic", bot, purpose="Old things")
    await workspace.channel("elsewhere")
    await workspace.channel("secret", private=True)
    channels = await bot(get_channels)
    assert [(c.name, c.type, c.purpose) for c in channels] == [
        ("attic", "public", "Old things"),
        ("general", "public", None),
        ("zoo", "private", None),
    ]
    assert [c.name for c in await bot(get_channels, include_public=True)] == [
        "attic",
        "elsewhere",
        "general",
        "zoo",
    ]


async def test_an_archived_channel_is_left_out_unless_asked_for(workspace: World) -> None:
    bot = await workspace.agent("bot", channels=[])
    channel = await workspace.channel("old", bot)
    await workspace.rows(
        "UPDATE channels SET archived_at = now() WHERE workspace_id = %(workspace)s AND id = %(c)s::uuid RETURNING id",
        c=channel,
    )
    assert await bot(get_channels) == []
    assert [c.name for c in await bot(get_channels, include_archived=True)] == ["old"]
