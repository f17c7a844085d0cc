"""The frame around every answer, at every door: a clock, a request id, what becomes of an error, a line in the log.

A door says what it answers. The frame sees to it that it always answers, and never in a framework's words.

What is to hold for all requests goes in here, once:

    a limit            on who is not known yet: in `Door.__call__`, before `_answer`: raise an ApiError, and the caller hears
                       it in its own dialect. On a caller: app/rpc/limits.py, where `execute` knows what a call is worth
    a metric           in `Door.__call__`, behind the last answer, beside the line in the log: it has the same facts.
                       What only the result of an operation tells is counted in `Call.took`
    a stream of events `Call.stream` for each piece and `Call.answer` for the last; `hung_up` says when nobody listens
"""

import itertools
import logging
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Generic, TypeAlias, TypeVar

from starlette.types import Receive, Scope, Send

from app.errors import ApiError, InternalError
from app.logs import RequestLog
from app.rpc import Actor, Outcome, Result, family_at
from app.tally import Tally
from app.tally.shape import MERGED, REPLAYED
from app.transports import envelope
from app.transports.deadlines import Deadlines
from app.transports.traces import traced

Header: TypeAlias = tuple[bytes, bytes]

JSON: Final = (b"content-type", b"application/json")

_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_WITHOUT_BODY: Final = frozenset({204, 304})

log = logging.getLogger("baton.http")


class Call:
    """One request: what it says, how it is answered, and what its line in the log will say of it."""

    actor: Actor | None = None
    status = 0
    code: str | None = None
    error: type[ApiError] | str | None = None
    """Why it was refused; a word where that is none of our errors."""
    operation: str | None = None
    """The operation that is called, if it is one."""
    counted = False
    """Whether its parts are counted, so that it does not count itself."""
    aside: str | None = None
    """What is to be counted besides: one of the ASIDES of app/tally/shape.py."""
    body_bytes = 0
    """How much of an answer was sent, without its head."""
    what: str
    """What is called, for the log."""
    ignored: Sequence[str] = ()
    """The names of fields that were sent and that nobody reads."""
    meant: frozenset[str] = frozenset()
    """Those that the called operation reads."""
    streaming = False
    """Whether some of an answer is out whose end is still to come."""

    def __init__(self, scope: Scope, send: Send, headers: dict[bytes, bytes], request_id: str) -> None:
        self.method: str = scope["method"]
        self.path = self.what = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers = headers
        self.request_id = request_id
        self.trace = traced(headers[b"traceparent"]) if b"traceparent" in headers else None
        self._send = send

    async def answer(self, status: int, body: bytes, headers: list[Header]) -> None:
        """Send an answer that is whole, or the last piece of one that has begun. The headers are taken over."""
        if not self.streaming:
            self.status = status
            if self.ignored:
                headers.append(envelope.ignored_fields(self.ignored, self.meant))
            headers.append((b"x-request-id", self.request_id.encode()))
            if status not in _WITHOUT_BODY:
                headers.append((b"content-length", b"%d" % len(body)))
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if self.method == "HEAD":
            body = b""
        self.body_bytes += len(body)
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, piece: bytes, headers: Iterable[Header]) -> None:
        """Send a piece of an answer, and with the first its headers."""
        if not self.streaming:
            self.streaming, self.status = True, 200
            said = [*headers, (b"x-request-id", self.request_id.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": said})
        self.body_bytes += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, in the words of the family whose path this is."""
        self.fail(error)
        body = envelope.failure(error, self.request_id, family_at(self.path))
        await self.answer(error.status, body, [JSON, *envelope.headers(error)])

    def took(self, result: Result) -> None:
        """Note what an operation answered."""
        if isinstance(result, Outcome):
            if result.first is not None and result.first.replayed:
                self.aside = REPLAYED
            elif result.merged_from is not None:
                self.aside = MERGED

    def fail(self, error: ApiError) -> None:
        """Note that it is refused."""
        self.code, self.error = error.code, type(error)
        if error.first is not None and error.first.replayed:
            self.aside = REPLAYED


C = TypeVar("C", bound=Call)


class Frame:
    """What all doors of a process share."""

    def __init__(self, request_log: RequestLog, deadlines: Deadlines, tally: Tally | None = None) -> None:
        self.log = request_log
        self.tally = tally
        self.deadlines = deadlines
        """A door says what a call must have done by then: sending the answer is no part of it, but up to who takes it."""
        self._request_ids = itertools.count(1)
        self._process = secrets.token_hex(6)

    def request_id(self, sent: bytes | None) -> str:
        """The caller's request id, if it sent a sane one; else a fresh one."""
        if sent is not None and _SANE_REQUEST_ID.fullmatch(sent):
            return sent.decode()
        return f"{self._process}-{next(self._request_ids)}"


class Door(ABC, Generic[C]):
    """A way in: an ASGI application that answers each request, whatever it is."""

    kind: ClassVar[str] = "page"
    """As what its calls are counted: one of the DOORS of app/tally/shape.py."""

    def __init__(self, frame: Frame, calls: type[C]) -> None:
        self._frame = frame
        self._calls = calls
        self._tally = frame.tally
        self._took = {} if frame.tally is None else frame.tally.took[self.kind]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        call = self._calls(scope, send, headers, self._frame.request_id(headers.get(b"x-request-id")))
        try:
            await self._answer(call, receive)
        except ApiError as e:
            await call.refuse(e)
        except Exception:
            log.exception("request %s failed: %s %s", call.request_id, call.method, call.what)
            await call.refuse(InternalError())
        seconds = time.perf_counter() - began
        if self._tally is not None and not call.counted:
            self._tally.call(self._took, call, seconds)
        self._frame.log.add(call, seconds)

    def _count_part(self, call: C, seconds: float) -> None:
        """Count one of several things that one request asks, and be ready for the next."""
        if self._tally is not None:
            self._tally.call(self._took, call, seconds)
        call.counted = True
        call.operation = call.error = call.aside = None

    @abstractmethod
    async def _answer(self, call: C, receive: Receive) -> None:
        """Answer, or raise what stands in the way."""


async def hung_up(receive: Receive) -> None:
    """Return when the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
