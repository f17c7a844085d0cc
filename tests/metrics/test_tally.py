"""What happens is counted where it happens: batches, refusals, time-outs, claims that end, jobs."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio

from app.config import Config
from app.db import Database, One, Query, Whose
from app.db import turns as turns_module
from app.db.database import SHARED
from app.db.turns import Turns
from app.errors import InvalidInput, LeaseLost, Overloaded, TimedOut
from app.ids import new_id
from app.jobs import Job, leases, repeat
from app.operations import OPERATIONS, claim_task, create_task, fail_run, update_task
from app.operator import administration as admin
from app.server.metrics.counted import counted
from app.server.metrics.text import text
from app.tally import Board, Shape, Tally
from app.tally.shape import reasons
from tests.conftest import World, drop_database, new_database
from tests.metrics.scrape import Scrape, read
from tests.operations.claims import expire

BATCHED = 20


class Over(Exception):
    """Ends a loop that has no end."""


def own_name() -> str:
    return f"baton_tally_{os.getpid()}"


def shape() -> Shape:
    return Shape((op.name for op in OPERATIONS), ("leases", "failing"))


def seen(tally: Tally) -> Scrape:
    """What /metrics would say of one process with these numbers."""
    tally.settle()
    board = Board(tally.shape.size, 1)
    board.write(0, tally.cells)
    return read(text(counted(tally.shape, board)).decode())


@pytest.fixture(scope="module")
def own_dsn(postgres: str) -> Iterator[str]:
    """A database of its own: jobs deal with all workspaces of one."""
    yield new_database(postgres, own_name())
    drop_database(postgres, own_name())


@pytest_asyncio.fixture(loop_scope="session")
async def db(own_dsn: str) -> AsyncIterator[Database]:
    """A database whose use is counted."""
    db = Database(
        own_dsn, connections_max=4, statement_timeout_seconds=10, pooler=False, tally=Tally(shape())
    )
    async with db:
        yield db


@pytest_asyncio.fixture(loop_scope="session")
async def world(db: Database, request: pytest.FixtureRequest) -> World:
    return World(db, await admin.create_workspace(db, f"w-{abs(hash(request.node.name)) % 10**9}"))


def tally_of(db: Database) -> Tally:
    assert db.tally is not None
    return db.tally


async def test_calls_that_share_a_statement_are_counted_as_one_batch(world: World, db: Database) -> None:
    bot = await world.agent()
    tasks = [await bot(create_task, title=str(n)) for n in range(BATCHED)]
    before = seen(tally_of(db))
    await asyncio.gather(*(bot(update_task, task_id=t.id, version=1, title="B") for t in tasks))
    after = seen(tally_of(db))
    statements = after("baton_batch_items_count", statements="write") - before(
        "baton_batch_items_count", statements="write"
    )
    items = after("baton_batch_items_sum", statements="write") - before(
        "baton_batch_items_sum", statements="write"
    )
    assert items == BATCHED and 1 <= statements < BATCHED


SLEEP = Query(One[bool], "SELECT pg_sleep(30) IS NOT NULL", everywhere=True)


async def test_statements_that_take_too_long_are_counted(own_dsn: str) -> None:
    tally = Tally(shape())
    async with Database(
        own_dsn, connections_max=2, statement_timeout_seconds=0.05, pooler=False, tally=tally
    ) as db:
        with pytest.raises(TimedOut):
            await db.one(SLEEP)
    assert seen(tally)("baton_database_failures_total", reason="statement_timeout") == 1


async def test_connections_that_break_are_counted(db: Database, postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [own_name()]
        )
    async with asyncio.timeout(10):
        while seen(tally_of(db))("baton_database_connections_lost_total") < SHARED:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)  # until the event loop has read what the sockets say


async def test_who_waits_for_a_turn_in_vain_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "CALLER_WAITING_MAX", 0)
    tally = Tally(shape())
    turns = Turns(1, tally)
    whose = Whose(new_id(), new_id())
    async with turns.taken(whose):
        with pytest.raises(Overloaded):
            async with turns.taken(whose):
                pass
    assert seen(tally)("baton_line_refusals_total", line="turn") == 1


async def test_expired_claims_and_parked_tasks_are_counted(world: World, db: Database) -> None:
    bot = await world.agent()
    before = seen(tally_of(db))
    task = await bot(create_task, title="poison")
    for _ in range(4):
        claim = await bot(claim_task, task_id=task.id)
        await expire(world, claim.run.id)
        await leases.run_once(db, Config())
    claim = await bot(claim_task, task_id=task.id)
    await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "again"}])
    await bot(
        fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "again"}]
    )  # harmless, and not counted
    other = await bot(create_task, title="poison, too")
    for _ in range(5):
        claim = await bot(claim_task, task_id=other.id)
        await expire(world, claim.run.id)
        await leases.run_once(db, Config())
    again = await bot(create_task, title="fails once")
    claim = await bot(claim_task, task_id=again.id)
    await bot(fail_run, run_id=claim.run.id, errors=[{"code": "boom", "message": "once"}])
    after = seen(tally_of(db))
    assert after("baton_claims_expired_total") - before("baton_claims_expired_total") == 9
    assert after("baton_tasks_parked_total") - before("baton_tasks_parked_total") == 2


async def test_jobs_are_counted_with_their_failures(db: Database) -> None:
    outcomes = iter([3, InvalidInput("no"), RuntimeError("no"), 4, 0])

    async def run_once(db: Database, config: Config) -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            raise Over

    pauses: list[float] = []
    with pytest.raises(Over):
        await repeat(Job("failing", run_once, 1.0), db, Config(), sleep)
    now = seen(tally_of(db))
    assert now("baton_job_runs_total", job="failing") == 5
    assert now("baton_job_failures_total", job="failing") == 2
    assert now("baton_job_rows_total", job="failing") == 7
    assert now("baton_job_last_success_timestamp_seconds", job="failing") > 0


def test_every_error_has_a_reason_of_its_own_and_a_new_one_has_one_too() -> None:
    found = dict(reasons())
    assert len(found) == len(list(reasons()))
    assert found["lease_lost"] == "conflict" and found["key_missing"] == "AUTH_MISSING"
    assert LeaseLost.code == found["lease_lost"]


def test_a_place_is_one_processs_and_its_numbers_go_on() -> None:
    a_shape = shape()
    board = Board(a_shape.size, 2)
    tally = Tally(a_shape, board)
    tally.expired(3)
    tally.show()
    assert sum(numbers[a_shape.expired_claims] for numbers in board) == 3
    tally.leave()
    assert sum(numbers[a_shape.expired_claims] for numbers in board) == 3


def test_each_time_stands_in_the_bucket_whose_bound_it_does_not_exceed() -> None:
    tally = Tally(shape())
    for seconds in (0.0, 0.001, 0.0011, 0.03, 30.0, 31.0, 0.0005):
        tally.took["http"]["get-task"].append(seconds)
    now = seen(tally)
    at_most = {
        le: now("baton_call_seconds_bucket", operation="get-task", le=le)
        for le in ("0.001", "0.0025", "0.05", "30", "+Inf")
    }
    assert at_most == {"0.001": 3, "0.0025": 4, "0.05": 5, "30": 6, "+Inf": 7}
    assert now("baton_call_seconds_sum", operation="get-task") == pytest.approx(61.0326)
    assert seen(tally)("baton_calls_total", door="http", operation="get-task") == 7, "none counts twice"
