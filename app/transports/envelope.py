"""How each family spells success and failure on the wire.

The published client parses exactly these shapes (contract sections 0, 3 and 12): `meta` is always whole,
`details` always an object, and an error has no status but the eight it knows.
"""

from typing import Final

import msgspec

from app.clock import timestamp
from app.db import Encoded
from app.db.encoded import as_json
from app.errors import ApiError
from app.rpc import Page

_encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode


def success(result: object, request_id: str) -> bytes:
    """`{success, data, meta}` around the result of an operation."""
    meta = b'"meta":{"requestId":"%b","timestamp":"%b"' % (request_id.encode(), timestamp())
    if isinstance(result, Page):
        return b'{"success":true,"data":%b,%b,"pagination":%b}}' % (data(result), meta, _encode(pagination(result)))
    return b'{"success":true,"data":%b,%b}}' % (data(result), meta)


def failure(error: ApiError, request_id: str) -> bytes:
    """`{success, error, meta}` for an error."""
    meta = {"requestId": request_id, "timestamp": timestamp().decode()}
    return _encode({"success": False, "error": error_object(error), "meta": meta})


def data(result: object) -> bytes:
    """The JSON of a result, without anything around it."""
    if isinstance(result, Encoded):
        return result.raw
    if isinstance(result, Page):
        return b"[%b]" % b",".join([item.raw for item in result.items])
    return _encode(result)


def error_object(error: ApiError) -> dict[str, object]:
    """What every door says of an error."""
    said: dict[str, object] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    if error.details:
        said["details"] = error.details
    return said


def pagination(page: Page[object]) -> dict[str, object]:
    pagination: dict[str, object] = {"hasMore": page.cursor is not None, "cursor": page.cursor, "historyCutoff": None}
    if page.total is not None:
        pagination["total"] = page.total
    return pagination
