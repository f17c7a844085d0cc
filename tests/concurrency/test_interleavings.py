"""Chosen interleavings: A holds what B needs in an open transaction, B is seen to wait, A ends, B's answer is judged.

A runs the service's own statement, on a connection where the test decides when to commit.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.db import Command, Query, Transaction
from app.errors import LeaseLost, NotAssignee, ParentCycle, TaskNotFound, VersionConflict
from app.ids import new_id
from app.operations import (
    append_run_log,
    block_task,
    cancel_task,
    claim_task,
    comment_on_task,
    complete_task,
    create_task,
    create_task_record,
    create_tasks_bulk,
    get_task,
    heartbeat_run,
    list_comments,
    release_task,
    update_task,
)
from app.operations.records.update import UPDATE_RUN
from app.operations.tasks.change import item_of, write_of
from app.rpc import Operation, whose
from app.writes.turns import take_turn
from tests.concurrency.history import whole_history
from tests.conftest import Caller, World
from tests.contract.run_scenarios import UNDER_A_CLAIM
from tests.operations.claims import everything, placed
from tests.operations.claims import held as held_task

WAIT_SECONDS = 20.0


class Backend(msgspec.Struct):
    """A server process of Postgres."""

    pid: int


WHO_AM_I = Query(Backend, "SELECT pg_backend_pid()", everywhere=True)

WAITING = Query(
    Backend,
    """
    SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
     WHERE %(holder)s::int = ANY(pg_blocking_pids(a.pid))
    """,
    everywhere=True,
)

TAKE_NUMBER = Command(
    Backend,
    """
    UPDATE task_counters SET last_number = last_number + 1 WHERE workspace_id = %(workspace_id)s RETURNING last_number
    """,
)


class Held:
    """A's open transaction, as those see it who run into it."""

    def __init__(self, caller: Caller, tx: Transaction, pid: int) -> None:
        self.tx = tx
        self._caller = caller
        self._pid = pid

    async def changes(self, task: Any, **changes: object) -> None:
        """A changes a task, with the statement that every change is made with."""
        item = {**item_of(UUID(task.id), None, changes), "kind": "updated", "message_id": new_id()}
        assert await self.tx.write(write_of(changes).plain, {**self._caller.context.who, **item}) is not None

    async def makes_wait(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """B: start a call, and return once it is seen to wait for A."""
        b = asyncio.create_task(call)
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self._caller.context.db.one(WAITING, holder=self._pid):
            assert not b.done(), f"B did not wait: {b.exception() or b.result()}"
            assert time.monotonic() < deadline, "nobody waits for A"
        return b


@asynccontextmanager
async def transaction(caller: Caller, *, commits: bool = True) -> AsyncGenerator[Held]:
    """A: an open transaction, until the block ends; then it commits or gives up."""
    with suppress(GivenUp):
        async with caller.context.db.transaction() as tx:
            backend = await tx.one(WHO_AM_I)
            assert backend is not None
            yield Held(caller, tx, backend.pid)
            if not commits:
                raise GivenUp


class GivenUp(Exception):
    """A rolls back."""


@asynccontextmanager
async def holding(caller: Caller, task: Any, **changes: object) -> AsyncGenerator[Held]:
    """A: has changed the task, and commits when the block ends."""
    async with transaction(caller) as held:
        await held.changes(task, **changes)
        yield held


async def test_a_versioned_update_that_waited_gets_the_task_as_it_has_become(workspace: World) -> None:
    a, b = await workspace.agent("a"), await workspace.agent("b")
    task = await a(create_task, title="Before", assignee_agent_id=b.id)
    async with holding(a, task, title="A was here") as held:
        waiting = await held.makes_wait(b(update_task, task_id=task.id, version=1, title="B was here"))
    with pytest.raises(VersionConflict) as refusal:
        await waiting
    details = b.decoded(refusal.value)
    assert (details.sent_version, details.current_version) == (1, 2)
    assert [(c.field, c.now, c.by.handle) for c in details.changed] == [("title", "A was here", "a")]
    assert details.current == await b(get_task, task_id=task.id)
    assert (details.current.title, details.current.version) == ("A was here", 2)
    assert len(await whole_history(workspace, task.id)) == 2


async def test_a_versioned_update_that_waited_wins_if_the_other_gives_up(workspace: World) -> None:
    a = await workspace.agent("a")
    task = await a(create_task, title="Before")
    async with transaction(a, commits=False) as held:
        await held.changes(task, title="A was here")
        waiting = await held.makes_wait(a(update_task, task_id=task.id, version=1, title="B was here"))
    changed = await waiting
    assert (changed.title, changed.version) == ("B was here", 2)
    assert len(await whole_history(workspace, task.id)) == 2


async def test_a_completion_that_waited_stands_on_top_of_the_other_change(workspace: World) -> None:
    a = await workspace.agent("a")
    task = await a(create_task, title="Before")
    async with holding(a, task, title="A was here") as held:
        waiting = await held.makes_wait(a(complete_task, task_id=task.id))
    done = await waiting
    assert (done.title, done.status, done.version) == ("A was here", "done", 3)
    _, renamed, completed = await whole_history(workspace, task.id)
    assert renamed["changes"]["title"] == ["Before", "A was here"]
    assert completed["changes"]["status"] == ["todo", "done"]
    assert "title" not in completed["changes"]


async def test_a_completion_that_waited_for_another_completion_adds_nothing(workspace: World) -> None:
    a = await workspace.agent("a")
    task = await a(create_task, title="Once")
    async with holding(a, task, status="done") as held:
        waiting = await held.makes_wait(a(complete_task, task_id=task.id))
    done = await waiting
    assert (done.status, done.version) == ("done", 2)
    assert len(await whole_history(workspace, task.id)) == 2


@pytest.mark.parametrize("op", [cancel_task, block_task], ids=lambda op: op.name)
async def test_a_reason_is_kept_exactly_once_by_a_call_that_had_to_wait(workspace: World, op: Any) -> None:
    a = await workspace.agent("a")
    task = await a(create_task, title="Before")
    async with holding(a, task, status="in_review") as held:
        waiting = await held.makes_wait(a(op, task_id=task.id, reason="Because."))
    assert (await waiting).version == 3
    assert [comment.body for comment in await a(list_comments, task_id=task.id)] == ["Because."]
    assert [e["changes"].get("status") for e in await whole_history(workspace, task.id)][1] == [
        "todo",
        "in_review",
    ]


async def test_a_release_that_waited_does_not_take_the_task_from_its_new_assignee(workspace: World) -> None:
    a, b = await workspace.agent("a"), await workspace.agent("b")
    task = await a(create_task, title="Hot", assignee_agent_id=b.id)
    async with holding(a, task, assigneeId=a.id, assigneeKind="agent") as held:
        waiting = await held.makes_wait(b(release_task, task_id=task.id))
    with pytest.raises(NotAssignee):
        await waiting
    assert (await a(get_task, task_id=task.id)).assignee_agent_id == a.id


async def test_a_change_that_waited_is_refused_if_its_caller_may_no_longer_see_the_task(
    workspace: World,
) -> None:
    a, b = await workspace.agent("a"), await workspace.agent("b")
    channel = await workspace.channel("dev", a, b)
    task = await a(create_task, title="Ours", channel_id=channel)
    async with holding(a, task, channelId=None) as held:
        waiting = await held.makes_wait(b(complete_task, task_id=task.id))
    with pytest.raises(TaskNotFound):
        await waiting
    assert (await a(get_task, task_id=task.id)).status == "todo"


async def test_a_comment_waits_for_nobody_and_moves_no_version(workspace: World) -> None:
    a = await workspace.agent("a")
    task = await a(create_task, title="Before")
    async with holding(a, task, title="A was here"):
        await a(comment_on_task, task_id=task.id, body="Meanwhile")
    assert (await a(get_task, task_id=task.id)).version == 2
    assert len(await whole_history(workspace, task.id)) == 2


async def test_tasks_that_waited_for_a_number_get_the_next_ones_without_a_gap(workspace: World) -> None:
    a = await workspace.agent("a")
    rows = [{"title": f"Row {n}"} for n in range(3)]
    async with transaction(a, commits=False) as held:
        await held.tx.one(TAKE_NUMBER, workspace_id=a.context.actor.workspace_id)
        waiting = await held.makes_wait(a(create_tasks_bulk, tasks=rows))
    assert [task.identifier for task in await waiting] == ["T-1", "T-2", "T-3"]

    async with transaction(a) as held:
        await held.tx.one(TAKE_NUMBER, workspace_id=a.context.actor.workspace_id)
        waiting = await held.makes_wait(a(create_tasks_bulk, tasks=rows))
    assert [task.identifier for task in await waiting] == ["T-5", "T-6", "T-7"]


async def test_of_two_moves_that_would_make_a_circle_the_second_is_refused(workspace: World) -> None:
    a = await workspace.agent("a")
    one, two = [await a(create_task, title=title) for title in ("One", "Two")]
    async with transaction(a) as held:
        await take_turn(held.tx, whose(a.context.actor), None, "move")
        await held.changes(one, parentTaskId=two.id)
        waiting = await held.makes_wait(a(update_task, task_id=two.id, version=1, parent_task_id=one.id))
    with pytest.raises(ParentCycle):
        await waiting
    assert (await a(get_task, task_id=one.id)).parent_task_id == two.id
    assert (await a(get_task, task_id=two.id)).parent_task_id is None


# What a write can lock besides the task of the claim it acts under, which is T-1.
OTHER_TASKS, *ELSE = [
    Query(Backend, f"SELECT 1 FROM {rows} FOR UPDATE NOWAIT")
    for rows in (
        "tasks WHERE workspace_id = %(workspace_id)s AND number > 1",
        "channels WHERE workspace_id = %(workspace_id)s",
        "runs WHERE workspace_id = %(workspace_id)s",
        "states WHERE workspace_id = %(workspace_id)s",
    )
]
ALL_ELSE = [OTHER_TASKS, *ELSE]


# A sign of life and a step of the log are written to the run, and lock nothing else.
BESIDES_THE_RUN = [call for call in UNDER_A_CLAIM if call[0] not in (heartbeat_run, append_run_log)]


@pytest.mark.parametrize("op, fields", BESIDES_THE_RUN, ids=[op.name for op, _ in BESIDES_THE_RUN])
async def test_a_write_under_a_claim_locks_nothing_before_its_task(
    workspace: World, op: Operation, fields: dict[str, Any]
) -> None:
    a = await workspace.user("a")
    task, claim = await held_task(a)
    await a(create_task, title="another")
    fields = await placed(workspace, a, op, fields)
    async with transaction(a) as held:
        await held.changes(task, priority=4)
        waiting = await held.makes_wait(a(op, run_id=claim.run.id, **fields))
        # Whoever has a task may want the rest next: B has locked none of it while it waits for the task.
        for rows in ALL_ELSE:
            await held.tx.all(rows, workspace_id=workspace.info.id)
    with suppress(VersionConflict):  # where a version was sent, that of before
        await waiting


async def test_writes_that_share_a_statement_lock_nothing_before_the_tasks_of_their_claims(
    workspace: World,
) -> None:
    a = await workspace.user("a")
    task, claim = await held_task(a)
    _, other = await held_task(a)
    runs = [await a(create_task_record, kind="x") for _ in range(2)]
    said = {
        **a.context.who,
        "versions": None,
        "sees_all": False,
        "changes": {"title": "new"},
        "children": None,
    }
    statement = UPDATE_RUN.form(keyed=False, claimed=True)

    async def together() -> list[Any]:
        under = zip(runs, (other.run.id, claim.run.id), strict=True)
        items = [{**said, "id": UUID(run.id), "claim_id": UUID(claimed)} for run, claimed in under]
        return await asyncio.gather(*(workspace.db.write(statement, item) for item in items))

    async with transaction(a) as held:
        await held.changes(task, priority=4)
        waiting = await held.makes_wait(together())
        for rows in ELSE:  # the tasks of their claims they may have
            await held.tx.all(rows, workspace_id=workspace.info.id)
    assert all(await waiting)


@pytest.mark.parametrize("op, fields", UNDER_A_CLAIM, ids=[op.name for op, _ in UNDER_A_CLAIM])
async def test_nothing_is_written_if_the_claim_ends_while_the_write_waits(
    workspace: World, op: Operation, fields: dict[str, Any]
) -> None:
    a, boss = await workspace.user("a"), await workspace.user("boss")
    channel = await workspace.channel("work", a, boss)
    task = await a(create_task, title="a", channel_id=channel)
    await a(create_task, title="another", channel_id=channel)
    claim = await a(claim_task, task_id=task.id)
    fields = await placed(workspace, a, op, fields)
    async with transaction(boss) as held:
        await held.changes(task, status="todo")
        waiting = await held.makes_wait(a(op, run_id=claim.run.id, **fields))
        left = await everything(workspace, held.tx)
    with pytest.raises(LeaseLost):
        await waiting
    assert await everything(workspace) == left
