"""One connection in libpq's pipeline mode, shared by everything in the process that has something short to ask.

The ordinary way gives a call a connection of its own for as long as it takes; most of that time is spent
waiting, and most of the CPU on handing connections out. Here every statement is sent the moment it is asked,
behind those that are still being worked on, and answers come back in the same order:

    send()   statement and sync point go out, and a future joins the line
    _read()  results come in; at a sync point, the first future in line gets its own

The sync point after every statement makes each a transaction of its own: one that fails takes no other along.
A statement is prepared the first time this connection sees it.

A connection that breaks, or says nothing for too long, fails what is under way and is made anew. Whether such a
statement took effect is unknown, so nothing is ever sent twice from here.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.errors import error_from_result

from app.ending import end
from app.errors import DatabaseUnavailable
from app.tally import Tally

CONNECT_TIMEOUT_SECONDS: Final = 5  # a local or nearby server answers in milliseconds
RECONNECT_SECONDS_MIN: Final = 0.05  # a restarted Postgres is back within a tenth of a second
RECONNECT_SECONDS_MAX: Final = 1.0
SILENCE_GRACE_SECONDS: Final = 3.0  # beyond the statement time-out, after which Postgres must have answered
WATCH_INTERVAL_SECONDS: Final = 0.5

log = logging.getLogger("baton.db")


class _Sent:
    """A statement under way: who waits for it, since when, and what has come back so far."""

    __slots__ = ("failed", "future", "result", "sent_at")

    def __init__(self, future: "asyncio.Future[pq.abc.PGresult]", sent_at: float) -> None:
        self.future = future
        self.sent_at = sent_at
        self.result: pq.abc.PGresult | None = None
        self.failed = False


class PipelineConnection:
    """A connection that many callers use at once. From `open()` to `close()` it keeps itself up."""

    def __init__(
        self,
        dsn: str,
        *,
        settings: str,
        statement_timeout_seconds: float,
        on_up: Callable[[], None],
        tally: Tally | None = None,
    ) -> None:
        self._dsn = dsn
        self._tally = tally
        self._settings = settings
        self._silence_seconds_max = statement_timeout_seconds + SILENCE_GRACE_SECONDS
        self._on_up = on_up
        self._connection: psycopg.AsyncConnection | None = None
        self._line: deque[_Sent] = deque()
        self._names: dict[str, bytes] = {}  # of the statements prepared on this connection
        self._writing = False
        self._socket = -1
        self._lost = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop  # from open() on
        self._keeper: asyncio.Task[None]

    @property
    def up(self) -> bool:
        """Whether statements can be sent."""
        return self._connection is not None

    @property
    def under_way(self) -> int:
        """How many statements have been sent and not answered."""
        return len(self._line)

    async def open(self) -> None:
        """Connect, or raise; from then on reconnect by itself."""
        self._loop = asyncio.get_running_loop()
        await self._connect()
        self._keeper = self._loop.create_task(self._keep_up())

    async def close(self) -> None:
        """Let go; what is still under way fails."""
        await end(self._keeper)
        self._drop()

    def send(self, sql: str, parameters: Sequence[Buffer | None]) -> "asyncio.Future[pq.abc.PGresult]":
        """Send a statement with `$1` parameters in text form. The future gets its result, or raises."""
        future: asyncio.Future[pq.abc.PGresult] = self._loop.create_future()
        if self._connection is None:
            future.set_exception(DatabaseUnavailable())
            return future
        pgconn = self._connection.pgconn
        self._line.append(_Sent(future, time.monotonic()))
        try:
            name = self._names.get(sql)
            if name is None:
                name = self._names[sql] = b"baton_%d" % len(self._names)
                pgconn.send_prepare(name, sql.encode())
            pgconn.send_query_prepared(name, parameters)
            pgconn.pipeline_sync()
            self._write()
        except psycopg.Error as e:
            self._lose(str(e))
        return future

    def _write(self) -> None:
        """Push out what libpq holds; if the socket is full, come back when it has room."""
        connection = self._connection
        if connection is None:
            return
        try:
            more = bool(connection.pgconn.flush())
        except psycopg.Error as e:
            self._lose(str(e))
            return
        if more and not self._writing:
            self._loop.add_writer(self._socket, self._write)
        elif self._writing and not more:
            self._loop.remove_writer(self._socket)
        self._writing = more

    def _read(self) -> None:
        """Take what has come in, and hand out every answer that is complete."""
        connection = self._connection
        if connection is None:
            return
        pgconn, line = connection.pgconn, self._line
        try:
            pgconn.consume_input()
            while line and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:  # the end of one statement's results
                    continue
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    _settle(line.popleft())
                elif not line[0].failed:  # behind a failure there come only statements skipped because of it
                    line[0].result = result
                    line[0].failed = result.status not in _FINE
        except psycopg.Error as e:
            self._lose(str(e))
            return
        if pgconn.status != pq.ConnStatus.OK:
            self._lose("the server closed the connection")

    async def _connect(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, options=self._settings
        )
        connection.pgconn.nonblocking = 1
        connection.pgconn.enter_pipeline_mode()
        self._names = {}
        self._writing = False
        self._lost.clear()
        self._connection = connection
        self._socket = connection.pgconn.socket
        self._loop.add_reader(self._socket, self._read)
        self._on_up()

    def _lose(self, why: str) -> None:
        """Give the connection up, and say so."""
        if self._connection is not None:
            if self._tally is not None:
                self._tally.lost_connection()
            log.warning(
                "a database connection is gone with %d statements under way: %s", len(self._line), why.strip()
            )
            self._drop()

    def _drop(self) -> None:
        """Let go of the connection and fail what is under way."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # By the number it had: libpq may have closed it already, and the next connection may get the same one.
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        connection.pgconn.finish()
        line, self._line = self._line, deque()
        for sent in line:
            if not sent.future.done():
                sent.future.set_exception(DatabaseUnavailable())
        self._lost.set()

    async def _keep_up(self) -> None:
        """Reconnect whenever the connection is gone, and give it up when it has been silent for too long."""
        pause_seconds = RECONNECT_SECONDS_MIN
        while True:
            if self._connection is None:
                try:
                    await self._connect()
                    pause_seconds = RECONNECT_SECONDS_MIN
                except (psycopg.Error, OSError) as e:
                    log.warning("cannot reach the database: %s", str(e).strip())
                    await asyncio.sleep(pause_seconds)
                    pause_seconds = min(pause_seconds * 2, RECONNECT_SECONDS_MAX)
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_INTERVAL_SECONDS):
                    await self._lost.wait()
            if self._line and time.monotonic() - self._line[0].sent_at > self._silence_seconds_max:
                self._lose("the database has not answered for too long")


_FINE: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


def _settle(sent: _Sent) -> None:
    """Give a caller its result, or the error in it; unless it has gone away meanwhile."""
    if sent.future.done():
        return
    if sent.result is None:
        sent.future.set_exception(DatabaseUnavailable())
    elif sent.failed:
        sent.future.set_exception(error_from_result(sent.result))
    else:
        sent.future.set_result(sent.result)
