"""claim-task: one task, by name."""

import asyncio

import pytest

from app.errors import LeaseLost, NotClaimable, TaskReadOnly
from app.operations import (
    claim_next_task,
    claim_task,
    comment_on_task,
    create_task,
    explain_task,
    update_task,
)
from tests.conftest import World
from tests.operations.claims import everything, expire
from tests.operations.claims import held as held_task


async def test_a_claim_makes_the_caller_the_assignee_and_the_task_in_progress(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.identifier, lease_seconds=60)
    assert (claim.task.status, claim.task.assignee_agent_id, claim.task.version) == ("in_progress", bot.id, 2)
    assert claim.task.started_at is not None
    assert (claim.run.task_id, claim.run.status, claim.run.attempt, claim.run.lease_seconds) == (
        task.id,
        "running",
        1,
        60,
    )
    assert (claim.run.holder_agent_id, claim.run.end_reason, claim.previous_runs) == (bot.id, None, [])
    events = await workspace.events(task.id)
    assert events[-1]["kind"] == "claimed"
    assert events[-1]["changes"] == {
        "runId": [None, claim.run.id],
        "status": ["todo", "in_progress"],
        "assigneeAgentId": [None, bot.id],
        "startedAt": [None, claim.task.started_at],
    }


async def test_claiming_what_you_hold_answers_with_the_same_run(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    first = await bot(claim_task, task_id=task.id)
    again = await bot(claim_task, task_id=task.id)
    assert again.run.id == first.run.id
    assert again.run.lease_expires_at >= first.run.lease_expires_at
    assert again.task.version == 2


async def test_a_task_that_is_held_cannot_be_claimed_by_another(workspace: World) -> None:
    bot, rival = await workspace.agent(), await workspace.agent("rival")
    channel = await workspace.channel("work", bot, rival)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    with pytest.raises(NotClaimable) as refused:
        await rival(claim_task, task_id=task.id)
    [obstacle] = rival.decoded(refused.value).obstacles
    assert (obstacle.code, obstacle.holder.handle, obstacle.holder.run_id) == ("held", "bot", claim.run.id)


async def test_of_many_who_claim_one_task_at_once_one_gets_it(workspace: World) -> None:
    bots = [await workspace.agent(f"bot-{n}") for n in range(10)]
    channel = await workspace.channel("work", *bots)
    for _ in range(5):
        task = await bots[0](create_task, title="a", channel_id=channel)
        answers = await asyncio.gather(
            *[b(claim_task, task_id=task.id) for b in bots], return_exceptions=True
        )
        assert sum(not isinstance(answer, Exception) for answer in answers) == 1
        assert all(isinstance(answer, NotClaimable) for answer in answers if isinstance(answer, Exception))


async def test_a_task_in_anothers_channel_can_be_claimed_only_when_it_is_assigned(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("elsewhere", other)
    task = await other(create_task, title="a", channel_id=channel)
    await other(create_task, title="x", channel_id=channel)
    await other(comment_on_task, task_id=task.id, body="help, @bot")
    explanation = await bot(explain_task, task_id=task.id)
    assert (explanation.claimable, explanation.offered) == (False, False)
    assert await bot(claim_next_task) == []
    with pytest.raises(TaskReadOnly):
        await bot(claim_task, task_id=task.id)
    await other(update_task, task_id=task.id, version=1, assignee_agent_id=bot.id)
    assert (await bot(explain_task, task_id=task.id)).offered
    assert (await bot(claim_task, task_id=task.id)).task.id == task.id


async def test_what_a_late_holder_holds_besides_is_not_claimed_again_under_the_claim_that_is_over(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    _, claim = await held_task(bot)
    await bot(create_task, title="more")
    more = await bot(claim_task, task_id="T-2", run_id=claim.run.id)
    assert (await bot(claim_task, task_id="T-2", run_id=claim.run.id)).run.id == more.run.id
    await expire(workspace, claim.run.id, seen=False)
    left = await everything(workspace)
    with pytest.raises(LeaseLost):
        await bot(claim_task, task_id="T-2", run_id=claim.run.id)
    assert await everything(workspace) == left
    assert (await bot(claim_task, task_id="T-2")).run.id == more.run.id
