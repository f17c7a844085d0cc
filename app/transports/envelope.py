"""How each family spells success and failure on the wire.

The published client parses exactly these shapes (contract sections 0, 3 and 12): `meta` is always whole,
`details` always an object, and an error has no status but the eight it knows.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from app.clock import timestamp
from app.db import Encoded
from app.db.encoded import as_json
from app.errors import ApiError
from app.operations.tasks.conflict import ChangedField, OverlappingField
from app.operations.tasks.task import Task
from app.rpc import Answer, Outcome, Page, Result
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
    reason: Annotated[str | UnsetType, msgspec.Meta(description="Which kind of conflict it is.")] = UNSET
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
    current: Annotated[
        Task | UnsetType, msgspec.Meta(description="The whole task as it is now: merge your change into it.")
    ] = UNSET


_encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode


def success(result: Result, request_id: str) -> bytes:
    """`{success, data, meta}` around the result of an operation."""
    moment = timestamp()
    if isinstance(result, Outcome):
        if result.first is not None:
            request_id, moment = result.first.request_id, result.first.timestamp.encode()
        result = result.result
    meta = b'"meta":{"requestId":"%b","timestamp":"%b"' % (request_id.encode(), moment)
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


def failure(error: ApiError, request_id: str) -> bytes:
    """`{success, error, meta}` for an error."""
    meta = {"requestId": request_id, "timestamp": timestamp().decode()}
    if error.first is not None:
        meta = {"requestId": error.first.request_id, "timestamp": error.first.timestamp}
    return _encode({"success": False, "error": error.body(), "meta": meta})


def headers(said: Result | ApiError) -> list[tuple[bytes, bytes]]:
    """What there is to say beside the body, as HTTP headers."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(said, Outcome) and said.merged_from is not None:
        headers.append((b"baton-merged-from", b"%d" % said.merged_from))
    if isinstance(said, Outcome | ApiError) and said.first is not None and said.first.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    if isinstance(said, ApiError) and said.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % said.retry_after_seconds))
    return headers
