"""Running statements: four verbs, and the connections behind them.

    write, ask   one item of a BatchCommand or BatchQuery. Calls that come together travel together: see batcher.py
    all, one     a Query or Command. Short ones share a few connections: see pipeline.py; others get one of the pool's
    transaction  work that truly needs two statements, on one of the pool's connections

The pool's connections are shared out fairly among workspaces and callers: see turns.py.

What the driver raises leaves here as one of our own errors, or not at all. Behind a connection pooler in
transaction mode nothing can be kept on a connection, so there everything goes through the pool.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import msgspec
import psycopg
import psycopg_pool
from psycopg import errors as pg_errors

from app.config import Config
from app.db.adapters import adapt, dump, load
from app.db.address import Unreachable, address
from app.db.batcher import Batcher, encode_items
from app.db.causes import Causes
from app.db.pipeline import CONNECT_TIMEOUT_SECONDS, SILENCE_GRACE_SECONDS, PipelineConnection
from app.db.query import BatchCommand, BatchQuery, Item, Query
from app.db.turns import CONNECTIONS_LEFT, Turns, Whose
from app.errors import DatabaseUnavailable, StorageFull, TimedOut
from app.tally import Tally

R = TypeVar("R", bound=msgspec.Struct)

WRITERS: Final = 2  # one for the load, one for when that one is late: see batcher.py
ASKERS: Final = 2  # the same for batches that only read, so that they do not wait behind a commit
READERS: Final = 3  # with two, lists were a sixth slower under load; a fourth gained nothing
SHARED_CONNECTIONS: Final = WRITERS + ASKERS + READERS  # that a process has besides its pool
SHARED: Final = WRITERS + ASKERS + READERS  # what a Database has besides its pool
CHECKOUT_TIMEOUT_SECONDS: Final = 5.0  # longest wait for a connection of the pool before the caller hears 503
RECONNECT_TIMEOUT_SECONDS: Final = (
    1.0  # then the pool gives up, and the next caller makes it try again at once
)
LOCK_TIMEOUT_MILLISECONDS: Final = 500  # a batch that waits this long for one row is run item by item instead


class Duplicate(Exception):
    """A write was undone because a unique constraint holds its key already, or because one who was faster now does."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


OURS: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "datestyle": "ISO",
        "intervalstyle": "postgres",
        "extra_float_digits": "1",
        "standard_conforming_strings": "on",
        "default_transaction_isolation": "read\\ committed",  # a conflict is an answer here, no failure
        "default_transaction_read_only": "off",
        "jit": "off",  # to compile a write takes ten seconds, to run it one millisecond
        "max_parallel_workers_per_gather": "0",  # one call, one core
    }.items()
)
"""What each session asks for, because the statements mean it, whatever server, database and role have as their own."""


class Referred(Exception):
    """A statement was undone because something refers to what it deletes, or it refers to what is gone."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class Database:
    """Connections to one Postgres, shared by everything in this process."""

    def __init__(
        self,
        dsn: str,
        *,
        connections_max: int,
        statement_timeout_seconds: float,
        pooler: bool,
        tally: Tally | None = None,
    ) -> None:
        dsn = address(dsn)
        self.tally = tally
        """Where is counted what happens, if it is."""
        settings = f"-c statement_timeout={int(statement_timeout_seconds * 1000)} {OURS}"
        self._dsn = dsn
        self._how: dict[str, Any] = {  # Any: what the driver takes by name
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            **({"prepare_threshold": None} if pooler else {"prepare_threshold": 1, "options": settings}),
        }
        self._causes = Causes(tally)
        self._pool = psycopg_pool.AsyncConnectionPool(
            dsn,
            min_size=min(2, connections_max),
            max_size=connections_max,
            timeout=CHECKOUT_TIMEOUT_SECONDS,
            reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
            open=False,
            name="baton",
            configure=_configure,
            kwargs=self._how,
        )
        # Of each sort half: those who write do not wait for those who read.
        turns = max(1, (connections_max - CONNECTIONS_LEFT) // 2)
        self._reading, self._writing = Turns(turns, tally), Turns(turns, tally)
        self._silence_seconds_max = statement_timeout_seconds + SILENCE_GRACE_SECONDS
        self._writes = Batcher(self._alone, self._causes, tally)
        self._asks = Batcher(self._alone, self._causes, tally)
        self._readers: list[PipelineConnection] = []
        self._closing = AsyncExitStack()

        def connect(count: int, options: str, batcher: Batcher | None) -> list[PipelineConnection]:
            return [
                PipelineConnection(
                    dsn,
                    settings=options,
                    statement_timeout_seconds=statement_timeout_seconds,
                    on_up=batcher.pump if batcher else lambda: None,
                    tally=tally,
                )
                for _ in range(count)
            ]

        if not pooler:
            # A nested loop over the sorted items locks rows in their order; a hash join would not.
            # All of them find their rows by an index: a plan made while a table was empty must not read all of it
            # when it has filled.
            # Their one parameter tells the planner nothing, so a plan made for its value is only time lost: the first
            # five calls of each statement on each connection would have one.
            in_order = (
                f"{settings} -c lock_timeout={LOCK_TIMEOUT_MILLISECONDS} -c enable_hashjoin=off -c enable_mergejoin=off"
                " -c enable_seqscan=off -c plan_cache_mode=force_generic_plan"
            )
            self._writes.connections = connect(WRITERS, in_order, self._writes)
            self._asks.connections = connect(ASKERS, in_order, self._asks)
            self._readers = connect(READERS, settings, None)

    @classmethod
    def from_config(
        cls, config: Config, dsn: str, *, connections_max: int | None = None, tally: Tally | None = None
    ) -> Self:
        """The database at `dsn`, used as the settings say; a command needs fewer connections than a server."""
        return cls(
            dsn,
            connections_max=connections_max or config.database_connections,
            statement_timeout_seconds=config.statement_timeout_seconds,
            pooler=config.database_pooler,
            tally=tally,
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, or raise Unreachable with what the driver said, or DatabaseUnavailable; leave nothing behind."""
        try:  # the pool would try for as long as it may, and not say what is wrong
            await (await psycopg.AsyncConnection.connect(self._dsn, **self._how)).close()
        except psycopg.OperationalError as e:
            raise Unreachable(str(e)) from None
        with self._our_errors():
            async with AsyncExitStack() as opened:
                opened.push_async_callback(self._pool.close)
                await self._pool.open(wait=True, timeout=CONNECT_TIMEOUT_SECONDS)
                for connection in (*self._writes.connections, *self._asks.connections, *self._readers):
                    await connection.open()
                    opened.push_async_callback(connection.close)
                self._closing = opened.pop_all()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._closing.aclose()

    def levels(self) -> dict[str, float]:
        """How full it is just now, by the LEVELS of app/tally/shape.py."""
        pool = self._pool.get_stats()
        size, idle = pool.get("pool_size", 0), pool.get("pool_available", 0)
        return {
            "batch read": self._asks.waiting,
            "batch write": self._writes.waiting,
            "turn read": self._reading.waiting,
            "turn write": self._writing.waiting,
            "pool_idle": idle,
            "pool_used": size - idle,
            "pool_waiting": pool.get("requests_waiting", 0),
        }

    def write(self, batch: BatchCommand[R], item: Item) -> Awaitable[R | None]:
        """Run one item of a batch statement: its row if it took effect, None if not."""
        if batch.alone:
            return self._in_turn(self._writing, batch, item)
        return self._writes.submit(batch, item) if self._writes.connections else self._alone(batch, item)

    def ask(self, batch: BatchQuery[R], item: Item) -> Awaitable[R | None]:
        """The same for a batch statement that only reads."""
        if batch.alone:
            return self._in_turn(self._reading, batch, item)
        return self._asks.submit(batch, item) if self._asks.connections else self._alone(batch, item)

    async def all(self, query: Query[R], **parameters: object) -> list[R]:
        """Every row of a query."""
        if query.pipelined and self._readers:
            connection = min(self._readers, key=_under_way)
            try:
                with self._our_errors():
                    result = await connection.send(
                        query.numbered_sql, dump([parameters[name] for name in query.parameters])
                    )
                    return [query.make(row) for row in load(result)]
            except (
                DatabaseUnavailable
            ):  # the connection broke: the pool may have a better one, and reading again is harmless
                if query.writes:
                    raise
        turns = self._writing if query.writes else self._reading
        async with turns.taken(None if query.pipelined else _whose(query, parameters)):
            return await self._run(query, parameters)

    async def one(self, query: Query[R], **parameters: object) -> R | None:
        """The first row of a query, or None."""
        rows = await self.all(query, **parameters)
        return rows[0] if rows else None

    @asynccontextmanager
    async def transaction(self, whose: Whose | None = None) -> AsyncGenerator["Transaction"]:
        """One connection in one transaction, for work that truly needs more than one statement."""
        with self._our_errors():
            async with (
                self._writing.taken(whose),
                self._pool.connection() as connection,
                asyncio.timeout(self._silence_seconds_max),
                connection.transaction(),
            ):
                yield Transaction(connection)

    async def _in_turn(self, turns: Turns, batch: BatchQuery[R], item: Item) -> R | None:
        """One item of a statement that serves one at a time, which takes a connection of the pool as other work does."""
        async with turns.taken(_whose(batch, item)):
            return await self._alone(batch, item)

    async def _alone(self, batch: BatchQuery[R], item: Item) -> R | None:
        """One item of a batch statement, on a connection of its own."""
        rows = await self._run(batch, {"items": encode_items([item]).decode()})
        return rows[0] if rows else None

    async def _run(self, query: Query[R], parameters: Mapping[str, object]) -> list[R]:
        with self._our_errors():
            try:
                return await self._run_once(query, parameters)
            except (
                pg_errors.DeadlockDetected,
                pg_errors.SerializationFailure,
                pg_errors.ForeignKeyViolation,
            ):
                pass  # the database undid it whole, so once more is safe; a row that was referred to is now seen to be gone
            except (pg_errors.QueryCanceled, psycopg_pool.PoolTimeout):
                raise  # the caller has waited long enough
            except psycopg.OperationalError:
                # A connection that broke while idle shows only now. Reading twice is harmless; a write whose
                # fate is unknown is never sent again.
                if query.writes:
                    raise
            return await self._run_once(query, parameters)

    async def _run_once(self, query: Query[R], parameters: Mapping[str, object]) -> list[R]:
        async with self._pool.connection() as connection, asyncio.timeout(self._silence_seconds_max):
            return await _fetch(connection, query, parameters)

    @contextmanager
    def _our_errors(self) -> Generator[None]:
        """What the driver raises when the database is away, full or too slow, as errors a caller can act on."""
        try:
            yield
        except pg_errors.UniqueViolation as e:
            raise Duplicate(e.diag.constraint_name or "") from e
        except pg_errors.ForeignKeyViolation as e:
            raise Referred(e.diag.constraint_name or "") from e
        except pg_errors.QueryCanceled as e:  # statement_timeout
            self._causes.failed("statement_timeout", e)
            raise TimedOut from e
        except pg_errors.DiskFull as e:
            self._causes.failed("disk_full", e)
            raise StorageFull from e
        except (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            psycopg_pool.PoolTimeout,
            psycopg_pool.PoolClosed,
            TimeoutError,  # the server says nothing at all
        ) as e:
            self._causes.failed(
                "no_connection" if isinstance(e, psycopg_pool.PoolTimeout) else "unreachable", e
            )
            raise DatabaseUnavailable from e


class Transaction:
    """The verbs of Database, inside one transaction."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def all(self, query: Query[R], **parameters: object) -> list[R]:
        """Every row of a query."""
        return await _fetch(self._connection, query, parameters)

    async def one(self, query: Query[R], **parameters: object) -> R | None:
        """The first row of a query, or None."""
        rows = await self.all(query, **parameters)
        return rows[0] if rows else None

    async def write(self, batch: BatchCommand[R], item: Item) -> R | None:
        """Run one item of a batch statement: its row if it took effect, None if not."""
        return await self.ask(batch, item)

    async def ask(self, batch: BatchQuery[R], item: Item) -> R | None:
        """The same for a batch statement that only reads, or locks."""
        return await self.one(batch, items=encode_items([item]).decode())


async def _fetch(
    connection: psycopg.AsyncConnection, query: Query[R], parameters: Mapping[str, object]
) -> list[R]:
    cursor = await connection.execute(query.sql, parameters)
    return [query.make(row) for row in await cursor.fetchall()]


async def _configure(connection: psycopg.AsyncConnection) -> None:
    adapt(connection.adapters)


def _whose(
    query: Query[Any],  # Any: whatever its rows are
    sent: Mapping[str, object],
) -> Whose | None:
    """For whom a statement runs, as its parameters or its item say; None if it serves the service itself."""
    workspace_id, caller_id = query.workspace_in(sent), sent.get("actor_id")
    if workspace_id is None:
        return None
    return Whose(workspace_id, caller_id if isinstance(caller_id, UUID) else None)


def _under_way(connection: PipelineConnection) -> int:
    return connection.under_way
