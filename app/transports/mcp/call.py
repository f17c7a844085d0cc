"""One HTTP request to `/mcp`: read, answered, and watched over while it takes long."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import anyio
import mcp_types as protocol
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from starlette.types import Receive, Scope, Send

from app.errors import ApiError, KeyMissing, Unauthenticated
from app.rpc import Actor
from app.transports import bodies, envelope, frame
from app.transports.mcp import messages

PATIENCE_SECONDS: Final = 1.0  # a call that takes longer becomes a stream; almost all take milliseconds
PROGRESS_INTERVAL_SECONDS: Final = 5.0  # well inside the 30 or 60 after which proxies drop a silent stream

_TRANSPORT: Final = TransportContext(kind="streamable-http", can_send_request=False)
_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Refused(Exception):
    """The exchange cannot go on, for a reason of HTTP or of the protocol."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = protocol.INVALID_REQUEST,
        data: object = None,
        request_id: protocol.RequestId | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = protocol.ErrorData(code=code, message=message, data=data)
        self.request_id = request_id
        self.headers = headers


class Call(frame.Call):
    """Who sent a request, what they may see, and how it is answered."""

    def __init__(self, scope: Scope, send: Send, headers: dict[bytes, bytes], request_id: str) -> None:
        super().__init__(scope, send, headers, request_id)
        self.sent_headers: list[frame.Header] = scope["headers"]
        """As they came: some must not be there twice."""
        self.names: frozenset[str] = frozenset()
        """The tools of this connection."""
        self.strict = False
        """Whether it wants their schemas in the form of providers whose models must fill in every argument."""
        self.streams = False
        """Whether the client takes a stream for an answer."""
        self.progress_token: protocol.ProgressToken | None = None
        self._given_up = False
        self._work_began = 0.0
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def caller(self) -> Actor:
        """Who is calling; known by the time any method runs."""
        assert self.actor is not None, "the key is looked at before anything else"
        return self.actor

    def begin(self, receive: Receive) -> None:
        """Note that the work starts. Should it take long, watch over it: most ends before that costs anything."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._work_began = loop.time()
        self._timer = loop.call_later(PATIENCE_SECONDS, self._become_slow, receive)

    def end(self) -> None:
        """Note that the work has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def give_up(self) -> None:
        """End the work: nobody waits for it any more."""
        if self._task is not None and not self._given_up:
            self._given_up = True
            self._task.cancel()

    def was_given_up(self) -> bool:
        """Whether the cancellation that was just caught is this call's own, which is then over."""
        if self._given_up and self._task is not None:
            self._task.uncancel()
        return self._given_up

    async def notify(self, method: str, params: object) -> None:
        """Tell the client something ahead of the answer, if it takes a stream."""
        if self.streams:
            await self._event(messages.notification(method, params))

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Say how far the work is, if the client asked to know; else only that it goes on."""
        if self.progress_token is not None:
            said = {
                "progressToken": self.progress_token,
                "progress": progress,
                "total": total,
                "message": message,
            }
            await self.notify("notifications/progress", {k: v for k, v in said.items() if v is not None})
        elif self.streams:
            await self.stream(b": working\r\n\r\n", _STREAM_HEADERS)

    async def refuse(self, error: ApiError) -> None:
        """Refuse before any method runs: in the protocol's terms, with the error that every door knows."""
        self.fail(error)
        headers = envelope.headers(error)
        if isinstance(error, Unauthenticated):
            headers.append((b"www-authenticate", _challenge(error)))
        said = protocol.ErrorData(code=protocol.INVALID_REQUEST, message=error.message, data=error.body())
        await self.answer(error.status, messages.failure(None, said), headers)

    async def answer(self, status: int, body: bytes, headers: list[frame.Header]) -> None:
        """Send the answer: as JSON, or as the last event where a stream has begun."""
        if self.streaming:
            await self._event(body)
            await super().answer(status, b"", headers)
            return
        if body:
            headers.append(frame.JSON)
        await super().answer(status, body, headers)

    def _become_slow(self, receive: Receive) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._watch_over(receive))

    async def _watch_over(self, receive: Receive) -> None:
        """Report progress until the work ends; give it up when the client goes away."""
        loop = asyncio.get_running_loop()
        gone = loop.create_task(frame.hung_up(receive))
        try:
            while not gone.done():
                seconds = loop.time() - self._work_began
                await self.progress(round(seconds, 1), None, f"Working for {seconds:.0f} s.")
                await asyncio.wait({gone}, timeout=PROGRESS_INTERVAL_SECONDS)
            self.give_up()
        finally:
            gone.cancel()

    async def _event(self, message: bytes) -> None:
        await self.stream(b"event: message\r\ndata: %b\r\n\r\n" % message, _STREAM_HEADERS)


class Exchange:
    """What the SDK sees of a call: its `DispatchContext`, whose client can be told things and asked nothing."""

    __slots__ = ("_call", "message_metadata", "request_id")

    transport = _TRANSPORT
    can_send_request = False

    def __init__(self, call: Call, request_id: protocol.RequestId) -> None:
        self._call = call
        self.request_id = request_id
        self.message_metadata = ServerMessageMetadata(request_context=call, can_send_request=False)

    @property
    def cancel_requested(self) -> anyio.Event:
        """Never set: a call is cancelled by cancelling its task."""
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Refuse to ask the client: its answer would find no way back."""
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        """Tell the client something."""
        await self._call.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the client how far its call is."""
        await self._call.progress(progress, total, message)


async def body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """What was posted, whole, or the reason why not."""
    try:
        sent = await bodies.whole(headers, receive)
    except bodies.TooLarge as e:
        raise Refused(413, e.message) from None
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(415, "Send JSON, with the header `Content-Type: application/json`.")
    return sent


def accepts_stream(accept: bytes) -> bool:
    """Whether the client takes a stream for an answer; one that takes no JSON is refused."""
    kinds = {kind.partition(b";")[0].strip().lower() for kind in accept.split(b",")}
    if not kinds & {b"application/json", b"application/*", b"*/*"}:
        raise Refused(406, "Answers are JSON or streams: send `Accept: application/json, text/event-stream`.")
    return bool(kinds & {b"text/event-stream", b"text/*", b"*/*"})


def _challenge(error: Unauthenticated) -> bytes:
    """The `WWW-Authenticate` of a 401 (RFC 6750): who sent no key is only told that one is needed."""
    if isinstance(error, KeyMissing):
        return b'Bearer realm="Baton"'
    said = error.message.encode("ascii", "replace")
    return b'Bearer realm="Baton", error="invalid_token", error_description="%b"' % said
