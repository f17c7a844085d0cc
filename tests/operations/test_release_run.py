"""release-run: the work is given back."""

from app.operations import claim_next_task, claim_task, create_task, fail_run, heartbeat_run, release_run
from tests.conftest import World


async def test_the_next_holder_reads_what_the_last_one_left(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await bot(heartbeat_run, run_id=claim.run.id, progress=0.5, note="half way")
    failed = await bot(
        fail_run,
        run_id=claim.run.id,
        errors=[{"code": "oom", "message": "out of memory"}],
        handoff="use less",
    )
    assert (failed.task.status, failed.task.assignee_agent_id, failed.run.status) == ("todo", None, "failed")
    [second] = await other(claim_next_task)
    assert second.run.attempt == 2
    [before] = second.previous_runs
    assert (before.holder_agent_id, before.end_reason, before.progress, before.note) == (
        bot.id,
        "failed",
        0.5,
        "half way",
    )
    assert (before.handoff, before.errors[0].code, before.errors[0].message) == (
        "use less",
        "oom",
        "out of memory",
    )
    released = await other(release_run, run_id=second.run.id, handoff="all yours")
    assert (released.run.status, released.run.end_reason, released.task.status) == (
        "cancelled",
        "released",
        "todo",
    )
    [third] = await bot(claim_next_task)
    assert [p.handoff for p in third.previous_runs] == ["all yours", "use less"]
