"""A version as HTTP spells it: the headers `ETag` and `If-Match`."""

import re
from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

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
