"""claim-task, claim-next-task and the end of claims."""

import asyncio

import pytest

from app.errors import LeaseLost, NotClaimable, NotHolder, RunNotFound, TaskNotFound, TaskReadOnly
from app.operations import (
    block_task,
    cancel_task,
    claim_next_task,
    claim_task,
    comment_on_task,
    complete_run,
    complete_task,
    create_task,
    create_tasks_bulk,
    fail_run,
    get_run,
    get_task,
    heartbeat_run,
    link_tasks,
    list_comments,
    list_ready_tasks,
    list_runs,
    release_run,
    release_task,
    update_task,
)


async def test_a_claim_makes_the_caller_the_assignee_and_the_task_in_progress(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.identifier, lease_seconds=60)
    assert (claim.task.status, claim.task.assignee_agent_id, claim.task.version) == ("in_progress", bot.id, 2)
    assert claim.task.started_at is not None
    assert (claim.run.task_id, claim.run.status, claim.run.attempt, claim.run.lease_seconds) == (task.id, "running", 1, 60)
    assert (claim.run.holder_agent_id, claim.run.end_reason, claim.previous_runs) == (bot.id, None, [])
    events = await workspace.events(task.id)
    assert events[-1]["kind"] == "claimed"
    assert events[-1]["changes"] == {
        "runId": [None, claim.run.id],
        "status": ["todo", "in_progress"],
        "assigneeAgentId": [None, bot.id],
    }


async def test_claiming_what_you_hold_answers_with_the_same_run(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    first = await bot(claim_task, task_id=task.id)
    again = await bot(claim_task, task_id=task.id)
    assert again.run.id == first.run.id
    assert again.run.lease_expires_at >= first.run.lease_expires_at
    assert again.task.version == 2


async def test_a_task_that_is_held_cannot_be_claimed_by_another(workspace):
    bot, rival = await workspace.agent(), await workspace.agent("rival")
    channel = await workspace.channel("work", bot, rival)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    with pytest.raises(NotClaimable) as refused:
        await rival(claim_task, task_id=task.id)
    [obstacle] = refused.value.details["obstacles"]
    assert (obstacle.code, obstacle.holder.handle, obstacle.holder.run_id) == ("held", "bot", claim.run.id)


async def test_of_many_who_claim_one_task_at_once_one_gets_it(workspace):
    bots = [await workspace.agent(f"bot-{n}") for n in range(10)]
    channel = await workspace.channel("work", *bots)
    for _ in range(5):
        task = await bots[0](create_task, title="a", channel_id=channel)
        answers = await asyncio.gather(*[b(claim_task, task_id=task.id) for b in bots], return_exceptions=True)
        assert sum(not isinstance(answer, Exception) for answer in answers) == 1
        assert all(isinstance(answer, NotClaimable) for answer in answers if isinstance(answer, Exception))


async def test_claim_next_gives_the_most_urgent_and_of_equals_the_oldest(workspace):
    bot = await workspace.agent()
    for priority in ("low", "urgent", "none", "urgent"):
        await bot(create_task, title=priority, priority=priority)
    order = [task.identifier for task in await bot(list_ready_tasks)]
    assert order == ["T-2", "T-4", "T-1", "T-3"]
    assert [(await bot(claim_next_task))[0].task.identifier for _ in range(4)] == order
    assert await bot(claim_next_task) == []


async def test_a_task_of_low_priority_is_not_starved_for_ever(workspace):
    bot = await workspace.agent()
    old = await bot(create_task, title="old", priority="none")
    await workspace.rows(
        "UPDATE tasks SET created_at = now() - interval '29 days' WHERE workspace_id = %(workspace)s AND id = %(id)s::uuid RETURNING id",
        id=old.id,
    )
    await bot(create_task, title="new", priority="urgent")
    assert [task.title for task in await bot(list_ready_tasks)] == ["old", "new"]


async def test_only_what_is_todo_or_asked_for_from_the_backlog_is_ready(workspace):
    bot = await workspace.agent()
    for status in ("triage", "backlog", "in_progress", "blocked", "in_review", "todo"):
        await bot(create_task, title=status, status=status, priority="none" if status == "todo" else "urgent")
    assert [task.title for task in await bot(list_ready_tasks)] == ["todo"]
    assert [task.title for task in await bot(list_ready_tasks, include_backlog=True)] == ["todo", "backlog"]
    claims = await bot(claim_next_task, limit=10, include_backlog=True)
    assert [claim.task.title for claim in claims] == ["todo", "backlog"]


async def test_a_task_waits_until_its_last_blocker_is_closed(workspace):
    bot = await workspace.agent()
    work, first, second = [await bot(create_task, title=title) for title in ("work", "first", "second")]
    for blocker in (first, second):
        await bot(link_tasks, task_id=blocker.id, kind="blocks", other_task_id=work.id)
    assert [task.title for task in await bot(list_ready_tasks)] == ["first", "second"]
    with pytest.raises(NotClaimable) as refused:
        await bot(claim_task, task_id=work.id)
    [obstacle] = refused.value.details["obstacles"]
    assert (obstacle.code, [b.identifier for b in obstacle.blockers]) == ("blocked_by", ["T-2", "T-3"])
    await bot(complete_task, task_id=first.id)
    assert [task.title for task in await bot(list_ready_tasks)] == ["second"]
    await bot(cancel_task, task_id=second.id)
    assert [claim.task.title for claim in await bot(claim_next_task)] == ["work"]


async def test_what_is_ready_for_a_caller_is_theirs_or_nobodys_in_their_channels(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    shared = await workspace.channel("shared", bot, other)
    foreign = await workspace.channel("foreign", other)
    await other(create_task, title="theirs", channel_id=shared, assignee_agent_id=other.id)
    await other(create_task, title="mine", assignee_agent_id=bot.id)
    await other(create_task, title="shared", channel_id=shared)
    await other(create_task, title="foreign", channel_id=foreign)
    await other(create_task, title="private")
    await bot(create_task, title="own")
    assert [task.title for task in await bot(list_ready_tasks)] == ["mine", "shared", "own"]
    assert [task.title for task in await bot(list_ready_tasks, channel_id=shared)] == ["shared"]
    claims = await bot(claim_next_task, limit=10)
    assert [claim.task.title for claim in claims] == ["mine", "shared", "own"]


async def test_a_reader_of_a_channel_is_offered_nothing_there(workspace):
    bot, reader = await workspace.agent(), await workspace.agent("reader", channels=[])
    channel = await workspace.channel("work", bot)
    await workspace.join("work", reader, role="reader")
    task = await bot(create_task, title="a", channel_id=channel)
    assert await reader(list_ready_tasks) == []
    assert await reader(claim_next_task) == []
    with pytest.raises(TaskReadOnly):
        await reader(claim_task, task_id=task.id)


async def test_filters_narrow_what_is_claimed(workspace):
    bot = await workspace.agent()
    await bot(create_task, title="Paint the fence", priority="low")
    await bot(create_task, title="Mend the fence", priority="high")
    await bot(create_task, title="Feed the cat", priority="urgent")
    assert [c.task.title for c in await bot(claim_next_task, query="FENCE", priority_at_least="medium", limit=9)] == [
        "Mend the fence"
    ]
    assert await bot(claim_next_task, query="100%") == []
    assert await bot(claim_next_task, channel_id="nowhere") == []


async def test_pages_of_ready_tasks_follow_each_other_without_gap_or_repetition(workspace):
    bot = await workspace.agent()
    for n in range(25):
        await bot(create_task, title=str(n), priority=["none", "high"][n % 2], status=["todo", "backlog"][n % 3 == 0])
    whole = [task.id for task in await bot(list_ready_tasks, include_backlog=True)]
    assert len(whole) == 25
    paged, cursor = [], None
    while True:
        page = await bot(list_ready_tasks, include_backlog=True, limit=4, cursor=cursor)
        paged += [task.id for task in page]
        if (cursor := page.cursor) is None:
            break
    assert paged == whole


async def test_callers_at_once_never_get_the_same_task_and_leave_none_behind(workspace):
    bots = [await workspace.agent(f"bot-{n}") for n in range(8)]
    channel = await workspace.channel("work", *bots)
    rows = [{"title": str(n), "channelId": channel} for n in range(50)]
    for _ in range(2):
        await bots[0](create_tasks_bulk, tasks=rows)
    answers = await asyncio.gather(*[bots[n % 8](claim_next_task, limit=1 + n % 5) for n in range(60)])
    taken = [claim.task.id for answer in answers for claim in answer]
    assert len(taken) == len(set(taken)) == 100
    assert all(claim.task.assignee_agent_id == bots[n % 8].id for n, answer in enumerate(answers) for claim in answer)


async def test_a_lost_answer_is_asked_for_again_by_its_key(workspace):
    bot = await workspace.agent()
    for n in range(5):
        await bot(create_task, title=str(n))
    first = await bot(claim_next_task, claim_key="k", limit=2)
    again = await bot(claim_next_task, claim_key="k", limit=2)
    assert [claim.run.id for claim in again] == [claim.run.id for claim in first]
    assert len(await bot(claim_next_task, claim_key="another", limit=2)) == 2
    assert len(await bot(list_runs, live=True)) == 4


async def test_one_key_claims_once_even_if_it_is_sent_many_times_at_once(workspace):
    bot = await workspace.agent()
    for n in range(30):
        await bot(create_task, title=str(n))
    for key in ("a", "b", "c"):
        answers = await asyncio.gather(*[bot(claim_next_task, claim_key=key, limit=1 + n % 3) for n in range(8)])
        assert len({tuple(claim.run.id for claim in answer) for answer in answers}) == 1
    held = await bot(list_runs, live=True, limit=100)
    assert len({run.task_id for run in held}) == len(held)


async def test_a_key_that_found_nothing_can_be_used_again(workspace):
    bot = await workspace.agent()
    assert await bot(claim_next_task, claim_key="k") == []
    await bot(create_task, title="a")
    assert len(await bot(claim_next_task, claim_key="k")) == 1


async def test_keys_of_different_holders_have_nothing_to_do_with_each_other(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    for n in range(2):
        await bot(create_task, title=str(n), channel_id=channel)
    a = await bot(claim_next_task, claim_key="k")
    b = await other(claim_next_task, claim_key="k")
    assert a[0].task.id != b[0].task.id


async def test_completing_a_run_can_complete_its_task_in_the_same_step(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    done = await bot(complete_run, run_id=claim.run.id, output={"answer": [42]}, complete_task=True)
    assert (done.run.status, done.run.end_reason, done.run.output) == ("completed", "completed", {"answer": [42]})
    assert (done.task.status, done.task.assignee_agent_id, done.task.version) == ("done", bot.id, 3)
    assert done.task.completed_at is not None
    again = await bot(complete_run, run_id=claim.run.id, complete_task=True)
    assert again.task.version == 3
    assert [e["kind"] for e in await workspace.events(task.id)] == ["created", "claimed", "run_completed"]


async def test_completing_a_run_alone_leaves_the_task_in_progress_and_free_of_claims(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    done = await bot(complete_run, run_id=claim.run.id)
    assert (done.task.status, done.task.assignee_agent_id) == ("in_progress", bot.id)
    second = await bot(claim_task, task_id=task.id)
    assert (second.run.attempt, [p.end_reason for p in second.previous_runs]) == (2, ["completed"])


async def test_the_next_holder_reads_what_the_last_one_left(workspace):
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await bot(heartbeat_run, run_id=claim.run.id, progress=0.5, note="half way")
    failed = await bot(
        fail_run, run_id=claim.run.id, errors=[{"code": "oom", "message": "out of memory"}], handoff="use less"
    )
    assert (failed.task.status, failed.task.assignee_agent_id, failed.run.status) == ("todo", None, "failed")
    [second] = await other(claim_next_task)
    assert second.run.attempt == 2
    [before] = second.previous_runs
    assert (before.holder_agent_id, before.end_reason, before.progress, before.note) == (bot.id, "failed", 0.5, "half way")
    assert (before.handoff, before.errors[0].code, before.errors[0].message) == ("use less", "oom", "out of memory")
    released = await other(release_run, run_id=second.run.id, handoff="all yours")
    assert (released.run.status, released.run.end_reason, released.task.status) == ("cancelled", "released", "todo")
    [third] = await bot(claim_next_task)
    assert [p.handoff for p in third.previous_runs] == ["all yours", "use less"]


async def test_a_task_that_keeps_failing_is_parked_with_its_reason(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="poison")
    for attempt in range(1, 6):
        claim = await bot(claim_task, task_id=task.id)
        ended = await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": f"try {attempt}"}])
        assert ended.task.status == ("todo" if attempt < 5 else "blocked")
    [comment] = await bot(list_comments, task_id=task.id)
    assert "after 5 failed claims" in comment.body and "`boom`: try 5" in comment.body
    assert await bot(claim_next_task) == []
    with pytest.raises(NotClaimable):
        await bot(claim_task, task_id=task.id)
    await bot(update_task, task_id=task.id, version=ended.task.version, status="todo")
    claim = await bot(claim_task, task_id=task.id)  # and the count begins anew
    ended = await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "again"}])
    assert ended.task.status == "todo"


async def test_a_failure_without_retry_parks_the_task_at_once(workspace):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    ended = await bot(fail_run, run_id=claim.run.id, errors=[{"code": "no", "message": "impossible"}], retry=False)
    assert ended.task.status == "blocked"
    [comment] = await bot(list_comments, task_id=task.id)
    assert "after 1 failed claim." in comment.body


@pytest.mark.parametrize("end", [complete_run, release_run, fail_run])
async def test_ending_a_claim_in_another_way_than_it_ended_is_refused(workspace, end):
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
        assert lost.value.details["endReason"] == (await bot(get_run, run_id=claim.run.id)).end_reason
    assert await bot(get_task, task_id=task.id) == before


# Fencing -----------------------------------------------------------------------------------------------


async def superseded(workspace):
    """A holder whose claim is gone, and the one who holds the task now."""
    late, now = await workspace.agent("late"), await workspace.agent("now")
    channel = await workspace.channel("work", late, now)
    task = await late(create_task, title="a", channel_id=channel)
    claim = await late(claim_task, task_id=task.id)
    await expire(workspace, claim.run.id)
    return late, now, task, claim, channel


async def expire(workspace, run_id):
    """Let the lease of a run have run out, by the database's clock."""
    await workspace.rows(
        """UPDATE runs SET lease_expires_at = now() - interval '1 second', lease_check_at = now() - interval '1 second'
            WHERE workspace_id = %(workspace)s AND id = %(run)s::uuid RETURNING id""",
        run=run_id,
    )


WRITES = [
    (update_task, {"version": 2, "title": "late"}),
    (complete_task, {}),
    (cancel_task, {"reason": "late"}),
    (block_task, {"reason": "late"}),
    (release_task, {}),
    (comment_on_task, {"body": "late"}),
    (create_task, {"title": "late"}),
    (create_tasks_bulk, {"tasks": [{"title": "late"}]}),
    (heartbeat_run, {}),
    (complete_run, {}),
    (fail_run, {"errors": [{"code": "late", "message": "late"}]}),
    (release_run, {}),
]


@pytest.mark.parametrize("operation, fields", WRITES, ids=[op.name for op, _ in WRITES])
async def test_a_late_holder_can_change_nothing(workspace, operation, fields):
    late, _, task, claim, _ = await superseded(workspace)
    if operation.request.__struct_fields__.count("task_id"):
        fields = {**fields, "task_id": task.id}
    before = await workspace.rows("SELECT * FROM tasks WHERE workspace_id = %(workspace)s")
    with pytest.raises(LeaseLost) as lost:
        await late(operation, run_id=claim.run.id, **fields)
    assert lost.value.details["reason"] == "lease_lost"
    assert lost.value.details["endReason"] == "lease_expired"
    assert not lost.value.retryable
    assert await workspace.rows("SELECT * FROM tasks WHERE workspace_id = %(workspace)s") == before
    assert await late(list_comments, task_id=task.id) == []


@pytest.mark.parametrize("operation, fields", WRITES, ids=[op.name for op, _ in WRITES])
async def test_a_write_under_a_live_claim_is_a_sign_of_life(workspace, operation, fields):
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id, lease_seconds=1000)
    await workspace.rows(
        "UPDATE runs SET lease_expires_at = now() + interval '5 seconds' WHERE workspace_id = %(workspace)s AND id = %(run)s::uuid RETURNING id",
        run=claim.run.id,
    )
    if operation.request.__struct_fields__.count("task_id"):
        fields = {**fields, "task_id": task.id}
    await bot(operation, run_id=claim.run.id, **fields)
    run = await bot(get_run, run_id=claim.run.id)
    assert run.end_reason is not None or run.lease_expires_at == max(run.lease_expires_at, claim.run.lease_expires_at)
    [row] = await workspace.rows(
        """SELECT (r.ended_at IS NULL) = (t.run_id IS NOT NULL) AS agree FROM runs r JOIN tasks t ON t.id = r.work_item_id
            WHERE r.workspace_id = %(workspace)s AND r.id = %(run)s::uuid""",
        run=claim.run.id,
    )
    assert row["agree"]


async def test_lease_lost_says_who_holds_the_task_now(workspace):
    late, now, task, claim, _ = await superseded(workspace)
    await late(release_task, task_id=task.id)
    task = await late(get_task, task_id=task.id)
    await late(update_task, task_id=task.id, version=task.version, status="todo")
    taken = await now(claim_task, task_id=task.id)
    with pytest.raises(LeaseLost) as lost:
        await late(comment_on_task, task_id=task.id, body="late", run_id=claim.run.id)
    assert lost.value.details["holder"] == {
        "runId": taken.run.id,
        "id": now.id,
        "kind": "agent",
        "handle": "now",
        "leaseExpiresAt": taken.run.lease_expires_at,
    }
    assert "@now holds it now" in lost.value.message


async def test_nobody_acts_under_anothers_claim_nor_under_one_that_is_not_there(workspace):
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
async def test_whoever_takes_the_task_from_its_holder_ends_the_claim(workspace, change, end_reason):
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


async def test_other_changes_leave_the_claim_alone(workspace):
    bot, boss = await workspace.agent(), await workspace.user()
    channel = await workspace.channel("work", bot, boss)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await boss(update_task, task_id=task.id, version=2, title="b", status="in_review")
    await bot(heartbeat_run, run_id=claim.run.id)
    done = await bot(complete_task, task_id=task.id, run_id=claim.run.id)
    assert done.status == "done"
    assert (await bot(get_run, run_id=claim.run.id)).end_reason == "completed"
