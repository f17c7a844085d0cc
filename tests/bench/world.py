"""The world the load meets: seeded once, put back to its first state before every measurement, checked after it.

`seed.sql` says who and what there is. Of the first 100,000 tasks, on which all measuring is done, each range has
its use, so that no measurement leaves traces that another would meet.
"""

import os
import time
from pathlib import Path
from typing import Final, LiteralString, NamedTuple

import psycopg
from psycopg.sql import SQL, Identifier

from app.db import schema

SEED: Final = Path(__file__).parent / "seed.sql"
QUIET_SECONDS: Final = (
    0.1  # with no statement under way for this long, calls cut off by the load's end are over
)
QUIET_WAIT_SECONDS_MAX: Final = 20.0


class Pool(NamedTuple):
    """A range of tasks, by number."""

    first: int
    size: int


UPDATED: Final = Pool(
    0, 4096
)  # changed again and again: enough that a task rests between two calls, small enough to stay hot
WARM: Final = Pool(4096, 4096)  # the same, for warming up
LISTED: Final = Pool(8192, 2048)  # 64 of each reader; only read
RACED: Final = Pool(10_240, 64)  # a race takes the next one; every worker takes part in them
HELD: Final = Pool(10_304, 1_600)  # 50 of each worker, in progress under a claim that lasts a day
ONCE: Final = Pool(12_000, 51_904)  # completed or blocked once per measurement
BOUND: Final = Pool(63_904, 4096)  # changed again and again, in eight channels of four workers each
QUEUED: Final = Pool(68_000, 32_000)  # nobody's, in the channel of the claimers

WORKERS: Final = Pool(0, 32)  # who has the tasks, by the numbers of their keys
READERS: Final = Pool(32, 32)
NEWCOMER: Final = Pool(64, 1)
CLAIMERS: Final = Pool(65, 32)

RESET: Final[tuple[LiteralString, ...]] = (
    """UPDATE tasks SET run_id = NULL, assignee_id = NULL, assignee_kind = NULL
        WHERE workspace_id = '00000000-0000-7000-9000-000000000000' AND id BETWEEN '00000000-0000-7000-8000-000000068000'
          AND '00000000-0000-7000-8000-000000099999' AND run_id IS NOT NULL""",
    "DELETE FROM runs WHERE id > '00000000-0000-7000-b000-000000099999'",
    """DELETE FROM task_participants
        WHERE workspace_id = '00000000-0000-7000-9000-000000000000' AND task_id BETWEEN '00000000-0000-7000-8000-000000068000'
          AND '00000000-0000-7000-8000-000000099999'
          AND identity_id BETWEEN '00000000-0000-7000-a000-000000000065' AND '00000000-0000-7000-a000-000000000096'""",
    """UPDATE tasks SET version = 1, status = 'todo', priority = 0, started_at = NULL, completed_at = NULL
        WHERE workspace_id = '00000000-0000-7000-9000-000000000000' AND id <= '00000000-0000-7000-8000-000000099999'
          AND version > 1""",
    """DELETE FROM task_events
        WHERE workspace_id = '00000000-0000-7000-9000-000000000000' AND task_id <= '00000000-0000-7000-8000-000000099999'
          AND (version > 1 OR subject_id <> '00000000-0000-0000-0000-000000000000')""",
    "TRUNCATE task_comments, messages, message_search, unread_mentions, idempotency_keys",
    "VACUUM tasks",
    "VACUUM task_events",
    "VACUUM runs",
)

# Changes to the seeded tasks that a measurement left, by witnesses that must agree with the calls answered.
VERSIONS: Final = """
    SELECT sum(version - 1) FROM tasks
     WHERE workspace_id = '00000000-0000-7000-9000-000000000000' AND id <= '00000000-0000-7000-8000-000000099999'"""
EVENTS: Final = """
    SELECT count(*) FROM task_events
     WHERE workspace_id = '00000000-0000-7000-9000-000000000000' AND task_id <= '00000000-0000-7000-8000-000000099999'
       AND version > 1 AND subject_id = '00000000-0000-0000-0000-000000000000'"""
COMMENTS: Final = "SELECT count(*) FROM task_comments"
CARDS: Final = "SELECT count(*) FROM messages"
KEYS: Final = "SELECT count(*) FROM idempotency_keys WHERE status = 200"

BUSY: Final = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'"""


class Written(NamedTuple):
    """What the database says was written since the last reset."""

    changes: int
    events: int
    comments: int
    cards: int
    keys: int


class World:
    """A seeded database."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._connection = psycopg.connect(dsn, autocommit=True)

    def close(self) -> None:
        """Let go."""
        self._connection.close()

    def seed(self, rows: int) -> None:
        """Apply the schema, and fill it with this many tasks."""
        schema.apply(self.dsn)
        with psycopg.connect(self.dsn) as connection:
            indexes = connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'task_search' AND indexdef LIKE '%USING gin%'"
            ).fetchall()
            for name, _ in indexes:  # built afterwards they take a fraction of the time
                connection.execute(SQL("DROP INDEX {}").format(Identifier(name)))
            connection.execute("SELECT set_config('bench.rows', %s, true)", (str(rows),))
            connection.execute(SEED.read_bytes())
            for _, definition in indexes:
                connection.execute(definition.encode())
        self._connection.execute("VACUUM ANALYZE")
        self._connection.execute("CHECKPOINT")

    def reset(self) -> None:
        """Put the measured tasks back to where they started. They stay where they are in memory: nothing gets colder."""
        self._come_to_rest()
        for statement in RESET:
            self._connection.execute(statement)
        os.sync()  # what this left to be written is written now, not while the next one commits

    def written(self) -> Written:
        """What was written since the last reset."""
        self._come_to_rest()
        return Written(*(self._count(witness) for witness in (VERSIONS, EVENTS, COMMENTS, CARDS, KEYS)))

    def _come_to_rest(self) -> None:
        """Wait until calls that the load cut off at its end are through."""
        deadline, quiet_since = time.monotonic() + QUIET_WAIT_SECONDS_MAX, time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            if self._count(BUSY):
                quiet_since = time.monotonic()
            if time.monotonic() > deadline:
                message = "the database does not come to rest after a measurement"
                raise TimeoutError(message)
            time.sleep(0.005)

    def megabytes(self) -> int:
        """How large the database is."""
        return self._count("SELECT pg_database_size(current_database())") // 1_000_000

    def _count(self, query: LiteralString) -> int:
        row = self._connection.execute(query).fetchone()
        assert row is not None, "an aggregate has a row"
        return int(row[0] or 0)
