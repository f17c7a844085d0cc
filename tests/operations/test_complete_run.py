"""complete-run: the work is done."""

import pytest

from app.errors import LeaseLost
from app.operations import (
    claim_task,
    complete_run,
    create_task,
    fail_run,
    get_run,
    get_task,
    release_run,
)
from app.rpc import Operation
from tests.conftest import World


async def test_completing_a_run_can_complete_its_task_in_the_same_step(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    done = await bot(complete_run, run_id=claim.run.id, output={"answer": [42]}, complete_task=True)
    assert (done.run.status, done.run.end_reason, done.run.output) == (
        "completed",
        "completed",
        {"answer": [42]},
    )
    assert (done.task.status, done.task.assignee_agent_id, done.task.version) == ("done", bot.id, 3)
    assert done.task.completed_at is not None
    again = await bot(complete_run, run_id=claim.run.id, complete_task=True)
    assert again.task.version == 3
    assert [e["kind"] for e in await workspace.events(task.id)] == ["created", "claimed", "run_completed"]


async def test_completing_a_run_alone_leaves_the_task_in_progress_and_free_of_claims(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    done = await bot(complete_run, run_id=claim.run.id)
    assert (done.task.status, done.task.assignee_agent_id) == ("in_progress", bot.id)
    second = await bot(claim_task, task_id=task.id)
    assert (second.run.attempt, [p.end_reason for p in second.previous_runs]) == (2, ["completed"])


@pytest.mark.parametrize("end", [complete_run, release_run, fail_run])
async def test_ending_a_claim_in_another_way_than_it_ended_is_refused(
    workspace: World, end: Operation
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    errors = [{"code": "x", "message": "y"}]
    more = {"errors": errors} if end is fail_run else {}
    await bot(end, run_id=claim.run.id, **more)
    before = await bot(get_task, task_id=task.id)
    await bot(end, run_id=claim.run.id, **more)
    for other in {complete_run, release_run, fail_run} - {end}:
        with pytest.raises(LeaseLost) as lost:
            await bot(other, run_id=claim.run.id, **({"errors": errors} if other is fail_run else {}))
        assert lost.value.details is not None
        assert lost.value.details["endReason"] == (await bot(get_run, run_id=claim.run.id)).end_reason
    assert await bot(get_task, task_id=task.id) == before
