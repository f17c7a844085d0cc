"""Running statements: a pool of autocommit connections behind four verbs.

`all` and `one` run a Query, `write` and `ask` hand one item to a BatchQuery, `transaction` is for work that
truly needs two statements. What the driver raises leaves here as one of our own errors, or not at all.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import msgspec
import psycopg
import psycopg_pool
from psycopg import errors as pg_errors
from psycopg.adapt import Buffer, Loader
from psycopg.types.json import set_json_loads
from psycopg.types.numeric import Int8Dumper

from app.db.encoded import Encoded, as_json
from app.db.query import BatchQuery, Query
from app.errors import DatabaseUnavailable, TimedOut

R = TypeVar("R", bound=msgspec.Struct)
Item = Mapping[str, object]

CONNECT_TIMEOUT_SECONDS: Final = 5  # a local or nearby server answers in milliseconds; waiting longer only queues callers
CHECKOUT_TIMEOUT_SECONDS: Final = 5.0  # longest wait for a free connection before the caller hears 503

encode_items = msgspec.json.Encoder(enc_hook=as_json).encode


class Database:
    """Connections to one Postgres, shared by everything in this process."""

    def __init__(self, dsn: str, *, connections_max: int, statement_timeout_seconds: float, pooler: bool) -> None:
        settings = f"-c statement_timeout={int(statement_timeout_seconds * 1000)} -c timezone=UTC"
        self._pool = psycopg_pool.AsyncConnectionPool(
            dsn,
            min_size=2,
            max_size=connections_max,
            timeout=CHECKOUT_TIMEOUT_SECONDS,
            open=False,
            name="baton",
            configure=_configure,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                # A pooler in transaction mode gives every statement another connection: nothing may be left on one.
                **({"prepare_threshold": None} if pooler else {"prepare_threshold": 1, "options": settings}),
            },
        )

    async def open(self) -> None:
        """Connect, or raise DatabaseUnavailable."""
        try:
            await self._pool.open(wait=True, timeout=CONNECT_TIMEOUT_SECONDS)
        except psycopg_pool.PoolTimeout as e:
            raise DatabaseUnavailable from e

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.close()

    async def all(self, query: Query[R], **parameters: object) -> list[R]:
        """Every row of a query."""
        return await self._run(query, parameters)

    async def one(self, query: Query[R], **parameters: object) -> R | None:
        """The first row of a query, or None."""
        rows = await self._run(query, parameters)
        return rows[0] if rows else None

    async def write(self, batch: BatchQuery[R], item: Item) -> R | None:
        """Run one item of a batch statement: its row if it took effect, None if not."""
        return await self.one(batch, items=encode_items([{"ord": 0, **item}]).decode())

    async def ask(self, batch: BatchQuery[R], item: Item) -> R | None:
        """The same for a batch statement that only reads."""
        return await self.write(batch, item)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """One connection in one transaction, for work that truly needs more than one statement."""
        with _our_errors():
            async with self._pool.connection() as connection, connection.transaction():
                yield Transaction(connection)

    async def _run(self, query: Query[R], parameters: Mapping[str, object]) -> list[R]:
        with _our_errors():
            try:
                return await self._run_once(query, parameters)
            except (pg_errors.DeadlockDetected, pg_errors.SerializationFailure):
                pass  # the database undid it whole, so once more is safe
            except pg_errors.QueryCanceled:
                raise
            except psycopg.OperationalError:
                # A connection that broke while idle shows only now. Reading twice is harmless; a write whose
                # fate is unknown is never sent again.
                if query.writes:
                    raise
            return await self._run_once(query, parameters)

    async def _run_once(self, query: Query[R], parameters: Mapping[str, object]) -> list[R]:
        async with self._pool.connection() as connection:
            return await _fetch(connection, query, parameters)


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

    async def write(self, batch: BatchQuery[R], item: Item) -> R | None:
        """Run one item of a batch statement: its row if it took effect, None if not."""
        return await self.one(batch, items=encode_items([{"ord": 0, **item}]).decode())


async def _fetch(connection: psycopg.AsyncConnection, query: Query[R], parameters: Mapping[str, object]) -> list[R]:
    cursor = await connection.execute(query.sql, parameters)
    return [query.make(row) for row in await cursor.fetchall()]


@contextmanager
def _our_errors() -> Iterator[None]:
    """What the driver raises when the database is away or too slow, as errors a caller can act on."""
    try:
        yield
    except pg_errors.QueryCanceled as e:  # statement_timeout
        raise TimedOut from e
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as e:
        raise DatabaseUnavailable from e


class _EncodedLoader(Loader):
    """`json` columns stay the bytes that Postgres wrote."""

    def load(self, data: Buffer) -> Encoded[object]:
        return Encoded(bytes(data))


async def _configure(connection: psycopg.AsyncConnection) -> None:
    """Make one parameter type of every int: psycopg keys prepared statements on text *and* parameter types."""
    connection.adapters.register_dumper(int, Int8Dumper)
    set_json_loads(msgspec.json.decode, connection)
    connection.adapters.register_loader("json", _EncodedLoader)
