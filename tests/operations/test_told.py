"""What an answer says besides its data: claims that ended, blockers that are open, and why there was nothing to claim."""

import json
from typing import Any

import msgspec
import pytest

from app.errors import InvalidInput, LeaseLost
from app.operations import (
    block_task,
    cancel_task,
    claim_next_task,
    claim_task,
    comment_on_task,
    complete_run,
    complete_task,
    create_task,
    fail_run,
    force_release_run,
    get_run,
    link_tasks,
    list_runs,
    release_run,
    release_task,
    update_task,
)
from app.operations.told import Told
from app.rpc import Operation
from tests.conftest import Caller, World
from tests.operations.claims import expire, held


def told(caller: Caller) -> Any:
    """What the last answer said beside its data, as documented; None if nothing."""
    sent = caller.aside.get("baton-told")
    return None if sent is None else msgspec.json.decode(sent, type=Told)


def as_model(caller: Caller) -> Caller:
    """The same caller, through a tool."""
    caller.context = msgspec.structs.replace(caller.context, for_model=True)
    return caller


ENDINGS: list[tuple[Operation, dict[str, Any], str]] = [
    (complete_task, {}, "completed"),
    (cancel_task, {}, "released"),
    (cancel_task, {"reason": "no use"}, "released"),
    (block_task, {"reason": "stuck"}, "released"),
    (release_task, {}, "released"),
    (update_task, {"version": 2, "status": "done"}, "completed"),
    (update_task, {"version": 2, "status": "todo"}, "released"),
    (update_task, {"version": 2, "status": "blocked", "handoff": "half of it"}, "released"),
    (update_task, {"version": 2, "assignee_agent_id": None}, "released"),
]


@pytest.mark.parametrize("operation, fields, reason", ENDINGS)
async def test_every_write_that_ends_a_claim_says_so(
    workspace: World, operation: Operation, fields: dict[str, Any], reason: str
) -> None:
    bot = await workspace.agent()
    task, claim = await held(bot)
    await bot(operation, task_id=task.id, **fields)
    ended = told(bot).claim_ended
    assert (ended.run_id, ended.reason, ended.holder) == (claim.run.id, reason, msgspec.UNSET)
    assert (await bot(get_run, run_id=claim.run.id)).end_reason == reason


@pytest.mark.parametrize(
    "operation, reason", [(complete_run, "completed"), (fail_run, "failed"), (release_run, "released")]
)
async def test_ending_a_run_says_so_too(workspace: World, operation: Operation, reason: str) -> None:
    bot = await workspace.agent()
    _, claim = await held(bot)
    await bot(
        operation,
        run_id=claim.run.id,
        **({"errors": [{"code": "boom", "message": "again"}]} if operation is fail_run else {}),
    )
    ended = told(bot).claim_ended
    assert (ended.run_id, ended.reason, ended.parked) == (claim.run.id, reason, msgspec.UNSET)


async def test_a_run_whose_failure_parks_the_task_says_that(workspace: World) -> None:
    bot = await workspace.agent()
    _, claim = await held(bot)
    await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "again"}], retry=False)
    assert told(bot).claim_ended.parked is True


async def test_whoever_ends_the_claim_of_another_hears_whose_it_was(workspace: World) -> None:
    bot, boss, op = (
        await workspace.agent(),
        as_model(await workspace.user("boss")),
        await workspace.user("op", scopes="operator"),
    )
    channel = await workspace.channel("work", bot, boss)
    for _ in range(2):
        await boss(create_task, title="a", channel_id=channel)
    first, second = [(await bot(claim_next_task))[0] for _ in range(2)]
    await boss(update_task, task_id=first.task.id, version=2, assignee_user_id=boss.id)
    ended = told(boss).claim_ended
    assert (ended.run_id, ended.reason, ended.holder) == (first.run.id, "superseded", "bot")
    await op(force_release_run, run_id=second.run.id)
    assert (told(op).claim_ended.reason, told(op).claim_ended.holder) == ("force_released", "bot")


async def test_a_write_that_leaves_the_claim_alone_says_nothing(workspace: World) -> None:
    bot = await workspace.agent()
    task, _ = await held(bot)
    await bot(update_task, task_id=task.id, version=2, status="in_review", priority="high")
    assert told(bot) is None
    await bot(comment_on_task, task_id=task.id, body="Please look.")
    assert told(bot) is None


async def test_handing_to_a_reviewer_ends_the_claim_aloud_and_keeps_what_they_should_know(
    workspace: World,
) -> None:
    bot, ada = await workspace.agent(), await workspace.user()
    task, claim = await held(bot)
    await bot(
        update_task,
        task_id=task.id,
        version=2,
        status="in_review",
        assignee_user_id=ada.id,
        handoff="Look at the parser.",
    )
    assert told(bot).claim_ended.run_id == claim.run.id
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.end_reason, run.handoff) == ("released", "Look at the parser.")


@pytest.mark.parametrize("under_claim", [False, True])
async def test_what_is_handed_over_comes_with_the_next_claim(workspace: World, *, under_claim: bool) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    await bot(create_task, title="a", channel_id=channel)
    [claim] = await bot(claim_next_task)
    run = {"run_id": claim.run.id} if under_claim else {}
    await bot(
        update_task,
        task_id="T-1",
        version=2,
        status="todo",
        assignee_agent_id=None,
        handoff="half of it",
        **run,
    )
    [again] = await other(claim_next_task)
    [before] = again.previous_runs
    assert (before.id, before.handoff, before.end_reason) == (claim.run.id, "half of it", "released")


async def test_a_claim_that_goes_on_in_review_keeps_its_handoff_and_its_life(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    await bot(create_task, title="a", channel_id=channel)
    [claim] = await bot(claim_next_task, lease_seconds=1000)
    await workspace.rows(
        """UPDATE runs SET lease_expires_at = now() + interval '5 seconds'
            WHERE workspace_id = %(workspace)s RETURNING id"""
    )
    for handoff in ("read it", "read all of it"):  # the second changes nothing but this
        await bot(
            update_task, task_id="T-1", version=2 if handoff == "read it" else 3, status="in_review", handoff=handoff,
            run_id=claim.run.id,
        )  # fmt: skip
        assert told(bot) is None
        run = await bot(get_run, run_id=claim.run.id)
        assert (run.end_reason, run.handoff, run.lease_expires_at >= claim.run.lease_expires_at) == (
            None,
            handoff,
            True,
        )
    await bot(release_run, run_id=claim.run.id)
    [again] = await other(claim_next_task)
    assert again.previous_runs[0].handoff == "read all of it"


async def test_who_had_a_task_without_a_claim_can_hand_it_over_too(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    task = await bot(
        create_task, title="a", channel_id=channel, assignee_agent_id=bot.id, status="in_progress"
    )
    await bot(
        update_task,
        task_id=task.id,
        version=1,
        status="blocked",
        assignee_agent_id=None,
        handoff="I tried A.",
    )
    await bot(
        update_task, task_id=task.id, version=2, status="blocked", handoff="And B."
    )  # changes nothing else
    await bot(update_task, task_id=task.id, version=2, status="todo")
    [again] = await other(claim_next_task)
    assert [
        (run.attempt, run.handoff, run.end_reason, run.holder_agent_id) for run in again.previous_runs
    ] == [
        (2, "And B.", "released", bot.id),
        (1, "I tried A.", "released", bot.id),
    ]
    assert again.run.attempt == 3
    assert len(await other(list_runs, task_id=task.id)) == 3


async def test_nothing_is_handed_over_for_a_version_that_has_passed(workspace: World) -> None:
    bot = await workspace.agent()
    task, claim = await held(bot)
    with pytest.raises(Exception, match="You sent version 1"):
        await bot(update_task, task_id=task.id, version=1, status="todo", handoff="x")
    assert (await bot(get_run, run_id=claim.run.id)).handoff is None


@pytest.mark.parametrize("status", [{}, {"status": "done"}, {"status": "in_progress"}, {"status": "backlog"}])
async def test_a_handoff_goes_with_a_status_in_which_somebody_goes_on(
    workspace: World, status: dict[str, str]
) -> None:
    bot = await workspace.agent()
    task, _ = await held(bot)
    with pytest.raises(InvalidInput, match=r"`todo`, `blocked` or `in_review`"):
        await bot(update_task, task_id=task.id, version=2, handoff="x", **status)


async def test_who_sets_a_blocked_task_in_progress_hears_what_is_open(workspace: World) -> None:
    bot, ada = as_model(await workspace.agent()), await workspace.user()
    channel = await workspace.channel("work", bot)
    for title in ("first", "second"):
        await bot(create_task, title=title, channel_id=channel)
    hidden = await ada(create_task, title="hidden")
    await bot(link_tasks, task_id="T-1", kind="blocks", other_task_id="T-2")
    await workspace.rows(
        """INSERT INTO task_relations (workspace_id, from_task_id, kind, to_task_id, created_by_id, created_by_kind)
           SELECT %(workspace)s, %(hidden)s::uuid, 'blocks', id, %(ada)s::uuid, 'user' FROM tasks
            WHERE workspace_id = %(workspace)s AND number = 2 RETURNING kind""",
        hidden=hidden.id,
        ada=ada.id,
    )
    await bot(claim_task, task_id="T-1")
    task = await bot(update_task, task_id="T-2", version=1, status="in_progress", idempotency_key="k")
    said = told(bot)
    assert [(b.identifier, b.title, b.status, b.holder) for b in said.blockers] == [
        ("T-1", "first", "in_progress", "bot")
    ]
    assert said.hidden_blockers == 1
    await bot(update_task, task_id="T-2", version=1, status="in_progress", idempotency_key="k")
    assert told(bot) == said  # a repetition tells the same
    await bot(update_task, task_id="T-2", version=task.version, title="other")
    assert told(bot) is None


async def test_an_empty_claim_says_what_waits_for_what_and_who_holds_it(workspace: World) -> None:
    bot, other = as_model(await workspace.agent()), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    await other(create_task, title="blocker", channel_id=channel)
    for n in range(5):
        priority = "urgent" if n == 4 else "none"
        task = await other(create_task, title=f"waits {n}", channel_id=channel, priority=priority)
        await other(link_tasks, task_id="T-1", kind="blocks", other_task_id=task.id)
    await other(claim_task, task_id="T-1")
    assert await bot(claim_next_task) == []
    why = told(bot).waiting
    assert [task.identifier for task in why.tasks] == ["T-6", "T-2", "T-3"]
    [blocker] = why.tasks[0].waits_for
    assert (blocker.identifier, blocker.status, blocker.holder) == ("T-1", "in_progress", "other")
    assert "T-6 waits for T-1 (in_progress, @other)" in why.message
    assert [(h.operation, h.arguments) for h in why.helps] == [("comment-on-task", {"taskId": "T-1"})]
    assert len(json.dumps(bot.aside["baton-told"])) < 1500


async def test_an_empty_claim_says_when_only_the_filter_was_in_the_way(workspace: World) -> None:
    bot = as_model(await workspace.agent())
    assert await bot(claim_next_task) == []
    assert "Your channels have no open task" in told(bot).waiting.message
    await bot(create_task, title="later", status="backlog")
    assert await bot(claim_next_task) == []
    why = told(bot).waiting
    assert (why.tasks, why.helps[0].arguments) == ([], {"includeBacklog": True})
    [claim] = await bot(claim_next_task, include_backlog=True)
    assert claim.task.identifier == "T-1"


async def test_a_worker_that_is_no_model_is_told_nothing_for_an_empty_claim(workspace: World) -> None:
    bot = await workspace.agent()
    assert await bot(claim_next_task) == []
    assert told(bot) is None


async def test_a_write_under_an_old_run_of_ones_own_names_the_run_to_send(workspace: World) -> None:
    bot = await workspace.agent()
    task, claim = await held(bot)
    await bot(release_run, run_id=claim.run.id)
    again = await bot(claim_task, task_id=task.id)
    with pytest.raises(
        LeaseLost, match=f"you hold it under another run now.*Send `runId` {again.run.id} instead"
    ):
        await bot(comment_on_task, task_id=task.id, body="x", run_id=claim.run.id)
    await expire(workspace, again.run.id, seen=False)
    with pytest.raises(LeaseLost, match="nobody holds it now"):
        await bot(comment_on_task, task_id=task.id, body="x", run_id=again.run.id)


async def test_create_task_names_what_looks_like_the_same(workspace: World) -> None:
    bot, ada = as_model(await workspace.agent()), await workspace.user()
    channel = await workspace.channel("work", bot, ada)
    for title in (
        "The parser drops the last line",
        "Write the release notes",
        "Parser drops the first line, too",
    ):
        await ada(create_task, title=title, channel_id=channel)
    await ada(complete_task, task_id="T-3")
    await ada(create_task, title="The parser drops the last line")  # which bot does not see
    await bot(claim_task, task_id="T-1")
    for fields in ({"channel_id": channel}, {}):
        await bot(create_task, title="Parser loses the last line", **fields, idempotency_key=str(fields))
        said = told(bot)
        assert said.similar[0].identifier == ("T-1" if fields else "T-5")
        assert {"T-1"} <= {task.identifier for task in said.similar} <= {"T-1", "T-5"}
        [first] = [task for task in said.similar if task.identifier == "T-1"]
        assert (first.title, first.status, first.holder) == (
            "The parser drops the last line",
            "in_progress",
            "bot",
        )
        await bot(create_task, title="Parser loses the last line", **fields, idempotency_key=str(fields))
        assert told(bot) == said
    await bot(create_task, title="Buy milk", channel_id=channel)
    assert told(bot) is None


async def test_a_series_is_no_repetition_and_whoever_does_not_ask_is_told_nothing(workspace: World) -> None:
    bot = as_model(await workspace.agent())
    for n in range(3):
        await bot(create_task, title=f"Translate chapter {n}")
        assert told(bot) is None
    await bot(create_task, title="Translate chapter 2")
    assert [task.identifier for task in told(bot).similar] == ["T-3"]
    bot.context = msgspec.structs.replace(bot.context, finds_similar=False)
    await bot(create_task, title="Translate chapter 2")
    assert told(bot) is None
    bot.context = msgspec.structs.replace(bot.context, finds_similar=True, for_model=False)
    await bot(create_task, title="Translate chapter 2")
    assert told(bot) is None
