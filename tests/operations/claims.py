"""What tests of claims share."""

import asyncio
from typing import Any, Final

import msgspec

from app.db import Database, Query, Transaction
from app.errors import ChannelNotAdmin
from app.operations import (
    OPERATIONS,
    add_channel_member,
    claim_task,
    create_channel,
    create_task,
    create_task_record,
    delete_task_record,
    get_channels,
    join_channel,
    leave_channel,
    list_task_relations,
    send_message,
    states,
    update_task_record,
)
from app.operations.runs.bell import bell_of
from app.rpc import Operation
from tests.conftest import Caller, Row, World


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


EVERYTHING = Query(
    Row,
    """
    SELECT jsonb_build_object(
        'tasks', (SELECT jsonb_agg(t ORDER BY t.id) FROM tasks t WHERE t.workspace_id = w.id),
        'runs', (SELECT jsonb_agg(r ORDER BY r.id) FROM runs r WHERE r.workspace_id = w.id),
        'states', (SELECT jsonb_agg(s ORDER BY s.id) FROM states s WHERE s.workspace_id = w.id),
        'messages', (SELECT jsonb_agg(m ORDER BY m.id) FROM messages m WHERE m.workspace_id = w.id),
        'channels', (SELECT jsonb_agg(c ORDER BY c.id) FROM channels c WHERE c.workspace_id = w.id),
        'members', (SELECT jsonb_agg(m ORDER BY m.channel_id, m.identity_id) FROM channel_members m WHERE m.workspace_id = w.id),
        'comments', (SELECT count(*) FROM task_comments c WHERE c.workspace_id = w.id),
        'relations', (SELECT count(*) FROM task_relations x WHERE x.workspace_id = w.id),
        'steps', (SELECT count(*) FROM run_log l WHERE l.workspace_id = w.id),
        'events', (SELECT count(*) FROM task_events e WHERE e.workspace_id = w.id))
      FROM workspaces w
     WHERE w.id = %(workspace_id)s
    """,
)


async def everything(workspace: World, db: Database | Transaction | None = None) -> dict[str, Any]:
    """All that a late write could have left behind, as a transaction sees it."""
    [row] = await (db or workspace.db).all(EVERYTHING, workspace_id=workspace.info.id)
    return row.columns


MANAGING: Final = tuple(
    op for op in OPERATIONS if ChannelNotAdmin in op.errors and op is not add_channel_member
)
"""What only an admin of a channel may do, which an agent never is. Whoever posts in a public one may add others."""

ABOUT_CHANNELS: Final = (*MANAGING, create_channel, join_channel, leave_channel, add_channel_member)


def needs(op: Operation) -> set[str]:
    """The fields that it requires."""
    return {field.name for field in msgspec.structs.fields(op.request) if field.required}


async def placed(workspace: World, caller: Caller, op: Operation, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a call, and the channel, message, member, run or State that it needs besides, or a task to claim."""
    found: dict[str, str] = {}
    if op is claim_task:
        found = {"task_id": "T-2"}
    elif op in (update_task_record, delete_task_record):
        found = {"task_id": (await caller(create_task_record, kind="x", stateful=True)).id}
    elif op is states.update_state:
        found = {"state_id": (await caller(states.create_state, name="x")).id}
    elif op in ABOUT_CHANNELS:
        other = await workspace.agent("roommate")
        found = {"channel_id": await workspace.channel("room", other), "member_id": other.id}
        if op is not join_channel:
            manages = caller.kind == "user" and op is not leave_channel  # the only admin may not leave
            await workspace.join("room", caller, role="admin" if manages else "poster")
        if op is add_channel_member:
            found["member_id"] = (await workspace.agent("newcomer")).id
    elif needs(op) & {"channel_id", "message_id"}:
        channel = (await caller(get_channels))[0].id
        message = await caller(send_message, channel_id=channel, content="x")
        found = {"channel_id": channel, "message_id": message.id}
    return {**fields, **{name: found[name] for name in needs(op) & found.keys()}}


async def kinds(caller: Caller, task: Any) -> list[tuple[str, str]]:
    """The relations of a task, as kind and identifier of the other one."""
    return [(r.kind, r.task.identifier) for r in await caller(list_task_relations, task_id=task.id)]


async def until_waiting(workspace: World, count: int) -> None:
    """Return when so many callers wait for ready work."""
    async with asyncio.timeout(5):
        while len(bell_of(workspace.db)._waiters) < count:  # noqa: ASYNC110 - the bell tells nobody who waits for it
            await asyncio.sleep(0.01)
