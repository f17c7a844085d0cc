"""Paths with parameters, such as `/v1/tasks/{taskId}`: from a method and a path to an operation and its fields."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.decoding import given_twice, parameters, places
from app.errors import MethodNotAllowed, UnknownPath
from app.rpc import Operation

NOT_SERVED: Final = frozenset(
    {
        *(
            f"/v1/agent/{name}"
            for name in ("request-file-download", "request-file-upload", "search-memories")
        ),
        *(
            f"/v1/sdk/{name}"
            for name in (
                *("bootstrap-context", "flag-contradiction", "invalidate", "link"),
                *("recall", "remember", "revalidate", "supersede"),
            )
        ),
    }
)
"""Where the published client looks for what Baton does not have."""


class Match(NamedTuple):
    """An operation, and the fields of its request that stand outside of the body."""

    op: Operation
    placed: dict[str, str]


class Paths:
    """The operations that answer to one method at one path. There are few, so they are tried one after the other."""

    def __init__(self, operations: tuple[Operation, ...]) -> None:
        self._routes = [
            (
                op,
                op.path.split("/"),
                {f for f, place in places(op.request).items() if place == "query"},
                {
                    f: place.lower().encode()
                    for f, place in places(op.request).items()
                    if place not in {"path", "query"}
                },
            )
            for op in operations
            if op.method is not None
        ]

    def find(self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Match:
        """What answers there, or an UnknownPath that says what would."""
        segments = path.split("/")
        for op, pattern, query_fields, header_fields in self._routes:
            placed = _matched(pattern, segments)
            if placed is None or op.method != method:
                continue
            for name, value in parameters(query) if query_fields else ():
                if name in query_fields:
                    if name in placed:
                        raise given_twice(name)
                    placed[name] = value
            for field, header in header_fields.items():
                if (value := headers.get(header)) is not None:
                    placed[field] = value.decode("latin-1")
            return Match(op, placed)
        if verbs := self.verbs(path):
            raise MethodNotAllowed(path, method, verbs)
        elsewhere = " Baton serves neither memory nor files." if path in NOT_SERVED else ""
        raise UnknownPath(f"There is no operation at {path[:80]}.{elsewhere}")

    def verbs(self, path: str) -> tuple[str, ...]:
        """What a path answers to; nothing if nothing is there."""
        segments = path.split("/")
        there = [
            (str(op.method), op.path == path)
            for op, pattern, *_ in self._routes
            if _matched(pattern, segments) is not None
        ]
        exact = [
            method for method, is_exact in there if is_exact
        ]  # `list` in /v1/tasks/list is the name of no run
        found = exact or [method for method, _ in there]
        if "GET" in found:
            found.append("HEAD")
        return (*dict.fromkeys(found), "OPTIONS") if found else ()


def _matched(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """The parameters of a path, if it is of this pattern."""
    if len(pattern) != len(segments):
        return None
    placed: dict[str, str] = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            if not segment:
                return None
            placed[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return placed
