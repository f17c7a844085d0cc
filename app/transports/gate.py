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
from collections.abc import Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import UnknownHost, UnknownPath
from app.transports.frame import Call, Door, Frame

ANY: Final = "*"
VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EXPOSED: Final = b", ".join(
    (
        b"allow",
        b"baton-ignored-fields",
        b"baton-merged-from",
        b"baton-told",
        b"etag",
        b"idempotency-replayed",
        b"mcp-session-id",
        b"ratelimit",
        b"ratelimit-policy",
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
        frame: Frame,
    ) -> None:
        self._app = app
        self._pages = pages
        self._names = names
        self._offers = Offers(frame, pages, verbs)
        self._stranger = Stranger(frame)

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
            await self._stranger(scope, receive, send)
        elif method == "OPTIONS":
            await self._offers(scope, receive, send)
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


class Stranger(Door[Call]):
    """What whoever calls the server by a name that is not its own hears."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame, Call)

    async def _answer(self, call: Call, receive: Receive) -> None:
        raise UnknownHost(host_name(call.headers[b"host"]))


class Offers(Door[Call]):
    """Which verbs there are, for anybody: the document says it too. A page that may call hears also what it may send."""

    def __init__(self, frame: Frame, pages: Pages, verbs: Callable[[str], tuple[str, ...]]) -> None:
        super().__init__(frame, Call)
        self._pages = pages
        self._verbs = verbs

    async def _answer(self, call: Call, receive: Receive) -> None:
        sent = call.headers
        verbs = VERBS if call.path == "*" else self._verbs(call.path)
        if not verbs:
            raise UnknownPath(f"There is nothing at {call.path[:80]}.")
        said = [(b"allow", ", ".join(verbs).encode())]
        origin = sent.get(b"origin")
        if origin is not None and b"access-control-request-method" in sent and self._pages.allow(origin):
            said.append((b"access-control-allow-methods", ", ".join(verbs).encode()))
            said.append((b"access-control-max-age", PREFLIGHT_SECONDS))
            said.append((b"vary", b"Access-Control-Request-Headers"))
            asked = sent.get(b"access-control-request-headers", b"")
            if _NAMES.fullmatch(asked.decode("latin-1")):  # what we do not know, we ignore
                said.append((b"access-control-allow-headers", asked))
            if sent.get(b"access-control-request-private-network") == b"true":
                said.append((b"access-control-allow-private-network", b"true"))
        await call.answer(204, b"", said)
