"""HTTP as uvicorn speaks it, with less to do for an ordinary call.

uvicorn is built for any request. Ours are small, come whole and are answered whole, thousands a second on
connections that stay. For those this answers with one write instead of two, checks the head of an answer once
instead of header by header, and looks each URL up instead of parsing it anew. Whatever is not like that (a
stream, HEAD, a caller who reads slowly) goes uvicorn's own way.

To the application it is ASGI all the same: this is how `serve` configures its server, and any other will do.
"""

import asyncio
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application, ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

URLS_REMEMBERED_MAX: Final = 1024  # far more than there are operations; each is a few hundred bytes


class _Url(NamedTuple):
    path: str
    raw_path: bytes
    query: bytes


@lru_cache(URLS_REMEMBERED_MAX)
def _parsed(url: bytes) -> _Url:
    parsed = httptools.parse_url(url)
    return _Url(unquote(parsed.path.decode("ascii")), parsed.path, parsed.query or b"")


class Exchange(RequestResponseCycle):
    """One request and its answer, whose head is held back until its body is there, as ASGI has it."""

    _start: HTTPResponseStartEvent | None = None

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
        length = None
        lines = [STATUS_LINE[start["status"]]]
        for name, value in (*self.default_headers, *start.get("headers", ())):
            if name == b"content-length":
                length = value
            lines.append(b"%b: %b\r\n" % (name, value))
        head = b"".join(lines)
        # No header may smuggle in another line, and what is said of the connection itself uvicorn must understand.
        if length != b"%d" % len(body) or head.count(b"\n") != len(lines) or b"\r\nconnection:" in head:
            return False
        self.transport.write(b"%b\r\n%b" % (head, body))
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()
        return True


class HttpProtocol(HttpToolsProtocol):
    """One connection. WebSockets and a limit of concurrency are not for us, so they are not looked after."""

    app: ASGI3Application
    parser: httptools.HttpRequestParser

    def on_message_begin(self) -> None:
        """A request starts."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Begin to answer, or line up behind the request before on this connection."""
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
        before: RequestResponseCycle | None = self.cycle
        self.cycle = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:  # pyright: ignore[reportUnnecessaryComparison] -- None at first
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A piece of the request's body is there."""
        if not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is there whole."""
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()
