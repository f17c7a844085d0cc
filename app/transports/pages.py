"""The two pages of the service itself, which need no key: /healthz and /openapi.json.

Apart from that they are like every other answer: JSON, a request id, a line in the log, and never the words of
a framework.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.db import Database, Query
from app.errors import ApiError, DatabaseUnavailable, InternalError, UnknownPath
from app.logs import RequestLog
from app.transports import envelope

log = logging.getLogger("baton.http")


class Alive(msgspec.Struct):
    """The database's answer to being asked."""

    ok: bool


ALIVE = Query(Alive, "SELECT true", pipelined=True)  # it must not wait for what callers ask

OK: Final = b'{"ok":true}'
HEALTHZ_SECONDS_MAX: Final = 2.0  # whoever asks wants to hear no, rather than nothing


class Page:
    """One page. `write` makes its body, or raises the ApiError that makes it unavailable."""

    def __init__(
        self,
        write: Callable[[], Awaitable[bytes]],
        request_id: Callable[[bytes | None], str],
        request_log: RequestLog,
    ) -> None:
        self._write = write
        self._request_id = request_id
        self._log = request_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        method, path = scope["method"], scope["path"]
        request_id = self._request_id(headers.get(b"x-request-id"))
        error: ApiError | None = None
        try:
            status, body = 200, await self._answer(method, path)
        except ApiError as e:
            error = e
            status, body = e.status, envelope.failure(e, request_id)
        except Exception:
            log.exception("request %s failed: %s %s", request_id, method, path)
            error = InternalError()
            status, body = error.status, envelope.failure(error, request_id)
        answer = Response(body, status, {"x-request-id": request_id}, media_type="application/json")
        if error is not None and error.retry_after_seconds is not None:
            answer.headers["retry-after"] = str(error.retry_after_seconds)
        await answer(scope, receive, send)
        self._log.add(
            method, path, status, time.perf_counter() - began, request_id, None, error and error.code
        )

    async def _answer(self, method: str, path: str) -> bytes:
        if method not in {"GET", "HEAD"}:
            raise UnknownPath(f"{path} answers to GET only.")
        return await self._write()


def healthz(db: Database) -> Callable[[], Awaitable[bytes]]:
    """Whether the service can serve: it runs, and its database answers."""

    async def write() -> bytes:
        asked = asyncio.create_task(db.one(ALIVE))
        await asyncio.wait({asked}, timeout=HEALTHZ_SECONDS_MAX)
        if not asked.done():
            asked.cancel()  # not awaited: letting go of a silent server takes a while
            raise DatabaseUnavailable
        await asked
        return OK

    return write


def fixed(body: bytes) -> Callable[[], Awaitable[bytes]]:
    """A page that is always the same."""

    async def write() -> bytes:
        return body

    return write
