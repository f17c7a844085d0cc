"""What an operation is, and how one is declared."""

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from app.db import Encoded
from app.decoding import Decoder
from app.errors import ApiError, ChannelNotFound, IdentityNotFound, ScopeMissing
from app.rpc.answers import Excerpt, Outcome, Page, Result
from app.rpc.context import Context
from app.rpc.families import RECORDS, Family
from app.rpc.named import Place, places_of
from app.rpc.requests import Request
from app.types import Scope
from app.writes.fence import FENCE_ERRORS


class Step(msgspec.Struct, frozen=True):
    """An operation's place in an agent's daily loop, and the line that teaches it there.

    The operations that have one are the `core` tools, and their lines in `order` are the loop as the server
    explains it. Leave gaps between the orders, so that another operation can step in.
    """

    order: int
    line: str
    rule: str = ""
    """What to know besides, in a sentence that stands below the loop."""


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
    tools_ask: tuple[tuple[str, object], ...] = ()
    tells: bool = False
    places: tuple[Place, ...] = ()
    cost: int = 1
    more: Callable[[Any], int] | None = None  # Any: each operation has its own request
    spared: bool | Callable[[Any], bool] = False

    def costs(self, req: Any) -> int:  # Any: its own request
        """What a call is worth among those that are limited."""
        return self.cost if self.more is None else self.cost + self.more(req)

    def spares(self, req: Any) -> bool:  # Any: its own request
        """Whether a call is never refused for being one too many."""
        return self.spared if isinstance(self.spared, bool) else self.spared(req)

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
    tools_ask: Mapping[str, object] | None = None,
    tells: bool = False,
    cost: int | None = None,
    more: Callable[[Any], int] | None = None,
    spared: bool | Callable[[Any], bool] = False,
) -> Callable[[Handler], Operation]:
    """Declare an operation. `scope=None` lets any valid key call it; `read_only` also makes it answer to GET.

    It answers under the prefix of its family, by default at its own name.

    One that is not `read_only` accepts an idempotency key and a claim, and declares the errors of both: see
    app/writes/write.py. `under_claim=False` is for an operation that ends the claims of others: its `runId` is not
    the caller's claim. One that waits on purpose may take `patience_seconds` longer than others.

    For agents: `core` puts it into the daily loop; `destructive` says that it overwrites or closes what is there,
    `idempotent` that doing it twice does no more than once. `uses_up` says that it answers to GET but consumes its
    argument, so tools do not call it a read. `resource` is the URI of a read as a document, with its fields in
    braces, as in `thing://{thingId}`. `tools_ask` are arguments that a tool sends unless its caller says otherwise,
    where a model is served better by more than plain HTTP gives. One that `tells` can say something besides its data,
    over HTTP, too: see app/operations/told.py.

    For limits (app/rpc/limits.py): `cost` is what a call is worth, about one for what it takes to read one task; by default
    1 for a read, 2 for a write and 3 for a list. `more` adds what its request makes it worth. `spared` says that a call keeps
    or ends a claim, so that no limit may refuse it.
    """

    def declare(handler: Handler) -> Operation:
        hints = get_type_hints(handler, include_extras=True)
        request, result = _checked(handler, hints.get("req"), read_only=read_only), hints.get("return")
        origin = get_origin(result)
        if origin in (Encoded, Page, Excerpt, Outcome):
            result = get_args(result)[0]
        places = () if request.family is RECORDS else places_of(request)
        fenced = () if read_only or not under_claim else FENCE_ERRORS
        summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
        name = _camel(handler.__name__) if request.family is RECORDS else handler.__name__.replace("_", "-")
        return Operation(
            name=name,
            family=request.family,
            path=request.family.prefix + (name if path is None else path),
            method=method,
            status=status,
            scope=scope,
            read_only=read_only,
            errors=tuple(dict.fromkeys((*errors, *_not_found(places), *fenced))),
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
            tools_ask=tuple((tools_ask or {}).items()),
            tells=tells,
            places=places,
            cost=_usual_cost(read_only=read_only, paged=origin in (Page, Excerpt)) if cost is None else cost,
            more=more,
            spared=spared,
        )

    return declare


def _usual_cost(*, read_only: bool, paged: bool) -> int:
    if not read_only:
        return 2
    return 3 if paged else 1


def _not_found(places: tuple[Place, ...]) -> Iterator[type[ApiError]]:
    """What a name can be refused with that stands in one of these places."""
    nouns = {place.noun for place in places}
    if "identity" in nouns:
        yield IdentityNotFound
    if "channel" in nouns:
        yield ChannelNotFound


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
