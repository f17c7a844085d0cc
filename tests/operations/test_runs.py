"""What holders say and others read: heartbeats, logs, runs, explanations, waiting, and an operator's force."""

import asyncio

import pytest

from app.errors import LeaseLost, RunEnded, RunNotFound, ScopeMissing
from app.operations import (
    append_run_log,
    block_task,
    claim_next_task,
    claim_task,
    comment_on_task,
    complete_run,
    complete_task,
    create_task,
    explain_task,
    force_release_run,
    get_run,
    get_task,
    heartbeat_run,
    link_tasks,
    list_run_log,
    list_runs,
    release_run,
)
from app.operations.runs.bell import bell_of
from tests.operations.test_claims import expire


async def held(bot, **fields):
    task = await bot(create_task, title="a")
    return task, await bot(claim_task, task_id=task.id, **fields)


async def test_a_heartbeat_renews_the_lease_and_never_touches_the_task(workspace):
    bot = await workspace.agent()
    task, claim = await held(bot, lease_seconds=60)
    alive = await bot(heartbeat_run, run_id=claim.run.id, lease_seconds=600, progress=0.5, note="half")
    assert (alive.run_id, alive.task_id, alive.lease_seconds) == (claim.run.id, task.id, 600)
    assert alive.lease_expires_at > claim.run.lease_expires_at
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.progress, run.note, run.lease_expires_at) == (0.5, "half", alive.lease_expires_at)
    await bot(heartbeat_run, run_id=claim.run.id)
    assert ((await bot(get_run, run_id=claim.run.id)).note) == "half"
    await bot(heartbeat_run, run_id=claim.run.id, note=None, progress=None)
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.progress, run.note) == (None, None)
    assert (await bot(get_task, task_id=task.id)).version == 2
    assert len(await workspace.events(task.id)) == 2


async def test_nothing_that_a_sign_of_life_changes_stands_in_an_index(workspace):
    indexed = await workspace.rows(
        """SELECT DISTINCT a.attname AS name
             FROM pg_index x
             JOIN pg_attribute a ON a.attrelid = x.indrelid
              AND (a.attnum = ANY (x.indkey) OR pg_get_expr(x.indpred, x.indrelid) ~ ('\\m' || a.attname || '\\M'))
            WHERE x.indrelid = 'runs'::regclass"""
    )
    names = {row["name"] for row in indexed}
    assert {"id", "ended_at", "lease_check_at"} <= names
    assert not names & {"lease_expires_at", "lease_seconds", "progress", "note", "log_length", "version", "updated_at"}


async def test_a_log_is_numbered_without_gaps_and_read_from_where_one_stopped(workspace):
    bot = await workspace.agent()
    _, claim = await held(bot)
    first = await bot(append_run_log, run_id=claim.run.id, steps=[{"text": "one"}, {"text": "two", "kind": "k", "data": {"x": 1}}])
    assert (first.first_number, first.last_number) == (1, 2)
    await asyncio.gather(*[bot(append_run_log, run_id=claim.run.id, steps=[{"text": str(n)}] * 3) for n in range(10)])
    page = await bot(list_run_log, run_id=claim.run.id, limit=2)
    assert [(s.number, s.kind, s.text, s.data) for s in page] == [(1, None, "one", None), (2, "k", "two", {"x": 1})]
    rest = await bot(list_run_log, run_id=claim.run.id, limit=100, cursor=page.cursor)
    assert [step.number for step in rest] == list(range(3, 33))
    assert all(len({s.text for s in rest[n : n + 3]}) == 1 for n in range(0, 30, 3))
    assert (await bot(get_run, run_id=claim.run.id)).log_length == 32
    with pytest.raises(RunNotFound):
        await bot(list_run_log, run_id="nonsense")


async def test_runs_are_listed_newest_first_and_narrowed(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    hidden = await other(create_task, title="hidden")
    first = await bot(claim_task, task_id=task.id)
    await bot(release_run, run_id=first.run.id)
    second = await other(claim_task, task_id=task.id)
    await other(claim_task, task_id=hidden.id)
    assert [run.id for run in await bot(list_runs)] == [second.run.id, first.run.id]
    assert [run.id for run in await bot(list_runs, task_id=task.identifier)] == [second.run.id, first.run.id]
    assert [run.id for run in await bot(list_runs, mine=True)] == [first.run.id]
    assert [run.id for run in await bot(list_runs, live=True)] == [second.run.id]
    assert [run.id for run in await bot(list_runs, live=False)] == [first.run.id]
    assert [run.id for run in await bot(list_runs, status="cancelled")] == [first.run.id]
    page = await bot(list_runs, limit=1)
    assert [run.id for run in await bot(list_runs, limit=1, cursor=page.cursor)] == [first.run.id]
    assert await bot(list_runs, task_id="T-99") == []


async def test_an_explanation_names_what_stands_in_the_way_and_what_would_help(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task, blocker = [await bot(create_task, title=title, channel_id=channel) for title in ("task", "blocker")]
    secret = await bot(create_task, title="secret")

    free = await other(explain_task, task_id=task.id)
    assert (free.claimable, free.offered, free.obstacles) == (True, True, [])

    for first in (blocker, secret):
        await bot(link_tasks, task_id=first.id, kind="blocks", other_task_id=task.id)
    [waits] = (await other(explain_task, task_id=task.identifier)).obstacles
    assert (waits.code, [b.identifier for b in waits.blockers], waits.hidden_blockers) == ("blocked_by", ["T-2"], 1)
    assert [(h.operation, h.arguments) for h in waits.helps][0] == ("complete-task", {"taskId": "T-2"})
    await bot(complete_task, task_id=blocker.id)
    await bot(complete_task, task_id=secret.id)

    claim = await bot(claim_task, task_id=task.id)
    [holds] = (await other(explain_task, task_id=task.id)).obstacles
    assert (holds.code, holds.holder.handle, holds.holder.run_id) == ("held", "bot", claim.run.id)
    assert holds.holder.lease_expires_at == claim.run.lease_expires_at
    assert ("force-release-run", "operator") in [(h.operation, h.by) for h in holds.helps]
    [mine] = (await bot(explain_task, task_id=task.id)).obstacles
    assert mine.code == "held_by_you"
    await expire(workspace, claim.run.id)
    [over] = (await other(explain_task, task_id=task.id)).obstacles
    assert (over.code, over.helps) == ("held", [])

    stuck = await bot(create_task, title="stuck", channel_id=channel, assignee_agent_id=bot.id)
    assert [o.code for o in (await other(explain_task, task_id=stuck.id)).obstacles] == ["assigned"]
    await bot(block_task, task_id=stuck.id, reason="why")
    assert [o.code for o in (await bot(explain_task, task_id=stuck.id)).obstacles] == ["status"]
    assert [o.code for o in (await bot(explain_task, task_id=blocker.id)).obstacles] == ["closed"]

    reader = await workspace.agent("reader", channels=[])
    await workspace.join("work", reader, role="reader")
    assert (await reader(explain_task, task_id=task.id)).obstacles[0].code == "read_only"


async def test_what_cannot_be_seen_and_what_is_not_there_are_explained_alike(workspace, other_workspace):
    bot, stranger = await workspace.agent(), await other_workspace.agent()
    task = await bot(create_task, title="a")
    answers = [await stranger(explain_task, task_id=id) for id in (task.id, "019cadf1-2e40-7000-8000-000000000042")]
    assert [(a.task_id, a.claimable, a.obstacles[0].code) for a in answers] == [(None, False, "not_visible")] * 2


async def test_a_task_in_anothers_channel_can_be_claimed_by_name_but_is_not_offered(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("elsewhere", other)
    task = await other(create_task, title="a", channel_id=channel)
    await other(create_task, title="x", channel_id=channel)
    await other(comment_on_task, task_id=task.id, body="help, @bot")
    explanation = await bot(explain_task, task_id=task.id)
    assert (explanation.claimable, explanation.offered) == (True, False)
    assert await bot(claim_next_task) == []
    assert (await bot(claim_task, task_id=task.id)).task.id == task.id


# An operator ------------------------------------------------------------------------------------------


async def test_an_operator_can_end_any_claim_and_nobody_else_can(workspace):
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
    assert lost.value.details["endReason"] == "force_released"
    again = await bot(claim_task, task_id=task.id)
    assert again.previous_runs[0].handoff == "stuck"
    await bot(complete_run, run_id=again.run.id)
    with pytest.raises(RunEnded):
        await boss(force_release_run, run_id=again.run.id)
    for nowhere in ("nonsense", task.id):
        with pytest.raises(RunNotFound):
            await boss(force_release_run, run_id=nowhere)


# Waiting ----------------------------------------------------------------------------------------------


async def until_waiting(workspace, count):
    """Return when so many callers wait for the bell."""
    async with asyncio.timeout(5):
        while len(bell_of(workspace.db)._waiters) < count:
            await asyncio.sleep(0.01)


async def test_a_waiting_call_gets_what_becomes_ready(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    waiting = asyncio.create_task(bot(claim_next_task, wait_seconds=20))
    await until_waiting(workspace, 1)
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    async with asyncio.timeout(5):
        [claim] = await waiting
    assert claim.task.id == task.id


async def test_finishing_the_last_blocker_wakes_who_waits(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    work, blocker = [await bot(create_task, title=title) for title in ("work", "blocker")]
    await bot(link_tasks, task_id=blocker.id, kind="blocks", other_task_id=work.id)
    claim = await bot(claim_task, task_id=blocker.id)
    waiting = asyncio.create_task(bot(claim_next_task, wait_seconds=20))
    await until_waiting(workspace, 1)
    await bot(complete_run, run_id=claim.run.id, complete_task=True)
    async with asyncio.timeout(5):
        [ready] = await waiting
    assert ready.task.id == work.id


async def test_waiting_in_vain_ends_in_time_with_nothing(workspace):
    bot = await workspace.agent()
    async with asyncio.timeout(3):
        assert await bot(claim_next_task, wait_seconds=0.3) == []


async def test_of_many_who_wait_for_one_task_one_gets_it_and_the_others_go_on_waiting(workspace):
    bots = [await workspace.agent(f"bot-{n}") for n in range(6)]
    channel = await workspace.channel("work", *bots)
    waiting = [asyncio.create_task(b(claim_next_task, wait_seconds=20)) for b in bots]
    await until_waiting(workspace, 6)
    await bots[0](create_task, title="one", channel_id=channel)
    async with asyncio.timeout(5):
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await until_waiting(workspace, 5)
    assert sum(task.done() for task in waiting) == 1
    for n in range(5):
        await bots[0](create_task, title=str(n), channel_id=channel)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*waiting)
    assert len({claim.task.id for answer in answers for claim in answer}) == 6


async def test_a_caller_that_goes_away_while_it_waits_takes_nothing_along(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    waiting = asyncio.create_task(bot(claim_next_task, wait_seconds=20))
    await until_waiting(workspace, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    assert (await other(get_task, task_id=task.id)).status == "todo"


async def test_a_caller_that_goes_away_while_it_is_given_something_gives_it_back(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claiming = asyncio.create_task(bot(claim_next_task))
    await asyncio.sleep(0)  # the statement is in line now
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    async with asyncio.timeout(5):
        while (await bot(get_task, task_id=task.id)).version < 3:
            await asyncio.sleep(0.01)
    assert (await bot(get_task, task_id=task.id)).status == "todo"
