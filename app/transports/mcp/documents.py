"""Reads as resources: documents that a client can fetch by URI and put before its model, without a tool call."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from app.rpc import Operation

_FIELD: Final = re.compile(r"\{(\w+)\}")


class Document:
    """A read that can be had under a URI, or under one for each value of its fields."""

    def __init__(self, operation: Operation, uri: str) -> None:
        self.operation = operation
        self.uri = uri
        self.name = operation.name
        self.description = operation.summary
        self.templated = _FIELD.search(uri) is not None
        pieces = _FIELD.split(uri)  # literal, field, literal, field, …
        for place, piece in enumerate(pieces):
            pieces[place] = f"(?P<{piece}>[^/?#]+)" if place % 2 else re.escape(piece)
        self._pattern = re.compile("".join(pieces))

    def fields(self, uri: str) -> dict[str, str] | None:
        """The fields of the request that this URI stands for, or None if it is not one of these."""
        match = self._pattern.fullmatch(uri)
        return None if match is None else {name: unquote(value) for name, value in match.groupdict().items()}


def documents(operations: Iterable[Operation]) -> list[Document]:
    """Every read that declares a URI."""
    return [Document(op, op.resource) for op in operations if op.resource]
