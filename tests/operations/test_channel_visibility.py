"""Who may do what in a channel: every caller, in every kind of channel, through every operation that touches one.

Three answers are possible besides a success: the channel does not exist (404), the caller is not in it, or is there
only to read (403 channel_not_member), and the caller is no admin (403 permission_denied).
"""

from itertools import product
from typing import Any, Final, Literal

import pytest

from app.errors import (
    ApiError,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    MemberRemoved,
    MessageNotFound,
)
from app.operations import (
    add_channel_member,
    archive_channel,
    create_artifact,
    create_task,
    create_tasks_bulk,
    flag_needs_human,
    get_channel_manifest,
    get_channel_members,
    get_channels,
    get_messages,
    get_unread_mentions,
    join_channel,
    leave_channel,
    list_channel_members,
    post_message,
    remove_channel_member,
    rename_channel,
    search_messages,
    send_message,
    set_channel_member_role,
)
from app.rpc import Operation
from tests.conftest import World

Role = Literal["stranger", "former member", "reader", "poster", "admin"]

READS: Final = (
    get_messages,
    get_channel_members,
    get_channel_manifest,
    list_channel_members,
    search_messages,
)
WRITES: Final = (
    send_message,
    post_message,
    create_artifact,
    flag_needs_human,
    create_task,
    create_tasks_bulk,
    add_channel_member,
)
MANAGES: Final = (rename_channel, archive_channel, set_channel_member_role, remove_channel_member)
CASES: Final = [
    (kind, who, role, op)
    for kind, who, role, op in product(
        ("public", "private"),
        ("user", "agent"),
        ("stranger", "former member", "reader", "poster", "admin"),
        (*READS, *WRITES, *MANAGES, join_channel, leave_channel),
    )
    if not (who == "agent" and role == "admin")
]


def expected(kind: str, role: Role, op: Operation) -> type[ApiError] | None:
    """What the rules say."""
    if role in {"stranger", "former member"}:
        if op is flag_needs_human:
            return MessageNotFound
        if kind == "private":
            return ChannelNotFound
        if op is join_channel:
            return MemberRemoved if role == "former member" else None
        return ChannelNotMember
    if op in WRITES and role == "reader":
        return ChannelNotMember
    return ChannelNotAdmin if op in MANAGES and role != "admin" else None


@pytest.mark.parametrize("kind, who, role, op", CASES, ids=lambda x: x if isinstance(x, str) else x.name)
async def test_the_rules_hold(workspace: World, kind: str, who: str, role: Role, op: Operation) -> None:
    owner, other = await workspace.user("owner"), await workspace.user("other", channels=[])
    caller = await (workspace.user("caller") if who == "user" else workspace.agent("caller"))
    channel = await workspace.channel("builds", owner, private=kind == "private", role="admin")
    message = await owner(send_message, channel_id=channel, content="@caller needle")
    if role == "former member":
        await workspace.join("builds", caller)
        await owner(remove_channel_member, channel_id=channel, member_id=caller.id)
    elif role != "stranger":
        await workspace.join("builds", caller, role=role)
    fields: dict[str, Any] = {
        "channel_id": channel,
        "content": "x",
        "query": "needle",
        "name": "x",
        "type": "x",
        "message_id": message.id,
        "reason": "x",
        "title": "x",
        "tasks": [{"title": "x"}],
        "summary_channel_id": channel,
        "member_id": owner.id if op in {set_channel_member_role, remove_channel_member} else other.id,
        "role": "reader",
    }
    sent = {name: fields[name] for name in op.request.__struct_fields__ if name in fields}
    if error := expected(kind, role, op):
        with pytest.raises(error) as refused:
            await caller(op, **sent)
        assert refused.type is error
    else:
        await caller(op, **sent)


@pytest.mark.parametrize("kind", ["public", "private"])
@pytest.mark.parametrize("role", ["stranger", "former member", "reader", "poster"])
async def test_what_lists_without_naming_a_channel_shows_members_only(
    workspace: World, kind: str, role: Role
) -> None:
    owner, caller = await workspace.user("owner"), await workspace.agent("caller", channels=[])
    channel = await workspace.channel("builds", owner, private=kind == "private", role="admin")
    await owner(send_message, channel_id=channel, content="@caller needle")
    if role == "former member":
        await workspace.join("builds", caller)
        await owner(remove_channel_member, channel_id=channel, member_id=caller.id)
    elif role != "stranger":
        await workspace.join("builds", caller, role=role)
    shown = 1 if role in {"reader", "poster"} else 0
    assert len(await caller(get_channels)) == shown
    assert len((await caller(search_messages, query="needle")).messages) == shown
    assert (await caller(get_unread_mentions)).count == shown


async def test_another_workspace_is_another_world(workspace: World, other_workspace: World) -> None:
    owner, caller = await workspace.user("owner"), await other_workspace.user("caller")
    channel = await workspace.channel("builds", owner)
    message = await owner(send_message, channel_id=channel, content="needle")
    calls: list[tuple[Operation, dict[str, object]]] = [
        (get_messages, {}),
        (join_channel, {}),
        (leave_channel, {}),
        (rename_channel, {"name": "x"}),
        (create_task, {"title": "x"}),
    ]
    for op, fields in calls:
        with pytest.raises(ChannelNotFound):
            await caller(op, channel_id=channel, **fields)
    with pytest.raises(MessageNotFound):
        await caller(flag_needs_human, message_id=message.id, reason="x")
    assert (await caller(search_messages, query="needle")).messages == []
