"""The body of a request: whole, within bounds, and as it was before it was compressed."""

import zlib
from collections.abc import Mapping
from typing import Final

from starlette.types import Receive

from app.errors import CallerGone, InvalidInput, UnknownEncoding

BODY_BYTES_MAX: Final = 1024 * 1024  # 50 bulk rows with long descriptions fit; more belongs into files

ENCODINGS: Final = "gzip"
"""How a body may be compressed, as the header `Accept-Encoding` of a refusal says it."""

_AS_IT_IS: Final = frozenset({b"", b"identity"})
_GZIP: Final = frozenset({b"gzip", b"x-gzip"})
_GZIP_WINDOW: Final = zlib.MAX_WBITS + 16  # as zlib is told that it is gzip
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # PowerShell and .NET put it ahead of what they send


class TooLarge(InvalidInput):
    """The body is larger than any that means something here."""

    def __init__(self) -> None:
        super().__init__(
            f"The body is larger than {BODY_BYTES_MAX} bytes. Send less at once.", bytesMax=BODY_BYTES_MAX
        )


async def whole(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """What was sent. A caller who is gone before all of it was there has asked for nothing: part of a body may mean anything."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        size, pieces = len(body), [body]
        while size <= BODY_BYTES_MAX and message.get("more_body", False):
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
        body = b"".join(pieces)
    if message["type"] == "http.disconnect":
        raise CallerGone
    if len(body) > BODY_BYTES_MAX:
        raise TooLarge
    if b"content-encoding" in headers:
        body = _inflated(body, headers[b"content-encoding"].lower())
    return body.removeprefix(_BYTE_ORDER_MARK)


def _inflated(body: bytes, encoding: bytes) -> bytes:
    if not body or encoding in _AS_IT_IS:
        return body
    if encoding not in _GZIP:
        raise UnknownEncoding(encoding.decode("latin-1"), ENCODINGS)
    inflated = b""
    while body:  # of several parts, which gzip allows
        part = zlib.decompressobj(_GZIP_WINDOW)
        try:
            inflated += part.decompress(body, BODY_BYTES_MAX + 1 - len(inflated))
        except zlib.error:
            raise InvalidInput("The body is not gzip, as its Content-Encoding says.") from None
        if len(inflated) > BODY_BYTES_MAX:
            raise TooLarge
        if not part.eof:
            raise InvalidInput("The body is gzip that ends too early.")
        body = part.unused_data
    return inflated
