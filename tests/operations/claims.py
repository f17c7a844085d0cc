"""What tests of claims share."""

import asyncio
from typing import Any, Final

import msgspec

from app.operations import (
    add_channel_member,
    archive_channel,
    claim_task,
    create_channel,
    create_task,
    get_channels,
    join_channel,
    leave_channel,
    list_task_relations,
    remove_channel_member,
    rename_channel,
    send_message,
    set_channel_member_role,
)
from app.operations.runs.bell import bell_of
from app.rpc import Operation
from tests.conftest import Caller, World


async def held(bot: Caller, **fields: Any) -> tuple[Any, Any]:
    """A task, and the caller's claim of it."""
    task = await bot(create_task, title="a")
    return task, await bot(claim_task, task_id=task.id, **fields)


async def expire(workspace: World, run_id: str, *, seen: bool = True) -> None:
    """Let the lease of a run have run out, by the database's clock; unseen, the job does not come to sweep it."""
    await workspace.rows(
        """UPDATE runs SET lease_expires_at = now() - interval '1 second',
                           lease_check_at = CASE WHEN %(seen)s THEN now() - interval '1 second' ELSE lease_check_at END
            WHERE workspace_id = %(workspace)s AND id = %(run)s::uuid RETURNING id""",
        run=run_id,
        seen=seen,
    )


async def superseded(workspace: World, *, human: bool = False) -> tuple[Caller, Caller, Any, Any]:
    """A holder whose lease ran out, somebody else who may claim the task, the task, and the claim that was."""
    late, now = await (workspace.user if human else workspace.agent)("late"), await workspace.agent("now")
    channel = await workspace.channel("work", late, now)
    task = await late(create_task, title="a", channel_id=channel)
    claim = await late(claim_task, task_id=task.id)
    await expire(workspace, claim.run.id, seen=False)
    return late, now, task, claim


MANAGING: Final = (rename_channel, archive_channel, set_channel_member_role, remove_channel_member)
"""What only an admin of a channel may do, which an agent never is."""

ABOUT_CHANNELS: Final = (*MANAGING, create_channel, join_channel, leave_channel, add_channel_member)


async def placed(workspace: World, caller: Caller, op: Operation, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a call, and the channel, message or member that it needs besides."""
    needs = {field.name for field in msgspec.structs.fields(op.request) if field.required}
    found: dict[str, str] = {}
    if op in ABOUT_CHANNELS:
        other = await workspace.agent("roommate")
        found = {"channel_id": await workspace.channel("room", other), "member_id": other.id}
        if op is not join_channel:
            await workspace.join("room", caller, role="admin" if caller.kind == "user" else "poster")
        if op is add_channel_member:
            found["member_id"] = (await workspace.agent("newcomer")).id
    elif needs & {"channel_id", "message_id"}:
        channel = (await caller(get_channels))[0].id
        message = await caller(send_message, channel_id=channel, content="x")
        found = {"channel_id": channel, "message_id": message.id}
    return {**fields, **{name: found[name] for name in needs & found.keys()}}


async def kinds(caller: Caller, task: Any) -> list[tuple[str, str]]:
    """The relations of a task, as kind and identifier of the other one."""
    return [(r.kind, r.task.identifier) for r in await caller(list_task_relations, task_id=task.id)]


async def until_waiting(workspace: World, count: int) -> None:
    """Return when so many callers wait for ready work."""
    async with asyncio.timeout(5):
        while len(bell_of(workspace.db)._waiters) < count:  # noqa: ASYNC110 - the bell tells nobody who waits for it
            await asyncio.sleep(0.01)
