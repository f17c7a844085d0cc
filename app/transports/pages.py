"""The pages of the service itself, which need no key: /, /healthz, /readyz and /openapi.json; and what is said where nothing is.

Apart from that they are like every other answer: a request id, a line in the log, and never the words of a framework.

Only these are compressed, for who asks. In the answer of an operation, texts that others chose stand beside what only the
caller may see, and how well they compress together would tell who watches the wire (docs/decisions/0084).
"""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec
from starlette.types import Receive

from app.db import Database, One, Query, schema
from app.errors import DatabaseUnavailable, MethodNotAllowed, NotReady, UnknownPath
from app.transports.frame import Call, Door, Frame

R = TypeVar("R")

VERBS: Final = ("GET", "HEAD", "OPTIONS")

ALIVE = Query(
    One[bool], "SELECT true", pipelined=True, everywhere=True
)  # it must not wait for what callers ask

HEALTHZ_SECONDS_MAX: Final = 2.0  # whoever asks wants to hear no, rather than nothing


class Content:
    """What a page shows."""

    def __init__(self, body: bytes, media_type: bytes = b"application/json", *, keeps: bool = True) -> None:
        self.body = body
        self.media_type = media_type
        self.keeps = keeps
        """Whether it stays the same, so that it is worth compressing, and whoever has it need not be sent it again."""

    @cached_property
    def tag(self) -> bytes:
        """What names this content, whatever way it is sent."""
        return hashlib.blake2b(self.body, digest_size=12).hexdigest().encode()

    @cached_property
    def compressed(self) -> bytes:
        """The same as gzip."""
        return gzip.compress(self.body, mtime=0)


class Page(Door[Call]):
    """One page. `write` makes what it shows, or raises the ApiError that makes it unavailable."""

    def __init__(self, write: Callable[[], Awaitable[Content]], frame: Frame) -> None:
        super().__init__(frame, Call)
        self._write = write

    async def _answer(self, call: Call, receive: Receive) -> None:
        if call.method not in VERBS:
            raise MethodNotAllowed(call.path, call.method, VERBS)
        content = await self._write()
        said = [(b"content-type", content.media_type)]
        if not content.keeps:
            await call.answer(200, content.body, [*said, (b"cache-control", b"no-store")])
            return
        packed = takes_gzip(call.headers.get(b"accept-encoding", b""))
        tag = content.tag + b"-gzip" if packed else content.tag
        said += [(b"etag", b'"%b"' % tag), (b"vary", b"Accept-Encoding"), (b"cache-control", b"no-cache")]
        if is_known(content.tag, call.headers.get(b"if-none-match", b"")):
            await call.answer(NOT_MODIFIED, b"", said)
        elif packed:
            await call.answer(200, content.compressed, [*said, (b"content-encoding", b"gzip")])
        else:
            await call.answer(200, content.body, said)


NOT_MODIFIED: Final = 304
_TAG: Final = re.compile(rb'(?:W/)?"([^"]*?)(?:-(?:gzip|br|zstd|deflate))?"')
_WEIGHT: Final = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether who sent this wants gzip rather than nothing of the kind."""
    weights: dict[bytes, float] = {}
    for item in accept_encoding.lower().split(b","):
        name, _, parameters = item.partition(b";")
        weight = _WEIGHT.fullmatch(parameters.strip())
        weights[name.strip()] = float(weight[1]) if weight else 1.0 if not parameters else 0.0
    return weights.get(b"gzip", weights.get(b"*", 0.0)) > 0


def is_known(tag: bytes, if_none_match: bytes) -> bool:
    """Whether a caller has this already. A proxy that compresses marks a tag as weak, or writes the coding behind it."""
    return if_none_match.strip() == b"*" or tag in _TAG.findall(if_none_match)


OK: Final = Content(b'{"ok":true}', keeps=False)


def healthz(db: Database) -> Callable[[], Awaitable[Content]]:
    """Whether the service can serve: it runs, and its database answers."""

    async def write() -> Content:
        await _in_time(db.one(ALIVE))
        return OK

    return write


async def _in_time(asking: Coroutine[Any, Any, R]) -> R:  # Any: what passes between it and the loop
    """An answer of the database, unless it takes longer than whoever looks wants to wait."""
    asked = asyncio.create_task(asking)
    await asyncio.wait({asked}, timeout=HEALTHZ_SECONDS_MAX)
    if not asked.done():
        asked.cancel()  # not awaited: letting go of a silent server takes a while
        raise DatabaseUnavailable
    return await asked


READY: Final = Content(b'{"ready":true}', keeps=False)


class SchemaRow(msgspec.Struct):
    """How far the database has come, as app/db/schema.py writes it down."""

    version: int
    prepared: int


SCHEMA = Query(
    SchemaRow,
    "SELECT version, coalesce(prepared, version) FROM baton_schema",
    pipelined=True,
    everywhere=True,
)


class Readiness:
    """Whether callers who can choose should come here: whether the service can serve, and will for some time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.draining = False
        """Whether it is about to stop."""

    async def write(self) -> Content:
        """The page that says so."""
        if self.draining:
            raise NotReady("The service is about to stop.")
        row = await _in_time(self._db.one(SCHEMA))
        if row is None or row.version > schema.VERSION or row.prepared < schema.VERSION:
            raise NotReady("The database has the schema of another release.")
        return READY


def fixed(content: Content) -> Callable[[], Awaitable[Content]]:
    """A page that is always the same."""

    async def write() -> Content:
        return content

    return write


class Nowhere(Door[Call]):
    """What is said where nothing is, to anybody: browsers and discoverers of all kinds look around without a key."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame, Call)

    async def _answer(self, call: Call, receive: Receive) -> None:
        raise UnknownPath(f"There is nothing at {call.path[:80]}. What there is stands in /openapi.json.")


HOME: Final = Content(
    b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Baton</title>
<h1>Baton</h1>
<p>This is Baton, the task backend that AI agents share. It is running, and made for programs.</p>
<ul>
<li>Agents connect to <code>/mcp</code> (Model Context Protocol, Streamable HTTP) or call operations under
<code>/v1/agent/</code>, with their key in the header <code>Authorization: Bearer &lt;key&gt;</code>.</li>
<li><a href="openapi.json">openapi.json</a> describes every operation.</li>
<li><a href="healthz">healthz</a> says whether the service can serve, <a href="readyz">readyz</a> whether to send it calls.</li>
</ul>
<p>The operator makes users, agents and keys with <code>python -m app</code>; <code>README.md</code> says how to begin.</p>
</html>
""",
    b"text/html; charset=utf-8",
)
"""Where a browser begins. Its links hold under a path prefix as well."""
