"""Everything as it was at one moment, read row by row: for what is too large to be held, while others write.

A cursor of the server hands over a few hundred rows at a time, within one transaction that sees one snapshot and
writes nothing.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec
import psycopg

from app.db.adapters import adapt
from app.db.query import Query
from app.db.schema import connect

R = TypeVar("R", bound=msgspec.Struct)

ROWS_AT_A_TIME: Final = 200  # at 100 kB each, the longest there are, 20 MB


class Snapshot:
    """The verbs of Database that read, at one moment."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def one(self, query: Query[R], **parameters: object) -> R | None:
        """The first row of a query, or None."""
        row = self._connection.execute(query.sql, parameters).fetchone()
        return None if row is None else query.make(row)

    def each(self, query: Query[R], **parameters: object) -> Iterator[R]:
        """Its rows, one after the other."""
        with self._connection.cursor("each") as cursor:
            cursor.itersize = ROWS_AT_A_TIME
            cursor.execute(query.sql, parameters)
            for row in cursor:
                yield query.make(row)


@contextmanager
def snapshot(dsn: str) -> Generator[Snapshot]:
    """A database as it is now, for as long as the block lasts."""
    with connect(dsn) as connection:
        adapt(connection.adapters)
        connection.prepare_threshold = None
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Snapshot(connection)
