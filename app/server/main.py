"""The application: everything wired together. Imports everything, imported by no one but `serve`."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import FrameType

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from app import jobs
from app.auth import Keys
from app.config import PROJECT, Config
from app.db import Database
from app.ending import end
from app.logs import RequestLog
from app.operations import OPERATIONS
from app.operations.runs.bell import bell_of
from app.rpc import Limits, Rate, Waits
from app.server.metrics.pulse import beat
from app.server.verbosity import heed
from app.tally import Tally
from app.transports import pages
from app.transports.deadlines import Deadlines
from app.transports.frame import Frame
from app.transports.gate import Gate, Names, Pages
from app.transports.http import RpcEndpoint
from app.transports.mcp.endpoint import McpEndpoint
from app.transports.pages import HOME, Content, Nowhere, Page, Readiness, fixed, healthz


class Doors:
    """Which door answers: by path, for every request that passed the gate."""

    def __init__(
        self, rpc: RpcEndpoint, mcp: McpEndpoint, pages: Mapping[str, Page], nowhere: Nowhere
    ) -> None:
        self._rpc = rpc
        self._mcp = mcp
        self._pages = pages
        self._nowhere = nowhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        if path.startswith("/v1/"):
            await self._rpc(scope, receive, send)
        elif path == "/mcp":
            await self._mcp(scope, receive, send)
        else:
            await self._pages.get(path, self._nowhere)(scope, receive, send)

    def verbs(self, path: str) -> tuple[str, ...]:
        """What a path answers to; nothing if nothing is there."""
        if path in self._pages:
            return pages.VERBS
        return self._mcp.verbs if path == "/mcp" else self._rpc.verbs(path)


class Application(Starlette):
    """Starlette for starting and stopping; requests go through the gate."""

    def __init__(self, gate: Gate, **settings: object) -> None:
        super().__init__(**settings)  # pyright: ignore[reportArgumentType] -- passed on as they came
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or run the lifespan."""
        if scope["type"] == "http":
            await self._gate(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    config: Config, dsn: str, tally: Tally | None = None, connections: Callable[[], int] = lambda: 0
) -> Application:
    """The service, on the database at `dsn`, whose schema is in place. With a `tally` it counts what happens."""
    db = Database.from_config(config, dsn, tally=tally)
    readiness = Readiness(db)
    keys = Keys(db, _limits(config))
    request_log = RequestLog(level=config.log_level, as_json=config.log_format == "json")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(request_log.write)
            await stack.enter_async_context(db)
            stack.push_async_callback(keys.write_used)
            await stack.enter_async_context(_running(keys.watch()))
            await stack.enter_async_context(_running(jobs.run(db, config)))
            await stack.enter_async_context(_running(heed(db, request_log, config.log_level)))
            if tally is not None:
                await stack.enter_async_context(_running(beat(tally, db, keys, connections)))
            stack.enter_context(_warned_of_the_end(readiness, bell_of(db).close, config.drain_seconds))
            yield

    frame = Frame(request_log, Deadlines(config.request_timeout_seconds), tally)
    web = Pages(config.allowed_origins)
    rpc = RpcEndpoint(OPERATIONS, db, keys, frame)
    mcp = McpEndpoint(OPERATIONS, db, keys, frame, pages=web, finds_similar=config.similar_tasks)
    contents = {
        "/": fixed(HOME),
        "/healthz": healthz(db),
        "/readyz": readiness.write,
        "/openapi.json": fixed(Content((PROJECT / "docs" / "openapi.json").read_bytes())),
    }
    shown = {path: Page(write, frame) for path, write in contents.items()}
    doors = Doors(rpc, mcp, shown, Nowhere(frame))
    names = Names(config.host, config.allowed_host_names)
    gate = Gate(doors, pages=web, names=names, verbs=doors.verbs, frame=frame)
    return Application(gate, lifespan=lifespan)


def _limits(config: Config) -> Limits:
    return Limits(
        Rate(config.rate_limit_key_per_second, config.rate_limit_key_burst),
        Rate(config.rate_limit_workspace_per_second, config.rate_limit_workspace_burst),
        Waits(config.waiting_key_max, config.waiting_max),
    )


@contextmanager
def _warned_of_the_end(
    readiness: Readiness, prepare: Callable[[], None], drain_seconds: float
) -> Generator[None]:
    """Call `prepare` when a signal ends the service. The server itself says so only after every call was answered.

    It ends `drain_seconds` after the signal, or at once with a second one. Until then it says that it is not ready.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are heard in the main thread only
        return
    loop = asyncio.get_running_loop()
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    ended: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        again, readiness.draining = readiness.draining, True
        if ended:  # the server was told; told again, it waits for nobody
            handlers[number](number, frame)
        elif again or not drain_seconds:
            go(number)
        else:
            loop.call_soon_threadsafe(loop.call_later, drain_seconds, go, number)

    def go(number: int) -> None:
        if not ended:
            ended.append(number)
            loop.call_soon_threadsafe(prepare)
            handlers[number](number, None)

    for number in (signal.SIGTERM, signal.SIGINT):
        if callable(handler := signal.getsignal(number)):
            handlers[number] = handler
            signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Work that goes on in the background for as long as the block is open."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end(task)
