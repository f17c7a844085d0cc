"""The connections that callers make: from their bytes to the application and back, within bounds, for whoever calls.

`http1.Reader` says what the bytes mean. Here one request after the other is answered, in the order in which they
came; exchange.py is one of them. Everybody has limits, before any key was seen (crowd.py): how much may come, how
long it may take, how long nothing may be said, and how many may be connected. Answers that are ready at the same
time leave together (outbox.py).

uvicorn starts, watches and stops the server, and makes a `Connection` for each caller. To the application it is ASGI
as with any other server.
"""

import asyncio
import logging
import math
import secrets
from typing import Any, Final

from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.errors import ApiError, Overloaded, TooSlow
from app.rpc import family_at
from app.server.crowd import Crowd, Limits
from app.server.exchange import CLOSE, Exchange, head_of
from app.server.http1 import Head, Reader
from app.server.outbox import Outlet, outbox_of
from app.transports import envelope

UNREAD_BYTES_MAX: Final = 64 * 1024  # of a body that the application has not taken, or of requests lined up

log = logging.getLogger("baton.connections")


class Connection(asyncio.Protocol):
    """One caller's connection: it reads a request, has it answered, and goes on with the next."""

    def __init__(
        self,
        crowd: Crowd,
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
        self._crowd = crowd
        self._limits = crowd.limits
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
        if not self._crowd.admit(self):
            self._refuse(Overloaded())

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
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
        self._crowd.forget(self)
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

    def abort(self) -> None:
        """Drop the connection, whatever is under way."""
        self.transport.abort()

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
            self._crowd.is_heard(self)
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
        self._crowd.is_silent(self)
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
            self._crowd.is_silent(self)
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
            CLOSE,
        ]
        log.info("request %s refused with %d: %s", request_id, error.status, error.message)
        head = head_of(error.status, headers)
        self.write(head if exchange is not None and exchange.head.method == "HEAD" else head + body)
        self._leave()

    def _leave(self) -> None:
        """Close our side, and drop what still comes: closing both would take the answer back."""
        self._leaving = True
        self.deadline = self._loop.time() + self._limits.leave_seconds
        self._crowd.is_silent(self)
        self.transport.write_eof()
        self._resume()


class Door:
    """Where callers come in: uvicorn calls it as it would the class of a connection."""

    def __init__(self, limits: Limits) -> None:
        self._crowd = Crowd(limits)

    @property
    def connections(self) -> int:
        """How many callers are connected."""
        return len(self._crowd)

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: what the application's lifespan leaves there
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """A connection that is about to be made."""
        return Connection(self._crowd, config, server_state, app_state, _loop or asyncio.get_running_loop())
