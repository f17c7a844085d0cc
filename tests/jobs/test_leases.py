"""Leases that ran out."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app.config import Config
from app.db import Database
from app.errors import LeaseLost, VersionConflict
from app.jobs import leases
from app.operations import (
    claim_next_task,
    claim_task,
    complete_run,
    create_task,
    fail_run,
    get_run,
    get_task,
    heartbeat_run,
    list_comments,
    list_task_history,
    update_task,
)
from app.operations.messages.message import SYSTEM
from app.operator import administration as admin
from tests.conftest import World, drop_database, new_database
from tests.operations.claims import expire


@pytest.fixture(scope="module")
def own_dsn(postgres: str) -> Iterator[str]:
    """A database of its own: the job deals with all workspaces of one."""
    name = f"baton_leases_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_db(own_dsn: str) -> AsyncIterator[Database]:
    db = Database(own_dsn, connections_max=5, statement_timeout_seconds=10, pooler=False)
    await db.open()
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world(own_db: Database, request: pytest.FixtureRequest) -> World:
    slug = f"l-{abs(hash(request.node.name)) % 10**9}"
    return World(own_db, await admin.create_workspace(own_db, slug))


async def sweep(world: World) -> int:
    done = 0
    while portion := await leases.run_once(world.db, Config()):
        done += portion
    return done


async def test_work_of_a_silent_holder_is_given_back_with_what_it_left(world: World) -> None:
    bot, other = await world.agent(), await world.agent("other")
    channel = await world.channel("work", bot, other)
    task = await bot(create_task, title="a", channel_id=channel)
    claim = await bot(claim_task, task_id=task.id)
    await bot(heartbeat_run, run_id=claim.run.id, progress=0.25, note="a quarter")
    assert await sweep(world) == 0
    await expire(world, claim.run.id)
    assert await sweep(world) == 1
    now = await bot(get_task, task_id=task.id)
    assert (now.status, now.assignee_agent_id, now.version) == ("todo", None, 3)
    run = await bot(get_run, run_id=claim.run.id)
    assert (run.status, run.end_reason, run.errors[0].code) == ("failed", "lease_expired", "lease_expired")
    event = (await world.events(task.id))[-1]
    assert (event["kind"], event["actor_id"], event["request_id"]) == ("run_expired", SYSTEM, "job-leases")
    [entry] = await bot(list_task_history, task_id=task.id, limit=1)
    assert (entry.by.id, entry.by.kind, entry.by.handle) == (SYSTEM, "system", "baton")
    assert event["changes"] == {
        "runId": [claim.run.id, None], "status": ["in_progress", "todo"], "assigneeAgentId": [bot.id, None],
    }  # fmt: skip
    [again] = await other(claim_next_task)
    [before] = again.previous_runs
    assert (before.end_reason, before.progress, before.note) == ("lease_expired", 0.25, "a quarter")
    with pytest.raises(LeaseLost) as lost:
        await bot(complete_run, run_id=claim.run.id, complete_task=True)
    assert bot.decoded(lost.value).holder.handle == "other"


async def test_a_claim_that_was_renewed_is_put_off_to_the_end_of_its_new_lease(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    await world.rows(
        "UPDATE runs SET lease_check_at = now() - interval '1 second' WHERE workspace_id = %(workspace)s RETURNING id"
    )
    await bot(heartbeat_run, run_id=claim.run.id)
    assert await sweep(world) == 1
    [row] = await world.rows(
        "SELECT lease_check_at = lease_expires_at AS agree, ended_at FROM runs WHERE workspace_id = %(workspace)s"
    )
    assert row == {"agree": True, "ended_at": None}
    assert await sweep(world) == 0


async def test_a_lease_made_shorter_is_looked_at_in_time(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id, lease_seconds=1000)
    await bot(heartbeat_run, run_id=claim.run.id, lease_seconds=5)
    [row] = await world.rows(
        "SELECT lease_check_at = lease_expires_at AS agree FROM runs WHERE workspace_id = %(workspace)s"
    )
    assert row["agree"]


async def test_a_task_whose_holders_keep_dying_is_parked_with_the_reason(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="poison")
    for _ in range(4):
        claim = await bot(claim_task, task_id=task.id)
        await expire(world, claim.run.id)
        assert await sweep(world) == 1
    claim = await bot(claim_task, task_id=task.id)
    await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "again"}])
    assert (await bot(get_task, task_id=task.id)).status == "blocked"
    [comment] = await bot(list_comments, task_id=task.id)
    assert comment.body.startswith("Parked as blocked after 5 failed claims.")


async def test_an_expiry_that_parks_a_task_says_so(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="poison")
    for _ in range(5):
        claim = await bot(claim_task, task_id=task.id)
        await expire(world, claim.run.id)
        await sweep(world)
    [comment] = await bot(list_comments, task_id=task.id)
    assert (
        "showed no sign of life until its lease ended" in comment.body and "`lease_expired`" in comment.body
    )
    assert (comment.author_agent_id, comment.author_user_id) == (None, None)  # it is nobody's
    with pytest.raises(VersionConflict) as passed:
        await bot(update_task, task_id=task.id, version=1, title="b")
    [status] = [change for change in bot.decoded(passed.value).changed if change.field == "status"]
    assert (status.by.kind, status.by.handle) == ("system", "baton")


async def test_many_are_dealt_with_in_bounded_portions_by_any_number_of_processes(world: World) -> None:
    bot = await world.agent()
    for n in range(130):
        await bot(create_task, title=str(n))
    for _ in range(13):
        await bot(claim_next_task, limit=10)
    await world.rows(
        """UPDATE runs SET lease_expires_at = now() - interval '1 second', lease_check_at = now() - interval '1 second'
            WHERE workspace_id = %(workspace)s RETURNING id"""
    )
    portions = await asyncio.gather(*[leases.run_once(world.db, Config()) for _ in range(4)])
    assert max(portions) <= leases.PORTION_ROWS
    await sweep(world)
    [row] = await world.rows(
        """SELECT count(*) FILTER (WHERE t.status = 'todo' AND t.run_id IS NULL) AS free,
                  count(*) FILTER (WHERE t.version = 3) AS once
             FROM tasks t WHERE t.workspace_id = %(workspace)s"""
    )
    assert row == {"free": 130, "once": 130}


async def test_a_heartbeat_and_the_job_at_once_leave_the_claim_whole_or_ended(world: World) -> None:
    bot = await world.agent()
    for n in range(20):
        task = await bot(create_task, title=str(n))
        claim = await bot(claim_task, task_id=task.id, lease_seconds=1)
        await world.rows(
            """UPDATE runs SET lease_expires_at = now() + interval '2 milliseconds', lease_check_at = now()
                WHERE workspace_id = %(workspace)s AND id = %(run)s::uuid RETURNING id""",
            run=claim.run.id,
        )
        beat, _ = await asyncio.gather(
            bot(heartbeat_run, run_id=claim.run.id),
            leases.run_once(world.db, Config()),
            return_exceptions=True,
        )
        run = await bot(get_run, run_id=claim.run.id)
        if not isinstance(beat, LeaseLost):
            assert run.end_reason is None
        [row] = await world.rows(
            """SELECT (t.run_id = r.id) = (r.ended_at IS NULL) OR (t.run_id IS NULL AND r.ended_at IS NOT NULL) AS agree
                 FROM runs r JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.work_item_id
                WHERE r.workspace_id = %(workspace)s AND r.id = %(run)s::uuid""",
            run=claim.run.id,
        )
        assert row["agree"]
        await world.rows(
            """UPDATE runs SET lease_expires_at = now() - interval '1 second', lease_check_at = now() - interval '1 second'
                WHERE workspace_id = %(workspace)s AND ended_at IS NULL RETURNING id"""
        )
        await sweep(world)
