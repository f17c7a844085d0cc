"""Ahead of every door: under which names this server answers, and which web pages it lets in.

A page reads an answer only if the answer names its origin, and asks beforehand, without a key, whether it may send
what it wants to send (CORS). Pages from this machine and those an operator names may; others hear what any stranger
hears, and their browser keeps it from them.

A page from elsewhere can point a name of its own at this machine and so speak with it as if it came from here (DNS
rebinding). Where nobody but this machine can connect, only names count that no stranger can point anywhere, and those
an operator allows (docs/decisions/0085).
"""

import ipaddress
import re
import time
from collections.abc import Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ApiError, UnknownHost, UnknownPath
from app.logs import RequestLog
from app.rpc import family_at
from app.transports import envelope

ANY: Final = "*"
VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EXPOSED: Final = b", ".join(
    (
        b"allow",
        b"baton-merged-from",
        b"etag",
        b"idempotency-replayed",
        b"mcp-session-id",
        b"retry-after",
        b"www-authenticate",
        b"x-request-id",
    )
)
"""The headers of answers that a page may read besides those that any may."""
PREFLIGHT_SECONDS: Final = b"600"  # for as long a browser need not ask again; Chromium's limit is 7200
NAMES_REMEMBERED_MAX: Final = 1024

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PRIVATE_ENDINGS: Final = (".localhost", ".local", ".internal", ".home.arpa")  # nobody can register these
_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")


class Pages:
    """The web pages that may call: those from this machine, and those that the operator names."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def allow(self, origin: bytes) -> bool:
        """Whether pages from there may call."""
        text = origin.decode("latin-1").lower()
        if text in self._allowed:
            return True
        try:
            parts = urlsplit(text)
        except ValueError:
            return False
        host = parts.hostname or ""
        return parts.scheme in {"http", "https"} and (host in _LOOPBACK or host.endswith(".localhost"))


class Names:
    """The names under which this server may be called."""

    def __init__(self, listens_on: str, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed) | {listens_on}
        anywhere = not is_loopback(listens_on)
        self._any = ANY in self._allowed or (anywhere and len(self._allowed) == 1)
        self.allow = lru_cache(NAMES_REMEMBERED_MAX)(self._allow)

    def _allow(self, host: bytes) -> bool:
        """Whether a request may carry this `Host`."""
        name = host_name(host)
        return self._any or name in self._allowed or _is_nobodys(name)


def host_name(host: bytes) -> str:
    """The name in a `Host` header, without its port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address in _LOOPBACK


def _is_nobodys(name: str) -> bool:
    """Whether no stranger can have this name lead here: an address, a name without a dot, one that is private for good."""
    if "." not in name or name.endswith(_PRIVATE_ENDINGS):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Gate:
    """What every request passes on its way to the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        pages: Pages,
        names: Names,
        verbs: Callable[[str], tuple[str, ...]],
        request_id: Callable[[bytes | None], str],
        request_log: RequestLog,
    ) -> None:
        self._app = app
        self._pages = pages
        self._names = names
        self._verbs = verbs
        self._request_id = request_id
        self._log = request_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        host, origin = b"localhost", None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
        path: str = scope["path"]
        if path[-1:] == "/" and len(path) > 1:
            scope = {**scope, "path": path[:-1]}  # as some join it; nothing here ends with one
        method = scope["method"]
        if origin is not None or method != "POST":
            send = self._open(send, origin)
        if not self._names.allow(host):
            await self._refuse(scope, send, UnknownHost(host_name(host)))
        elif method == "OPTIONS":
            await self._offer(scope, send, origin)
        else:
            await self._app(scope, receive, send)

    def _open(self, send: Send, origin: bytes | None) -> Send:
        """Let a page that may call read the answer, and caches know that others may not."""
        allowed = origin is not None and self._pages.allow(origin)

        async def opened(message: MutableMapping[str, Any]) -> None:  # Any: as ASGI has it
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
                varies = [value for name, value in headers if name == b"vary"]
                headers = [header for header in headers if header[0] != b"vary"]
                headers.append((b"vary", b", ".join((*varies, b"Origin"))))
                if origin is not None and allowed:
                    headers.append((b"access-control-allow-origin", origin))
                    headers.append((b"access-control-expose-headers", EXPOSED))
                message = {**message, "headers": headers}
            await send(message)

        return opened

    async def _offer(self, scope: Scope, send: Send, origin: bytes | None) -> None:
        """Say which verbs there are, to anybody: the document says it too. To a page that may call, say also what it may send."""
        headers = dict(scope["headers"])
        verbs = VERBS if scope["path"] == "*" else self._verbs(scope["path"])
        if not verbs:
            await self._refuse(scope, send, UnknownPath(f"There is nothing at {scope['path'][:80]}."))
            return
        said = [(b"allow", ", ".join(verbs).encode())]
        if origin is not None and b"access-control-request-method" in headers and self._pages.allow(origin):
            said.append((b"access-control-allow-methods", ", ".join(verbs).encode()))
            said.append((b"access-control-max-age", PREFLIGHT_SECONDS))
            said.append((b"vary", b"Access-Control-Request-Headers"))
            asked = headers.get(b"access-control-request-headers", b"")
            if _NAMES.fullmatch(asked.decode("latin-1")):  # what we do not know, we ignore
                said.append((b"access-control-allow-headers", asked))
            if headers.get(b"access-control-request-private-network") == b"true":
                said.append((b"access-control-allow-private-network", b"true"))
        await self._answer(scope, send, 204, b"", said)

    async def _refuse(self, scope: Scope, send: Send, error: ApiError) -> None:
        sent = dict(scope["headers"]).get(b"x-request-id")
        request_id = self._request_id(sent)
        body = envelope.failure(error, request_id, family_at(scope["path"]))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *envelope.headers(error),
        ]
        await self._answer(scope, send, error.status, body, headers, request_id, error.code)

    async def _answer(
        self,
        scope: Scope,
        send: Send,
        status: int,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        request_id: str | None = None,
        code: str | None = None,
    ) -> None:
        began = time.perf_counter()
        request_id = request_id or self._request_id(dict(scope["headers"]).get(b"x-request-id"))
        headers.append((b"x-request-id", request_id.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        seconds = time.perf_counter() - began
        self._log.add(scope["method"], scope["path"], status, seconds, request_id, None, code)
