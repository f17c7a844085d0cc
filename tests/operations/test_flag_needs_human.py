"""flag-needs-human."""

import re
from uuid import uuid4

import pytest

from app.errors import (
    ChannelArchived,
    ChannelNotMember,
    MessageNotFound,
)
from app.operations import flag_needs_human, send_message
from tests.conftest import Caller, World

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def two_in_a_channel(workspace: World) -> tuple[Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.channel("builds", ada, bot)


async def archive(workspace: World, channel: str) -> None:
    await workspace.rows(
        """UPDATE channels SET archived_at = now()
            WHERE workspace_id = %(workspace)s AND id = %(channel)s::uuid RETURNING id""",
        channel=channel,
    )


async def test_a_flag_says_who_needs_a_human_and_why(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    message = await ada(send_message, channel_id=channel, content="x")
    flagged = await bot(flag_needs_human, message_id=message.id, reason="It costs money.")
    at = flagged.metadata.pop("needsHumanAt")
    assert RFC3339.fullmatch(at)
    assert flagged.metadata == {
        "needsHuman": True,
        "needsHumanReason": "It costs money.",
        "needsHumanBy": bot.id,
    }
    assert (flagged.version, flagged.is_edited, flagged.updated_at) == (2, False, at)
    again = await bot(flag_needs_human, message_id=message.id, reason="Still.")
    assert (again.version, again.metadata["needsHumanReason"]) == (3, "Still.")


async def test_only_who_could_answer_flags(workspace: World) -> None:
    ada, bot, channel = await two_in_a_channel(workspace)
    message = await ada(send_message, channel_id=channel, content="x")
    stranger, reader = await workspace.agent("stranger"), await workspace.agent("reader")
    await workspace.join("builds", reader, role="reader")
    with pytest.raises(MessageNotFound):
        await stranger(flag_needs_human, message_id=message.id, reason="x")
    with pytest.raises(ChannelNotMember):
        await reader(flag_needs_human, message_id=message.id, reason="x")
    for unknown in ("x", str(uuid4())):
        with pytest.raises(MessageNotFound):
            await bot(flag_needs_human, message_id=unknown, reason="x")
    await archive(workspace, channel)
    with pytest.raises(ChannelArchived):
        await bot(flag_needs_human, message_id=message.id, reason="x")
