"""Acting under a claim: what a holder writes takes effect while the claim lives, and not a moment longer."""

from typing import Any

import msgspec
import pytest

from app.errors import LeaseLost, NotHolder, RunNotFound, TaskNotFound
from app.operations import (
    OPERATIONS,
    claim_task,
    comment_on_task,
    complete_run,
    complete_task,
    create_task,
    force_release_run,
    get_run,
    get_task,
    heartbeat_run,
    release_task,
    update_task,
    update_task_record,
)
from app.rpc import Operation
from tests.conftest import Caller, World
from tests.operations.claims import MANAGING, everything, expire, placed, superseded
from tests.operations.writes import WRITES


def test_every_operation_that_writes_takes_a_run_and_is_tried_here() -> None:
    writes = [op for op in OPERATIONS if not op.read_only]
    assert [op.name for op in writes if "run_id" not in op.request.__struct_fields__] == []
    # An operator ends the claim of somebody else, whose run it names.
    assert {op.name for op, _ in WRITES} == {op.name for op in writes} - {force_release_run.name}


async def about(
    task: Any, workspace: World, caller: Caller, operation: Operation, fields: dict[str, Any]
) -> dict[str, Any]:
    """The fields of a call that is about a task, where it can be about one, and what else it needs."""
    if "task_id" in operation.request.__struct_fields__:
        fields = {**fields, "task_id": task.id}
    return await placed(workspace, caller, operation, fields)


@pytest.mark.parametrize("operation, fields", WRITES, ids=[op.name for op, _ in WRITES])
async def test_a_late_holder_can_change_nothing(
    workspace: World, operation: Operation, fields: dict[str, Any]
) -> None:
    late, _, task, claim = await superseded(workspace, human=operation in MANAGING)
    await late(create_task, title="another")
    fields = await about(task, workspace, late, operation, fields)
    before = await everything(workspace)
    with pytest.raises(LeaseLost) as lost:
        await late(operation, run_id=claim.run.id, **fields)
    assert lost.value.details is not None
    assert lost.value.details["reason"] == "lease_lost"
    assert lost.value.details["endReason"] == "lease_expired"
    assert not lost.value.retryable
    assert await everything(workspace) == before


@pytest.mark.parametrize("operation, fields", WRITES, ids=[op.name for op, _ in WRITES])
async def test_a_write_under_a_live_claim_is_a_sign_of_life(
    workspace: World, operation: Operation, fields: dict[str, Any]
) -> None:
    bot = await (workspace.user if operation in MANAGING else workspace.agent)()
    task = await bot(create_task, title="a")
    await bot(create_task, title="another")
    claim = await bot(claim_task, task_id=task.id, lease_seconds=1000)
    await workspace.rows(
        """UPDATE runs SET lease_expires_at = now() + interval '5 seconds'
            WHERE workspace_id = %(workspace)s AND id = %(run)s::uuid RETURNING id""",
        run=claim.run.id,
    )
    fields = await about(task, workspace, bot, operation, fields)
    await bot(operation, run_id=claim.run.id, **fields)
    run = await bot(get_run, run_id=claim.run.id)
    assert run.end_reason is not None or run.lease_expires_at == max(
        run.lease_expires_at, claim.run.lease_expires_at
    )
    [row] = await workspace.rows(
        """SELECT (r.ended_at IS NULL) = (t.run_id IS NOT NULL) AS agree FROM runs r JOIN tasks t ON t.id = r.work_item_id
            WHERE r.workspace_id = %(workspace)s AND r.id = %(run)s::uuid""",
        run=claim.run.id,
    )
    assert row["agree"]


async def test_a_claim_can_be_written_under_itself(workspace: World) -> None:
    bot = await workspace.agent()
    claim = await bot(claim_task, task_id=(await bot(create_task, title="a")).id, lease_seconds=1000)
    await workspace.rows(
        "UPDATE runs SET lease_expires_at = now() + interval '5 seconds' WHERE workspace_id = %(workspace)s RETURNING id"
    )
    written = await bot(update_task_record, task_id=claim.run.id, run_id=claim.run.id, output={"half": True})
    assert written.output == {"half": True}
    assert (await bot(get_run, run_id=claim.run.id)).lease_expires_at >= claim.run.lease_expires_at


@pytest.mark.parametrize("operation, fields", WRITES, ids=[op.name for op, _ in WRITES])
async def test_a_repetition_gets_the_first_answer_also_when_the_claim_has_ended_since(
    workspace: World, operation: Operation, fields: dict[str, Any]
) -> None:
    bot = await (workspace.user if operation in MANAGING else workspace.agent)()
    task = await bot(create_task, title="a")
    await bot(create_task, title="another")
    claim = await bot(claim_task, task_id=task.id)
    fields = {**await about(task, workspace, bot, operation, fields), "run_id": claim.run.id}
    bot.context = msgspec.structs.replace(bot.context, idempotency_key="k-1")
    first = await bot.answer(operation, "first", **fields)
    assert first[0] == operation.status
    await expire(workspace, claim.run.id, seen=False)
    left = await everything(workspace)
    again = await bot.answer(operation, "second", **fields)
    assert (again[:2], again[2]["idempotency-replayed"]) == (first[:2], "true")
    assert await everything(workspace) == left


async def test_lease_lost_says_who_holds_the_task_now(workspace: World) -> None:
    late, now, task, claim = await superseded(workspace)
    await late(release_task, task_id=task.id)
    task = await late(get_task, task_id=task.id)
    await late(update_task, task_id=task.id, version=task.version, status="todo")
    taken = await now(claim_task, task_id=task.id)
    with pytest.raises(LeaseLost) as lost:
        await late(comment_on_task, task_id=task.id, body="late", run_id=claim.run.id)
    assert lost.value.details is not None
    assert lost.value.details["holder"] == {
        "runId": taken.run.id,
        "id": now.id,
        "kind": "agent",
        "handle": "now",
        "leaseExpiresAt": taken.run.lease_expires_at,
    }
    assert "@now holds it now" in lost.value.message


async def test_nobody_acts_under_anothers_claim_nor_under_one_that_is_not_there(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    with pytest.raises(NotHolder):
        await other(comment_on_task, task_id=task.id, body="x", run_id=claim.run.id)
    with pytest.raises(NotHolder):
        await other(complete_run, run_id=claim.run.id)
    for run_id in ("nonsense", task.id):
        with pytest.raises(RunNotFound):
            await bot(comment_on_task, task_id=task.id, body="x", run_id=run_id)
    with pytest.raises(TaskNotFound):
        await bot(claim_task, task_id="T-99")


@pytest.mark.parametrize(
    "change, end_reason",
    [
        ({"status": "done"}, "completed"),
        ({"status": "todo"}, "superseded"),
        ({"status": "cancelled"}, "superseded"),
        ({"assigneeAgentId": None}, "superseded"),
    ],
)
async def test_whoever_takes_the_task_from_its_holder_ends_the_claim(
    workspace: World, change: dict[str, object], end_reason: str
) -> None:
    bot, boss = await workspace.agent(), await workspace.user()
    channel = await workspace.channel("work", bot, boss)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await boss.post(update_task, {"taskId": task.id, "version": 2, **change})
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.end_reason, run.ended_at is not None) == (end_reason, True)
    assert (await workspace.events(task.id))[-1]["changes"]["runId"] == [claim.run.id, None]
    with pytest.raises(LeaseLost):
        await bot(heartbeat_run, run_id=claim.run.id)


async def test_other_changes_leave_the_claim_alone(workspace: World) -> None:
    bot, boss = await workspace.agent(), await workspace.user()
    channel = await workspace.channel("work", bot, boss)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await boss(update_task, task_id=task.id, version=2, title="b", status="in_review")
    await bot(heartbeat_run, run_id=claim.run.id)
    done = await bot(complete_task, task_id=task.id, run_id=claim.run.id)
    assert done.status == "done"
    assert (await bot(get_run, run_id=claim.run.id)).end_reason == "completed"
