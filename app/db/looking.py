"""A session that only asks: for commands that look at a database as an operator would."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import LiteralString, final

import psycopg
from psycopg.rows import TupleRow

from app.db import schema


@final
class Looking:
    """One session, in which each question is a transaction of its own."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self.major = connection.info.server_version // 10_000

    def rows(self, statement: LiteralString, *given: object) -> list[TupleRow]:
        """All rows of an answer."""
        return self._connection.execute(statement, given or None).fetchall()

    def number(self, statement: LiteralString, *given: object) -> float:
        """The one number of an answer that has one."""
        [[value]] = self.rows(statement, *given)
        return value

    def text(self, statement: LiteralString, *given: object) -> str:
        """The one text of an answer that has one."""
        [[value]] = self.rows(statement, *given)
        return value


@contextmanager
def looking(dsn: str) -> Generator[Looking]:
    """Look at a database; Unreachable or Unsuitable if it is none that Baton can work with."""
    with schema.connect(dsn) as connection:
        yield Looking(connection)
