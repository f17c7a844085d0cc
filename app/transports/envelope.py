"""How each family spells success and failure on the wire.

The published client parses exactly these shapes (contract sections 0, 3 and 12): `meta` is always whole,
`details` always an object, and an error has no status but the eight it knows.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from app.clock import timestamp
from app.db import Encoded
from app.db.encoded import as_json
from app.errors import (
    AlreadyExists,
    ApiError,
    ChannelNotMember,
    LeaseLost,
    MethodNotAllowed,
    RateLimited,
    UnknownEncoding,
    VersionConflict,
)
from app.operations.runs.explain import HolderNow, Obstacle
from app.operations.runs.run import EndReason
from app.operations.tasks.conflict import ChangedField, OverlappingField
from app.operations.tasks.task import Task
from app.rpc import (
    AGENT,
    RECORDS,
    SDK,
    Answer,
    Excerpt,
    Family,
    HistoryCutoff,
    Outcome,
    Page,
    Result,
    etag_of,
)
from app.types import Timestamp
from app.wording import NAME_CHARACTERS_MAX, nearest


class Meta(Answer):
    """About the answer itself."""

    request_id: Annotated[
        str,
        msgspec.Meta(description="The same as the header `X-Request-Id`; quote it when you report trouble."),
    ]
    timestamp: Annotated[Timestamp, msgspec.Meta(description="When the answer was made.")]


class Pagination(Answer):
    """How a list goes on."""

    has_more: Annotated[bool, msgspec.Meta(description="Whether there is more behind this page.")]
    cursor: Annotated[
        str | None,
        msgspec.Meta(description="Send it as `cursor` to get the next page; null on the last one."),
    ]
    history_cutoff: Annotated[
        HistoryCutoff | None,
        msgspec.Meta(description="What the workspace's history window hides; null if nothing can be."),
    ]
    total: Annotated[
        int | UnsetType, msgspec.Meta(description="How many match in all, if you asked with `includeTotal`.")
    ] = UNSET


class PageMeta(Meta):
    """About the answer itself, and how the list goes on."""

    pagination: Annotated[Pagination, msgspec.Meta(description="How the list goes on.")]


class ErrorDetails(Answer):
    """The facts behind an error; each is there only where it says something."""

    field: Annotated[str | UnsetType, msgspec.Meta(description="The field of the request it is about.")] = (
        UNSET
    )
    index: Annotated[int | UnsetType, msgspec.Meta(description="The row of a bulk call, from 0.")] = UNSET
    message: Annotated[
        str | UnsetType, msgspec.Meta(description="Of a bulk call: what is wrong with the row.")
    ] = UNSET
    bytes_max: Annotated[int | UnsetType, msgspec.Meta(description="How large a body may be.")] = UNSET
    scope: Annotated[str | UnsetType, msgspec.Meta(description="The scope that the key lacks.")] = UNSET
    task_id: Annotated[str | UnsetType, msgspec.Meta(description="The task that was not found.")] = UNSET
    channel_id: Annotated[str | UnsetType, msgspec.Meta(description="The channel that is closed to you.")] = (
        UNSET
    )
    run_id: Annotated[str | UnsetType, msgspec.Meta(description="The run whose claim is over.")] = UNSET
    end_reason: Annotated[EndReason | UnsetType, msgspec.Meta(description="How the claim ended.")] = UNSET
    ended_at: Annotated[Timestamp | None | UnsetType, msgspec.Meta(description="When it ended.")] = UNSET
    holder: Annotated[
        HolderNow | None | UnsetType, msgspec.Meta(description="Who holds the task now; null if nobody does.")
    ] = UNSET
    obstacles: Annotated[
        list[Obstacle] | UnsetType, msgspec.Meta(description="What stands in the way of a claim.")
    ] = UNSET
    reason: Annotated[str | UnsetType, msgspec.Meta(description="Which kind of conflict it is.")] = UNSET
    policy: Annotated[
        str | UnsetType,
        msgspec.Meta(description="Which limit it is: `key`, `workspace`, `waiting-key` or `waiting`."),
    ] = UNSET
    limit: Annotated[
        int | UnsetType, msgspec.Meta(description="How much may be asked for at once, or how many may wait.")
    ] = UNSET
    cost: Annotated[int | UnsetType, msgspec.Meta(description="What the call is worth among those.")] = UNSET
    retry_after_seconds: Annotated[
        int | UnsetType, msgspec.Meta(description="How long to wait before the same call is sent again.")
    ] = UNSET
    operation: Annotated[
        str | UnsetType, msgspec.Meta(description="What you used the idempotency key for before.")
    ] = UNSET
    sent_version: Annotated[int | UnsetType, msgspec.Meta(description="The version you sent.")] = UNSET
    current_version: Annotated[int | UnsetType, msgspec.Meta(description="The version the task is at.")] = (
        UNSET
    )
    mergeable: Annotated[
        bool | UnsetType,
        msgspec.Meta(description="Whether nobody has touched your fields since your version."),
    ] = UNSET
    overlapping: Annotated[
        list[OverlappingField] | UnsetType,
        msgspec.Meta(description="Those of your fields that someone has touched since."),
    ] = UNSET
    changed: Annotated[
        list[ChangedField] | UnsetType,
        msgspec.Meta(
            description="All fields that have changed since your version, of the last 1000 versions."
        ),
    ] = UNSET
    removed_to: Annotated[
        int | UnsetType,
        msgspec.Meta(description="The last version of which the history was removed."),
    ] = UNSET
    current: Annotated[
        Task | UnsetType, msgspec.Meta(description="The whole task as it is now: merge your change into it.")
    ] = UNSET


_encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode


def success(result: Result, request_id: str, family: Family = AGENT) -> bytes:
    """The result of an operation, as its family spells it."""
    return _SPELLINGS[family.name].success(result, request_id)


def failure(error: ApiError, request_id: str, family: Family = AGENT) -> bytes:
    """An error, as a family spells it."""
    return _SPELLINGS[family.name].failure(error, request_id)


def _enveloped(result: Result, request_id: str) -> bytes:
    """`{success, data, meta}` around the result."""
    moment = timestamp()
    if isinstance(result, Outcome):
        if result.first is not None:
            request_id, moment = result.first.request_id, result.first.timestamp.encode()
        result = result.result
    meta = b'"meta":{"requestId":"%b","timestamp":"%b"' % (request_id.encode(), moment)
    if isinstance(result, (Page, Excerpt)):  # `Page | Excerpt` would be made anew for each answer
        return b'{"success":true,"data":%b,%b,"pagination":%b}}' % (
            data(result),
            meta,
            _encode(pagination(result)),
        )
    return b'{"success":true,"data":%b,%b}}' % (data(result), meta)


def _agent_failure(error: ApiError, request_id: str) -> bytes:
    """`{success, error, meta}`, where the error says whether trying again may help."""
    return _failed(error, error.body(), request_id)


def _sdk_failure(error: ApiError, request_id: str) -> bytes:
    """The same, with a code in capitals and keys in snake_case."""
    details = {snake(name): value for name, value in (error.details or {}).items()}
    if isinstance(field := details.get("field"), str):
        details["field"] = snake(field)
    body: dict[str, object] = {"code": code_of(type(error), SDK), "message": error.message}
    return _failed(error, {**body, "details": details} if details else body, request_id)


SDK_CODES: Final[dict[int, str]] = {
    400: "VALIDATION_ERROR",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}
"""Codes of the SDK family by status. Those of a 401 are the same in all families."""

SDK_CODES_OF: Final[dict[type[ApiError], str]] = {
    ChannelNotMember: "CHANNEL_PERMISSION_DENIED",
    VersionConflict: "VERSION_CONFLICT",
    AlreadyExists: "ALREADY_EXISTS",
}
"""Where the SDK family is more exact than the status."""


def code_of(error: type[ApiError], family: Family) -> str:
    """The code of an error, as a family spells it."""
    if family is SDK:
        return SDK_CODES_OF.get(error) or SDK_CODES.get(error.status, error.code.upper())
    return error.code


def snake(name: str) -> str:
    """A camelCase name in snake_case."""
    return re.sub("([A-Z])", r"_\1", name).lower()


def _failed(error: ApiError, body: Mapping[str, object], request_id: str) -> bytes:
    meta = {"requestId": request_id, "timestamp": timestamp().decode()}
    if error.first is not None:
        meta = {"requestId": error.first.request_id, "timestamp": error.first.timestamp}
    return _encode({"success": False, "error": body, "meta": meta})


def data(result: Result) -> bytes:
    """The JSON of a result, with nothing around it."""
    if isinstance(result, Outcome):
        result = result.result
    if isinstance(result, Encoded):
        return result.raw
    if isinstance(result, Page):
        return result.items.raw
    if isinstance(result, Excerpt):
        return result.data.raw
    return _encode(result)


def pagination(page: Page[Any] | Excerpt[Any]) -> Pagination:  # Any: of what does not matter
    """How a list goes on."""
    if isinstance(page, Excerpt):
        return Pagination(has_more=page.has_more, cursor=page.cursor, history_cutoff=page.history_cutoff)
    return Pagination(
        has_more=page.cursor is not None,
        cursor=page.cursor,
        history_cutoff=None,
        total=UNSET if page.total is None else page.total,
    )


TOLD: Final = b"baton-told"
"""The header that has what an answer says besides its data."""


IGNORED_NAMED_MAX: Final = 20  # fields that nobody reads; whoever sends more of them means to


def ignored_fields(names: Iterable[str], known: Iterable[str]) -> tuple[bytes, bytes]:
    """The header that names fields which were sent and nobody reads, each with the one that was probably meant.

    A list as in RFC 9651: `"runID";meant="runId", "colour"`.
    """
    known = tuple(known)
    told: list[str] = []
    for name in sorted(names)[:IGNORED_NAMED_MAX]:
        near = nearest(name, known)
        told.append(_quoted(name) + ("" if near is None else f";meant={_quoted(near)}"))
    return b"baton-ignored-fields", ", ".join(told).encode()


def _quoted(name: str) -> str:
    """A name as a string of a header, which knows no more than ASCII."""
    return re.sub(r"[^ !#-\[\]-~]", "?", name[:NAME_CHARACTERS_MAX]).join('""')


def headers(said: Result | ApiError) -> list[tuple[bytes, bytes]]:
    """What there is to say beside the body, as HTTP headers."""
    if isinstance(said, Encoded):
        return []  # the most frequent result says nothing
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(said, Outcome) and said.merged_from is not None:
        headers.append((b"baton-merged-from", b"%d" % said.merged_from))
    if isinstance(said, Outcome) and said.told is not None:
        headers.append((TOLD, json.dumps(json.loads(said.told.raw), separators=(",", ":")).encode()))
    if isinstance(said, (Outcome, ApiError)) and said.first is not None and said.first.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    if isinstance(said, ApiError) and said.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % said.retry_after_seconds))
    if isinstance(said, RateLimited):
        headers += _rate(said)
    if isinstance(said, MethodNotAllowed):
        headers.append((b"allow", ", ".join(said.allowed).encode()))
    if isinstance(said, UnknownEncoding):
        headers.append((b"accept-encoding", said.known.encode()))
    return headers


def _rate(limited: RateLimited) -> list[tuple[bytes, bytes]]:
    """The limit that a call met, and what is left of it, as draft-ietf-httpapi-ratelimit-headers-11 has it."""
    unit = f";w={limited.window_seconds}" if limited.window_seconds else ';qu="concurrent-requests"'
    return [
        (b"ratelimit-policy", f'"{limited.policy}";q={limited.quota}{unit}'.encode()),
        (b"ratelimit", f'"{limited.policy}";r={limited.left};t={limited.retry_after_seconds}'.encode()),
    ]


def _record(result: Result, request_id: str) -> bytes:
    """The result and nothing around it."""
    return data(result)


RECORD_CODES: Final = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    405: "unimplemented",
    408: "deadline_exceeded",
    409: "conflict",
    414: "invalid_argument",
    415: "invalid_argument",
    429: "resource_exhausted",
    431: "invalid_argument",
    500: "internal",
    501: "unimplemented",
    503: "unavailable",
    505: "unimplemented",
}
"""Codes of records by status."""


def _record_failure(error: ApiError, request_id: str) -> bytes:
    """`{code, message}`: this dialect has no place for more (contract section 19).

    Only who acts under a claim, which the contract does not know, must be able to tell by machine that it is over.
    """
    facts = error.details if isinstance(error, LeaseLost) else None
    return _encode({"code": RECORD_CODES[error.status], "message": error.message, **(facts or {})})


def etag(result: Result, body: bytes) -> bytes:
    """What names the state of an answer: the version of what it shows, or else a digest of the whole of it."""
    if isinstance(result, Outcome) and result.version is not None:
        return etag_of(result.version).encode()
    return b'"%b"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()


class _Spelling(NamedTuple):
    """How a family writes what came of a call."""

    success: Callable[[Result, str], bytes]
    failure: Callable[[ApiError, str], bytes]


_SPELLINGS: Final = {
    AGENT.name: _Spelling(_enveloped, _agent_failure),
    SDK.name: _Spelling(_enveloped, _sdk_failure),
    RECORDS.name: _Spelling(_record, _record_failure),
}
