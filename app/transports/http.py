"""Operations over HTTP: one pure ASGI callable that stands ahead of Starlette's routing.

It looks the path up in a dict, lets the key in, reads the body and runs the operation. Bad JSON, a wrong verb, an
unknown path and an oversized body all leave as documented errors, in the shape of the family whose prefix they came under.
"""

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, Final

import msgspec
from starlette.types import Receive

from app.auth import Keys
from app.db import Database
from app.errors import ApiError, CallerGone, InvalidInput, MethodNotAllowed
from app.rpc import RECORDS, Context, Operation, Result, execute
from app.transports import bodies, envelope
from app.transports.frame import JSON, Call, Door, Frame, hung_up
from app.transports.paths import Paths

MEDIA_TYPES_REMEMBERED_MAX: Final = 64  # clients differ in two or three

_JSON: Final = (b"application/json", b"text/json")


class RpcEndpoint(Door[Call]):
    """Every operation over HTTP."""

    kind = "http"

    def __init__(self, operations: tuple[Operation, ...], db: Database, keys: Keys, frame: Frame) -> None:
        super().__init__(frame, Call)
        self._operations = {op.path: op for op in operations if op.method is None}
        self._paths = Paths(operations)
        self._db = db
        self._keys = keys

    async def _answer(self, call: Call, receive: Receive) -> None:
        with self._frame.deadlines.within() as deadline:
            # Who asks comes before what they ask for: to a stranger every path looks the same.
            call.actor = actor = await self._keys.actor(call.headers.get(b"authorization"))
            op: Operation | None = None
            try:
                op, placed = self._find(call)
                call.operation = op.name
                body: bytes | None = None  # then the query says all
                if call.method not in {"GET", "HEAD"}:
                    body = await _read(call.headers, receive)
                elif placed is not None:
                    body = b""  # then the path does
            except ApiError:  # such a call has no price, but is not for nothing
                await actor.allowance.pay(1, spared=op is not None and op.spared is True)
                raise
            key = call.headers.get(b"idempotency-key")
            call.ignored, call.meant = [], op.decoder.known
            ctx = Context(self._db, actor, call.request_id, None if key is None else key.decode("latin-1"))
            if not op.patience_seconds:
                result = await execute(
                    op, ctx, body=body, query=call.query, placed=placed, ignored=call.ignored
                )
            else:
                deadline.extend(op.patience_seconds)
                with self._keys.stay(actor, op.scope) as stay:
                    ctx = msgspec.structs.replace(ctx, admission=stay)
                    work = execute(op, ctx, body=body, query=call.query, placed=placed, ignored=call.ignored)
                    result = await _while_connected(stay.accompany(work), receive)
        call.took(result)
        said = envelope.success(result, call.request_id, op.family)
        headers = [JSON, *envelope.headers(result)]
        if op.family is RECORDS:
            headers.append((b"etag", envelope.etag(result, said)))
        await call.answer(op.status, said, headers)

    def _find(self, call: Call) -> tuple[Operation, dict[str, str] | None]:
        """The operation that a call means, and the fields it has outside of its body; or an UnknownPath."""
        method = "GET" if call.method == "HEAD" else call.method
        op = self._operations.get(call.path)
        if op is None:
            return self._paths.find(method, call.path, call.query, call.headers)
        if method == "POST" or (method == "GET" and op.read_only):
            return op, None
        raise MethodNotAllowed(op.path, method, _verbs(op))

    def verbs(self, path: str) -> tuple[str, ...]:
        """What a path answers to; nothing if nothing is there."""
        op = self._operations.get(path)
        return self._paths.verbs(path) if op is None else _verbs(op)


def _verbs(op: Operation) -> tuple[str, ...]:
    return ("GET", "HEAD", "POST", "OPTIONS") if op.read_only else ("POST", "OPTIONS")


async def _while_connected(work: Coroutine[Any, Any, Result], receive: Receive) -> Result:
    """The outcome of work that may take its time, unless its caller hangs up: then it is cancelled."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(hung_up(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerGone
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


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
