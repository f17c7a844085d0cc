"""rename-channel, and who manages a channel."""

from typing import Any

import pytest

from app.errors import (
    ApiError,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
)
from app.operations import (
    add_channel_member,
    archive_channel,
    create_channel,
    remove_channel_member,
    rename_channel,
    set_channel_member_role,
)
from tests.conftest import Caller, World


async def test_renaming_keeps_the_purpose_unless_told(workspace: World) -> None:
    ada = await workspace.user("ada")
    channel = await ada(create_channel, name="old", purpose="Talk")
    renamed = await ada(rename_channel, channel_id=channel.id, name="new")
    assert (renamed.id, renamed.name, renamed.purpose) == (channel.id, "new", "Talk")
    assert (await ada(rename_channel, channel_id=channel.id, name="new", purpose="Work")).purpose == "Work"
    assert (await ada(rename_channel, channel_id=channel.id, name="new", purpose=None)).purpose is None


MANAGING: list[tuple[Any, dict[str, Any]]] = [
    (rename_channel, {"name": "other"}),
    (archive_channel, {}),
    (set_channel_member_role, {"role": "reader"}),
    (remove_channel_member, {}),
]


@pytest.mark.parametrize("op, fields", MANAGING, ids=lambda x: getattr(x, "name", ""))
async def test_only_admins_manage(workspace: World, op: Any, fields: dict[str, Any]) -> None:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("bot"), await workspace.agent("eve")
    public, private = (
        (await ada(create_channel, name="pub")).id,
        (await ada(create_channel, name="pri", type="private")).id,
    )
    whom = {"member_id": ada.id} if "member_id" in op.request.__struct_fields__ else {}

    async def refused(caller: Caller, channel: str) -> type[ApiError]:
        with pytest.raises(ApiError) as error:
            await caller(op, channel_id=channel, **fields, **whom)
        return error.type

    assert (await refused(eve, public), await refused(eve, private)) == (ChannelNotMember, ChannelNotFound)
    for channel in (public, private):
        await ada(add_channel_member, channel_id=channel, member_id=bot.id)
        assert await refused(bot, channel) is ChannelNotAdmin
