"""Operations over the Model Context Protocol: tools for the agents people already run, at `/mcp`.

The protocol belongs to the official SDK: its low-level `Server` knows the methods, negotiates versions, validates
every message and shapes every result for the version a client speaks. What stands here is the HTTP exchange around
it. The SDK's own exchange starts a transport, four streams and several tasks for each request, which costs several
times the call itself (docs/decisions/0007); `serve_one`, which the SDK offers for entries like this, costs a tenth.

Stateless: an answer depends on nothing but its request, so any worker can give it. A quick call is answered with
JSON. One that takes longer turns into a stream that reports progress, and ends early when its client cancels or
goes away. Which tools there are, what they are called and what the server teaches comes from the operations.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import mcp_types as protocol
import msgspec
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
)
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params, progress_token_from_params
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from app.auth import Keys
from app.db import Database
from app.db.encoded import as_json
from app.errors import (
    ApiError,
    InternalError,
    InvalidInput,
    KeyMissing,
    NotFound,
    PermissionDenied,
    TimedOut,
    Unauthenticated,
)
from app.logs import RequestLog
from app.rpc import Actor, Context, Operation, Page, Result, execute
from app.transports import envelope
from app.transports.http import BODY_BYTES_MAX
from app.transports.tools import Tool, Toolbox, documents

Json: TypeAlias = dict[str, Any]  # Any: a JSON object of any shape
Ctx: TypeAlias = ServerRequestContext[None, "Call"]

PATIENCE_SECONDS: Final = 1.0  # a call that takes longer becomes a stream; almost all take milliseconds
PROGRESS_INTERVAL_SECONDS: Final = (
    5.0  # well inside the 30 or 60 seconds after which proxies drop a silent stream
)
SESSION_BYTES_MAX: Final = 200  # of the session header that a client sends back; ours has 22 characters

REQUEST_CANCELLED: Final = (
    -32800
)  # what the SDK's own transport answers; the stream of a request must end somehow
RESOURCE_NOT_FOUND: Final = -32002  # before 2026-07-28, which uses "invalid params"

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_TRANSPORT: Final = TransportContext(kind="streamable-http", can_send_request=False)
_STREAM_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

_encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode

log = logging.getLogger("baton.mcp")


class McpEndpoint:
    """Every operation as a tool, every read with a URI as a resource."""

    def __init__(
        self,
        operations: tuple[Operation, ...],
        db: Database,
        keys: Keys,
        request_log: RequestLog,
        *,
        request_id: Callable[[bytes | None], str],
        timeout_seconds: float,
        origins: frozenset[str],
    ) -> None:
        self._tools = Toolbox(operations)
        self._documents = documents(operations)
        self._db = db
        self._keys = keys
        self._log = request_log
        self._request_id = request_id
        self._timeout_seconds = timeout_seconds
        self._origins = origins
        self._under_way: dict[tuple[bytes, protocol.RequestId], Call] = {}
        self._server: Server[None] = Server(
            "baton",
            title="Baton",
            version="0.1.0",
            instructions=instructions(self._tools),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_resource_templates,
            on_read_resource=self._read_resource,
        )
        self._server.middleware.clear()  # of spans that nobody collects: a fifth of the time of a call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        call = Call(self._request_id(headers.get(b"x-request-id")), send)
        try:
            await self._answer(call, scope, headers, receive)
        except ApiError as e:
            await call.refuse(e)
        except Refused as e:
            await call.send(e.status, _error(e.request_id, e.error), e.headers)
        except Exception:
            log.exception("request %s failed: %s", call.request_id, call.what)
            await call.refuse(InternalError())
        seconds = time.perf_counter() - began
        actor = call.actor.handle if call.actor else None
        self._log.add(scope["method"], call.what, call.status, seconds, call.request_id, actor, call.code)

    # The door ------------------------------------------------------------------------------------------

    async def _answer(
        self, call: "Call", scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> None:
        call.actor = await self._keys.actor(headers.get(b"authorization"))
        self._check_origin(headers.get(b"origin"))
        if scope["method"] != "POST":
            message = (
                "POST a message here. There is no stream to GET and no session to DELETE: nothing is kept."
            )
            raise Refused(405, message, headers=[(b"allow", b"POST")])
        call.names = self._tools.chosen(_asked_tools(scope["query_string"]))
        call.streams = _accepts_stream(headers.get(b"accept", b"*/*"))
        message = _message(await _body(headers, receive))
        method = message.get("method")
        call.what = f"/mcp {method}" if isinstance(method, str) else "/mcp"
        session = headers.get(b"mcp-session-id", b"")[:SESSION_BYTES_MAX]
        if not isinstance(method, str) or "id" not in message:
            if method == "notifications/cancelled":
                self._cancel(session, message.get("params"), call.actor)
            await call.send(202, b"")  # a notification is taken note of; a response answers nothing we asked
            return
        await self._serve(call, message, session, headers, receive)

    def _check_origin(self, sent: bytes | None) -> None:
        """Refuse web pages from elsewhere: a browser sends where a page is from, and other clients send nothing."""
        if sent is None:
            return
        origin = sent.decode("latin-1")
        if urlsplit(origin).hostname not in _LOOPBACK and origin not in self._origins:
            message = f"Web pages from {origin[:80]} may not call this server. Its operator can allow them with MCP_ORIGINS."
            raise PermissionDenied(message)

    def _cancel(self, session: bytes, params: object, actor: Actor) -> None:
        """End a call of the same session and key, if it is under way in this process."""
        request_id = cancelled_request_id_from_params(params if isinstance(params, dict) else None)
        call = None if request_id is None else self._under_way.get((session, request_id))
        if session and call is not None and call.actor is not None and call.actor.key_id == actor.key_id:
            call.give_up()

    # The exchange --------------------------------------------------------------------------------------

    async def _serve(
        self, call: "Call", message: Json, session: bytes, headers: dict[bytes, bytes], receive: Receive
    ) -> None:
        connection = _connection(message, headers)
        request_id: protocol.RequestId = message["id"]
        call.progress_token = progress_token_from_params(message.get("params"))
        place = (session, request_id)
        self._under_way[place] = call
        call.begin(receive)
        try:
            reply, status = await self._reply(call, message, connection)
        except asyncio.CancelledError:
            if not call.given_up:  # the server is going down
                raise
            call.task.uncancel()
            call.code = "cancelled"
            reply, status = (
                _error(request_id, protocol.ErrorData(code=REQUEST_CANCELLED, message="Request cancelled")),
                200,
            )
        finally:
            call.end()
            if self._under_way.get(place) is call:
                del self._under_way[place]
        # A session only tells one client's request ids from another's, so that a cancellation ends the right call.
        new_session = message["method"] == "initialize" and [
            (b"mcp-session-id", secrets.token_urlsafe(16).encode())
        ]
        await call.send(status, reply, new_session or [])

    async def _reply(self, call: "Call", message: Json, connection: Connection) -> tuple[bytes, int]:
        """The JSON-RPC answer to a request, and the HTTP status that goes with it."""
        exchange = Exchange(call, message["id"])
        try:
            result = await serve_one(
                self._server,
                exchange,
                message["method"],
                message.get("params"),
                connection=connection,
                lifespan_state=None,
            )
        except MCPError as e:
            error = e.error
        except ValidationError:
            error = protocol.ErrorData(
                code=protocol.INVALID_PARAMS, message="The parameters do not fit the method."
            )
        except Exception:
            log.exception("request %s failed: %s", call.request_id, call.what)
            error = protocol.ErrorData(code=protocol.INTERNAL_ERROR, message=InternalError().message)
        else:
            return msgspec.json.encode({"jsonrpc": "2.0", "id": message["id"], "result": result}), 200
        call.code = call.code or f"rpc{error.code}"
        modern = connection.protocol_version in MODERN_PROTOCOL_VERSIONS
        return _error(message["id"], error), ERROR_CODE_HTTP_STATUS.get(error.code, 200) if modern else 200

    # The methods ---------------------------------------------------------------------------------------

    async def _list_tools(
        self, ctx: Ctx, params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListToolsResult:
        call = _call(ctx)
        tools = self._tools.listed(call.names, call.caller.scopes)
        return protocol.ListToolsResult(tools=[protocol.Tool.model_validate(tool) for tool in tools])

    async def _call_tool(self, ctx: Ctx, params: protocol.CallToolRequestParams) -> Json:
        call = _call(ctx)
        call.what = f"/mcp tools/call {params.name[:80]}"
        tool = self._tools.find(params.name)
        if tool is None or params.name not in call.names:
            message = f"There is no tool `{params.name[:80]}` on this connection. Connect with ?tools=all to see all."
            raise MCPError(code=protocol.INVALID_PARAMS, message=message)
        arguments = params.arguments or {}
        if tool.brief and not arguments.get("fields"):
            arguments = {**arguments, "fields": tool.brief}
        try:
            return _result(tool, await self._execute(call, tool.operation, arguments))
        except ApiError as e:
            return _refusal(call, e)
        except Exception:
            log.exception("request %s failed: %s", call.request_id, call.what)
            return _refusal(call, InternalError())

    async def _list_resources(
        self, ctx: Ctx, params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListResourcesResult:
        found = [
            protocol.Resource(uri=d.uri, name=d.name, description=d.description, mime_type="application/json")
            for d in self._documents
            if not d.templated and _may(_call(ctx).caller, d.operation)
        ]
        return protocol.ListResourcesResult(resources=found)

    async def _list_resource_templates(
        self, ctx: Ctx, params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListResourceTemplatesResult:
        found = [
            protocol.ResourceTemplate(
                uri_template=d.uri, name=d.name, description=d.description, mime_type="application/json"
            )
            for d in self._documents
            if d.templated and _may(_call(ctx).caller, d.operation)
        ]
        return protocol.ListResourceTemplatesResult(resource_templates=found)

    async def _read_resource(
        self, ctx: Ctx, params: protocol.ReadResourceRequestParams
    ) -> protocol.ReadResourceResult:
        call = _call(ctx)
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        missing = protocol.INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
        uri = str(params.uri)
        for document in self._documents:
            if (fields := document.fields(uri)) is None:
                continue
            arguments = {name: unquote(value) for name, value in fields.items()}
            try:
                result = await self._execute(call, document.operation, arguments)
            except ApiError as e:
                code = missing if isinstance(e, NotFound) else protocol.INTERNAL_ERROR
                raise MCPError(code=code, message=e.message, data=envelope.error_object(e)) from None
            text = protocol.TextResourceContents(
                uri=uri, mime_type="application/json", text=envelope.data(result).decode()
            )
            return protocol.ReadResourceResult(contents=[text])
        known = ", ".join(document.uri for document in self._documents)
        raise MCPError(
            code=missing,
            message=f"There is no resource {uri[:80]}. There are {known}.",
            data={"uri": uri[:200]},
        )

    async def _execute(self, call: "Call", operation: Operation, arguments: Mapping[str, object]) -> Result:
        ctx = Context(self._db, call.caller, call.request_id)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await execute(operation, ctx, body=msgspec.json.encode(arguments))
        except TimeoutError:
            raise TimedOut from None


class Call:
    """One HTTP request: who sent it, what it may see, and how it is answered."""

    __slots__ = (
        "_began",
        "_send",
        "_started",
        "_timer",
        "_watch",
        "actor",
        "code",
        "given_up",
        "names",
        "progress_token",
        "request_id",
        "status",
        "streams",
        "task",
        "what",
    )

    task: asyncio.Task[object]

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.actor: Actor | None = None
        self.names: frozenset[str] = frozenset()
        self.streams = False
        self.progress_token: protocol.ProgressToken | None = None
        self.given_up = False
        self.what = "/mcp"
        self.status = 0
        self.code: str | None = None
        self._send = send
        self._started = False
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def caller(self) -> Actor:
        """Who is calling; known by the time any method runs."""
        assert self.actor is not None, "the key is looked at before anything else"
        return self.actor

    def begin(self, receive: Receive) -> None:
        """The work starts now. Should it take long, watch over it: most calls end before that costs anything."""
        task = asyncio.current_task()
        assert task is not None, "a server runs each request in a task"
        self.task = task
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._timer = loop.call_later(PATIENCE_SECONDS, self._become_slow, receive)

    def end(self) -> None:
        """The work has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def give_up(self) -> None:
        """End the work: nobody waits for it any more."""
        if not self.given_up:
            self.given_up = True
            self.task.cancel()

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification ahead of the answer, where the client takes a stream."""
        if self.streams:
            await self._event(
                msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params or {}})
            )

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Say how far the work is, if the client asked to know; else only that it goes on."""
        if self.progress_token is None:
            if self.streams:
                await self._stream(b": working\r\n\r\n")
            return
        said = {
            "progressToken": self.progress_token,
            "progress": progress,
            "total": total,
            "message": message,
        }
        await self.notify(
            "notifications/progress", {key: value for key, value in said.items() if value is not None}
        )

    async def refuse(self, error: ApiError) -> None:
        """Answer that the door stays shut. A client reads the error of the protocol, people the same in words."""
        self.code = error.code
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, Unauthenticated):
            headers.append((b"www-authenticate", _challenge(error)))
        if error.retry_after_seconds is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after_seconds))
        said = protocol.ErrorData(
            code=protocol.INVALID_REQUEST, message=error.message, data=envelope.error_object(error)
        )
        await self.send(error.status, _error(None, said), headers)

    async def send(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Send the answer: as JSON, or as the last event where a stream has begun."""
        if self._started:
            await self._event(body)
            await self._send({"type": "http.response.body", "body": b""})
            return
        self.status = status
        all_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode()),
            *([(b"content-type", b"application/json")] if body else []),
            *(headers or []),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self._send({"type": "http.response.body", "body": body})

    def _become_slow(self, receive: Receive) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._watch_over(receive))

    async def _watch_over(self, receive: Receive) -> None:
        """Report progress until the work ends; give up when the client goes away."""
        loop = asyncio.get_running_loop()
        gone = loop.create_task(_disconnected(receive))
        try:
            while not gone.done():
                seconds = loop.time() - self._began
                await self.progress(round(seconds, 1), None, f"Working for {seconds:.0f} s.")
                await asyncio.wait({gone}, timeout=PROGRESS_INTERVAL_SECONDS)
            self.give_up()
        finally:
            gone.cancel()

    async def _event(self, message: bytes) -> None:
        await self._stream(b"event: message\r\ndata: %b\r\n\r\n" % message)

    async def _stream(self, data: bytes) -> None:
        if not self._started:
            self._started = True
            self.status = 200
            headers = [*_STREAM_HEADERS, (b"x-request-id", self.request_id.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class Exchange:
    """What the SDK sees of a call: a `DispatchContext` whose client can be told things and asked nothing."""

    __slots__ = ("_call", "cancel_requested", "message_metadata", "request_id")

    transport = _TRANSPORT
    can_send_request = False

    def __init__(self, call: Call, request_id: protocol.RequestId) -> None:
        self._call = call
        self.request_id = request_id
        self.message_metadata = ServerMessageMetadata(request_context=call, can_send_request=False)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        await self._call.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        await self._call.progress(progress, total, message)


class Refused(Exception):
    """The exchange cannot go on, for a reason of the protocol."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = protocol.INVALID_REQUEST,
        data: object = None,
        request_id: protocol.RequestId | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = protocol.ErrorData(code=code, message=message, data=data)
        self.request_id = request_id
        self.headers = headers or []


def instructions(tools: Toolbox) -> str:
    """What the server tells every agent that connects: what this is, the daily loop, and how to read refusals."""
    loop = "\n".join(f"{place}. {name}: {line}" for place, (name, line) in enumerate(tools.loop, 1))
    return f"""Baton keeps the tasks that agents and people share. Work in this loop:
{loop}
Name tasks by id or as T-42. Times are RFC 3339. Lists are short and give the main keys; `fields` asks for others, \
`cursor` for the next page. A refusal is a result with `code`, `message` and `details`; `message` says what to do \
next, and only what is `retryable` may be sent again unchanged."""


def _result(tool: Tool, result: Result) -> Json:
    """A result as text and as structure, with the same data as over HTTP. A list stands in an object, with its cursor."""
    raw = envelope.data(result)
    data = msgspec.json.decode(raw)
    content: list[Json] = [{"type": "text", "text": raw.decode()}]
    if tool.wrapped:
        data = {"data": data}
    if isinstance(result, Page):
        data["pagination"] = msgspec.to_builtins(envelope.pagination(result))
        if result.cursor is not None:
            content.append({"type": "text", "text": f"There is more: call again with cursor {result.cursor}"})
    return {"content": content, "structuredContent": data, "isError": False, "resultType": "complete"}


def _refusal(call: Call, refused: ApiError) -> Json:
    """A refusal as a result, so that the model sees what went wrong and what to do next."""
    call.code = refused.code
    raw = _encode(envelope.error_object(refused))
    return {
        "content": [{"type": "text", "text": raw.decode()}],
        "structuredContent": msgspec.json.decode(raw),
        "isError": True,
        "resultType": "complete",
    }


def _call(ctx: Ctx) -> Call:
    assert ctx.request is not None, "every exchange carries its call"
    return ctx.request


def _may(actor: Actor, operation: Operation) -> bool:
    return operation.scope is None or operation.scope in actor.scopes


def _connection(message: Json, headers: dict[bytes, bytes]) -> Connection:
    """The protocol version the client speaks, and who it says it is. Since 2026-07-28 every request says both."""
    request_id = message["id"]
    if (
        not isinstance(request_id, str | int)
        or isinstance(request_id, bool)
        or message.get("jsonrpc") != "2.0"
    ):
        text = 'Send one JSON-RPC request: {"jsonrpc": "2.0", "id": <string or integer>, "method": …}.'
        raise Refused(400, text)
    params = message.get("params")
    if params is not None and not isinstance(params, dict):
        text = "`params` must be an object."
        raise Refused(400, text, code=protocol.INVALID_PARAMS, request_id=request_id)
    version = headers.get(b"mcp-protocol-version", protocol.DEFAULT_NEGOTIATED_VERSION.encode()).decode(
        "latin-1"
    )
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        return Connection.from_envelope(version, None, None)
    text_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    route = classify_inbound_request(message, headers=text_headers)
    if isinstance(route, InboundLadderRejection):
        status = ERROR_CODE_HTTP_STATUS.get(route.code, 400)
        raise Refused(status, route.message, code=route.code, data=route.data, request_id=request_id)
    return Connection.from_envelope(route.protocol_version, route.client_info, route.client_capabilities)


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body, whole, or the reason why not."""
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        chunk: bytes = event.get("body", b"")
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            text = f"The message is larger than {BODY_BYTES_MAX} bytes. Send less at once."
            raise Refused(413, text, headers=[(b"connection", b"close")])
        chunks.append(chunk)
        if not event.get("more_body", False):
            break
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        text = "Send JSON, with the header `Content-Type: application/json`."
        raise Refused(415, text)
    return b"".join(chunks)


def _message(body: bytes) -> Json:
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        text = f"The body is not valid JSON: {e}."
        raise Refused(400, text, code=protocol.PARSE_ERROR) from None
    if not isinstance(message, dict):
        text = "Send one JSON-RPC message, not a batch."
        raise Refused(400, text)
    return message


def _accepts_stream(accept: bytes) -> bool:
    """Whether the client takes a stream; one that takes no JSON is refused."""
    kinds = {kind.partition(b";")[0].strip().lower() for kind in accept.split(b",")}
    if not kinds & {b"application/json", b"application/*", b"*/*"}:
        text = "Answers are JSON or streams: send `Accept: application/json, text/event-stream`."
        raise Refused(406, text)
    return bool(kinds & {b"text/event-stream", b"text/*", b"*/*"})


def _asked_tools(query: bytes) -> str:
    try:
        return ",".join(parse_qs(query.decode("ascii"), errors="strict").get("tools", ()))
    except ValueError:
        text = "The query string is not valid: percent-encode it as UTF-8."
        raise InvalidInput(text) from None


def _challenge(error: Unauthenticated) -> bytes:
    """The `WWW-Authenticate` of a 401 (RFC 6750): who sent no key is only told that one is needed."""
    if isinstance(error, KeyMissing):
        return b'Bearer realm="Baton"'
    return b'Bearer realm="Baton", error="invalid_token", error_description="%b"' % error.message.encode(
        "ascii", "replace"
    )


def _error(request_id: protocol.RequestId | None, error: protocol.ErrorData) -> bytes:
    said: Json = {"code": error.code, "message": error.message}
    if error.data is not None:
        said["data"] = error.data
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": said})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
