"""claim-next-task: whatever is next; who gets it, in which order, again, or later."""

import asyncio

import pytest

from app.errors import IdempotencyKeyReused, LeaseLost, NotClaimable, NotHolder, TaskReadOnly
from app.operations import (
    cancel_task,
    claim_next_task,
    claim_task,
    complete_run,
    complete_task,
    create_task,
    create_tasks_bulk,
    force_release_run,
    get_request_outcome,
    get_task,
    link_tasks,
    list_ready_tasks,
    list_runs,
)
from tests.conftest import World
from tests.operations.claims import expire, until_waiting
from tests.operations.claims import held as held_task


async def test_claim_next_gives_the_most_urgent_and_of_equals_the_oldest(workspace: World) -> None:
    bot = await workspace.agent()
    for priority in ("low", "urgent", "none", "urgent"):
        await bot(create_task, title=priority, priority=priority)
    order = [task.identifier for task in await bot(list_ready_tasks)]
    assert order == ["T-2", "T-4", "T-1", "T-3"]
    assert [(await bot(claim_next_task))[0].task.identifier for _ in range(4)] == order
    assert await bot(claim_next_task) == []


async def test_only_what_is_todo_or_asked_for_from_the_backlog_is_ready(workspace: World) -> None:
    bot = await workspace.agent()
    for status in ("triage", "backlog", "in_progress", "blocked", "in_review", "todo"):
        await bot(create_task, title=status, status=status, priority="none" if status == "todo" else "urgent")
    assert [task.title for task in await bot(list_ready_tasks)] == ["todo"]
    assert [task.title for task in await bot(list_ready_tasks, include_backlog=True)] == ["todo", "backlog"]
    claims = await bot(claim_next_task, limit=10, include_backlog=True)
    assert [claim.task.title for claim in claims] == ["todo", "backlog"]


async def test_a_task_waits_until_its_last_blocker_is_closed(workspace: World) -> None:
    bot = await workspace.agent()
    work, first, second = [await bot(create_task, title=title) for title in ("work", "first", "second")]
    for blocker in (first, second):
        await bot(link_tasks, task_id=blocker.id, kind="blocks", other_task_id=work.id)
    assert [task.title for task in await bot(list_ready_tasks)] == ["first", "second"]
    with pytest.raises(NotClaimable) as refused:
        await bot(claim_task, task_id=work.id)
    [obstacle] = bot.decoded(refused.value).obstacles
    assert (obstacle.code, [b.identifier for b in obstacle.blockers]) == ("blocked_by", ["T-2", "T-3"])
    await bot(complete_task, task_id=first.id)
    assert [task.title for task in await bot(list_ready_tasks)] == ["second"]
    await bot(cancel_task, task_id=second.id)
    assert [claim.task.title for claim in await bot(claim_next_task)] == ["work"]


async def test_a_reader_of_a_channel_is_offered_nothing_there(workspace: World) -> None:
    bot, reader = await workspace.agent(), await workspace.agent("reader", channels=[])
    channel = await workspace.channel("work", bot)
    await workspace.join("work", reader, role="reader")
    task = await bot(create_task, title="a", channel_id=channel)
    assert await reader(list_ready_tasks) == []
    assert await reader(claim_next_task) == []
    with pytest.raises(TaskReadOnly):
        await reader(claim_task, task_id=task.id)


async def test_filters_narrow_what_is_claimed(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="Paint the fence", priority="low")
    await bot(create_task, title="Mend the fence", priority="high")
    await bot(create_task, title="Feed the cat", priority="urgent")
    assert [
        c.task.title for c in await bot(claim_next_task, query="FENCE", priority_at_least="medium", limit=9)
    ] == ["Mend the fence"]
    assert await bot(claim_next_task, query="100%") == []
    assert await bot(claim_next_task, channel_id="nowhere") == []


async def test_callers_at_once_never_get_the_same_task_and_leave_none_behind(workspace: World) -> None:
    bots = [await workspace.agent(f"bot-{n}") for n in range(8)]
    channel = await workspace.channel("work", *bots)
    rows = [{"title": str(n), "channelId": channel} for n in range(50)]
    for _ in range(2):
        await bots[0](create_tasks_bulk, tasks=rows)
    answers = await asyncio.gather(*[bots[n % 8](claim_next_task, limit=1 + n % 5) for n in range(60)])
    taken = [claim.task.id for answer in answers for claim in answer]
    assert len(taken) == len(set(taken)) == 100
    assert all(
        claim.task.assignee_agent_id == bots[n % 8].id for n, answer in enumerate(answers) for claim in answer
    )


async def test_a_lost_answer_is_asked_for_again_by_its_key(workspace: World) -> None:
    bot = await workspace.agent()
    for n in range(5):
        await bot(create_task, title=str(n))
    first = await bot(claim_next_task, claim_key="k", limit=2)
    again = await bot(claim_next_task, claim_key="k", limit=2)
    assert [claim.run.id for claim in again] == [claim.run.id for claim in first]
    assert len(await bot(claim_next_task, claim_key="another", limit=2)) == 2
    assert len(await bot(list_runs, live=True)) == 4


async def test_one_key_claims_once_even_if_it_is_sent_many_times_at_once(workspace: World) -> None:
    bot = await workspace.agent()
    for n in range(30):
        await bot(create_task, title=str(n))
    for key in ("a", "b", "c"):
        answers = await asyncio.gather(
            *[bot(claim_next_task, claim_key=key, limit=1 + n % 3) for n in range(8)]
        )
        assert len({tuple(claim.run.id for claim in answer) for answer in answers}) == 1
    held = await bot(list_runs, live=True, limit=100)
    assert len({run.task_id for run in held}) == len(held)


async def test_a_key_that_found_nothing_can_be_used_again(workspace: World) -> None:
    bot = await workspace.agent()
    assert await bot(claim_next_task, claim_key="k") == []
    await bot(create_task, title="a")
    assert len(await bot(claim_next_task, claim_key="k")) == 1


async def test_an_idempotency_key_claims_once_also_in_a_crowd(workspace: World) -> None:
    bot = await workspace.agent()
    for n in range(40):
        await bot(create_task, title=str(n))
    keys = [f"k-{n}" for n in range(6)]
    answers = await asyncio.gather(
        *[
            bot.answer(claim_next_task, f"{key}-{n}", idempotency_key=key, limit=2)
            for n in range(5)
            for key in keys
        ],
        *[bot.answer(claim_next_task, f"plain-{n}") for n in range(10)],
    )
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, body, _ in answers}) == len(keys) + 10
    assert sum("idempotency-replayed" not in aside for *_, aside in answers) == len(keys) + 10
    held = await bot(list_runs, live=True, limit=100)
    assert len({run.task_id for run in held}) == len(held) == 2 * len(keys) + 10


async def test_an_idempotency_key_is_for_one_request_and_its_outcome_can_be_asked_for(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    for title in "ab":
        await bot(create_task, title=title)
    [claim] = await bot(claim_next_task, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused):
        await bot(claim_next_task, idempotency_key="k", limit=2)
    with pytest.raises(IdempotencyKeyReused):
        await bot(claim_task, idempotency_key="k", task_id="T-2")
    outcome = await bot(get_request_outcome, idempotency_key="k")
    assert (outcome.state, outcome.operation, outcome.status) == ("done", "claim-next-task", 200)
    assert [found["run"]["id"] for found in outcome.data] == [claim.run.id]
    assert len(await bot(list_runs, live=True)) == 1


async def test_a_call_that_waits_under_an_idempotency_key_has_had_no_effect_yet(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    waiting = [
        asyncio.create_task(bot(claim_next_task, idempotency_key="k", wait_seconds=20)) for _ in range(3)
    ]
    await until_waiting(workspace, 3)
    assert (await bot(get_request_outcome, idempotency_key="k")).state == "unknown"
    for title in "abc":
        await other(create_task, title=title, assignee_agent_id=bot.id)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*waiting)
    assert len({answer[0].run.id for answer in answers}) == 1
    assert len(await bot(list_runs, live=True)) == 1


async def test_nothing_to_claim_is_an_answer_that_is_kept_under_an_idempotency_key(workspace: World) -> None:
    bot = await workspace.agent()
    assert await bot(claim_next_task, idempotency_key="k") == []
    await bot(create_task, title="a")
    assert await bot(claim_next_task, idempotency_key="k") == []
    assert len(await bot(claim_next_task, idempotency_key="another")) == 1


async def test_keys_of_both_sorts_go_together(workspace: World) -> None:
    bot = await workspace.agent()
    for title in "ab":
        await bot(create_task, title=title)
    answers = [
        await bot(claim_next_task, idempotency_key=key, claim_key="c") for key in ("k-1", "k-1", "k-2", "k-2")
    ]
    assert len({claims[0].run.id for claims in answers}) == 1
    assert len(await bot(list_runs, live=True)) == 1


async def test_keys_of_different_holders_have_nothing_to_do_with_each_other(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    for n in range(2):
        await bot(create_task, title=str(n), channel_id=channel)
    a = await bot(claim_next_task, claim_key="k")
    b = await other(claim_next_task, claim_key="k")
    assert a[0].task.id != b[0].task.id


async def test_a_waiting_call_gets_what_becomes_ready(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    waiting = asyncio.create_task(bot(claim_next_task, wait_seconds=20))
    await until_waiting(workspace, 1)
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    async with asyncio.timeout(5):
        [claim] = await waiting
    assert claim.task.id == task.id


async def test_finishing_the_last_blocker_wakes_who_waits(workspace: World) -> None:
    bot = await workspace.agent()
    work, blocker = [await bot(create_task, title=title) for title in ("work", "blocker")]
    await bot(link_tasks, task_id=blocker.id, kind="blocks", other_task_id=work.id)
    claim = await bot(claim_task, task_id=blocker.id)
    waiting = asyncio.create_task(bot(claim_next_task, wait_seconds=20))
    await until_waiting(workspace, 1)
    await bot(complete_run, run_id=claim.run.id, complete_task=True)
    async with asyncio.timeout(5):
        [ready] = await waiting
    assert ready.task.id == work.id


async def test_waiting_in_vain_ends_in_time_with_nothing(workspace: World) -> None:
    bot = await workspace.agent()
    async with asyncio.timeout(3):
        assert await bot(claim_next_task, wait_seconds=0.3) == []


async def test_of_many_who_wait_for_one_task_one_gets_it_and_the_others_go_on_waiting(
    workspace: World,
) -> None:
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


async def test_a_caller_that_goes_away_while_it_waits_takes_nothing_along(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    waiting = asyncio.create_task(bot(claim_next_task, wait_seconds=20))
    await until_waiting(workspace, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    assert (await other(get_task, task_id=task.id)).status == "todo"


async def test_a_caller_that_goes_away_while_it_is_given_something_gives_it_back(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claiming = asyncio.create_task(bot(claim_next_task))
    await asyncio.sleep(0)  # the statement is in line now
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    async with asyncio.timeout(5):
        while (await bot(get_task, task_id=task.id)).version < 3:  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.01)
    assert (await bot(get_task, task_id=task.id)).status == "todo"


async def test_a_live_holder_claims_more_under_its_claim_and_a_late_one_nothing(workspace: World) -> None:
    lead, late, other = [await workspace.agent(handle) for handle in ("lead", "late", "other")]
    channel = await workspace.channel("work", lead, late, other)
    for n in range(8):
        await lead(create_task, title=str(n), channel_id=channel)
    mine, lost = await lead(claim_task, task_id="T-1"), await late(claim_task, task_id="T-2")
    await expire(workspace, lost.run.id, seen=False)
    # Together, so that they share statements.
    answers = await asyncio.gather(
        lead(claim_next_task, run_id=mine.run.id, limit=2),
        late(claim_next_task, run_id=lost.run.id),
        other(claim_next_task, run_id=mine.run.id),
        late(claim_next_task, run_id=lost.run.id, limit=3),
        other(claim_next_task),
        return_exceptions=True,
    )
    assert [len(answer) if isinstance(answer, list) else type(answer) for answer in answers] == [
        2,
        LeaseLost,
        NotHolder,
        LeaseLost,
        1,
    ]
    taken = await workspace.rows(
        "SELECT number FROM tasks WHERE workspace_id = %(workspace)s AND run_id IS NOT NULL ORDER BY number"
    )
    assert [row["number"] for row in taken] == [1, 2, 3, 4, 5]


async def test_a_late_holder_hears_so_also_where_there_is_nothing_to_claim(workspace: World) -> None:
    bot = await workspace.agent()
    _, claim = await held_task(bot)
    assert await bot(claim_next_task, run_id=claim.run.id) == []
    await expire(workspace, claim.run.id, seen=False)
    for fields in ({}, {"channel_id": "nowhere"}, {"wait_seconds": 20}, {"claim_key": "a"}):
        with pytest.raises(LeaseLost):
            await bot(claim_next_task, run_id=claim.run.id, **fields)


async def test_whoever_loses_its_claim_while_it_waits_for_another_hears_so_at_once(workspace: World) -> None:
    bot, boss = await workspace.agent(), await workspace.user("boss", scopes="all,operator")
    _, claim = await held_task(bot)
    waiting = asyncio.create_task(bot(claim_next_task, run_id=claim.run.id, wait_seconds=30))
    await until_waiting(workspace, 1)
    async with asyncio.timeout(10):
        await boss(force_release_run, run_id=claim.run.id)
        with pytest.raises(LeaseLost):
            await waiting
    assert [task.identifier for task in await bot(list_ready_tasks)] == ["T-1"]


async def test_what_a_claim_key_got_can_be_asked_for_again_when_the_claim_it_was_got_under_has_ended(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    _, claim = await held_task(bot)
    await bot(create_task, title="more")
    [more] = await bot(claim_next_task, run_id=claim.run.id, claim_key="a")
    await bot(create_task, title="still more")
    await bot(complete_run, run_id=claim.run.id, complete_task=True)
    [again] = await bot(claim_next_task, run_id=claim.run.id, claim_key="a")
    assert again.run.id == more.run.id
    with pytest.raises(LeaseLost):
        await bot(claim_next_task, run_id=claim.run.id, claim_key="b")
