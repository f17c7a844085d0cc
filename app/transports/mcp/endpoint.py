"""`/mcp`: the protocol's methods on one side, a single HTTP exchange on the other.

The protocol belongs to the official SDK: its low-level `Server` knows the methods, negotiates versions, validates
every message and shapes every result for the version a client speaks. The HTTP exchange around it is ours. The
SDK's own starts a transport, four streams and several tasks for each request, which costs several times the call
itself (docs/decisions/0070); `serve_one`, which the SDK offers for entries like this, does not.

Stateless: an answer depends on nothing but its request, so any worker can give it. A quick call is answered with
JSON. One that takes longer turns into a stream that reports progress, and ends early when its client cancels it
or goes away.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

import mcp_types as protocol
import msgspec
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
    unsupported_protocol_version_rejection,
)
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params, progress_token_from_params
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from msgspec import UNSET
from pydantic import ValidationError
from starlette.types import Receive

from app import version
from app.auth import Keys
from app.db import Database
from app.errors import ApiError, InternalError, InvalidInput, NotFound, PermissionDenied
from app.operations.told import Told
from app.rpc import Actor, Context, Operation, Outcome, Page, Result, execute
from app.transports import envelope
from app.transports.frame import Door, Frame
from app.transports.gate import Pages
from app.transports.mcp import messages, refusals
from app.transports.mcp.arguments import words_of
from app.transports.mcp.call import Call, Exchange, Refused, accepts_stream, body
from app.transports.mcp.documents import documents
from app.transports.mcp.messages import Message
from app.transports.mcp.names import Directory
from app.transports.mcp.refusals import AtHand
from app.transports.mcp.results import Reader, Shape, shape_of_refusals
from app.transports.mcp.tools import Tool, Toolbox, loop

Json: TypeAlias = dict[str, Any]  # Any: a JSON object of any shape
Ctx: TypeAlias = ServerRequestContext[Json, Call]

SESSION_BYTES_MAX: Final = 200  # of the session header that a client sends back; ours has 22 characters

REQUEST_CANCELLED: Final = (
    -32800
)  # as the SDK's own transport says it; the stream of a request must end somehow
RESOURCE_NOT_FOUND: Final = -32002  # before 2026-07-28, which says "invalid params"

BATCHES: Final = "2025-03-26"
"""The one version of the protocol that has batches, which is also supposed of who says none."""
BATCH_MESSAGES_MAX: Final = 50  # a batch is answered in one piece, after its last message

SET_ASIDE: Final = "baton-ignored-arguments"
"""In the metadata of a result: the arguments that a framework had added, which no tool takes."""

LISTS_KEPT: Final = CacheHint(ttl_ms=5 * 60 * 1000, scope="private")
"""How long a client may keep a list: it depends on the address, the scopes of the key and our version, and on nothing that
agents do. What a tool was missing or had too much by then, a refusal says. A resource is old at once, as is the default."""
LISTS: Final[tuple[CacheableMethod, ...]] = (
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
)

GREETINGS: Final = frozenset({"initialize", "server/discover"})
"""The methods by which a client learns whom it is talking to, before 2026-07-28 and since."""

_HANDSHAKE_DEFAULT: Final = protocol.DEFAULT_NEGOTIATED_VERSION.encode()

log = logging.getLogger("baton.mcp")


class McpEndpoint(Door[Call]):
    """Every operation as a tool, every read that declares a URI as a resource."""

    def __init__(
        self,
        operations: tuple[Operation, ...],
        db: Database,
        keys: Keys,
        frame: Frame,
        *,
        pages: Pages,
        finds_similar: bool = True,
    ) -> None:
        super().__init__(frame, Call)
        self._finds_similar = finds_similar
        self._tools = Toolbox(operations)
        self._documents = documents(operations)
        self._names = Directory(db)
        self._db = db
        self._keys = keys
        self._pages = pages
        self._under_way: dict[tuple[bytes, protocol.RequestId], Call] = {}
        self._server = Server(
            "baton",
            title="Baton",
            version=version(),
            on_list_tools=self._list_tools,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_resource_templates,
            on_read_resource=self._read_resource,
            cache_hints=dict.fromkeys(LISTS, LISTS_KEPT),
        )
        self._server.add_request_handler("tools/call", protocol.CallToolRequestParams, self._call_tool)
        self._server.middleware.clear()  # of spans that nobody collects: a fifth of the time of a call

    verbs: Final = ("POST", "OPTIONS")

    # The door ------------------------------------------------------------------------------------------

    async def _answer(self, call: Call, receive: Receive) -> None:
        try:
            await self._take(call, receive)
        except Refused as e:
            await call.answer(e.status, messages.failure(e.request_id, e.error), [*e.headers])

    async def _take(self, call: Call, receive: Receive) -> None:
        """Read what was sent, and answer it."""
        with self._frame.deadlines.within():
            message = await self._admit(call, receive)
        session = call.headers.get(b"mcp-session-id", b"")[:SESSION_BYTES_MAX]
        if isinstance(message, list):
            await self._serve_batch(call, message, session, receive)
            return
        if message.method is UNSET or message.id is UNSET:
            _check_version(call.headers)
            if message.method == "notifications/cancelled":
                self._cancel(session, message, call.caller)
            await call.answer(
                202, b"", []
            )  # a notification is noted; an answer answers nothing that we asked
            return
        connection = _connection(message, message.id, call.sent_headers)
        await self._serve(call, message.id, message.method, message.given, connection, session, receive)

    async def _admit(self, call: Call, receive: Receive) -> Message | list[Message]:
        """Who sent this, and what it says; the key comes before anything else."""
        call.actor = await self._keys.actor(call.headers.get(b"authorization"))
        self._check_origin(call.headers.get(b"origin"))
        if call.method != "POST":
            text = "POST a message here. There is no stream to GET and no session to DELETE: nothing is kept."
            raise Refused(405, text, headers=((b"allow", b"POST, OPTIONS"),))
        asked = _asked(call.query)
        call.names = self._tools.chosen(",".join(asked.get("tools", ())))
        call.strict = _is_strict(asked.get("strict", ()))
        call.streams = accepts_stream(call.headers.get(b"accept", b"*/*"))
        message = _message(await body(call.headers, receive))
        if isinstance(message, list):
            call.what = "/mcp batch"
        elif message.method is not UNSET:
            call.what = f"/mcp {message.method[:80]}"
        return message

    def _check_origin(self, sent: bytes | None) -> None:
        """Refuse web pages from elsewhere: a browser sends where a page is from, other clients send nothing."""
        if sent is not None and not self._pages.allow(sent):
            origin = sent.decode("latin-1")[:80]
            raise PermissionDenied(
                f"Web pages from {origin} may not call this server. Its operator can allow them with WEB_ORIGINS."
            )

    def _cancel(self, session: bytes, message: Message, actor: Actor) -> None:
        """End a call of the same session and key, if it is under way in this process."""
        request_id = cancelled_request_id_from_params(message.given)
        call = None if request_id is None else self._under_way.get((session, request_id))
        if call is not None and call.caller.key_id == actor.key_id:
            call.give_up()

    # The exchange --------------------------------------------------------------------------------------

    async def _serve(
        self,
        call: Call,
        request_id: protocol.RequestId,
        method: str,
        params: Json,
        connection: Connection,
        session: bytes,
        receive: Receive,
    ) -> None:
        call.progress_token = progress_token_from_params(params)
        place = (session, request_id)
        if session:
            self._under_way[place] = call
        call.begin(receive)
        try:
            status, said = await self._reply(call, request_id, method, params, connection)
        except asyncio.CancelledError:
            if not call.was_given_up():  # then the server is going down
                raise
            call.code = "cancelled"
            cancelled = protocol.ErrorData(code=REQUEST_CANCELLED, message="Request cancelled")
            status, said = 200, messages.failure(request_id, cancelled)
        finally:
            call.end()
            if self._under_way.get(place) is call:
                del self._under_way[place]
        if method == "initialize":
            # It only tells one client's request ids from another's, so that a cancellation ends the right call.
            await call.answer(status, said, [(b"mcp-session-id", secrets.token_urlsafe(16).encode())])
        else:
            await call.answer(status, said, [])

    async def _serve_batch(
        self,
        call: Call,
        batch: list[Message],
        session: bytes,
        receive: Receive,
    ) -> None:
        """Answer several messages of one client at once, as 2025-03-26 has it: one after the other, in their order."""
        version = call.headers.get(b"mcp-protocol-version", _HANDSHAKE_DEFAULT).decode("latin-1")
        if version != BATCHES:
            raise Refused(400, f"Version {version[:20]} knows no batches: send one message at a time.")
        if not 0 < len(batch) <= BATCH_MESSAGES_MAX:
            raise Refused(
                400, f"A batch holds 1 to {BATCH_MESSAGES_MAX} messages; this one has {len(batch)}."
            )
        if any(message.method == "initialize" for message in batch):
            raise Refused(400, "`initialize` stands by itself, not in a batch.")
        connection = Connection.from_envelope(version, None, None)
        call.begin(receive)
        answers: list[bytes] = []
        try:
            for message in batch:
                if message.method == "notifications/cancelled":
                    self._cancel(session, message, call.caller)
                if message.method is not UNSET and message.id is not UNSET:
                    reply = await self._reply(call, message.id, message.method, message.given, connection)
                    answers.append(reply[1])
        except asyncio.CancelledError:
            if not call.was_given_up():
                raise
            call.code = "cancelled"  # nobody waits for the answers
        finally:
            call.end()
        call.what = "/mcp batch"
        await call.answer(200 if answers else 202, b"[%b]" % b",".join(answers) if answers else b"", [])

    async def _reply(
        self, call: Call, request_id: protocol.RequestId, method: str, params: Json, connection: Connection
    ) -> tuple[int, bytes]:
        """The JSON-RPC answer to a request, and the HTTP status that goes with it."""
        exchange = Exchange(call, request_id)
        try:
            result = await serve_one(
                self._server, exchange, method, params, connection=connection, lifespan_state={}
            )
        except MCPError as e:
            error = e.error
        except ValidationError:
            text = f"The parameters do not fit {method[:80]}."
            error = protocol.ErrorData(code=protocol.INVALID_PARAMS, message=text)
        except Exception:
            log.exception("request %s failed: %s", call.request_id, call.what)
            error = protocol.ErrorData(code=protocol.INTERNAL_ERROR, message=InternalError().message)
        else:
            if method in GREETINGS:  # the SDK would tell all the same; what to tell depends on the connection
                result = {**result, "instructions": self._instructions(call)}
            return 200, messages.success(request_id, result)
        call.code = call.code or f"rpc{error.code}"
        modern = connection.protocol_version in MODERN_PROTOCOL_VERSIONS
        return ERROR_CODE_HTTP_STATUS.get(error.code, 200) if modern else 200, messages.failure(
            request_id, error
        )

    # The methods ---------------------------------------------------------------------------------------

    def _at_hand(self, call: Call) -> AtHand:
        return self._tools.at_hand(call.names, call.caller.scopes)

    def _instructions(self, call: Call) -> str:
        return instructions(self._tools, self._tools.shown(call.names, call.caller.scopes))

    async def _list_tools(
        self, ctx: Ctx, params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListToolsResult:
        call = _call(ctx)
        tools = self._tools.shown(call.names, call.caller.scopes)
        told = [tool.strict if call.strict else tool.json for tool in tools]
        return protocol.ListToolsResult(tools=[protocol.Tool.model_validate(tool) for tool in told])

    async def _call_tool(self, ctx: Ctx, params: protocol.CallToolRequestParams) -> Json:
        call = _call(ctx)
        call.what = f"/mcp tools/call {params.name[:80]}"
        tool = self._tools.find(params.name)
        if tool is None or params.name not in call.names:
            text = f"There is no tool `{params.name[:80]}` on this connection. Connect with ?tools=all to see all."
            raise MCPError(code=protocol.INVALID_PARAMS, message=text)
        try:
            tool.operation.check(call.caller.scopes)
            taken = tool.arguments.read(params.arguments or {})
            whole = taken.whole or bool(taken.arguments.get("fields"))
            arguments = {**dict(tool.operation.tools_ask), **taken.arguments}
            if tool.brief and not whole:
                arguments["fields"] = tool.brief
            result = await self._execute(call, tool.operation, arguments)
            return await self._result(call, tool, result, taken.aside, whole=whole)
        except ApiError as e:
            return await self._refusal(call, e, params)
        except Exception:
            log.exception("request %s failed: %s", call.request_id, call.what)
            return await self._refusal(call, InternalError(), params)

    async def _result(
        self, call: Call, tool: Tool, result: Result, aside: Sequence[str], *, whole: bool
    ) -> Json:
        """A result as text and as structure, told as a model reads it. A list stands in an object there."""
        data: Any = msgspec.json.decode(envelope.data(result))  # Any: of whatever shape the operation has
        names = await self._names.of(call.caller, tool.shape.ids(data, whole=whole))
        reader = Reader(names, self._at_hand(call), whole)
        told = tool.shape.told(data, reader)
        beside = _said_beside(result, reader)
        if tool.wrapped:
            data = {"data": told, **beside}
            texts = [told, beside] if beside else [told]
        else:
            data = {**beside, **told}
            texts = [data]
        content: list[Json] = [{"type": "text", "text": messages.encode(text).decode()} for text in texts]
        if isinstance(result, Page):
            pagination = msgspec.to_builtins(envelope.pagination(result))
            data["pagination"] = {key: value for key, value in pagination.items() if value is not None}
            if result.cursor is not None:
                text = f"There is more: call again with cursor {result.cursor}"
                content.append({"type": "text", "text": text})
        return {
            "content": content,
            "structuredContent": data,
            "isError": False,
            "resultType": "complete",
            **_beside(result, aside),
        }

    async def _refusal(self, call: Call, refused: ApiError, params: protocol.CallToolRequestParams) -> Json:
        """A refusal as a result, so that the model sees what went wrong and what to do next."""
        call.code = refused.code
        at_hand = self._at_hand(call)
        data = refusals.told(refused, params.name, params.arguments or {}, at_hand)
        tool = self._tools.find(params.name)
        words = {} if tool is None else words_of(tool.operation.request)
        for name, word in words.items():
            data["message"] = data["message"].replace(f"`{name}`", f"`{word}`")
        if refused.details:
            details: Json = msgspec.json.decode(messages.encode(refused.details))
            changed = [c for c in details.get("changed", ()) if not _is_own_claim(call.caller, c)]
            names = await self._names.of(call.caller, _DETAILS.ids(details, whole=False))
            if "field" in details:
                details["field"] = words.get(details["field"], details["field"])
            if told := _DETAILS.told({**details, "changed": changed}, Reader(names, at_hand)):
                data["details"] = told
        if _is_replayed(refused):
            data = {"replayed": True, **data}
        return {
            "content": [{"type": "text", "text": messages.encode(data).decode()}],
            "structuredContent": data,
            "isError": True,
            "resultType": "complete",
            **_beside(refused),
        }

    async def _list_resources(
        self, ctx: Ctx, params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListResourcesResult:
        found = [
            protocol.Resource(uri=d.uri, name=d.name, description=d.description, mime_type="application/json")
            for d in self._documents
            if not d.templated and d.operation.allows(_call(ctx).caller.scopes)
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
            if d.templated and d.operation.allows(_call(ctx).caller.scopes)
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
            try:
                result = await self._execute(call, document.operation, fields)
            except ApiError as e:
                refusal = protocol.INVALID_PARAMS if isinstance(e, InvalidInput) else protocol.INTERNAL_ERROR
                code = missing if isinstance(e, NotFound) else refusal
                raise MCPError(code=code, message=e.message, data=e.body()) from None
            text = envelope.data(result).decode()
            content = protocol.TextResourceContents(uri=uri, mime_type="application/json", text=text)
            return protocol.ReadResourceResult(contents=[content])
        known = ", ".join(document.uri for document in self._documents)
        text = f"There is no resource {uri[:80]}. There are {known}."
        raise MCPError(code=missing, message=text, data={"uri": uri[:200]})

    async def _execute(self, call: Call, operation: Operation, arguments: Mapping[str, object]) -> Result:
        ctx = Context(
            self._db, call.caller, call.request_id, for_model=True, finds_similar=self._finds_similar
        )
        body = msgspec.json.encode(arguments)
        with self._frame.deadlines.within(operation.patience_seconds):
            if not operation.patience_seconds:
                return await execute(operation, ctx, body=body)
            with self._keys.stay(call.caller, operation.scope) as stay:
                ctx = msgspec.structs.replace(ctx, admission=stay)
                return await stay.accompany(execute(operation, ctx, body=body))


def instructions(tools: Toolbox, shown: Sequence[Tool]) -> str:
    """What an agent is told that connects and is shown these tools: what this is, the daily loop, how to read refusals."""
    steps = [f"{place}. {step.name}: {step.line}" for place, step in enumerate(loop(shown), 1)]
    rules = [step.rule for step in loop(shown) if step.rule]
    common = [f"{name}: {what}" for name, what in tools.common(shown)]
    if steps:
        steps.insert(0, "Work in this loop:")
    if common:
        common.insert(0, "What many tools take:")
    return "\n".join([_WELCOME, *steps, *rules, *common, _CUSTOMS])


_WELCOME: Final = "Baton keeps the tasks that agents and people share."
_CUSTOMS: Final = """`@handle` and `#channel` do for ids. Times are RFC 3339. Null and what is empty is left out; `clear` \
empties fields. A refusal's `message` and `helps` say what to do next; only what is `retryable` may be repeated unchanged."""


_DETAILS: Final = shape_of_refusals()
_TOLD: Final = Shape(
    msgspec.inspect.type_info(Told),
    (
        *(
            "claimEnded.reason",
            "claimEnded.holder",
            "claimEnded.parked",
        ),  # which run it was, the caller knows
        *("blockers", "hiddenBlockers", "similar", "waiting"),
    ),
)

_OF_A_CLAIM: Final = frozenset({"assigneeAgentId", "assigneeUserId", "startedAt", "runId"})
"""What a claim changes of a task beside its status."""


def _is_own_claim(caller: Actor, change: Json) -> bool:
    """Whether a change is only that the caller has claimed the task, which is no news to them."""
    by_claim = change["field"] in _OF_A_CLAIM or (change["field"], change["to"]) == ("status", "in_progress")
    return by_claim and change["by"]["id"] == str(caller.id)


def _is_replayed(said: Result | ApiError) -> bool:
    """Whether this was answered before, under its idempotency key."""
    return isinstance(said, (Outcome, ApiError)) and said.first is not None and said.first.replayed


def _said_beside(result: Result, reader: Reader) -> Json:
    """What a call did or found besides its data, and whether it was answered before."""
    if not isinstance(result, Outcome):
        return {}
    replayed: Json = {"replayed": True} if _is_replayed(result) else {}
    if result.told is None:
        return replayed
    return {**replayed, **_TOLD.told(msgspec.json.decode(result.told.raw), reader._replace(whole=False))}


def _beside(said: Result | ApiError, aside: Sequence[str] = ()) -> Json:
    """What HTTP says in headers of its own, as the metadata of a result, under the same names; and what was set aside."""
    meta = {name.decode(): value.decode() for name, value in envelope.headers(said) if name != envelope.TOLD}
    if aside:
        meta[SET_ASIDE] = ", ".join(aside)
    return {"_meta": meta} if meta else {}


def _call(ctx: Ctx) -> Call:
    assert ctx.request is not None, "every exchange carries its call"
    return ctx.request


def _message(sent: bytes) -> Message | list[Message]:
    try:
        message = messages.decode_all(sent)
    except msgspec.ValidationError as e:
        raise Refused(400, f"This is not one JSON-RPC message: {e}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(400, f"The body is not valid JSON: {e}.", code=protocol.PARSE_ERROR) from None
    if any(one.jsonrpc != "2.0" for one in (message if isinstance(message, list) else [message])):
        raise Refused(400, 'This is not a JSON-RPC message: it lacks `"jsonrpc": "2.0"`.')
    return message


def _connection(
    message: Message, request_id: protocol.RequestId, headers: Sequence[tuple[bytes, bytes]]
) -> Connection:
    """The version of the protocol a client speaks, and who it says it is. Since 2026-07-28 every request says both."""
    asked = next((value for name, value in headers if name == b"mcp-protocol-version"), _HANDSHAKE_DEFAULT)
    version = asked.decode("latin-1")
    says_otherwise = message.meta.get(protocol.PROTOCOL_VERSION_META_KEY) in MODERN_PROTOCOL_VERSIONS
    if version in HANDSHAKE_PROTOCOL_VERSIONS and not says_otherwise:
        return Connection.from_envelope(version, None, None)
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    if (twice := find_duplicated_routing_header(text)) is not None:
        raise Refused(
            400, f"The header {twice} is there twice.", code=protocol.HEADER_MISMATCH, request_id=request_id
        )
    route = classify_inbound_request({"method": message.method, "params": message.given}, headers=dict(text))
    if isinstance(route, InboundLadderRejection):
        raise _refused(route, request_id)
    return Connection.from_envelope(route.protocol_version, route.client_info, route.client_capabilities)


def _check_version(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a notification in a version that we do not speak, as a request is; more of its headers is not asked for."""
    version = headers.get(b"mcp-protocol-version", _HANDSHAKE_DEFAULT).decode("latin-1")
    if version not in HANDSHAKE_PROTOCOL_VERSIONS and (no := unsupported_protocol_version_rejection(version)):
        raise _refused(no)


def _refused(rejection: InboundLadderRejection, request_id: protocol.RequestId | None = None) -> Refused:
    status = ERROR_CODE_HTTP_STATUS.get(rejection.code, 400)
    return Refused(status, rejection.message, code=rejection.code, data=rejection.data, request_id=request_id)


def _asked(query: bytes) -> dict[str, list[str]]:
    """What stands behind the `?` of the address: `tools`, which may be there more than once, and `strict`."""
    if not query:
        return {}
    try:
        return parse_qs(query.decode("ascii"), errors="strict", keep_blank_values=True)
    except ValueError:
        raise InvalidInput("The query string is not valid: percent-encode it as UTF-8.") from None


def _is_strict(asked: Sequence[str]) -> bool:
    match [word.lower() for word in asked]:
        case [] | ["false"]:
            return False
        case ["true"]:
            return True
        case _:
            raise InvalidInput("`strict` in the address is `true` or `false`.", field="strict")
