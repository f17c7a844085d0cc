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

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
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

from app.db import Database, Encoded
from app.decoding import Decoder
from app.errors import ApiError, ScopeMissing
from app.types import IdentityKind, Scope

T = TypeVar("T")


class Family(msgspec.Struct, frozen=True):
    """A wire dialect: where its operations live. How it spells success and errors is in transports/envelope.py."""

    name: str
    prefix: str  # of the paths of its operations
    roots: tuple[str, ...]  # every path at or below one of these is answered in its words


AGENT: Final = Family(name="agent", prefix="/v1/agent/", roots=("/v1/agent",))
"""camelCase, `{success, data, meta}`, unknown keys ignored (contract section 1)."""

BARE: Final = Family(name="bare", prefix="/v1/", roots=("/v1/tasks", "/v1/states"))
"""camelCase, bare objects, errors as `{code, message}`, and paths with parameters (contract section 14)."""

FAMILIES: Final = (AGENT, BARE)


def family_at(path: str) -> Family:
    """Whose words an answer at this path uses, also where no operation is; the agents' where it is nobody's."""
    return next(
        (family for family in FAMILIES if any(path == root or path.startswith(root + "/") for root in family.roots)),
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


class BareRequest(Request, kw_only=True, rename="camel"):
    """Base of every request under `/v1/tasks` and `/v1/states`."""

    family: ClassVar[Family] = BARE


IN_PATH: Final = {"place": "path"}
"""For the `Meta` of a field that stands in the path."""

IfMatch = Annotated[
    str | UnsetType,
    Meta(
        description="The ETag you read; if it has changed since, nothing is written and you get a 409. Left out, the last write wins.",
        extra={"place": "If-Match"},
    ),
]
"""The `If-Match` header as a field of a request."""


class Answer(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every object in an answer: camelCase, and closed, so that the document says all there is."""


class Actor(msgspec.Struct, frozen=True):
    """Who is calling: the identity behind the API key."""

    workspace_id: UUID
    id: UUID
    kind: IdentityKind
    handle: str
    scopes: frozenset[str]
    key_id: UUID


class Context(msgspec.Struct, frozen=True):
    """What a handler may touch besides its request."""

    db: Database
    actor: Actor
    request_id: str

    @property
    def who(self) -> dict[str, object]:
        """The part of a batch item that says who acts, and in which request."""
        actor = self.actor
        return {
            "workspaceId": actor.workspace_id,
            "actorId": actor.id,
            "actorKind": actor.kind,
            "requestId": self.request_id,
        }


class Row(Protocol[T]):
    """A row of a list: an item, and the cursor that continues behind it."""

    item: Encoded[T]
    cursor: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and where the next one starts: key-set pagination, so a page costs the same anywhere."""

    items: list[Encoded[T]]
    cursor: str | None
    total: int | None = None

    @classmethod
    def cut(cls, rows: Sequence[Row[T]], limit: int, total: int | None = None) -> "Page[T]":
        """The first `limit` of rows that were fetched with one to spare, which tells whether there are more."""
        page = rows[:limit]
        return cls([row.item for row in page], page[-1].cursor if len(rows) > limit else None, total)


@dataclass(frozen=True, slots=True)
class Tagged(Generic[T]):
    """An answer with the version of what it shows, which goes out as its ETag."""

    item: Encoded[T]
    version: int


def etag_of(version: int) -> str:
    """How a version is spelled in the headers `ETag` and `If-Match`."""
    return f'"{version}"'


def versions_in(if_match: str | UnsetType) -> list[int] | None:
    """The versions that `If-Match` allows; None if it allows any. What is not one of our tags matches nothing."""
    if if_match is UNSET or if_match.strip() == "*":
        return None
    tags = [tag.strip() for tag in if_match.split(",")]
    return [int(tag[1:-1]) for tag in tags if len(tag) < 13 and tag[:1] == tag[-1:] == '"' and tag[1:-1].isdecimal()]


Result: TypeAlias = Encoded[Any] | Page[Any] | Tagged[Any] | msgspec.Struct  # Any: of what, the operation's `result` says
Handler: TypeAlias = Callable[
    [Context, Any], Awaitable[Result]
]  # Any: each handler takes its own request struct


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, as everything that is derived from it sees it."""

    name: str
    family: Family
    path: str  # with parameters as in `/v1/tasks/{taskId}`
    method: str | None  # None: POST, and GET as well if it only reads
    status: int  # of a success
    patience_seconds: float  # how much longer than others it may take, because it waits on purpose
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


def operation(
    *,
    scope: Scope | None,
    read_only: bool = False,
    errors: tuple[type[ApiError], ...] = (),
    path: str | None = None,
    method: str | None = None,
    status: int = 200,
    patience_seconds: float = 0,
) -> Callable[[Handler], Operation]:
    """Declare an operation. `scope=None` lets any valid key call it; `read_only` also makes it answer to GET.

    It answers under the prefix of its family, at its own name unless `path` says otherwise.
    """

    def declare(handler: Handler) -> Operation:
        hints = get_type_hints(handler, include_extras=True)
        request, result = _checked(handler, hints.get("req")), hints.get("return")
        paged = get_origin(result) is Page
        if get_origin(result) in (Encoded, Page, Tagged):
            result = get_args(result)[0]
        summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
        name = _camel(handler.__name__) if request.family is BARE else handler.__name__.replace("_", "-")
        return Operation(
            name=name,
            family=request.family,
            path=request.family.prefix + (name if path is None else path),
            method=method,
            status=status,
            patience_seconds=patience_seconds,
            scope=scope,
            read_only=read_only,
            errors=errors,
            request=request,
            result=list[result] if paged else result,
            paged=paged,
            summary=" ".join(summary.split()),
            description=description,
            handler=handler,
            decoder=Decoder(request),
        )

    return declare


async def execute(
    op: Operation,
    ctx: Context,
    *,
    body: bytes | None = None,
    query: bytes = b"",
    placed: Mapping[str, str] | None = None,
) -> Result:
    """Run one call: scope, decode, handler. The scope comes before the body is looked at."""
    if op.scope is not None and op.scope not in ctx.actor.scopes:
        raise ScopeMissing(op.scope)
    req = op.decoder.from_query(query) if body is None else op.decoder.from_json(body, placed)
    return await op.handler(ctx, req)


def changes(req: msgspec.Struct, *fields: str) -> dict[str, object]:
    """The fields a caller sent, by wire name: an absent one is left out, null stays null."""
    return {
        encoded: value
        for name, encoded in zip(req.__struct_fields__, req.__struct_encode_fields__, strict=True)
        if name in fields and (value := getattr(req, name)) is not UNSET
    }


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
