"""One connection beside all others, for whoever only looks at the database: it takes nobody's, and gives up soon.

Each statement runs in a read-only transaction of its own with a time limit of its own, which holds behind a pooler, too.
"""

import asyncio
from typing import Final, TypeVar

import msgspec
import psycopg

from app.db.adapters import adapt
from app.db.address import address
from app.db.query import Query

R = TypeVar("R", bound=msgspec.Struct)

CONNECT_SECONDS_MAX: Final = 3
SILENCE_GRACE_SECONDS: Final = 1.0  # after the limit, by when Postgres must have answered


class Unseen(Exception):
    """The database did not answer, or not in time; the message is what the driver said."""


class Watcher:
    """A connection that is made when it is needed."""

    def __init__(self, dsn: str, *, seconds_max: float) -> None:
        self._dsn = address(dsn)
        self._seconds_max = seconds_max
        self._limits = (
            f"SET LOCAL statement_timeout = {int(seconds_max * 1000)}".encode(),
            b"SET LOCAL lock_timeout = 100",  # it waits for nobody
        )
        self._connection: psycopg.AsyncConnection | None = None

    async def all(self, query: Query[R], **parameters: object) -> list[R]:
        """Every row of a query; Unseen if they are not there in time."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX + self._seconds_max + SILENCE_GRACE_SECONDS):
                connection = self._connection = self._connection or await self._connect()
                async with connection.transaction():
                    for limit in self._limits:
                        await connection.execute(limit)
                    cursor = await connection.execute(query.sql, parameters)
                    return [query.make(row) for row in await cursor.fetchall()]
        except psycopg.errors.QueryCanceled as e:
            raise Unseen(_said(e)) from e
        except (psycopg.Error, OSError, TimeoutError) as e:
            await self.close()
            raise Unseen(_said(e)) from e

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> psycopg.AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, prepare_threshold=None
        )
        await connection.set_read_only(True)
        adapt(connection.adapters)
        return connection


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
