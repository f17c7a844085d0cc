"""The port on which `/metrics` is answered, by a thread of the process that was started.

It has an event loop of its own, so it answers also while the service is busy, drains or has lost its database. The way in is the
same as for every other caller: the same reader of HTTP, the same bounds, and the names that no stranger can point here.
"""

import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from app.db.watcher import Watcher
from app.ending import end
from app.server.crowd import Limits
from app.server.metrics.counted import counted
from app.server.metrics.gauges import SECONDS_MAX, Gauges
from app.server.metrics.text import MEDIA_TYPE, text
from app.server.protocol import Door
from app.tally import Board, Shape
from app.transports.gate import Names
from app.transports.pages import takes_gzip

CONNECTIONS_MAX: Final = 20
DRAIN_SECONDS_MAX: Final = 1


class Page:
    """The one page of this port."""

    def __init__(self, shape: Shape, board: Board, gauges: Gauges, names: Names) -> None:
        self._shape = shape
        self._board = board
        self._gauges = gauges
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"])
        status, body, said = 200, b"", [(b"content-type", b"text/plain; charset=utf-8")]
        if not self._names.allow(headers.get(b"host", b"localhost")):
            status, body = (
                403,
                b"This server does not answer to that name. Its operator can allow it with ALLOWED_HOSTS.\n",
            )
        elif scope["path"] != "/metrics":
            status, body = 404, b"There is nothing here but /metrics.\n"
        elif scope["method"] not in {"GET", "HEAD"}:
            status, body = 405, b"/metrics answers to GET.\n"
            said.append((b"allow", b"GET, HEAD"))
        else:
            body = text([*counted(self._shape, self._board), *self._gauges.samples])
            said = [(b"content-type", MEDIA_TYPE), (b"vary", b"Accept-Encoding")]
            if takes_gzip(headers.get(b"accept-encoding", b"")):
                body = gzip.compress(body, compresslevel=1)
                said.append((b"content-encoding", b"gzip"))
        said.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": said})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Application(Starlette):
    """Starlette for starting and stopping; the page answers."""

    def __init__(self, page: Page, gauges: Gauges) -> None:
        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncGenerator[None]:
            reading = asyncio.create_task(gauges.keep_reading())
            yield
            await end(reading)

        super().__init__(lifespan=lifespan)
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._page(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@contextmanager
def answering(listener: socket.socket, shape: Shape, board: Board, dsn: str, names: Names) -> Generator[None]:
    """Serve the page at a socket that is bound, for as long as the block is open."""
    gauges = Gauges(Watcher(dsn, seconds_max=SECONDS_MAX))
    config = uvicorn.Config(
        _Application(Page(shape, board, gauges, names), gauges),
        loop="uvloop",
        http=Door(Limits(connections_max=CONNECTIONS_MAX)),  # pyright: ignore[reportArgumentType] -- as in serve.py
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
