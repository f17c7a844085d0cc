"""One request and its answer, between the application and a connection."""

import asyncio
import logging
from http import HTTPStatus
from typing import Final, Protocol

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveEvent,
    ASGISendEvent,
    HTTPResponseStartEvent,
    HTTPScope,
)

from app.errors import ApiError, InternalError
from app.server.http1 import Head

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = (b"connection", b"close")
_WITHOUT_BODY: Final = frozenset({204, 304})

log = logging.getLogger("baton.connections")


def head_of(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The head of an answer."""
    head = _STATUS_LINES[status] + b"\r\n".join(map(b": ".join, headers))
    if head.count(b"\n") != len(headers):
        raise RuntimeError("A header of the answer holds an end of line.")
    return head + b"\r\n\r\n"


class Line(Protocol):
    """What an exchange needs of its connection."""

    @property
    def is_full(self) -> bool:
        """Whether answers wait for somebody to take them."""
        ...

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer says."""
        ...

    def write(self, data: bytes) -> None:
        """Send this, soon."""

    async def emptied(self) -> None:
        """Wait until what was sent is taken."""

    def taken(self) -> None:
        """The application has taken what there was of the body."""

    def may_go_on(self, exchange: "Exchange") -> bool:
        """Whether another request may follow."""
        ...

    def answered(self, exchange: "Exchange") -> None:
        """An answer is out."""

    def give_up(self, error: ApiError) -> None:
        """Answer with this, if nothing is out yet, and go."""


class Exchange:
    """One request and its answer, as the application sees it. The answer's head is held back until its body is there."""

    __slots__ = (
        "_asks_first",
        "_event",
        "_left_bytes",
        "_line",
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

    def __init__(self, line: Line, head: Head, scope: HTTPScope) -> None:
        self.head = head
        self.scope = scope
        self.more_body = True
        """Whether some of the body has not come yet."""
        self.complete = False
        """Whether the answer is out."""
        self.gone = False
        """Whether nobody hears an answer any more."""
        self.keep_alive = head.keep_alive
        self._line = line
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
            self._line.give_up(InternalError())

    async def receive(self) -> ASGIReceiveEvent:
        """The next piece of the body, or that nobody hears the answer any more."""
        if self._asks_first and not self.gone:
            self._asks_first = False
            self._line.write(_CONTINUE)
        while True:
            if not self._told and (self._unread or not self.more_body):
                body, self._unread = bytes(self._unread), b""
                self._told = not self.more_body
                self._line.taken()
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
        if self._line.is_full:
            await self._line.emptied()
        if self.gone:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b"" if self._started else self._head_of_answer(body, more=more)
        self._started = True
        if data := head if self.head.method == "HEAD" else head + self._framed(body, more=more):
            self._line.write(data)
        if not more:
            self.complete = True
            self.wake()
            self._line.answered(self)

    def _head_of_answer(self, body: bytes, *, more: bool) -> bytes:
        if self._start is None:
            raise RuntimeError("An answer starts with its status.")
        status = self._start["status"]
        headers = [*self._line.default_headers, *self._start.get("headers", ())]
        length = closes = None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
        if closes or self._asks_first or not self._line.may_go_on(self):
            self.keep_alive = False  # if it asked whether to send a body, it may send that or not
        if status in _WITHOUT_BODY:
            length = 0
        elif length is None:
            length = self._frame(headers, None if more else len(body))
        self._left_bytes = length
        if not self.keep_alive and not closes:
            headers.append(CLOSE)
        return head_of(status, headers)

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
