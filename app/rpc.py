"""What an operation is, and the one pipeline that runs every one of them.

An operation is a typed async function: a request struct in, a struct (or JSON that Postgres wrote) out.

    class GetThing(AgentRequest):
        thing_id: Annotated[Id, Meta(description="Which thing.")]

    @operation(scope="task-read", read_only=True, errors=(ThingNotFound,))
    async def get_thing(ctx: Context, req: GetThing) -> Encoded[Thing]:
        \"\"\"Read one thing.\"\"\"

Its name and path come from the function's name and the family of its request, its documentation from the
docstrings, its schemas from the structs. Standing in `app.operations.OPERATIONS` is what makes it exist: HTTP
routes, the OpenAPI document and `docs/operations.md` are derived from that tuple.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Database, Duplicate, Encoded, Query, Whose, array
from app.decoding import Decoder
from app.errors import ApiError, Contended, DatabaseUnavailable, First, ScopeMissing
from app.types import NO_NUL, IdentityKind, Scope, Timestamp
from app.writes import fence, receipts
from app.writes.receipts import KEY_CHARACTERS_MAX, Identity, Keep, Repeated

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)


class Family(msgspec.Struct, frozen=True):
    """A wire dialect: where its operations live. How it spells success and errors is in transports/envelope.py."""

    name: str
    prefix: str  # of the paths of its operations
    roots: tuple[str, ...]  # every path at or below one of these is answered in its words
    tools: bool = (
        True  # whether its operations are tools too; not where it only spells the same work otherwise
    )


AGENT: Final = Family(name="agent", prefix="/v1/agent/", roots=("/v1/agent",))
"""camelCase, `{success, data, meta}`, unknown keys ignored (contract section 1)."""

SDK: Final = Family(name="sdk", prefix="/v1/sdk/", roots=("/v1/sdk",))
"""snake_case, unknown keys refused, error codes in capitals; otherwise as AGENT."""

BARE: Final = Family(name="bare", prefix="/v1/", roots=("/v1/tasks", "/v1/states"), tools=False)
"""camelCase, bare objects, errors as `{code, message}`, and paths with parameters (contract section 14)."""

FAMILIES: Final = (AGENT, SDK, BARE)


def family_at(path: str) -> Family:
    """Whose words an answer at this path uses, also where no operation is; the agents' where it is nobody's."""
    return next(
        (
            family
            for family in FAMILIES
            if any(path == root or path.startswith(root + "/") for root in family.roots)
        ),
        AGENT,
    )


class Request(msgspec.Struct, kw_only=True):
    """Base of every request; which family an operation belongs to follows from the subclass."""

    family: ClassVar[Family]

    rules: ClassVar[Mapping[str, object]] = {}
    """What no type of a single field can say, as JSON Schema for the documents; a class in it stands for its schema."""


class AgentRequest(Request, kw_only=True, rename="camel"):
    """Base of every request under `/v1/agent/`."""

    family: ClassVar[Family] = AGENT


IdempotencyKey: TypeAlias = Annotated[
    Annotated[str, Meta(min_length=1, max_length=KEY_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
    | None
    | UnsetType,
    Meta(
        description=(
            "A key of your own: sent again, the call has no second effect. It gets the first answer. For whoever cannot "
            "set the header `Idempotency-Key`, which wins."
        )
    ),
]


class AgentWrite(AgentRequest, kw_only=True):
    """Base of every request under `/v1/agent/` that changes something."""

    idempotency_key: IdempotencyKey = UNSET


class SdkRequest(Request, kw_only=True, forbid_unknown_fields=True):
    """Base of every request under `/v1/sdk/`."""

    family: ClassVar[Family] = SDK


class BareRequest(Request, kw_only=True, rename="camel"):
    """Base of every request under `/v1/tasks` and `/v1/states`."""

    family: ClassVar[Family] = BARE


IN_PATH: Final = {"place": "path"}
"""For the `Meta` of a field that stands in the path."""

IN_QUERY: Final = {"place": "query"}
"""For the `Meta` of a field of a request that need not have a body; in one that is sent it counts all the same."""

EMPTIED: Final = {"null": "empties"}
"""For the `Meta` of a field that null empties. Tools take null for left out, and the name of such a field in `clear`."""

IfMatch = Annotated[
    str | UnsetType,
    Meta(
        description=(
            "The ETag you read; if it has changed since, nothing is written and you get a 409. Left out, the last write wins."
        ),
        extra={"place": "If-Match"},
    ),
]
"""The `If-Match` header as a field of a request."""


class Answer(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every object in an answer: camelCase, and closed, so that the document says all there is."""

    brief: ClassVar[tuple[str, ...]] = ()
    """The keys an agent needs to choose and to act, where a list should be short; empty means all of them."""


class SdkAnswer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The same in snake_case."""


class Actor(msgspec.Struct, frozen=True):
    """Who is calling: the identity behind the API key."""

    workspace_id: UUID
    id: UUID
    kind: IdentityKind
    handle: str
    scopes: frozenset[str]
    key_id: UUID


# What every item of a batch statement begins with: its place, and what Context.who says.
WHO: Final = """ord,
               (e->>'workspaceId')::uuid AS workspace_id,
               (e->>'actorId')::uuid     AS actor_id,
               e->>'actorKind'           AS actor_kind,
               e->>'requestId'           AS request_id,
               e->'keep'                 AS keep"""


class Admission(Protocol):
    """What let a call in, which it can ask again after it has waited."""

    async def check(self) -> None:
        """Raise if the key is no longer good."""


class Context(msgspec.Struct, frozen=True):
    """What a handler may touch besides its request."""

    db: Database
    actor: Actor
    request_id: str
    idempotency_key: str | None = None  # from the header; one in the body stands in the request
    keep: Keep | None = None  # set by the pipeline where there is a key, for the statement that stores it
    admission: Admission | None = None  # of a call that may wait: whether its key is still good

    @property
    def who(self) -> dict[str, object]:
        """The part of a batch item that says who acts, in which request, and under which idempotency key: see WHO."""
        actor = self.actor
        who: dict[str, object] = {
            "workspaceId": actor.workspace_id,
            "actorId": actor.id,
            "actorKind": actor.kind,
            "requestId": self.request_id,
        }
        if self.keep is not None:
            who["keep"] = self.keep
        return who

    async def still_admitted(self) -> None:
        """After waiting, before taking anything: raise if the caller's key has ended meanwhile."""
        if self.admission is not None:
            await self.admission.check()

    @property
    def whose(self) -> Whose:
        """For whom a transaction runs."""
        return Whose(self.actor.workspace_id, self.actor.id)

    @property
    def caller(self) -> dict[str, UUID]:
        """Who asks, and in which workspace, as the parameters of a query."""
        return {"workspace_id": self.actor.workspace_id, "actor_id": self.actor.id}

    def one(self, query: Query[R], **parameters: object) -> Awaitable[R | None]:
        """The first row of a query, or None. Whoever asks, and in which workspace, goes without saying."""
        return self.db.one(query, **self.caller, **parameters)

    def all(self, query: Query[R], **parameters: object) -> Awaitable[list[R]]:
        """The same for every row of it."""
        return self.db.all(query, **self.caller, **parameters)

    @property
    def keep_json(self) -> str | None:
        """The idempotency key for a statement of one call, which has parameters of its own."""
        return None if self.keep is None else msgspec.json.encode(self.keep).decode()

    async def unless_answered(self) -> None:
        """When the statement had no effect: raise Repeated if that is so because it had it before, under this key."""
        if self.keep is not None and await receipts.find(self.db, whose(self.actor), self.keep.key):
            raise Repeated

    async def why_not_live(self, run_id: UUID, *, field: str = "runId") -> ApiError | None:
        """Why a run is not a live claim of the caller; None if it is one."""
        return await fence.why_not_live(self.db, whose(self.actor), run_id, field=field)

    async def refuse_late(self, run_id: UUID | None) -> None:
        """When a write had no effect: raise if that is so because it had it before, or because the claim is over."""
        await self.unless_answered()
        if run_id is not None and (lost := await self.why_not_live(run_id)):
            raise lost


class Row(Protocol[T]):
    """A row of a list: an item, and the cursor that continues behind it."""

    item: Encoded[T]
    cursor: str


class HistoryCutoff(Answer):
    """What the workspace's history window hides: it is kept, but not shown."""

    beyond_count: Annotated[int, Meta(description="How many messages that match are hidden.")]
    cutoff_at: Annotated[Timestamp, Meta(description="The start of what is shown.")]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and where the next one starts: key-set pagination, so a page costs the same anywhere."""

    items: Encoded[list[T]]
    cursor: str | None = None
    total: int | None = None

    @classmethod
    def cut(cls, rows: Sequence[Row[T]], limit: int, total: int | None = None) -> "Page[T]":
        """The first `limit` of rows that were fetched with one to spare, which tells whether there are more."""
        page = rows[:limit]
        items = array(row.item for row in page)
        return cls(items, page[-1].cursor if len(rows) > limit else None, total)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """An answer with something to say beside it, for which the data has no place: each door says it its own way."""

    result: "Encoded[T] | Excerpt[T] | msgspec.Struct"
    merged_from: int | None = None  # the version a merged change was made for
    wrote: bool = True  # False: there was nothing to write, so no statement has stored the idempotency key
    first: First | None = None  # set by the pipeline if the call has an idempotency key
    version: int | None = None  # of what is shown: its ETag, where the family has those


@dataclass(frozen=True, slots=True)
class Excerpt(Generic[T]):
    """Part of something longer, in an object of its own: how it goes on, and what the history window hides of it."""

    data: Encoded[T]
    has_more: bool
    cursor: str | None
    history_cutoff: HistoryCutoff | None


class Step(msgspec.Struct, frozen=True):
    """An operation's place in an agent's daily loop, and the line that teaches it there.

    The operations that have one are the `core` tools, and their lines in `order` are the loop as the server
    explains it. Leave gaps between the orders, so that another operation can step in.
    """

    order: int
    line: str


_VERSION_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,10})(?:-(?:gzip|br|zstd|deflate))?"')
"""One of our tags, also as it comes back from behind a proxy that compressed the answer: nginx marks it as weak, Apache
and Caddy write the coding behind it. The version is the same (docs/decisions/0084)."""


def etag_of(version: int) -> str:
    """How a version is spelled in the headers `ETag` and `If-Match`."""
    return f'"{version}"'


def versions_in(if_match: str | UnsetType) -> list[int] | None:
    """The versions that `If-Match` allows; None if it allows any. What is not one of our tags matches nothing."""
    if if_match is UNSET or if_match.strip() == "*":
        return None
    tags = [_VERSION_TAG.fullmatch(tag.strip()) for tag in if_match.split(",")]
    return [int(tag[1]) for tag in tags if tag is not None]


Result: TypeAlias = (
    Encoded[Any] | Page[Any] | Excerpt[Any] | Outcome[Any] | msgspec.Struct
)  # Any: of what, the operation's `result` says
Work: TypeAlias = Coroutine[Any, Any, Result]  # Any: what passes between a coroutine and its event loop
Handler: TypeAlias = Callable[[Context, Any], Work]  # Any: each handler takes its own request struct


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, as everything that is derived from it sees it."""

    name: str
    family: Family
    path: str  # with parameters as in `/v1/tasks/{taskId}`
    method: str | None  # None: POST, and GET as well if it only reads
    status: int  # of a success
    scope: Scope | None
    read_only: bool
    errors: tuple[type[ApiError], ...]
    request: type[msgspec.Struct]
    result: Any  # the documented type of `data`; Any because list[Task] is not a class
    paged: bool
    summary: str
    description: str
    handler: Handler
    decoder: Decoder[Any]
    patience_seconds: float = 0  # how much longer than others it may take, because it waits on purpose
    core: Step | None = None
    destructive: bool = False
    idempotent: bool = False
    uses_up: bool = False
    resource: str | None = None

    def allows(self, scopes: frozenset[str]) -> bool:
        """Whether a key with these scopes may call it."""
        return self.scope is None or self.scope in scopes

    def check(self, scopes: frozenset[str]) -> None:
        """Raise ScopeMissing unless a key with these scopes may call it."""
        if self.scope is not None and self.scope not in scopes:
            raise ScopeMissing(self.scope)

    @property
    def noun(self) -> str:
        """What it is about: the module or package under `app.operations` in which it stands."""
        return self.handler.__module__.removeprefix("app.operations.").partition(".")[0]


def operation(
    *,
    scope: Scope | None,
    read_only: bool = False,
    errors: tuple[type[ApiError], ...] = (),
    path: str | None = None,
    method: str | None = None,
    status: int = 200,
    patience_seconds: float = 0,
    core: Step | None = None,
    destructive: bool = False,
    idempotent: bool = False,
    uses_up: bool = False,
    resource: str | None = None,
) -> Callable[[Handler], Operation]:
    """Declare an operation. `scope=None` lets any valid key call it; `read_only` also makes it answer to GET.

    It answers under the prefix of its family, at its own name unless `path` says otherwise.

    One that is not `read_only` stores its idempotency key with the statement that writes: see app/writes/receipts.py. One
    that waits on purpose has `patience_seconds` more than others before it is given up.

    For agents: `core` puts it into the daily loop; `destructive` says that it overwrites or closes what is there,
    `idempotent` that doing it twice does no more than once. One that answers to GET and yet `uses_up` what it is given
    is no read to them. `resource` is the URI under which a read can be had as
    a document, with its fields in braces, as in `thing://{thingId}`.
    """

    def declare(handler: Handler) -> Operation:
        hints = get_type_hints(handler, include_extras=True)
        request, result = _checked(handler, hints.get("req")), hints.get("return")
        origin = get_origin(result)
        if origin in (Encoded, Page, Excerpt, Outcome):
            result = get_args(result)[0]
        summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
        name = _camel(handler.__name__) if request.family is BARE else handler.__name__.replace("_", "-")
        return Operation(
            name=name,
            family=request.family,
            path=request.family.prefix + (name if path is None else path),
            method=method,
            status=status,
            scope=scope,
            read_only=read_only,
            errors=errors,
            request=request,
            result=list[result] if origin is Page else result,
            paged=origin in (Page, Excerpt),
            summary=" ".join(summary.split()),
            description=description,
            handler=handler,
            decoder=Decoder(request),
            patience_seconds=patience_seconds,
            core=core,
            destructive=destructive,
            idempotent=idempotent,
            uses_up=uses_up,
            resource=resource,
        )

    return declare


def execute(
    op: Operation,
    ctx: Context,
    *,
    body: bytes | None = None,
    query: bytes = b"",
    placed: Mapping[str, str] | None = None,
) -> Work:
    """Run one call: scope, decode, handler. The scope comes before the body is looked at.

    What is wrong with the call itself is raised at once; the rest is done by whoever awaits the outcome.
    """
    op.check(ctx.actor.scopes)
    if body is None:
        return op.handler(ctx, op.decoder.from_query(query))
    req, sent = op.decoder.read(body, placed)
    if op.read_only:
        return op.handler(ctx, req)
    key = receipts.key_of(ctx.idempotency_key, getattr(req, "idempotency_key", UNSET))
    if key is None:
        return op.handler(ctx, req)
    keep = receipts.keep(key, op.name, op.scope, op.status, sent, placed or {})
    return _kept(op, ctx, req, keep)


async def _kept(
    op: Operation, ctx: Context, req: Any, keep: Keep
) -> Result:  # Any: the request of this operation
    """Run a call that has an idempotency key until its outcome is known."""
    for pause_seconds in RESEND_SECONDS:
        try:
            return await _once(op, ctx, req, keep)
        except DatabaseUnavailable:
            # Nobody knows whether it took effect. But with a key it cannot do so twice: ask by doing it again.
            await asyncio.sleep(pause_seconds)
    return await _once(op, ctx, req, keep)


# Connections come back within a second, or the caller should hear of it.
RESEND_SECONDS: Final = (0.1, 0.4, 1.0)


async def _once(
    op: Operation, ctx: Context, req: Any, keep: Keep
) -> Result:  # Any: the request of this operation
    """Run a call that has an idempotency key, or find out what was answered when it ran before."""
    kept = None
    try:
        outcome = _outcome(await op.handler(msgspec.structs.replace(ctx, keep=keep), req))
        if not outcome.wrote:
            kept = await receipts.store(
                ctx.db, whose(ctx.actor), keep, ctx.request_id, outcome.result, version=outcome.version
            )
        if outcome.wrote or kept is not None:
            return replace(outcome, first=First(ctx.request_id, keep.answered_at, replayed=False))
    except (Repeated, Duplicate) as e:
        if isinstance(e, Duplicate) and not receipts.is_duplicate(e):
            raise
    except ApiError as e:
        if not receipts.is_final(e):
            raise
        if await receipts.store(ctx.db, whose(ctx.actor), keep, ctx.request_id, e.body(), error=e):
            e.first = First(ctx.request_id, keep.answered_at, replayed=False)
            raise
    return await _replay(op, ctx, keep)


def _outcome(result: Result) -> Outcome[Any]:  # Any: of whichever operation
    assert not isinstance(result, Page), "what writes does not list"
    return result if isinstance(result, Outcome) else Outcome(result)


async def _replay(op: Operation, ctx: Context, keep: Keep) -> Result:
    """Answer as the first time."""
    row = await receipts.find(ctx.db, whose(ctx.actor), keep.key)
    if row is None:
        raise Contended  # it was there a moment ago: a day old, and reaped just now
    receipts.check_same(row, keep)
    first = First(row.request_id, row.answered_at, replayed=True)
    if error := receipts.error_of(row, op.errors):
        error.first = first
        raise error
    return Outcome(row.answer, merged_from=row.merged_from, first=first, version=row.version)


def whose(actor: Actor) -> Identity:
    """Idempotency keys belong to an identity, whichever of its API keys it uses."""
    return Identity(actor.workspace_id, actor.id)


def changes(req: msgspec.Struct, *fields: str) -> dict[str, object]:
    """The fields a caller sent, by wire name: an absent one is left out, null stays null."""
    wire_name = _wire_names(type(req))
    return {wire_name[name]: value for name in fields if (value := getattr(req, name, UNSET)) is not UNSET}


@cache
def _wire_names(request: type[msgspec.Struct]) -> dict[str, str]:
    return dict(zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True))


def emptied_by_null(request: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a request that null empties, by wire name; in all others null and left out are one."""
    found: list[str] = []
    for field in msgspec.structs.fields(request):
        match msgspec.inspect.type_info(field.type):
            case msgspec.inspect.Metadata(extra={"null": "empties"}):
                found.append(field.encode_name)
            case _:
                pass
    return tuple(found)


def given(value: T | UnsetType | None) -> T | None:
    """The value, with absent and null made one: for fields where clearing means nothing."""
    return None if value is UNSET else value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


class BadDeclaration(TypeError):
    """An operation is declared in a way that would leave its callers guessing."""


def _checked(handler: Handler, request: object) -> type[Request]:
    """The request of a handler, if both are declared well."""
    where = f"{handler.__module__}.{handler.__name__}"
    if not handler.__doc__:
        message = f"{where} needs a docstring: it is the public documentation. First line what it does, then when to use it."
        raise BadDeclaration(message)
    if not (isinstance(request, type) and issubclass(request, Request) and hasattr(request, "family")):
        message = f"{where} must take `(ctx: Context, req: R)` where R belongs to a family, as in `class R(AgentRequest): ...`"
        raise BadDeclaration(message)
    hints = get_type_hints(request, include_extras=True)
    for name in request.__struct_fields__:
        hint = hints[name]
        if not any(isinstance(m, Meta) and m.description for m in _metas(hint)):
            message = f'{where}: the field {name} is not described; write `{name}: Annotated[..., Meta(description="...")]`'
            raise BadDeclaration(message)
    return request


def _metas(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()
