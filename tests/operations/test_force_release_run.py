"""force-release-run: an operator ends a claim."""

import pytest

from app.errors import LeaseLost, RunEnded, RunNotFound, ScopeMissing
from app.operations import claim_task, complete_run, force_release_run, get_task, heartbeat_run
from tests.conftest import World
from tests.operations.claims import held


async def test_an_operator_can_end_any_claim_and_nobody_else_can(workspace: World) -> None:
    bot = await workspace.agent()
    boss = await workspace.user("boss", scopes="all,operator")
    task, claim = await held(bot)
    assert "operator" not in bot.context.actor.scopes
    with pytest.raises(ScopeMissing):
        await bot(force_release_run, run_id=claim.run.id)
    run = await boss(force_release_run, run_id=claim.run.id, reason="stuck")
    assert (run.end_reason, run.handoff, run.status) == ("force_released", "stuck", "cancelled")
    assert (await boss(force_release_run, run_id=claim.run.id)).ended_at == run.ended_at
    event = (await workspace.events(task.id))[-1]
    assert (event["kind"], event["actor_id"]) == ("run_force_released", boss.id)
    assert (await bot(get_task, task_id=task.id)).status == "todo"
    with pytest.raises(LeaseLost) as lost:
        await bot(heartbeat_run, run_id=claim.run.id)
    assert lost.value.details is not None
    assert lost.value.details["endReason"] == "force_released"
    again = await bot(claim_task, task_id=task.id)
    assert again.previous_runs[0].handoff == "stuck"
    await bot(complete_run, run_id=again.run.id)
    with pytest.raises(RunEnded):
        await boss(force_release_run, run_id=again.run.id)
    for nowhere in ("nonsense", task.id):
        with pytest.raises(RunNotFound):
            await boss(force_release_run, run_id=nowhere)
