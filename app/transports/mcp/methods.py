"""What `/mcp` answers: the tools and what they do, the documents, and what a client is told when it connects.

The SDK's `Server` knows the methods of the protocol and calls these.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import mcp_types as protocol
import msgspec
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app import version
from app.auth import Keys
from app.db import Database
from app.errors import ApiError, InternalError, InvalidInput, NotFound, ScopeMissing
from app.operations.told import Told
from app.rpc import Actor, Context, Operation, Outcome, Page, Result, execute
from app.transports import envelope
from app.transports.deadlines import Deadlines
from app.transports.mcp import messages, refusals
from app.transports.mcp.arguments import words_of
from app.transports.mcp.call import Call
from app.transports.mcp.documents import documents
from app.transports.mcp.names import Directory
from app.transports.mcp.refusals import AtHand
from app.transports.mcp.results import Reader, Shape, shape_of_refusals
from app.transports.mcp.tools import Tool, Toolbox, loop

Json: TypeAlias = dict[str, Any]  # Any: a JSON object of any shape
Ctx: TypeAlias = ServerRequestContext[Json, Call]

RESOURCE_NOT_FOUND: Final = -32002  # before 2026-07-28, which says "invalid params"

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

log = logging.getLogger("baton.mcp")


class Methods:
    """The methods of the protocol, over all operations."""

    def __init__(
        self,
        operations: tuple[Operation, ...],
        db: Database,
        keys: Keys,
        deadlines: Deadlines,
        *,
        finds_similar: bool,
    ) -> None:
        self.tools = Toolbox(operations)
        self.server = Server(
            "baton",
            title="Baton",
            version=version(),
            on_list_tools=self._list_tools,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_resource_templates,
            on_read_resource=self._read_resource,
            cache_hints=dict.fromkeys(LISTS, LISTS_KEPT),
        )
        self.server.add_request_handler("tools/call", protocol.CallToolRequestParams, self._call_tool)
        self.server.middleware.clear()  # of spans that nobody collects: a fifth of the time of a call
        self._documents = documents(operations)
        self._names = Directory(db)
        self._db = db
        self._keys = keys
        self._deadlines = deadlines
        self._finds_similar = finds_similar

    def _at_hand(self, call: Call) -> AtHand:
        return self.tools.at_hand(call.names, call.caller.scopes)

    def instructions(self, call: Call) -> str:
        """What the client of a call is told when it connects."""
        return instructions(self.tools, self.tools.shown(call.names, call.caller.scopes))

    async def _list_tools(
        self, ctx: Ctx, params: protocol.PaginatedRequestParams | None
    ) -> protocol.ListToolsResult:
        call = _call(ctx)
        tools = self.tools.shown(call.names, call.caller.scopes)
        told = [tool.strict if call.strict else tool.json for tool in tools]
        return protocol.ListToolsResult(tools=[protocol.Tool.model_validate(tool) for tool in told])

    async def _call_tool(self, ctx: Ctx, params: protocol.CallToolRequestParams) -> Json:
        call = _call(ctx)
        call.what = f"/mcp tools/call {params.name[:80]}"
        tool = self.tools.find(params.name)
        if tool is None or params.name not in call.names:
            await call.caller.allowance.pay(1, spared=True)  # what is said of it is no tool's answer
            text = f"There is no tool `{params.name[:80]}` on this connection. Connect with ?tools=all to see all."
            raise MCPError(code=protocol.INVALID_PARAMS, message=text)
        call.operation = tool.operation.name
        try:
            try:
                tool.operation.check(call.caller.scopes)
                taken = tool.arguments.read(params.arguments or {})
            except (ScopeMissing, InvalidInput):
                await call.caller.allowance.pay(tool.operation.cost, spared=tool.operation.spared is True)
                raise
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
        call.fail(refused)
        at_hand = self._at_hand(call)
        data = refusals.told(refused, params.name, params.arguments or {}, at_hand)
        tool = self.tools.find(params.name)
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
            call.operation = document.operation.name
            try:
                result = await self._execute(call, document.operation, fields)
            except ApiError as e:
                call.fail(e)
                refusal = protocol.INVALID_PARAMS if isinstance(e, InvalidInput) else protocol.INTERNAL_ERROR
                code = missing if isinstance(e, NotFound) else refusal
                raise MCPError(code=code, message=e.message, data=e.body()) from None
            text = envelope.data(result).decode()
            content = protocol.TextResourceContents(uri=uri, mime_type="application/json", text=text)
            return protocol.ReadResourceResult(contents=[content])
        await call.caller.allowance.pay(1)
        known = ", ".join(document.uri for document in self._documents)
        text = f"There is no resource {uri[:80]}. There are {known}."
        raise MCPError(code=missing, message=text, data={"uri": uri[:200]})

    async def _execute(self, call: Call, operation: Operation, arguments: Mapping[str, object]) -> Result:
        ctx = Context(
            self._db, call.caller, call.request_id, for_model=True, finds_similar=self._finds_similar
        )
        body = msgspec.json.encode(arguments)
        with self._deadlines.within(operation.patience_seconds):
            if not operation.patience_seconds:
                result = await execute(operation, ctx, body=body)
            else:
                with self._keys.stay(call.caller, operation.scope) as stay:
                    ctx = msgspec.structs.replace(ctx, admission=stay)
                    result = await stay.accompany(execute(operation, ctx, body=body))
        call.took(result)
        return result


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
