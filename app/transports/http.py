"""Operations over HTTP: one pure ASGI callable that stands ahead of Starlette's routing.

It looks the path up in a dict, lets the key in, reads the body, runs the operation and writes one line to the
request log. It never answers in a framework's words: bad JSON, a wrong verb, an unknown path and an oversized
body all leave as documented errors, in the shape of the family whose prefix they came under.
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from app.auth import Keys
from app.db import Database
from app.errors import ApiError, CallerGone, InternalError, InvalidInput, MethodNotAllowed
from app.logs import RequestLog
from app.rpc import BARE, Context, Operation, Result, execute, family_at
from app.transports import bodies, envelope
from app.transports.deadlines import Deadline, Deadlines
from app.transports.paths import Paths

MEDIA_TYPES_REMEMBERED_MAX: Final = 64  # clients differ in two or three

_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_JSON: Final = (b"application/json", b"text/json")

log = logging.getLogger("baton.http")


class RpcEndpoint:
    """Every operation over HTTP."""

    def __init__(
        self,
        operations: tuple[Operation, ...],
        db: Database,
        keys: Keys,
        request_log: RequestLog,
        deadlines: Deadlines,
    ) -> None:
        self._operations = {op.path: op for op in operations if op.method is None}
        self._paths = Paths(operations)
        self._db = db
        self._keys = keys
        self._log = request_log
        self._deadlines = deadlines
        self._request_ids = itertools.count(1)
        self._process = secrets.token_hex(6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self.request_id(headers.get(b"x-request-id"))
        call = _Call(scope["method"], scope["path"])
        aside: list[tuple[bytes, bytes]] = []
        try:
            with self._deadlines.within() as deadline:
                op, result = await self._answer(call, scope, headers, receive, request_id, deadline)
            said: Result | ApiError = result
            status, body = op.status, envelope.success(result, request_id, op.family)
            aside = [(b"etag", envelope.etag(result, body))] if op.family is BARE else []
        except ApiError as e:
            said, status, body, call.code = e, e.status, _failure(call, e, request_id), e.code
        except Exception:
            log.exception("request %s failed: %s %s", request_id, call.method, call.path)
            said = e = InternalError()
            status, body, call.code = e.status, _failure(call, e, request_id), e.code
        answer_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            *envelope.headers(said),
            *aside,
        ]
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else body})
        self._log.add(
            call.method, call.path, status, time.perf_counter() - began, request_id, call.actor, call.code
        )

    async def _answer(
        self,
        call: "_Call",
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        request_id: str,
        deadline: Deadline,
    ) -> tuple[Operation, Result]:
        # Who asks comes before what they ask for: to a stranger every path looks the same.
        actor = await self._keys.actor(headers.get(b"authorization"))
        call.actor = actor.handle
        op, placed = self._find(call, scope["query_string"], headers)
        # In a path with parameters all that a GET says stands there.
        reads = call.method in {"GET", "HEAD"}
        body = await _read(headers, receive) if not reads else None if placed is None else b""
        key = headers.get(b"idempotency-key")
        ctx = Context(self._db, actor, request_id, None if key is None else key.decode("latin-1"))
        if not op.patience_seconds:
            return op, await execute(op, ctx, body=body, query=scope["query_string"], placed=placed)
        deadline.extend(op.patience_seconds)
        with self._keys.stay(actor, op.scope) as stay:
            ctx = msgspec.structs.replace(ctx, admission=stay)
            work = execute(op, ctx, body=body, query=scope["query_string"], placed=placed)
            return op, await _while_connected(stay.accompany(work), receive)

    def _find(
        self, call: "_Call", query: bytes, headers: dict[bytes, bytes]
    ) -> tuple[Operation, dict[str, str] | None]:
        """The operation that a call means, and the fields it has outside of its body; or an UnknownPath."""
        method = "GET" if call.method == "HEAD" else call.method
        op = self._operations.get(call.path)
        if op is None:
            return self._paths.find(method, call.path, query, headers)
        if method == "POST" or (method == "GET" and op.read_only):
            return op, None
        raise MethodNotAllowed(op.path, method, _verbs(op))

    def verbs(self, path: str) -> tuple[str, ...]:
        """What a path answers to; nothing if nothing is there."""
        op = self._operations.get(path)
        return self._paths.verbs(path) if op is None else _verbs(op)

    def request_id(self, sent: bytes | None) -> str:
        """The caller's request id, if it sent a sane one; else a fresh one."""
        if sent is not None and _SANE_REQUEST_ID.fullmatch(sent):
            return sent.decode()
        return f"{self._process}-{next(self._request_ids)}"


class _Call:
    """What the log line will say of a request."""

    __slots__ = ("actor", "code", "method", "path")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.actor: str | None = None
        self.code: str | None = None


def _verbs(op: Operation) -> tuple[str, ...]:
    return ("GET", "HEAD", "POST", "OPTIONS") if op.read_only else ("POST", "OPTIONS")


def _failure(call: _Call, error: ApiError, request_id: str) -> bytes:
    return envelope.failure(error, request_id, family_at(call.path))


async def _while_connected(work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
    """The outcome of work that may take its time, unless its caller hangs up: then it is cancelled."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerGone
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _hung_up(receive: Receive) -> None:
    """Return when the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body of a POST, whole, or an InvalidInput."""
    body = await bodies.whole(headers, receive)
    if body and not _is_json(headers.get(b"content-type", b"application/json")):
        text = "Send JSON, with the header `Content-Type: application/json`."
        raise InvalidInput(text)
    return body


@lru_cache(MEDIA_TYPES_REMEMBERED_MAX)
def _is_json(content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type in _JSON or media_type.endswith(b"+json")
