"""Records and States that belong to no task: whose they are."""

from typing import Any

import pytest

from app.errors import NotYoursToShow, RunNotFound, StateNotFound, TaskReadOnly
from app.operations import (
    claim_task,
    create_task,
    get_run,
    list_run_log,
    list_runs,
)
from app.operations.records.create import create_task as create_task_record
from app.operations.records.delete import delete_task as delete_task_record
from app.operations.records.reading import get_task as get_task_record
from app.operations.records.reading import list_tasks as list_task_records
from app.operations.records.states import create_state, get_state, update_state
from app.operations.records.update import update_task as update_task_record
from tests.conftest import Caller, World


async def cast(workspace: World) -> dict[str, Caller]:
    """Everyone who could have something to do with a run of `author`, whose executor is `worker`."""
    callers = {"ada": await workspace.user("ada"), "bob": await workspace.user("bob")}
    for handle, owner in (("author", "ada"), ("sister", "ada"), ("worker", "bob"), ("stranger", None)):
        callers[handle] = await workspace.agent(handle, owner=owner)
    callers["operator"] = await workspace.agent("operator", scopes="all operator")
    return callers


MAY = {"ada", "bob", "author", "worker", "operator"}


async def sees(caller: Caller, run: Any) -> bool:
    """Whether every door shows the run, or none does."""
    found = [
        run.id in [one.id for one in await caller(list_task_records)],
        run.id in [one.id for one in await caller(list_task_records, executor_id=run.executor_id)],
        run.id in [one.id for one in await caller(list_runs)],
    ]
    for op, fields in (
        (get_task_record, {"task_id": run.id}),
        (get_run, {"run_id": run.id}),
        (list_run_log, {"run_id": run.id}),
    ):
        try:
            await caller(op, **fields)
            found.append(True)
        except RunNotFound:
            found.append(False)
    assert len(set(found)) == 1, found
    return found[0]


@pytest.mark.parametrize("name", ["id", "handle", "@handle"])
async def test_a_run_without_a_task_is_its_authors_its_executors_and_their_owners(
    workspace: World, name: str
) -> None:
    callers = await cast(workspace)
    worker = callers["worker"]
    executor = {"id": worker.id, "handle": worker.handle, "@handle": f"@{worker.handle}"}[name]
    run = await callers["author"](create_task_record, kind="flow", executor_id=executor, input={"secret": 1})
    assert {handle for handle, caller in callers.items() if await sees(caller, run)} == MAY
    for handle, caller in callers.items():
        if handle in MAY:
            assert (await caller(update_task_record, task_id=run.id, output=handle)).output == handle
            continue
        with pytest.raises(RunNotFound):
            await caller(update_task_record, task_id=run.id, output=handle)
        with pytest.raises(RunNotFound):
            await caller(delete_task_record, task_id=run.id)
        with pytest.raises(RunNotFound):
            await caller(create_task_record, kind="flow", parent_id=run.id)
    await callers["worker"](delete_task_record, task_id=run.id)


async def test_a_run_of_a_task_is_seen_and_changed_with_the_task(workspace: World) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author, bot)
    task = await author(create_task, title="x", channel_id=channel)
    run = await author(create_task_record, kind="flow", work_item_id=task.id, stateful=True)
    assert (await bot(update_task_record, task_id=run.id, output=1)).output == 1
    await bot(update_state, state_id=run.state_id, variables=[{"name": "a", "value": 1}])
    await workspace.join("builds", bot, role="reader")
    with pytest.raises(TaskReadOnly):
        await bot(update_task_record, task_id=run.id, output=2)
    with pytest.raises(TaskReadOnly):
        await bot(delete_task_record, task_id=run.id)
    with pytest.raises(TaskReadOnly):
        await bot(update_state, state_id=run.state_id, variables=[{"name": "a", "value": 2}])
    assert (await bot(get_state, state_id=run.state_id)).variables[0].value == 1
    await workspace.leave(channel, bot)
    with pytest.raises(RunNotFound):
        await bot(get_task_record, task_id=run.id)
    with pytest.raises(StateNotFound):
        await bot(get_state, state_id=run.state_id)


async def test_a_state_is_its_authors_and_their_owners(workspace: World) -> None:
    callers = await cast(workspace)
    state = await callers["author"](create_state, name="counters")
    for handle, caller in callers.items():
        if handle in {"ada", "author", "operator"}:
            await caller(update_state, state_id=state.id, variables=[{"name": handle, "value": 1}])
            continue
        with pytest.raises(StateNotFound):
            await caller(get_state, state_id=state.id)
        with pytest.raises(StateNotFound):
            await caller(update_state, state_id=state.id, variables=[{"name": "x", "value": 1}])


async def test_a_state_made_with_a_run_follows_the_run(workspace: World) -> None:
    callers = await cast(workspace)
    run = await callers["author"](create_task_record, kind="flow", executor_id="worker", stateful=True)
    for handle, caller in callers.items():
        if handle in MAY:
            await caller(update_state, state_id=run.state_id, variables=[{"name": handle, "value": 1}])
            continue
        with pytest.raises(StateNotFound):
            await caller(get_state, state_id=run.state_id)


async def test_a_state_of_the_first_release_whose_author_is_not_known_stays_everybodys(
    workspace: World,
) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    state = await author(create_state, name="old")
    await workspace.rows(
        """UPDATE states SET author_id = NULL WHERE workspace_id = %(workspace)s AND id = %(state)s::uuid RETURNING id""",
        state=state.id,
    )
    await bot(update_state, state_id=state.id, variables=[{"name": "a", "value": 1}])


async def test_whoever_carries_out_a_run_does_not_show_it_to_others(workspace: World) -> None:
    callers = await cast(workspace)
    channel = await workspace.channel(
        "crowd", callers["worker"], callers["author"], callers["ada"], callers["operator"]
    )
    task = await callers["worker"](create_task, title="seen by all there", channel_id=channel)
    run = await callers["author"](create_task_record, kind="flow", executor_id="worker")
    with pytest.raises(NotYoursToShow):
        await callers["worker"](update_task_record, task_id=run.id, work_item_id=task.id)
    await callers["worker"](update_task_record, task_id=run.id, title="the rest is theirs to change")
    for handle in ("author", "ada", "operator"):
        run = await callers["author"](create_task_record, kind="flow", executor_id="worker")
        shown = await callers[handle](update_task_record, task_id=run.id, work_item_id=task.id)
        assert shown.work_item_id == task.id


# Nobody puts something in the way of another's run


async def test_what_others_hung_below_a_run_does_not_keep_it_from_being_deleted(workspace: World) -> None:
    author, worker = await workspace.agent("author"), await workspace.agent("worker")
    whole = await author(create_task_record, kind="flow", executor_id=worker.id)
    mine = await author(create_task_record, kind="flow", parent_id=whole.id)
    hidden = await worker(create_task, title="secret")
    foreign = await worker(create_task_record, kind="flow", parent_id=whole.id, work_item_id=hidden.id)
    below = await worker(create_task_record, kind="flow", parent_id=foreign.id)
    assert (await author(delete_task_record, task_id=whole.id)).id == whole.id
    with pytest.raises(RunNotFound):
        await author(get_task_record, task_id=mine.id)
    left = await worker(get_task_record, task_id=foreign.id)
    assert (left.parent_id, [part.id for part in left.children]) == (None, [below.id])


async def test_a_claim_below_a_run_outlives_it(workspace: World) -> None:
    author = await workspace.agent("author")
    whole = await author(create_task_record, kind="flow")
    task = await author(create_task, title="x")
    claim = await author(claim_task, task_id=task.id)
    await author(update_task_record, task_id=claim.run.id, parent_id=whole.id)
    await author(delete_task_record, task_id=whole.id)
    assert (await author(get_task_record, task_id=claim.run.id)).parent_id is None
