"""How each family spells success and failure on the wire.

The published client parses exactly these shapes (contract sections 0, 3 and 12): `meta` is always whole,
`details` always an object, and an error has no status but the eight it knows.
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from app.clock import timestamp
from app.db import Encoded
from app.db.encoded import as_json
from app.errors import ApiError
from app.operations.runs.explain import HolderNow, Obstacle
from app.operations.runs.run import EndReason
from app.operations.tasks.task import Task
from app.rpc import AGENT, BARE, Answer, Family, Page, Result, Tagged, etag_of
from app.types import Timestamp


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
    history_cutoff: Annotated[None, msgspec.Meta(description="Always null: nothing is hidden.")]
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
    sent_version: Annotated[int | UnsetType, msgspec.Meta(description="The version you sent.")] = UNSET
    current_version: Annotated[int | UnsetType, msgspec.Meta(description="The version the task is at.")] = (
        UNSET
    )
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
    meta = b'"meta":{"requestId":"%b","timestamp":"%b"' % (request_id.encode(), timestamp())
    if isinstance(result, Encoded):
        return b'{"success":true,"data":%b,%b}}' % (result.raw, meta)
    if isinstance(result, Page):
        data = b",".join([item.raw for item in result.items])
        return b'{"success":true,"data":[%b],%b,"pagination":%b}}' % (
            data,
            meta,
            _encode(
                Pagination(
                    has_more=result.cursor is not None,
                    cursor=result.cursor,
                    history_cutoff=None,
                    total=UNSET if result.total is None else result.total,
                )
            ),
        )
    return b'{"success":true,"data":%b,%b}}' % (_encode(result), meta)


def _agent_failure(error: ApiError, request_id: str) -> bytes:
    """`{success, error, meta}`, where the error says whether trying again may help."""
    body: dict[str, object] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    if error.details:
        body["details"] = error.details
    meta = {"requestId": request_id, "timestamp": timestamp().decode()}
    return _encode({"success": False, "error": body, "meta": meta})


def _bare(result: Result, request_id: str) -> bytes:
    """The result and nothing around it."""
    if isinstance(result, Tagged):
        result = result.item
    if isinstance(result, Encoded):
        return result.raw
    if isinstance(result, Page):
        return b"[%b]" % b",".join([item.raw for item in result.items])
    return _encode(result)


BARE_CODES: Final = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "conflict",
    429: "resource_exhausted",
    500: "internal",
    503: "unavailable",
}


def _bare_failure(error: ApiError, request_id: str) -> bytes:
    """`{code, message}`: this dialect has no place for more (contract section 19)."""
    return _encode({"code": BARE_CODES[error.status], "message": error.message})


def etag(result: Result, body: bytes) -> bytes:
    """What names the state of an answer: the version of what it shows, or else a digest of the whole of it."""
    if isinstance(result, Tagged):
        return etag_of(result.version).encode()
    return b'"%b"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()


class _Spelling(NamedTuple):
    """How a family writes what came of a call."""

    success: Callable[[Result, str], bytes]
    failure: Callable[[ApiError, str], bytes]


_SPELLINGS: Final = {
    AGENT.name: _Spelling(_enveloped, _agent_failure),
    BARE.name: _Spelling(_bare, _bare_failure),
}
