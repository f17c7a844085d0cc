"""What an operator tells all server processes of a database, for as long as the one who tells it is there.

It is an advisory lock, which others see in `pg_locks`: nothing is stored, and nothing remains when the connection ends.
"""

from contextlib import suppress
from typing import Final

import psycopg

from app.db.address import Unreachable, address
from app.db.query import Query
from app.db.rows import One

TOPIC: Final = 4_242_002  # the first half of the lock's number; the second is what is told
CONNECT_SECONDS_MAX: Final = 5

TOLD = Query(
    One[int],
    """
    SELECT l.objid::int8
      FROM pg_locks l
      JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
     WHERE l.locktype = 'advisory' AND l.classid = %(topic)s::int8::oid AND l.objsubid = 2 AND l.granted
    """,
    pipelined=True,
    everywhere=True,
)
"""What is told just now; several may tell different things."""


class Announcement:
    """Something that is told until it is taken back."""

    def __init__(self, dsn: str, number: int, *, pooler: bool) -> None:
        try:
            self._connection = psycopg.connect(
                address(dsn), autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, prepare_threshold=None
            )
            if (
                pooler
            ):  # the lock then belongs to a transaction, and the connection to us as long as that is open
                self._connection.execute("BEGIN")
                self._connection.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", (TOPIC, number))
            else:
                self._connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (TOPIC, number))
        except psycopg.OperationalError as e:
            raise Unreachable(str(e)) from None

    def holds(self) -> bool:
        """Whether it is still told: the database is there. Asked often enough, the connection does not look idle."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def take_back(self) -> None:
        """Tell it no longer."""
        with suppress(psycopg.OperationalError):
            self._connection.close()
