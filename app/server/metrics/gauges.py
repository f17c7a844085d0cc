"""What the database says: read by one process of a service every few seconds, on a connection of its own.

Nothing here may cost those who work: a statement has a time limit and a bound on the rows it looks at, and the next look
waits for nineteen times as long as the last one took. What could not be read is left out, and that is counted.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from app.db import Query
from app.db.watcher import Unseen, Watcher
from app.operations.runs.ready import UNBLOCKED
from app.server.metrics.catalogue import OTHERS, WORKSPACES_MAX
from app.server.metrics.text import Sample

SECONDS_MAX: Final = 2.0  # for a statement
PAUSE_SECONDS_MIN: Final = 5.0
REST: Final = 19  # times as long as a look took: it has a twentieth of one connection at most
READY_ROWS_MAX: Final = 10_000  # of a workspace, looked at. So many and more look the same: far too many
KEYS_SECONDS: Final = 60.0  # keys expire slowly, and no index knows when
EXPIRING_DAYS: Final = 7
HOT_TABLES: Final = (
    "tasks",
    "runs",
    "task_events",
    "task_participants",
    "task_search",
    "messages",
    "unread_mentions",
    "idempotency_keys",
)
"""Where rows change or go all the time, or that grow for ever."""

log = logging.getLogger("baton.metrics")


class OfWorkspace(msgspec.Struct):
    """What is told of a workspace."""

    slug: str


S = TypeVar("S", bound=OfWorkspace)


class WorkspaceRow(OfWorkspace):
    """What waits in it, and what is held."""

    ready: int
    oldest_seconds: float
    assigned: int
    oldest_assigned_seconds: float
    live: int
    overdue: int


WORKSPACES = Query(
    WorkspaceRow,
    f"""
    SELECT w.slug, nobodys.count, nobodys.seconds, somebodys.count, somebodys.seconds, claims.live, claims.overdue
      FROM workspaces w
     CROSS JOIN LATERAL (
            SELECT count(*), coalesce(extract(epoch FROM now() - min(t.updated_at)), 0)::float8 AS seconds
              FROM (SELECT t.workspace_id, t.id, t.updated_at
                      FROM tasks t
                     WHERE t.workspace_id = w.id AND t.queue IS NOT NULL AND t.queue = 0 AND t.assignee_id IS NULL
                     LIMIT %(rows_max)s::int) t
             WHERE {UNBLOCKED}) nobodys
     CROSS JOIN LATERAL (
            SELECT count(*), coalesce(extract(epoch FROM now() - min(t.updated_at)), 0)::float8 AS seconds
              FROM (SELECT t.workspace_id, t.id, t.updated_at
                      FROM tasks t
                     WHERE t.workspace_id = w.id AND t.queue IS NOT NULL AND t.queue = 0 AND t.assignee_id IS NOT NULL
                     LIMIT %(rows_max)s::int) t
             WHERE {UNBLOCKED}) somebodys
     CROSS JOIN LATERAL (
            SELECT count(*) AS live, count(*) FILTER (WHERE r.lease_expires_at <= now()) AS overdue
              FROM runs r
             WHERE r.workspace_id = w.id AND r.holder_id IS NOT NULL AND r.ended_at IS NULL) claims
     ORDER BY w.id
    """,
    everywhere=True,
)


class KeysRow(OfWorkspace):
    """Its keys that expire soon."""

    count: int


EXPIRING_KEYS = Query(
    KeysRow,
    """
    SELECT w.slug, count(k.id)
      FROM workspaces w
      LEFT JOIN api_keys k ON k.workspace_id = w.id AND k.revoked_at IS NULL AND k.expires_at > now()
                          AND k.expires_at <= now() + make_interval(days => %(days)s::int)
     GROUP BY w.id
     ORDER BY w.id
    """,
    everywhere=True,
)


class DatabaseRow(msgspec.Struct):
    """The database as a whole."""

    bytes: int
    connections_max: int
    transaction_ids: int
    active: int
    idle: int
    idle_in_transaction: int
    oldest_transaction_seconds: float


DATABASE = Query(
    DatabaseRow,
    """
    SELECT pg_database_size(d.oid), current_setting('max_connections')::int, age(d.datfrozenxid)::int8,
           (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.state = 'active'),
           (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.state = 'idle'),
           (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.state LIKE 'idle in transaction%%'),
           (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(a.xact_start)), 0)::float8
              FROM pg_stat_activity a WHERE a.datid = d.oid AND a.pid <> pg_backend_pid())
      FROM pg_database d
     WHERE d.datname = current_database()
    """,
    everywhere=True,
)


class TableRow(msgspec.Struct):
    """A table as Postgres' statistics have it."""

    name: str
    live: int
    dead: int


TABLES = Query(
    TableRow,
    """
    SELECT s.relname::text, s.n_live_tup, s.n_dead_tup
      FROM pg_stat_user_tables s
     WHERE s.schemaname = current_schema() AND s.relname = ANY (string_to_array(%(names)s::text, ' '))
     ORDER BY s.relname
    """,
    everywhere=True,
)


class Look(NamedTuple):
    """Gauges that are read together, and how often at most."""

    name: str
    read: Callable[[Watcher], Awaitable[list[Sample]]]
    pause_seconds: float = PAUSE_SECONDS_MIN


class Gauges:
    """What was read last, and what came of the attempts."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._read: dict[str, list[Sample]] = {}
        self._about: dict[str, tuple[float, float]] = {}  # when it was read, and how long that took
        self._failures = dict.fromkeys((look.name for look in LOOKS), 0)
        self._up = False

    @property
    def samples(self) -> list[Sample]:
        """Everything that is known now."""
        samples = [Sample("baton_database_up", self._up)]
        for read in list(self._read.values()):
            samples += read
        for name, (at, seconds) in list(self._about.items()):
            samples += (
                Sample("baton_gauge_read_timestamp_seconds", at, (name,)),
                Sample("baton_gauge_seconds", seconds, (name,)),
            )
        return samples + [
            Sample("baton_gauge_failures_total", n, (name,)) for name, n in self._failures.items()
        ]

    async def keep_reading(self) -> None:
        """Look again and again until cancelled."""
        due = dict.fromkeys((look.name for look in LOOKS), 0.0)
        try:
            while True:
                for look in LOOKS:
                    if time.monotonic() >= due[look.name]:
                        seconds = await self.read(look)
                        due[look.name] = time.monotonic() + max(look.pause_seconds, REST * seconds)
                await asyncio.sleep(max(0.0, min(due.values()) - time.monotonic()))
        finally:
            await self._watcher.close()

    async def read(self, look: Look) -> float:
        """Look once; how long it took."""
        began = time.perf_counter()
        try:
            self._read[look.name] = await look.read(self._watcher)
        except Exception as e:  # noqa: BLE001 -- nothing is swallowed: it is logged and counted, and other gauges go on
            self._fail(look, e)
            return time.perf_counter() - began
        seconds = time.perf_counter() - began
        self._about[look.name] = time.time(), seconds
        if look.name == "database":
            self._up = True
        return seconds

    def _fail(self, look: Look, error: Exception) -> None:
        was_read = (
            self._read.pop(look.name, None) is not None
        )  # better nothing than what was true some time ago
        self._failures[look.name] += 1
        if look.name == "database":
            self._up = False
        if not isinstance(error, Unseen):
            log.error("the gauges of %s could not be read", look.name, exc_info=error)
        elif was_read or self._failures[look.name] == 1:  # it is said once
            log.warning("the gauges of %s could not be read: %s", look.name, error)


async def _workspaces(watcher: Watcher) -> list[Sample]:
    rows = await watcher.all(WORKSPACES, rows_max=READY_ROWS_MAX)
    samples: list[Sample] = []
    for label, some in _labelled(rows):
        for assigned, count, seconds in (
            ("false", sum(row.ready for row in some), max(row.oldest_seconds for row in some)),
            ("true", sum(row.assigned for row in some), max(row.oldest_assigned_seconds for row in some)),
        ):
            samples += (
                Sample("baton_ready_tasks", count, (label, assigned)),
                Sample("baton_oldest_ready_seconds", seconds, (label, assigned)),
            )
        samples += (
            Sample("baton_live_claims", sum(row.live for row in some), (label,)),
            Sample("baton_overdue_claims", sum(row.overdue for row in some), (label,)),
        )
    return samples


async def _keys(watcher: Watcher) -> list[Sample]:
    rows = await watcher.all(EXPIRING_KEYS, days=EXPIRING_DAYS)
    return [
        Sample("baton_expiring_keys", sum(row.count for row in some), (label,))
        for label, some in _labelled(rows)
    ]


async def _database(watcher: Watcher) -> list[Sample]:
    [row] = await watcher.all(DATABASE)
    return [
        Sample("baton_database_bytes", row.bytes),
        Sample("baton_database_connections_max", row.connections_max),
        Sample("baton_database_transaction_ids_used", row.transaction_ids),
        Sample("baton_database_connections", row.active, ("active",)),
        Sample("baton_database_connections", row.idle, ("idle",)),
        Sample("baton_database_connections", row.idle_in_transaction, ("idle_in_transaction",)),
        Sample("baton_database_oldest_transaction_seconds", row.oldest_transaction_seconds),
    ]


async def _tables(watcher: Watcher) -> list[Sample]:
    rows = await watcher.all(TABLES, names=" ".join(HOT_TABLES))
    return [
        *(Sample("baton_database_live_rows", row.live, (row.name,)) for row in rows),
        *(Sample("baton_database_dead_rows", row.dead, (row.name,)) for row in rows),
    ]


def _labelled(rows: Sequence[S]) -> list[tuple[str, Sequence[S]]]:
    """The rows of each workspace by its label: the first hundred have their own, the rest share one."""
    labelled: list[tuple[str, Sequence[S]]] = [(row.slug, [row]) for row in rows[:WORKSPACES_MAX]]
    if len(rows) > WORKSPACES_MAX:
        labelled.append((OTHERS, rows[WORKSPACES_MAX:]))
    return labelled


LOOKS: Final = (
    Look("database", _database),
    Look("workspaces", _workspaces),
    Look("tables", _tables),
    Look("keys", _keys, KEYS_SECONDS),
)
