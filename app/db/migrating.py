"""Running a migration on a database that is busy: nothing waits long for us, and we wait for nobody for ever.

A statement that wants a lock which somebody holds makes everybody else wait behind it. So it gives up after a second,
lets them pass, and tries again a little later. Who else wants to migrate polls: one that waited in Postgres
would hold a snapshot, and an index that is built beside running writers waits until there is no older one.
"""

import logging
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, LiteralString, TypeVar

import psycopg
from psycopg import errors as pg_errors
from psycopg.sql import SQL, Identifier

from app.db.ladder import Migration, Step

T = TypeVar("T")

logger = logging.getLogger("baton.schema")

LOCK: Final = 4_242_003  # advisory lock of the one who migrates; not the one that 0.1.0 waits for in Postgres
LOCK_WAIT_SECONDS_MAX: Final = 60.0  # for another who migrates
LOCK_POLL_SECONDS: Final = 0.1

LOCK_TIMEOUT: Final[LiteralString] = "1s"  # for this long, callers wait behind us
STATEMENT_TIMEOUT: Final[LiteralString] = (
    "30s"  # in a file that is one transaction: it may hold locks that stop everybody
)
TRIES_MAX: Final = 40  # with the pauses between them some two minutes: longer than anything of ours takes
PAUSE_SECONDS_MAX: Final = 3.0
BATCH_PAUSE_SECONDS_MAX: Final = 1.0  # a backfill leaves the database as much time as it takes


class MigrationFailed(Exception):
    """A migration did not get through; the message says which, why, and what is left of it."""


@contextmanager
def only_one(connection: psycopg.Connection) -> Generator[None]:
    """Keep others from migrating the same database; the connection must be in autocommit mode."""
    _set_timeouts(connection)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS_MAX
    while connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise MigrationFailed("Another process is migrating this database. Try again when it is done.")
        time.sleep(LOCK_POLL_SECONDS * (0.5 + random.random()))  # noqa: S311 - only to spread those who wait
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def run(connection: psycopg.Connection, migration: Migration, record: Callable[[], None]) -> None:
    """Run one file and record that it ran, in the same transaction where it is one."""
    logger.info("%s: %s", migration.path.name, migration.summary)
    try:
        if steps := migration.steps:
            for step in steps:
                _run_step(connection, migration, step)
            record()
        else:
            _set_timeouts(connection, statement=STATEMENT_TIMEOUT)
            patiently(connection, migration.path.name, lambda: _run_whole(connection, migration, record))
    except psycopg.Error as e:
        left = (
            "what its earlier steps did is kept, and a second run does no harm"
            if migration.steps
            else "nothing of it is left"
        )
        raise MigrationFailed(f"{migration.path.name} failed, {left}: {e}") from e


def _run_whole(connection: psycopg.Connection, migration: Migration, record: Callable[[], None]) -> None:
    with connection.transaction():
        connection.execute(migration.text.encode())
        record()


def _run_step(connection: psycopg.Connection, migration: Migration, step: Step) -> None:
    if step.is_concurrent:  # it waits for older transactions, and nobody waits for it
        _set_timeouts(connection, lock="0")
        patiently(connection, migration.path.name, lambda: _build(connection, step))
        return
    _set_timeouts(connection)
    rows = 0
    while True:
        began = time.monotonic()
        done = patiently(
            connection, migration.path.name, lambda: connection.execute(step.text.encode()).rowcount
        )
        if not step.repeated:
            return
        rows += max(done, 0)
        if done < 1:
            logger.info("%s: %d rows", migration.path.name, rows)
            return
        time.sleep(min(time.monotonic() - began, BATCH_PAUSE_SECONDS_MAX))


def _build(connection: psycopg.Connection, step: Step) -> None:
    """Build indexes beside running writers. One that failed leaves an index that is kept up but never read: away with it."""
    for name in step.indexes:
        broken = connection.execute(
            "SELECT true FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT (indisvalid AND indisready)",
            (name,),
        ).fetchone()
        if broken is not None:
            connection.execute(SQL("DROP INDEX CONCURRENTLY {}").format(Identifier(name)))
    connection.execute(step.text.encode())


def patiently(connection: psycopg.Connection, name: str, work: Callable[[], T]) -> T:
    """Do something that others may be in the way of, again and again if need be, but not for ever."""
    for attempt in range(1, TRIES_MAX + 1):
        try:
            return work()
        except (pg_errors.LockNotAvailable, pg_errors.DeadlockDetected) as e:
            if attempt == TRIES_MAX:
                raise MigrationFailed(
                    f"{name} gave up after {attempt} tries: others hold what it must lock. {_oldest(connection)}"
                ) from e
            logger.info("%s: somebody is in the way, try %d", name, attempt)
        time.sleep(min(0.1 * 2**attempt, PAUSE_SECONDS_MAX) * (0.5 + random.random()))  # noqa: S311 - as above
    raise AssertionError


def _oldest(connection: psycopg.Connection) -> str:
    """Who has had a transaction open for longest, for the operator to look at."""
    row = connection.execute("""
        SELECT pid, extract(epoch FROM now() - xact_start)::int
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
         ORDER BY xact_start
         LIMIT 1
    """).fetchone()
    if row is None:
        return "Try again."
    return f"The oldest transaction is {row[1]} seconds old, of the backend with pid {row[0]}. Try again when it is gone."


def _set_timeouts(
    connection: psycopg.Connection, *, lock: LiteralString = LOCK_TIMEOUT, statement: LiteralString = "0"
) -> None:
    """Say how long to wait; a role may have other limits of its own, made for calls."""
    connection.execute(SQL("SET lock_timeout = {}").format(lock))
    connection.execute(SQL("SET statement_timeout = {}").format(statement))
