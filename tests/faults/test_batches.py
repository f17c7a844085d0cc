"""What happens to calls that share a statement when something goes wrong: faults are real, made from outside.

Every test has a database of its own, or a Postgres of its own where it is stopped or paused.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import CheckViolation

from app.db import Database
from app.db.batcher import BATCH_ITEMS_MAX, LINE_ITEMS_MAX, TENANT_ITEMS_MAX
from app.embedded import SUPERUSER, EmbeddedPostgres
from app.errors import DatabaseUnavailable, Overloaded, TimedOut, VersionConflict
from app.operations import create_tasks_bulk, get_task, update_task
from app.operations.tasks.change import CHANGE, item_of
from app.operations.tasks.reading import GET_TASK
from app.operations.tasks.task import Task
from app.operator import administration as admin
from tests.conftest import POSTGRES_BIN_DIR, Caller, World, drop_database, new_database

RECOVERY_SECONDS_MAX = 15


@pytest.fixture
def own_dsn(postgres: str) -> Iterator[str]:
    """A database whose connections a test may break."""
    name = f"baton_faults_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@asynccontextmanager
async def opened(dsn: str, statement_timeout_seconds: float = 10) -> AsyncGenerator[Database]:
    """A Database of a test's own."""
    db = Database(dsn, connections_max=10, statement_timeout_seconds=statement_timeout_seconds, pooler=False)
    await db.open()
    try:
        yield db
    finally:
        await db.close()


async def an_agent(db: Database, slug: str = "faults") -> Caller:
    """Somebody to call, in a workspace of their own."""
    return await World(db, await admin.create_workspace(db, slug)).agent("bot")


async def tasks_of(bot: Caller, count: int) -> list[Any]:
    """Fresh tasks, in the order of their ids."""
    made: list[Any] = []
    while len(made) < count:
        rows = [{"title": f"task {n}"} for n in range(min(50, count - len(made)))]
        made += await bot(create_tasks_bulk, tasks=rows)
    return sorted(made, key=lambda task: task.id)


def item(bot: Caller, task: Any, **changes: object) -> dict[str, object]:
    """An item of CHANGE, as `change()` would make it."""
    return {
        **bot.context.who,
        **item_of(UUID(task.id), task.version, changes),
        "kind": "updated",
    }


async def a_batch_leaves(db: Database) -> None:
    """Return when something is under way to the database, in the turn of the event loop in which it leaves."""
    while not any(connection.under_way for connection in db._writes.connections):  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)


async def test_a_bad_item_fails_alone_and_its_neighbours_take_effect_once(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        bot = await an_agent(db)
        tasks = await tasks_of(bot, BATCH_ITEMS_MAX)
        # 9 is no priority: the check constraint refuses it, and with it the whole statement.
        items = [item(bot, task, priority=9 if n == 20 else 3) for n, task in enumerate(tasks)]
        results = await asyncio.gather(*(db.write(CHANGE.plain, i) for i in items), return_exceptions=True)
        assert isinstance(results[20], CheckViolation)
        assert all(
            row is not None and not isinstance(row, BaseException) for n, row in enumerate(results) if n != 20
        )
        versions = [(await bot(get_task, task_id=task.id)).version for task in tasks]
        assert versions == [1 if n == 20 else 2 for n in range(len(tasks))]


async def test_a_batch_that_waits_for_a_locked_row_lets_the_others_go_first(own_dsn: str) -> None:
    async with opened(own_dsn) as db, await psycopg.AsyncConnection.connect(own_dsn) as stranger:
        bot = await an_agent(db)
        tasks = await tasks_of(bot, 10)
        await stranger.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", (tasks[4].id,))
        calls = [asyncio.ensure_future(db.write(CHANGE.plain, item(bot, task, priority=3))) for task in tasks]
        done, waiting = await asyncio.wait(
            [c for n, c in enumerate(calls) if n != 4], timeout=RECOVERY_SECONDS_MAX
        )
        assert not waiting
        assert all(call.result() is not None for call in done)
        assert not calls[4].done()
        await stranger.rollback()
        assert await calls[4] is not None


async def test_what_comes_while_a_batch_waits_for_a_lock_leaves_beside_it(own_dsn: str) -> None:
    async with opened(own_dsn) as db, await psycopg.AsyncConnection.connect(own_dsn) as stranger:
        bot = await an_agent(db)
        stuck, free = await tasks_of(bot, 2)
        await stranger.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", (stuck.id,))
        first = asyncio.ensure_future(db.write(CHANGE.plain, item(bot, stuck, priority=3)))
        await a_batch_leaves(db)
        assert await db.write(CHANGE.plain, item(bot, free, priority=3)) is not None
        assert not first.done()
        await stranger.rollback()
        assert await first is not None


async def test_what_comes_while_a_batch_is_under_way_leaves_together(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        bot = await an_agent(db)
        first, *others = await tasks_of(bot, 20)
        calls = [asyncio.ensure_future(db.write(CHANGE.plain, item(bot, first, priority=3)))]
        await a_batch_leaves(db)
        calls += [
            asyncio.ensure_future(db.write(CHANGE.plain, item(bot, task, priority=3))) for task in others
        ]
        rows = await asyncio.gather(*calls)
        assert all(row is not None for row in rows)
        after = [await bot(get_task, task_id=task.id) for task in others]
        assert len({task.updated_at for task in after}) == 1, "one statement has one now()"


async def test_a_deadlock_with_a_stranger_costs_a_retry_and_nothing_else(own_dsn: str) -> None:
    # The stranger holds our identity and then wants the counter of task numbers; creating holds the counter and
    # wants (by its foreign key) the identity. Postgres undoes the one that looks first, and the stranger is patient.
    async with (
        opened(own_dsn) as db,
        await psycopg.AsyncConnection.connect(own_dsn, user=SUPERUSER) as stranger,
    ):
        bot = await an_agent(db)
        await stranger.execute("SET deadlock_timeout = '5s'")
        await stranger.execute("SELECT FROM identities WHERE id = %s FOR UPDATE", (bot.id,))
        creating = asyncio.ensure_future(bot(create_tasks_bulk, tasks=[{"title": "caught"}]))
        await until_waiting(own_dsn, 1)
        await stranger.execute("UPDATE task_counters SET last_number = last_number")
        await stranger.commit()
        [task] = await asyncio.wait_for(creating, RECOVERY_SECONDS_MAX)
        assert task.identifier == "T-1"


async def until_waiting(dsn: str, count: int) -> None:
    """Return once so many statements are seen to wait for a lock."""
    async with (
        asyncio.timeout(RECOVERY_SECONDS_MAX),
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as eye,
    ):
        while True:
            cursor = await eye.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            row = await cursor.fetchone()
            if row is not None and row[0] >= count:
                return


async def test_terminated_backends_fail_what_is_under_way_and_lose_nothing_acknowledged(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        bot = await an_agent(db)
        tasks = await tasks_of(bot, 20)
        acknowledged = dict.fromkeys((task.id for task in tasks), 1)
        unknown = dict.fromkeys(acknowledged, 0)
        stop = asyncio.Event()

        async def keep_changing(id: str) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                change = {**item_of(UUID(id), None, {"title": f"{n}"}), "kind": "updated"}
                try:
                    row = await db.write(CHANGE.plain, {**bot.context.who, **change})
                    acknowledged[id] += row is not None
                except DatabaseUnavailable:
                    unknown[id] += 1

        changing = [asyncio.ensure_future(keep_changing(task.id)) for task in tasks]
        async with await psycopg.AsyncConnection.connect(own_dsn, autocommit=True) as stranger:
            for round in range(1, 6):
                await reached(lambda target=round * 300: sum(acknowledged.values()) >= target)
                await stranger.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
        await reached(lambda: sum(acknowledged.values()) >= 2000)
        stop.set()
        await asyncio.gather(*changing)
        assert sum(unknown.values()) > 0, "the faults hit nothing"
        for task in tasks:
            version = (await bot(get_task, task_id=task.id)).version
            assert acknowledged[task.id] <= version <= acknowledged[task.id] + unknown[task.id]


async def reached(condition: Callable[[], bool]) -> None:
    """Let the others run until this is so."""
    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - it counts over many tasks, and each would have to set an event
            await asyncio.sleep(0)


async def test_a_caller_that_goes_away_takes_nobody_along(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        bot = await an_agent(db)
        tasks = await tasks_of(bot, 10)
        calls = [asyncio.ensure_future(bot(update_task, task_id=t.id, version=1, title="new")) for t in tasks]
        await asyncio.sleep(0)  # they stand in line now, and nothing has been sent
        calls[3].cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[3], asyncio.CancelledError)
        versions = [r.version for r in results if not isinstance(r, BaseException)]
        assert versions == [2] * 9


async def test_without_versions_calls_on_one_task_all_take_effect_one_after_the_other(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        bot = await an_agent(db)
        [task] = await tasks_of(bot, 1)
        items = [{**item(bot, task, title=f"title {n}"), "version": None} for n in range(100)]
        rows = await asyncio.gather(*(db.write(CHANGE.plain, i) for i in items))
        # Not one lost to another: every call saw what the one before it did.
        assert [row and row.answer.decode(Task).version for row in rows] == list(range(2, 102))


async def test_a_busy_workspace_cannot_shut_another_out(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        busy, quiet = await an_agent(db, "busy"), await an_agent(db, "quiet")
        [theirs], [ours] = await tasks_of(busy, 1), await tasks_of(quiet, 1)
        finished: list[str] = []

        async def call(bot: Caller, task: Any, n: int, name: str) -> None:
            await db.write(CHANGE.plain, {**item(bot, task, title=f"{n}"), "version": None})
            finished.append(name)

        # Without versions, one task takes one batch per change: the busy line is 100 batches long.
        many = [asyncio.ensure_future(call(busy, theirs, n, "busy")) for n in range(100)]
        await call(quiet, ours, 0, "quiet")
        assert len(finished) < 20
        await asyncio.gather(*many)


async def test_who_finds_the_line_full_is_refused_and_everyone_in_it_is_served(own_dsn: str) -> None:
    async with opened(own_dsn) as db:
        bots = [await an_agent(db, name) for name in ("one", "other", "late")]
        tasks = [(await tasks_of(bot, 1))[0] for bot in bots]
        one, other, late = (
            {
                "workspace_id": bot.context.actor.workspace_id,
                "actor_id": bot.context.actor.id,
                "task_id": task.id,
            }
            for bot, task in zip(bots, tasks, strict=True)
        )
        assert 2 * TENANT_ITEMS_MAX == LINE_ITEMS_MAX
        crowd = [db.ask(GET_TASK, item) for item in (one, other) * TENANT_ITEMS_MAX]
        with pytest.raises(Overloaded):
            await db.ask(GET_TASK, late)
        async with asyncio.timeout(RECOVERY_SECONDS_MAX):
            assert all(await asyncio.gather(*crowd))
            assert await db.ask(GET_TASK, late)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres that a test may stop, start and pause."""
    postgres = EmbeddedPostgres(tmp_path, POSTGRES_BIN_DIR)
    yield postgres
    postgres.stop()


async def test_with_postgres_gone_the_line_is_bounded_and_after_a_restart_all_is_well(
    own_postgres: EmbeddedPostgres,
) -> None:
    dsn = new_database(make_conninfo(own_postgres.start(), user=SUPERUSER), "own")
    async with opened(dsn) as db:
        bot = await an_agent(db)
        [task] = await tasks_of(bot, 1)
        await asyncio.to_thread(own_postgres.stop)
        items = ({**item(bot, task, title=f"{n}"), "version": None} for n in range(TENANT_ITEMS_MAX + 100))
        results = await asyncio.gather(*(db.write(CHANGE.plain, i) for i in items), return_exceptions=True)
        assert all(isinstance(r, Overloaded | DatabaseUnavailable) for r in results)
        await asyncio.to_thread(own_postgres.start)
        async with asyncio.timeout(RECOVERY_SECONDS_MAX):
            while True:
                try:
                    changed = await bot(update_task, task_id=task.id, version=1, title="after")
                    break
                except (Overloaded, DatabaseUnavailable):
                    pass
        assert changed.version == 2, "what was refused as overloaded had been written all the same"


async def test_a_paused_postgres_is_answered_within_bounds_and_serves_again_when_it_wakes(
    own_postgres: EmbeddedPostgres,
) -> None:
    dsn = new_database(make_conninfo(own_postgres.start(), user=SUPERUSER), "own")
    async with opened(dsn, statement_timeout_seconds=0.5) as db:
        bot = await an_agent(db)
        [task] = await tasks_of(bot, 1)
        with psycopg.connect(dsn, autocommit=True) as eye:
            backends = [
                row[0]
                for row in eye.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            ]
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(RECOVERY_SECONDS_MAX):
                with pytest.raises((DatabaseUnavailable, TimedOut)):
                    await db.write(CHANGE.plain, item(bot, task, title="lost?"))
        finally:
            for pid in backends:
                os.kill(pid, signal.SIGCONT)
        # The write whose fate nobody knew may take effect now, before our read or between it and our write.
        async with asyncio.timeout(RECOVERY_SECONDS_MAX):
            while True:
                current = await bot(get_task, task_id=task.id)
                with suppress(VersionConflict):
                    changed = await bot(update_task, task_id=task.id, version=current.version, title="after")
                    break
        assert changed.version in {2, 3}
