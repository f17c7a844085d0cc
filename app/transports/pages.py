"""The pages of the service itself, which need no key: /, /healthz and /openapi.json; and what is said where nothing is.

Apart from that they are like every other answer: a request id, a line in the log, and never the words of a framework.

Only these are compressed, for who asks. In the answer of an operation, texts that others chose stand beside what only the
caller may see, and how well they compress together would tell who watches the wire (docs/decisions/0084).
"""

import asyncio
import gzip
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Final

from starlette.types import Receive, Scope, Send

from app.db import Database, One, Query
from app.errors import ApiError, DatabaseUnavailable, InternalError, MethodNotAllowed, UnknownPath
from app.logs import RequestLog
from app.transports import envelope

VERBS: Final = ("GET", "HEAD", "OPTIONS")

log = logging.getLogger("baton.http")


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


class Page:
    """One page. `write` makes what it shows, or raises the ApiError that makes it unavailable."""

    def __init__(
        self,
        write: Callable[[], Awaitable[Content]],
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
        code: str | None = None
        try:
            status, body, said = await self._answer(method, path, headers)
        except ApiError as e:
            status, body, said, code = _refusal(e, request_id)
        except Exception:
            log.exception("request %s failed: %s %s", request_id, method, path)
            status, body, said, code = _refusal(InternalError(), request_id)
        said.append((b"x-request-id", request_id.encode()))
        if status != NOT_MODIFIED:
            said.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": said})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
        self._log.add(method, path, status, time.perf_counter() - began, request_id, None, code)

    async def _answer(
        self, method: str, path: str, headers: Mapping[bytes, bytes]
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        if method not in VERBS:
            raise MethodNotAllowed(path, method, VERBS)
        content = await self._write()
        said = [(b"content-type", content.media_type)]
        if not content.keeps:
            return 200, content.body, [*said, (b"cache-control", b"no-store")]
        packed = takes_gzip(headers.get(b"accept-encoding", b""))
        tag = content.tag + b"-gzip" if packed else content.tag
        said += [(b"etag", b'"%b"' % tag), (b"vary", b"Accept-Encoding"), (b"cache-control", b"no-cache")]
        if is_known(content.tag, headers.get(b"if-none-match", b"")):
            return NOT_MODIFIED, b"", said
        if packed:
            return 200, content.compressed, [*said, (b"content-encoding", b"gzip")]
        return 200, content.body, said


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


def _refusal(error: ApiError, request_id: str) -> tuple[int, bytes, list[tuple[bytes, bytes]], str]:
    body = envelope.failure(error, request_id)
    return (
        error.status,
        body,
        [(b"content-type", b"application/json"), *envelope.headers(error)],
        error.code,
    )


OK: Final = Content(b'{"ok":true}', keeps=False)


def healthz(db: Database) -> Callable[[], Awaitable[Content]]:
    """Whether the service can serve: it runs, and its database answers."""

    async def write() -> Content:
        asked = asyncio.create_task(db.one(ALIVE))
        await asyncio.wait({asked}, timeout=HEALTHZ_SECONDS_MAX)
        if not asked.done():
            asked.cancel()  # not awaited: letting go of a silent server takes a while
            raise DatabaseUnavailable
        await asked
        return OK

    return write


def fixed(content: Content) -> Callable[[], Awaitable[Content]]:
    """A page that is always the same."""

    async def write() -> Content:
        return content

    return write


class Nowhere(Page):
    """What is said where nothing is, to anybody: browsers and discoverers of all kinds look around without a key."""

    def __init__(self, request_id: Callable[[bytes | None], str], request_log: RequestLog) -> None:
        super().__init__(fixed(Content(b"")), request_id, request_log)

    async def _answer(
        self, method: str, path: str, headers: Mapping[bytes, bytes]
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        raise UnknownPath(f"There is nothing at {path[:80]}. What there is stands in /openapi.json.")


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
<li><a href="healthz">healthz</a> says whether the service can serve.</li>
</ul>
<p>The operator makes users, agents and keys with <code>python -m app</code>; <code>README.md</code> says how to begin.</p>
</html>
""",
    b"text/html; charset=utf-8",
)
"""Where a browser begins. Its links hold under a path prefix as well."""
