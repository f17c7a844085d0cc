"""`/mcp`: a single HTTP exchange around the protocol's methods, which are in methods.py.

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
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

import mcp_types as protocol
import msgspec
from mcp.server.connection import Connection
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

from app.auth import Keys
from app.db import Database
from app.errors import CallsLimited, InternalError, InvalidInput, PermissionDenied
from app.rpc import SPARED_PAUSE_SECONDS, Actor, Operation
from app.tally.shape import CANCELLED, PROTOCOL
from app.transports import envelope
from app.transports.frame import Door, Frame, Header
from app.transports.gate import Pages
from app.transports.mcp import messages
from app.transports.mcp.call import Call, Exchange, Refused, accepts_stream, body
from app.transports.mcp.messages import Message
from app.transports.mcp.methods import Methods
from app.transports.traces import traced

Json: TypeAlias = dict[str, Any]  # Any: a JSON object of any shape

SESSION_BYTES_MAX: Final = 200  # of the session header that a client sends back; ours has 22 characters

REQUEST_CANCELLED: Final = (
    -32800
)  # as the SDK's own transport says it; the stream of a request must end somehow
BATCHES: Final = "2025-03-26"
"""The one version of the protocol that has batches, which is also supposed of who says none."""
BATCH_MESSAGES_MAX: Final = 50  # a batch is answered in one piece, after its last message

GREETINGS: Final = frozenset({"initialize", "server/discover"})
"""The methods by which a client learns whom it is talking to, before 2026-07-28 and since."""

PRICED: Final = frozenset({"tools/call", "resources/read"})
SPARED: Final = frozenset({*GREETINGS, "ping", "tools/list"})
"""What no limit refuses: whoever lost their connection does this before they can show a sign of life."""
METHODS: Final = {"tools/list": (50, 1.0)}
"""What other methods are worth where that is not 1, and for how long they pause where there is not as much."""

_HANDSHAKE_DEFAULT: Final = protocol.DEFAULT_NEGOTIATED_VERSION.encode()

log = logging.getLogger("baton.mcp")


class McpEndpoint(Door[Call]):
    """Every operation as a tool, every read that declares a URI as a resource."""

    kind = "mcp"

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
        self._methods = Methods(operations, db, keys, frame.deadlines, finds_similar=finds_similar)
        self._keys = keys
        self._pages = pages
        self._under_way: dict[tuple[bytes, protocol.RequestId], Call] = {}

    verbs: Final = ("POST", "OPTIONS")

    # The door ------------------------------------------------------------------------------------------

    async def _answer(self, call: Call, receive: Receive) -> None:
        try:
            await self._take(call, receive)
        except Refused as e:
            call.code, call.error = f"rpc{e.error.code}", PROTOCOL
            await call.answer(e.status, messages.failure(e.request_id, e.error), [*e.headers])

    async def _take(self, call: Call, receive: Receive) -> None:
        """Read what was sent, and answer it."""
        with self._frame.deadlines.within():
            message = await self._admit(call, receive)
        session = call.headers.get(b"mcp-session-id", b"")[:SESSION_BYTES_MAX]
        if isinstance(message, list):
            await self._serve_batch(call, message, session, receive)
            return
        if call.trace is None and isinstance(said := message.meta.get("traceparent"), str):
            call.trace = traced(said.encode())  # where the protocol has it
        if message.method is UNSET or message.id is UNSET:
            _check_version(call.headers)
            await call.caller.allowance.pay(1, spared=True)
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
        call.names = self._methods.tools.chosen(",".join(asked.get("tools", ())))
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
            status, said, headers = await self._reply(call, request_id, method, params, connection)
        except asyncio.CancelledError:
            if not call.was_given_up():  # then the server is going down
                raise
            call.code = call.error = CANCELLED
            cancelled = protocol.ErrorData(code=REQUEST_CANCELLED, message="Request cancelled")
            status, said, headers = 200, messages.failure(request_id, cancelled), []
        finally:
            call.end()
            if self._under_way.get(place) is call:
                del self._under_way[place]
        if method == "initialize":
            # It only tells one client's request ids from another's, so that a cancellation ends the right call.
            headers.append((b"mcp-session-id", secrets.token_urlsafe(16).encode()))
        await call.answer(status, said, headers)

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
                    began = time.perf_counter()
                    reply = await self._reply(call, message.id, message.method, message.given, connection)
                    answers.append(reply[1])
                    self._count_part(call, time.perf_counter() - began)
        except asyncio.CancelledError:
            if not call.was_given_up():
                raise
            call.code = call.error = CANCELLED  # nobody waits for the answers
        finally:
            call.end()
        call.what = "/mcp batch"
        await call.answer(200 if answers else 202, b"[%b]" % b",".join(answers) if answers else b"", [])

    async def _reply(
        self, call: Call, request_id: protocol.RequestId, method: str, params: Json, connection: Connection
    ) -> tuple[int, bytes, list[Header]]:
        """The JSON-RPC answer to a request, and the HTTP status and headers that go with it."""
        exchange = Exchange(call, request_id)
        try:
            if method not in PRICED:  # the price of those is known where their operation is
                cost, pause = METHODS.get(method, (1, SPARED_PAUSE_SECONDS))
                await call.caller.allowance.pay(cost, spared=method in SPARED, pause=pause)
            result = await serve_one(
                self._methods.server, exchange, method, params, connection=connection, lifespan_state={}
            )
        except CallsLimited as e:
            call.fail(e)
            error = protocol.ErrorData(code=protocol.INVALID_REQUEST, message=e.message, data=e.body())
            return e.status, messages.failure(request_id, error), envelope.headers(e)
        except MCPError as e:
            error = e.error
        except ValidationError:
            if method in PRICED:  # which came to no operation that has a price
                await call.caller.allowance.pay(1, spared=True)
            text = f"The parameters do not fit {method[:80]}."
            error = protocol.ErrorData(code=protocol.INVALID_PARAMS, message=text)
        except Exception:
            log.exception("request %s failed: %s", call.request_id, call.what)
            call.fail(InternalError())
            error = protocol.ErrorData(code=protocol.INTERNAL_ERROR, message=InternalError().message)
        else:
            if method in GREETINGS:  # the SDK would tell all the same; what to tell depends on the connection
                result = {**result, "instructions": self._methods.instructions(call)}
            return 200, messages.success(request_id, result), []
        call.code, call.error = call.code or f"rpc{error.code}", call.error or PROTOCOL
        modern = connection.protocol_version in MODERN_PROTOCOL_VERSIONS
        status = ERROR_CODE_HTTP_STATUS.get(error.code, 200) if modern else 200
        return status, messages.failure(request_id, error), []


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
