"""HTTP as uvicorn speaks it, with less to do for an ordinary call.

uvicorn is built for any request. Ours are small, come whole and are answered whole, thousands a second on
connections that stay, and many begin with the same bytes as one before. For those this looks the head up instead of
parsing it anew, checks the head of an answer once instead of header by header, and sends answers that are ready at the
same time together (outbox.py). Whatever is not like that (a stream, HEAD, a caller who reads slowly, a request in
pieces) goes uvicorn's own way.

To the application it is ASGI all the same: this is how `serve` configures its server, and any other will do.
"""

import asyncio
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveEvent,
    ASGISendEvent,
    HTTPResponseStartEvent,
    HTTPScope,
)
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.outbox import Outlet, outbox_of

URLS_REMEMBERED_MAX: Final = 1024  # far more than there are operations; each is a few hundred bytes
HEADS_REMEMBERED_MAX: Final = 4096  # by operation, API key and length of the body; about 3 kB each
HEAD_BYTES_REMEMBERED_MAX: Final = 1024  # an agent's are shorter


class _Url(NamedTuple):
    path: str
    raw_path: bytes
    query: bytes


@lru_cache(URLS_REMEMBERED_MAX)
def _parsed(url: bytes) -> _Url:
    parsed = httptools.parse_url(url)
    return _Url(unquote(parsed.path.decode("ascii")), parsed.path, parsed.query or b"")


class _Head(NamedTuple):
    """What was sent before a body, as it was understood."""

    scope: HTTPScope
    keep_alive: bool
    body_bytes: int


_heads: Final[dict[bytes, _Head]] = {}  # by the bytes of the whole head, which mean the same each time


class Exchange(RequestResponseCycle):
    """One request and its answer, whose head is held back until its body is there, as ASGI has it."""

    # What every request begins with stands here once. What differs is set below, in place of uvicorn's own __init__.
    disconnected = False
    body: bytes | bytearray = b""
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding = None
    expected_content_length = 0
    access_log = False
    _start: HTTPResponseStartEvent | None = None
    _news = False  # whether something came, or ended, that nobody was told of
    _event: asyncio.Event | None = None

    def __init__(self, connection: "HttpProtocol", scope: HTTPScope, *, keep_alive: bool) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.default_headers = connection.server_state.default_headers
        self.on_response = connection.on_response_complete
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = connection.expect_100_continue

    @property
    def message_event(self) -> asyncio.Event:
        """What uvicorn waits on for news. Made only then: an ordinary request is there whole when it is asked for."""
        if self._event is None:
            self._event = asyncio.Event()
            if self._news:
                self._event.set()
        return self._event

    def tell(self) -> None:
        """Something came, or it is over."""
        self._news = True
        if self._event is not None:
            self._event.set()

    async def receive(self) -> ASGIReceiveEvent:
        """The body in one piece if it is there whole; else as uvicorn does."""
        if (
            self.more_body
            or self.waiting_for_100_continue
            or self.disconnected
            or self._event is not None
            or not self._news
        ):
            return await super().receive()
        self._news = False
        self.flow.resume_reading()
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    async def send(self, message: ASGISendEvent) -> None:
        """Send the answer in one piece if it comes in one; else as uvicorn does."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if self._send_whole(start, message):
                return
            await super().send(start)
        await super().send(message)

    def _send_whole(self, start: HTTPResponseStartEvent, message: ASGISendEvent) -> bool:
        """Write head and body at once, if this answer and its connection are ordinary."""
        if (
            message["type"] != "http.response.body"
            or message.get("more_body", False)
            or self.flow.write_paused
            or self.disconnected
            or not self.keep_alive
            or self.scope["method"] == "HEAD"
        ):
            return False
        body = message.get("body", b"")
        headers = [*self.default_headers, *start.get("headers", ())]
        head = STATUS_LINE[start["status"]] + b"\r\n".join(map(b": ".join, headers))
        # No header may smuggle in another line, and what is said of the connection itself uvicorn must understand.
        if (
            (b"content-length", b"%d" % len(body)) not in headers
            or head.count(b"\n") != len(headers)
            or b"\r\nconnection:" in head
        ):
            return False
        self.transport.write(b"".join((head, b"\r\n\r\n", body)))
        self.response_started = self.response_complete = True
        self.tell()
        self.on_response()
        return True


class HttpProtocol(HttpToolsProtocol):
    """One connection. WebSockets and a limit of concurrency are not for us, so they are not looked after."""

    app: ASGI3Application
    parser: httptools.HttpRequestParser
    cycle: Exchange
    _quiet_since: float | None = None  # by the loop's clock; None while a request is under way
    _whole = True  # whether the parser is between two requests

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Somebody is there."""
        super().connection_made(Outlet(transport, outbox_of(self.loop)))

    def data_received(self, data: bytes) -> None:
        """Something has come: mostly one whole request, which begins like one before."""
        if not self._whole:
            super().data_received(data)
            return
        end = data.find(b"\r\n\r\n") + 4
        head = _heads.get(data[:end])
        if head is None or len(data) != end + head.body_bytes:
            before = self.cycle
            super().data_received(data)
            if head is None and self.cycle is not before:
                self._remember(data, end)
            return
        self._quiet_since = None
        self.expect_100_continue = False
        self.scope = {
            **head.scope,
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "headers": list(head.scope["headers"]),
            "client": self.client,
            "server": self.server,
            "state": self.app_state.copy(),
        }
        self._begin(keep_alive=head.keep_alive)
        self.cycle.body = data[end:]
        self.on_message_complete()

    def _remember(self, data: bytes, end: int) -> None:
        """Remember the head of the request that was just read, if it came alone, whole and without asking first."""
        body_bytes = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        if (
            self._whole
            and end <= HEAD_BYTES_REMEMBERED_MAX
            and len(data) == end + body_bytes
            and not self.expect_100_continue
        ):
            if len(_heads) >= HEADS_REMEMBERED_MAX:
                _heads.clear()  # each then takes the long way once
            _heads[data[:end]] = _Head(
                {**self.scope, "headers": self.headers.copy()}, self.cycle.keep_alive, body_bytes
            )

    def on_message_begin(self) -> None:
        """A request starts."""
        self._whole = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """What comes before the body is there."""
        http_version = self.parser.get_http_version()
        url = _parsed(self.url)
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": http_version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": self.scheme or "http",
            "path": url.path,
            "raw_path": url.raw_path,
            "query_string": url.query,
            "root_path": self.root_path,
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "state": self.app_state.copy(),
        }
        self._begin(keep_alive=http_version != "1.0" and self.parser.should_keep_alive())

    def _begin(self, *, keep_alive: bool) -> None:
        """Begin to answer, or line up behind the request before on this connection."""
        before: RequestResponseCycle | None = self.cycle
        self.cycle = Exchange(self, self.scope, keep_alive=keep_alive)  # pyright: ignore[reportIncompatibleVariableOverride] -- we make no others
        if before is None or before.response_complete:  # pyright: ignore[reportUnnecessaryComparison] -- None at first
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_response_complete(self) -> None:
        """An answer is out: go on with the request behind it, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Something has come, so the connection is in use. Its timer goes on, and will see that."""
        self._quiet_since = None

    def _look_again(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing has come for too long. One timer serves it for all its requests."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        quiet_seconds = 0.0 if self._quiet_since is None else self.loop.time() - self._quiet_since
        if quiet_seconds >= self.timeout_keep_alive:
            self.transport.close()
        else:
            self._look_again(self.timeout_keep_alive - quiet_seconds)

    def eof_received(self) -> None:
        """Nothing more will come, so the event loop closes the connection: what is ready leaves before that."""
        if isinstance(self.transport, Outlet):
            self.transport.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it its timer."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def on_body(self, body: bytes) -> None:
        """A piece of the request's body is there."""
        if not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.cycle.tell()

    def on_message_complete(self) -> None:
        """The request is there whole."""
        self._whole = True
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.tell()
