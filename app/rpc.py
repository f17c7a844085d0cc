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

from app.db import Answered, BatchCommand, BatchQuery, Database, Duplicate, Encoded, Item, Query, Whose, array
from app.decoding import Decoder
from app.errors import ApiError, Contended, DatabaseUnavailable, First, ScopeMissing
from app.types import NO_NUL, Id, IdentityKind, Scope, Timestamp
from app.writes import fence, receipts
from app.writes.fence import FENCE_ERRORS, Under, UnderRun, under
from app.writes.receipts import KEY_CHARACTERS_MAX, Identity, Receipt, Repeated
from app.writes.turns import Turn, take_turn
from app.writes.write import Locked, Write

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

    run_id: UnderRun = UNSET
    idempotency_key: IdempotencyKey = UNSET


class ClaimWrite(AgentRequest, kw_only=True):
    """Base of those that write the very claim they name: see `own_fence` in app/writes/write.py."""

    run_id: Annotated[Id, Meta(description="Your claim: the id of its `run`.")]
    idempotency_key: IdempotencyKey = UNSET


class SdkRequest(Request, kw_only=True, forbid_unknown_fields=True):
    """Base of every request under `/v1/sdk/`."""

    family: ClassVar[Family] = SDK


class SdkWrite(SdkRequest, kw_only=True):
    """Base of every request under `/v1/sdk/` that changes something."""

    run_id: UnderRun = UNSET


class BareRequest(Request, kw_only=True, rename="camel"):
    """Base of every request under `/v1/tasks` and `/v1/states`."""

    family: ClassVar[Family] = BARE


class BareWrite(BareRequest, kw_only=True):
    """The same for those that change something."""

    run_id: UnderRun = UNSET


IN_PATH: Final = {"place": "path"}
"""For the `Meta` of a field that stands in the path."""

IN_QUERY: Final = {"place": "query"}
"""For the `Meta` of a field of a request that need not have a body; in one that is sent it counts all the same."""

EMPTIED: Final = {"null": "empties"}
"""For the `Meta` of a field that null empties. Tools take null for left out, and the name of such a field in `clear`."""

UNTOLD: Final = {"tools": "untold"}
"""For the `Meta` of a field that tools take and do not tell of: a model has no use for it, or would be led astray."""

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

    news: ClassVar[tuple[str, ...]] = ()
    """The keys that are new to whoever has just written it, with dots for those of what stands inside; empty means all.

    Tools answer a write with these.
    """

    cut: ClassVar[tuple[str, ...]] = ()
    """The keys whose text tools cut short, where they are not asked for the whole."""


class SdkAnswer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The same in snake_case."""

    news: ClassVar[tuple[str, ...]] = ()


class Actor(msgspec.Struct, frozen=True):
    """Who is calling: the identity behind the API key."""

    workspace_id: UUID
    id: UUID
    kind: IdentityKind
    handle: str
    scopes: frozenset[str]
    key_id: UUID


ATTEMPTS_MAX: Final = (
    30  # where no version decides, losing this often means that what is written changes all the time
)


class Admission(Protocol):
    """What let a call in, which it can ask again after it has waited."""

    async def check(self) -> None:
        """Raise if the key is no longer good."""


class Context(msgspec.Struct, frozen=True):
    """What a handler may touch besides its request: four verbs, and who calls.

    one, all  ask a Query
    ask       the same of a BatchQuery
    write     change something; `settle` does so until it is known what came of it
    """

    db: Database
    actor: Actor
    request_id: str
    idempotency_key: str | None = None  # from the header; one in the body stands in the request
    receipt: Receipt | None = (
        None  # set by the pipeline where there is a key, for the statement that stores it
    )
    under: Under | None = None  # set by the pipeline where the request says `runId`
    admission: Admission | None = None  # of a call that may wait: whether its key is still good

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

    @property
    def who(self) -> dict[str, object]:
        """Who calls, in which request, under which key and claim: what every item of a write begins with."""
        who: dict[str, object] = {
            "workspace_id": self.actor.workspace_id,
            "actor_id": self.actor.id,
            "actor_kind": self.actor.kind,
            "request_id": self.request_id,
        }
        if self.receipt is not None:
            who["receipt"] = self.receipt
        if self.under is not None:
            who["claim_id"] = self.under.run_id
        return who

    @property
    def run_id(self) -> UUID:
        """The run that the request names, where it has to name one."""
        assert self.under is not None, "the field is required"
        return self.under.run_id

    def one(self, query: Query[R], **parameters: object) -> Awaitable[R | None]:
        """The first row of a query, or None. Whoever asks, and in which workspace, goes without saying."""
        return self.db.one(query, **self.caller, **parameters)

    def all(self, query: Query[R], **parameters: object) -> Awaitable[list[R]]:
        """The same for every row of it."""
        return self.db.all(query, **self.caller, **parameters)

    def ask(self, query: BatchQuery[R], **item: object) -> Awaitable[R | None]:
        """The row of a batch that belongs to this call, or None."""
        return self.db.ask(query, {**self.caller, **item})

    def send(self, write: Write[T], **item: object) -> Awaitable[Answered[T] | None]:
        """Send a write in the form that suits the call: its row if it took effect, else None, whatever the reason."""
        keyed, claimed = self.receipt is not None, self.under is not None
        form, first = write.form(keyed=keyed, claimed=claimed), write.first(keyed=keyed, claimed=claimed)
        assert item.keys() <= write.columns, f"it takes no {item.keys() - write.columns}"
        item = {**self.who, **item}
        if write.turn is None and first is None:
            return self.db.write(form, item)
        return self._in_transaction(write.turn, first, form, item)

    async def write(self, write: Write[T], **item: object) -> "Outcome[T] | None":
        """Change something, and answer with what came of it.

        Raises what stands in the way of any write: this one had its effect before, under its key, or the claim is over.
        None says that neither is so: the reason is the caller's to find.
        """
        row = await self.send(write, **item)
        if row is not None:
            return Outcome(row.answer, merged_from=row.merged_from, version=row.version)
        if write.own_fence:
            await self.unless_answered()
        else:
            await self.unless_late()
        return None

    async def settle(
        self, write: Write[T], otherwise: Callable[[], Awaitable["Outcome[T] | None"]], **item: object
    ) -> "Outcome[T]":
        """Write until it is known what came of it.

        `otherwise` looks when there was no effect: it raises what stands in the way, or answers without a write. None
        says that nothing stands in the way any more: what did has gone between the two statements.
        """
        for _ in range(ATTEMPTS_MAX):
            if (done := await self.write(write, **item)) is not None or (
                done := await otherwise()
            ) is not None:
                return done
        raise Contended

    async def unless_answered(self) -> None:
        """When a write had no effect: raise Repeated if that is so because it had it before, under this key."""
        if self.receipt is not None and await receipts.find(self.db, whose(self.actor), self.receipt.key):
            raise Repeated

    async def unless_late(self) -> None:
        """When a write had no effect: raise if that is so because it had it before, or because its claim is over."""
        await self.unless_answered()
        if self.under is not None:
            await self.unless_over()

    async def unless_over(self) -> None:
        """When a write had no effect: raise if that is so because the claim it says it is made under is over."""
        assert self.under is not None, "it names one"
        if (lost := await self.lost(self.under.run_id, field=self.under.field)) is not None:
            raise lost

    async def lost(self, run_id: UUID, *, field: str = "runId") -> ApiError | None:
        """Why a run is not a live claim of the caller; None if it is one."""
        return await fence.why_not_live(self.db, whose(self.actor), run_id, field=field)

    async def _in_transaction(
        self,
        turn: Turn | None,
        first: BatchQuery[Locked] | None,
        form: BatchCommand[Answered[T]],
        item: Item,
    ) -> Answered[T] | None:
        async with self.db.transaction(self.whose) as tx:
            if turn is not None:
                await take_turn(tx, whose(self.actor), self.receipt, turn)
            if first is not None and await tx.ask(first, item) is None:
                return None
            return await tx.write(form, item)


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
    under_claim: bool = True,
) -> Callable[[Handler], Operation]:
    """Declare an operation. `scope=None` lets any valid key call it; `read_only` also makes it answer to GET.

    It answers under the prefix of its family, at its own name unless `path` says otherwise.

    One that is not `read_only` can be called with an idempotency key, and under a claim, with all that says no to that:
    see app/writes/write.py. `under_claim=False` is for who ends the claims of others: its `runId` is no claim of theirs. One
    that waits on purpose has `patience_seconds` more than others before it is given up.

    For agents: `core` puts it into the daily loop; `destructive` says that it overwrites or closes what is there,
    `idempotent` that doing it twice does no more than once. One that answers to GET and yet `uses_up` what it is given
    is no read to them. `resource` is the URI under which a read can be had as
    a document, with its fields in braces, as in `thing://{thingId}`.
    """

    def declare(handler: Handler) -> Operation:
        hints = get_type_hints(handler, include_extras=True)
        request, result = _checked(handler, hints.get("req"), read_only=read_only), hints.get("return")
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
            errors=errors if read_only or not under_claim else tuple(dict.fromkeys((*errors, *FENCE_ERRORS))),
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
        return _begin(op, ctx, req)
    receipt = receipts.receipt_of(key, op.name, op.scope, op.status, sent, placed or {})
    return _keyed(op, msgspec.structs.replace(ctx, receipt=receipt), receipt, req)


def _begin(op: Operation, ctx: Context, req: Any) -> Work:  # Any: the request of this operation
    """The work of a handler that writes, under the claim that its request names."""
    field = "run_id" if op.family is SDK else "runId"
    if (run_id := under(req.run_id, field=field)) is not None:
        ctx = msgspec.structs.replace(ctx, under=Under(run_id, field))
    return op.handler(ctx, req)


async def _keyed(op: Operation, ctx: Context, receipt: Receipt, req: Any) -> Result:  # Any: see _begin
    """Run a call that has an idempotency key until its outcome is known."""
    for pause_seconds in RESEND_SECONDS:
        try:
            return await _once(op, ctx, receipt, req)
        except DatabaseUnavailable:
            # Nobody knows whether it took effect. But with a key it cannot do so twice: ask by doing it again.
            await asyncio.sleep(pause_seconds)
    return await _once(op, ctx, receipt, req)


# Connections come back within a second, or the caller should hear of it.
RESEND_SECONDS: Final = (0.1, 0.4, 1.0)


async def _once(op: Operation, ctx: Context, receipt: Receipt, req: Any) -> Result:  # Any: see _begin
    """Run a call that has an idempotency key, or find out what was answered when it ran before."""
    stored = None
    try:
        outcome = _outcome(await _begin(op, ctx, req))
        if not outcome.wrote:
            stored = await receipts.store(
                ctx.db, whose(ctx.actor), receipt, ctx.request_id, outcome.result, version=outcome.version
            )
        if outcome.wrote or stored is not None:
            return replace(outcome, first=First(ctx.request_id, receipt.answered_at, replayed=False))
    except (Repeated, Duplicate) as e:
        if isinstance(e, Duplicate) and not receipts.is_duplicate(e):
            raise
    except ApiError as e:
        if not receipts.is_final(e):
            raise
        if await receipts.store(ctx.db, whose(ctx.actor), receipt, ctx.request_id, e.body(), error=e):
            e.first = First(ctx.request_id, receipt.answered_at, replayed=False)
            raise
    return await _replay(op, ctx, receipt)


def _outcome(result: Result) -> Outcome[Any]:  # Any: of whichever operation
    assert not isinstance(result, Page), "what writes does not list"
    return result if isinstance(result, Outcome) else Outcome(result)


async def _replay(op: Operation, ctx: Context, receipt: Receipt) -> Result:
    """Answer as the first time."""
    row = await receipts.find(ctx.db, whose(ctx.actor), receipt.key)
    if row is None:
        raise Contended  # it was there a moment ago: a day old, and reaped just now
    receipts.check_same(row, receipt)
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
    return marked(request, EMPTIED)


def marked(request: type[msgspec.Struct], mark: Mapping[str, str]) -> tuple[str, ...]:
    """The fields of a request whose `Meta` has this mark, by wire name."""
    found: list[str] = []
    for field in msgspec.structs.fields(request):
        kind = msgspec.inspect.type_info(field.type)
        extra: Mapping[str, object] = getattr(kind, "extra", None) or {}
        if mark.items() <= extra.items():
            found.append(field.encode_name)
    return tuple(found)


def given(value: T | UnsetType | None) -> T | None:
    """The value, with absent and null made one: for fields where clearing means nothing."""
    return None if value is UNSET else value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


class BadDeclaration(TypeError):
    """An operation is declared in a way that would leave its callers guessing."""


def _checked(handler: Handler, request: object, *, read_only: bool) -> type[Request]:
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
    if not read_only and "run_id" not in request.__struct_fields__:
        message = f"{where} writes, so its request must be able to say `runId`: `class R(AgentWrite): ...`"
        raise BadDeclaration(message)
    return request


def _metas(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()
