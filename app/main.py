"""The application: everything wired together. Imports everything, imported by no one but the command line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.auth import Keys
from app.config import Config
from app.db import Database, Query
from app.errors import ApiError, UnknownPath
from app.logs import RequestLog
from app.operations import OPERATIONS
from app.transports import envelope
from app.transports.http import RpcEndpoint
from app.transports.mcp import McpEndpoint
from app.transports.openapi import document


class Alive(msgspec.Struct):
    """The database's answer to being asked."""

    ok: bool


ALIVE = Query(Alive, "SELECT true")


class Application(Starlette):
    """Starlette for the few pages around the operations; the operations themselves are answered ahead of its routing."""

    def __init__(self, rpc: RpcEndpoint, mcp: McpEndpoint, **settings: object) -> None:
        super().__init__(**settings)  # pyright: ignore[reportArgumentType] -- passed on as they came
        self._rpc = rpc
        self._mcp = mcp
        self.router.redirect_slashes = False
        self.router.default = rpc  # also for what is nowhere: it knows how to say so

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or run the lifespan."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self._rpc(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in {"/mcp", "/mcp/"}:
            await self._mcp(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(config: Config, dsn: str) -> Application:
    """The service, on the database at `dsn`, whose schema is in place."""
    db = Database(
        dsn,
        connections_max=config.database_connections,
        statement_timeout_seconds=config.statement_timeout_seconds,
        pooler=config.database_pooler,
    )
    keys = Keys(db)
    request_log = RequestLog(enabled=config.log_level in {"debug", "info"}, as_json=config.log_format == "json")
    openapi = msgspec.json.encode(document(OPERATIONS))

    async def healthz(request: Request) -> Response:
        try:
            await db.one(ALIVE)
        except ApiError as e:
            return Response(msgspec.json.encode({"ok": False, "message": e.message}), 503, media_type="application/json")
        return Response(b'{"ok":true}', media_type="application/json")

    async def openapi_json(request: Request) -> Response:
        return Response(openapi, media_type="application/json")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(request_log.write)
            await db.open()
            stack.push_async_callback(db.close)
            stack.push_async_callback(keys.write_used)
            await stack.enter_async_context(_running(keys.watch()))
            yield

    rpc = RpcEndpoint(OPERATIONS, db, keys, request_log, config.request_timeout_seconds)
    async def wrong_verb(request: Request, refused: Exception) -> Response:
        """Starlette's 405, in our words: the published client knows no such status."""
        error = UnknownPath(f"{request.url.path} answers to GET only.")
        body = envelope.failure(error, rpc.request_id(request.headers.get("x-request-id", "").encode()))
        return Response(body, error.status, media_type="application/json")

    routes = [Route("/healthz", healthz, methods=["GET"]), Route("/openapi.json", openapi_json, methods=["GET"])]
    mcp = McpEndpoint(
        OPERATIONS,
        db,
        keys,
        request_log,
        request_id=rpc.request_id,
        timeout_seconds=config.request_timeout_seconds,
        origins=config.allowed_mcp_origins,
    )
    return Application(rpc, mcp, routes=routes, lifespan=lifespan, exception_handlers={405: wrong_verb})


@asynccontextmanager
async def _running(work: "asyncio.coroutines.Coroutine[None, None, None]") -> AsyncIterator[None]:
    """Work that goes on in the background for as long as the block is open."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
