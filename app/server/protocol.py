"""The connections that callers make: from their bytes to the application and back, within bounds, for whoever calls.

`http1.Reader` says what the bytes mean. Here one request after the other is answered, in the order in which they
came. Everybody has limits, before any key was seen: how much may come, how long it may take, how long nothing may be
said, and how many may be connected. Answers that are ready at the same time leave together (outbox.py).

uvicorn starts, watches and stops the server, and makes a `Connection` for each caller. To the application it is ASGI
as with any other server.
"""

import asyncio
import logging
import math
import secrets
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from uvicorn import Config
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveEvent,
    ASGISendEvent,
    HTTPResponseStartEvent,
    HTTPScope,
)
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.errors import ApiError, InternalError, Overloaded, TooSlow
from app.rpc import family_at
from app.server.http1 import Head, Reader
from app.server.outbox import Outlet, outbox_of
from app.transports import envelope

UNREAD_BYTES_MAX: Final = 64 * 1024  # of a body that the application has not taken, or of requests lined up
CROWD_LOG_INTERVAL_SECONDS: Final = 60.0  # one line says it for all who came in that time

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = (b"connection", b"close")
_WITHOUT_BODY: Final = frozenset({204, 304})

log = logging.getLogger("baton.connections")


class Limits(NamedTuple):
    """What a connection may do. Its caller may be anybody."""

    connections_max: int = 10_000
    """About 100 MB. Of more, the oldest that says nothing is dropped for each that comes."""
    first_byte_seconds: float = 20.0
    """Some pools and browsers connect ahead of their first request."""
    head_seconds: float = 10.0
    """From its first byte to its last. It is one packet, or a few on a bad line."""
    body_seconds: float = 20.0
    """A body may take this long,"""
    body_bytes_per_second: float = 500.0
    """and longer if at least so much comes, as Apache has it."""
    keep_alive_seconds: float = 75.0
    """Pools of proxies and clients keep connections for up to 60 seconds. Whoever closes first must not be us."""
    answer_seconds: float = 60.0
    """How long an answer may wait for somebody to take any of it."""
    leave_seconds: float = 5.0
    """How long the other side may go on sending when we have closed ours, so that it hears the answer."""
    left_over_bytes_max: int = 16 * 1024 * 1024
    """Of a body that nobody needs any more; it is read so that its sender hears the answer."""
    look_seconds: float = 1.0
    """How often is looked whose time is over: they may have this much longer."""


class Exchange:
    """One request and its answer, as the application sees it. The answer's head is held back until its body is there."""

    __slots__ = (
        "_asks_first",
        "_connection",
        "_event",
        "_left_bytes",
        "_start",
        "_started",
        "_told",
        "_unread",
        "complete",
        "gone",
        "head",
        "keep_alive",
        "more_body",
        "scope",
    )

    def __init__(self, connection: "Connection", head: Head, scope: HTTPScope) -> None:
        self.head = head
        self.scope = scope
        self.more_body = True
        """Whether some of the body has not come yet."""
        self.complete = False
        """Whether the answer is out."""
        self.gone = False
        """Whether nobody hears an answer any more."""
        self.keep_alive = head.keep_alive
        self._connection = connection
        self._unread: bytes | bytearray = b""
        self._told = False  # whether the application has the whole body
        self._asks_first = head.asks_first
        self._event: asyncio.Event | None = None  # made only where somebody has to wait
        self._start: HTTPResponseStartEvent | None = None
        self._started = False  # whether some of the answer is out
        self._left_bytes: int | None = None  # of an answer in pieces; None: they are chunks

    @property
    def started(self) -> bool:
        """Whether something of the answer is out."""
        return self._started

    @property
    def unread_bytes(self) -> int:
        """How much of the body the application has not taken."""
        return len(self._unread)

    # From the caller ------------------------------------------------------------------------------------

    def hear(self, piece: bytes, *, whole: bool) -> None:
        """Take a piece of the body."""
        if not self.complete:
            if self._unread:
                if isinstance(self._unread, bytes):
                    self._unread = bytearray(self._unread)
                self._unread += piece
            else:
                self._unread = piece
        if piece or whole:
            self._asks_first = False
        self.more_body = not whole
        self.wake()

    def hang_up(self) -> None:
        """Nobody hears an answer any more."""
        self.gone = True
        self.wake()

    def wake(self) -> None:
        """Have whoever waits for news look again."""
        if self._event is not None:
            self._event.set()

    # To the application ---------------------------------------------------------------------------------

    async def run(self, app: ASGI3Application) -> None:
        """Have the application answer. It says what went wrong itself; if it cannot, that is said here."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("no answer to %s %s", self.head.method, self.head.path)
        if not self.complete and not self.gone:
            self._connection.give_up(InternalError())

    async def receive(self) -> ASGIReceiveEvent:
        """The next piece of the body, or that nobody hears the answer any more."""
        if self._asks_first and not self.gone:
            self._asks_first = False
            self._connection.write(_CONTINUE)
        while True:
            if not self._told and (self._unread or not self.more_body):
                body, self._unread = bytes(self._unread), b""
                self._told = not self.more_body
                self._connection.taken()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            if self.gone or self.complete:
                return {"type": "http.disconnect"}
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer; in one piece where it is one."""
        if self.complete:
            raise RuntimeError("The answer is complete.")
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            raise RuntimeError(f"This is no part of an answer: {message['type']}.")
        if self._connection.is_full:
            await self._connection.emptied()
        if self.gone:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b"" if self._started else self._head_of_answer(body, more=more)
        self._started = True
        if data := head if self.head.method == "HEAD" else head + self._framed(body, more=more):
            self._connection.write(data)
        if not more:
            self.complete = True
            self.wake()
            self._connection.answered(self)

    def _head_of_answer(self, body: bytes, *, more: bool) -> bytes:
        if self._start is None:
            raise RuntimeError("An answer starts with its status.")
        status = self._start["status"]
        headers = [*self._connection.default_headers, *self._start.get("headers", ())]
        length = closes = None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
        if closes or self._asks_first or not self._connection.may_go_on(self):
            self.keep_alive = False  # if it asked whether to send a body, it may send that or not
        if status in _WITHOUT_BODY:
            length = 0
        elif length is None:
            length = self._frame(headers, None if more else len(body))
        self._left_bytes = length
        if not self.keep_alive and not closes:
            headers.append(_CLOSE)
        head = _STATUS_LINES[status] + b"\r\n".join(map(b": ".join, headers))
        if head.count(b"\n") != len(headers):
            raise RuntimeError("A header of the answer holds an end of line.")
        return head + b"\r\n\r\n"

    def _frame(self, headers: list[tuple[bytes, bytes]], length: int | None) -> int | None:
        """Say how one finds the end of an answer whose length nobody has said yet."""
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
            return length
        if self.head.version == "1.0":
            self.keep_alive = False  # it ends where the connection does
            return -1
        headers.append((b"transfer-encoding", b"chunked"))
        return None

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        """A piece of the answer's body as it goes over the wire."""
        if self._left_bytes is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self._left_bytes >= 0:
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (self._left_bytes and not more):
                raise RuntimeError("The answer is not as long as its Content-Length says.")
        return body


class Connection(asyncio.Protocol):
    """One caller's connection: it reads a request, has it answered, and goes on with the next."""

    def __init__(
        self,
        door: "Door",
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: what the application's lifespan leaves there
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.deadline = math.inf
        """When, by the loop's clock, this has taken too long."""
        self.is_full = False
        """Whether answers wait for somebody to take them."""
        self.transport: Outlet
        self._door = door
        self._limits = door.limits
        self._app: ASGI3Application = config.loaded_app  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- ours, not one of those that uvicorn wraps
        self._root_path = config.root_path
        self._state = server_state
        self._app_state = app_state
        self._loop = loop
        self._reader = Reader()
        self._exchange: Exchange | None = None
        self._in_head = False  # whether some of a head is there
        self._body_due = 0.0  # when the body has to be there
        self._left_over_bytes = 0  # of what came and nobody needs
        self._last = False  # whether the request under way is the last
        self._leaving = False  # whether our side is closed
        self._paused = False
        self._emptied: asyncio.Event | None = None
        self._scope: dict[str, Any] = {}  # Any: as ASGI has it

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer says."""
        return self._state.default_headers

    # What happens to a connection -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- sockets have no other
        """Somebody is there."""
        self.transport = Outlet(transport, outbox_of(self._loop))
        self._state.connections.add(self)  # pyright: ignore[reportArgumentType] -- uvicorn asks its own kind and ours only to shut down
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "scheme": "https" if is_ssl(transport) else "http",
            "root_path": self._root_path,
            "client": get_remote_addr(transport),
            "server": get_local_addr(transport),
        }
        self.deadline = self._loop.time() + self._limits.first_byte_seconds
        if not self._door.admit(self):
            self._refuse(Overloaded())

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        if self._leaving:
            self._drop(len(data))
            return
        self._reader.receive(data)
        self._go_on()

    def eof_received(self) -> None:
        """Nothing more will come, so the event loop closes the connection: what is ready leaves before that."""
        self.transport.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._state.connections.discard(self)
        self._door.forget(self)
        self.deadline = math.inf
        if self._exchange is not None:
            self._exchange.hang_up()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The caller does not take what we send."""
        self.is_full = True
        self.deadline = self._loop.time() + self._limits.answer_seconds

    def resume_writing(self) -> None:
        """It does again."""
        if self.is_full:
            self.is_full = False
            if self._emptied is not None:
                self._emptied.set()
            if not self._leaving:
                self.deadline = self._usual_deadline()

    def shutdown(self) -> None:
        """The server stops: uvicorn asks everybody to be done after what is under way."""
        self._last = True
        if self._exchange is None or self._exchange.complete:
            self.transport.close()

    def too_late(self) -> None:
        """What was to happen by the deadline has not."""
        exchange = self._exchange
        halfway = self._in_head if exchange is None else not exchange.started
        if self._leaving or self.is_full:
            self.transport.abort()
        elif halfway:
            self.give_up(TooSlow())
        else:
            self.transport.close()

    def _usual_deadline(self) -> float:
        if self._exchange is not None:
            return self._body_due if self._exchange.more_body else math.inf
        patience = self._limits.head_seconds if self._in_head else self._limits.keep_alive_seconds
        return self._loop.time() + patience

    # One request after the other ------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Read as far as there is something to read and somebody to hear it."""
        try:
            while not self._leaving and self._read():
                pass
        except ApiError as e:
            self.give_up(e)

    def _read(self) -> bool:
        """Take a step; whether there may be another."""
        exchange = self._exchange
        if exchange is None:
            head = self._reader.head() if self._reader.waiting_bytes else None
            if head is None:
                self._wait_for_head()
                return False
            exchange = self._begin(head)
        if exchange.more_body:
            piece, whole = self._reader.body()
            exchange.hear(piece, whole=whole)
            if not whole:
                self._wait_for_body(exchange, len(piece))
                return False
            self._door.is_heard(self)
            if not self.is_full:
                self.deadline = math.inf
        if not exchange.complete:
            if self._reader.waiting_bytes > UNREAD_BYTES_MAX:
                self._pause()
            return False
        self._end()
        return True

    def _begin(self, head: Head) -> Exchange:
        """Have the application answer a request."""
        self._in_head = False
        self._left_over_bytes = 0
        scope: Any = {  # Any: as ASGI has it
            **self._scope,
            "http_version": head.version,
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": list(head.headers),
            "state": self._app_state.copy(),
        }
        self._exchange = exchange = Exchange(self, head, scope)
        if head.body_bytes != 0:
            self._body_due = self._loop.time() + self._limits.body_seconds
        task = self._loop.create_task(exchange.run(self._app))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)
        return exchange

    def _end(self) -> None:
        """A request is answered, and none of it is left."""
        self._exchange = None
        self.deadline = self._loop.time() + self._limits.keep_alive_seconds
        self._door.is_silent(self)
        self._resume()

    def _wait_for_head(self) -> None:
        if self._reader.waiting_bytes and not self._in_head:
            self._in_head = True
            self.deadline = self._loop.time() + self._limits.head_seconds

    def _wait_for_body(self, exchange: Exchange, more_bytes: int) -> None:
        if exchange.complete:
            self._drop(more_bytes)
        elif exchange.unread_bytes > UNREAD_BYTES_MAX:
            self._pause()
            self.deadline = math.inf  # it is we who are slow
            return
        self._body_due += more_bytes / self._limits.body_bytes_per_second
        self.deadline = self._body_due

    def _drop(self, more_bytes: int) -> None:
        """Note that something came that nobody needs. It is read for a while, so that its sender hears the answer."""
        self._left_over_bytes += more_bytes
        if self._left_over_bytes > self._limits.left_over_bytes_max:
            self.transport.abort()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    # For an exchange ------------------------------------------------------------------------------------

    def taken(self) -> None:
        """The application has taken what there was of the body."""
        if self._paused and self._exchange is not None and self._exchange.more_body:
            self._body_due = self.deadline = self._loop.time() + self._limits.body_seconds
            self._resume()

    def write(self, data: bytes) -> None:
        """Send this, soon."""
        self.transport.write(data)

    async def emptied(self) -> None:
        """Wait until what was sent is taken."""
        if self._emptied is None:
            self._emptied = asyncio.Event()
        self._emptied.clear()
        await self._emptied.wait()

    def may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow: not if we stop, or if more of this one is to come than is read for nothing."""
        return not self._last and (
            not exchange.more_body or (exchange.head.body_bytes or 0) <= self._limits.left_over_bytes_max
        )

    def answered(self, exchange: Exchange) -> None:
        """An answer is out: go on with the request behind it, or wait for one."""
        self._state.total_requests += 1
        if self.transport.is_closing():
            return
        if not exchange.keep_alive or self._last:
            if exchange.more_body:
                self._leave()
            else:
                self.transport.close()
            return
        if exchange.more_body:
            self.deadline = self._body_due
            self._door.is_silent(self)
            self._resume()
        else:
            self._go_on()

    def give_up(self, error: ApiError) -> None:
        """Say what is wrong, if that can still be said, and have no more of this connection."""
        exchange = self._exchange
        if self.transport.is_closing() or self._leaving:
            return
        if exchange is not None:
            exchange.hang_up()
            if exchange.started:
                if exchange.complete:
                    self._leave()
                else:
                    self.transport.abort()  # half an answer must not look like a whole one
                return
        self._refuse(error)

    def _refuse(self, error: ApiError) -> None:
        """Answer in place of the application, and leave."""
        exchange = self._exchange
        path = self._reader.path() if exchange is None else exchange.head.path
        request_id = secrets.token_hex(8)
        body = envelope.failure(error, request_id, family_at(path))
        headers = [
            *self.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            *envelope.headers(error),
            _CLOSE,
        ]
        log.info("request %s refused with %d: %s", request_id, error.status, error.message)
        head = _STATUS_LINES[error.status] + b"\r\n".join(map(b": ".join, headers)) + b"\r\n\r\n"
        self.write(head if exchange is not None and exchange.head.method == "HEAD" else head + body)
        self._leave()

    def _leave(self) -> None:
        """Close our side, and drop what still comes: closing both would take the answer back."""
        self._leaving = True
        self.deadline = self._loop.time() + self._limits.leave_seconds
        self._door.is_silent(self)
        self.transport.write_eof()
        self._resume()


class Door:
    """Where callers come in: it makes their connections, knows them all, and looks whose time is over."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._connections: dict[Connection, None] = {}
        self._strangers: dict[Connection, None] = {}  # of these, who has sent no whole request; oldest first
        self._silent: dict[Connection, None] = {}  # and who has been answered and says nothing; oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._crowd_logged_at = -math.inf

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: what the application's lifespan leaves there
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """A connection that is about to be made. uvicorn calls this as it would the class of one."""
        return Connection(self, config, server_state, app_state, _loop or asyncio.get_running_loop())

    def admit(self, connection: Connection) -> bool:
        """Let somebody in, if need be in place of the oldest who says nothing; whether that was possible."""
        self._connections[connection] = self._strangers[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.look_seconds, self._look)
        if len(self._connections) <= self.limits.connections_max:
            return True
        self._log_crowd()
        stranger = next(iter(self._strangers))
        oldest = stranger if stranger is not connection else next(iter(self._silent), None)
        if oldest is None:
            return False
        self.forget(oldest)
        oldest.transport.abort()
        return True

    def is_heard(self, connection: Connection) -> None:
        """A whole request came from there."""
        self._strangers.pop(connection, None)
        self._silent.pop(connection, None)

    def is_silent(self, connection: Connection) -> None:
        """Nothing is to be done there until something comes."""
        self._strangers.pop(connection, None)
        self._silent.pop(connection, None)  # to stand at the end
        if connection in self._connections:
            self._silent[connection] = None

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self._connections.pop(connection, None)
        self.is_heard(connection)

    def _look(self) -> None:
        """End what has taken too long, and come back if anybody is left."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.too_late()
        if self._connections:
            self._timer = loop.call_later(self.limits.look_seconds, self._look)

    def _log_crowd(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._crowd_logged_at >= CROWD_LOG_INTERVAL_SECONDS:
            self._crowd_logged_at = now
            log.warning(
                "there are %d connections, as many as may be: for each that comes, the oldest that says nothing is dropped",
                self.limits.connections_max,
            )
