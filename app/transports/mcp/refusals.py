"""What a model is told when a call is refused: what was wrong, and the calls that help among the tools it has."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from app.errors import ApiError, VersionConflict, Way

Json: TypeAlias = dict[str, Any]  # Any: JSON of any shape

_SENTENCE_END: Final = re.compile(r"(?<=[.?!])\s+")


class AtHand:
    """The tools of one connection, and what may be said to whoever has no others."""

    def __init__(self, tools: frozenset[str], elsewhere: Iterable[str]) -> None:
        """`elsewhere` are the tools that the connection does not have."""
        self.tools = tools
        names = "|".join(map(re.escape, sorted(elsewhere, key=len, reverse=True)))
        self._strange = re.compile(rf"(?<![\w-])({names})(?![\w-])") if names else None

    def text(self, text: str) -> str:
        """A text without the sentences that send to a tool which is not there."""
        if self._strange is None or not self._strange.search(text):
            return text
        kept = [sentence for sentence in _SENTENCE_END.split(text) if not self._strange.search(sentence)]
        return " ".join(kept)

    def calls(self, helps: list[Json]) -> list[Json]:
        """Those of several calls that can be made."""
        return [call for call in helps if call["operation"] in self.tools]

    def way(self, error: ApiError) -> Way | None:
        """The best of the calls that help after an error."""
        return next((way for way in error.ways if way.operation in self.tools), None)


def told(error: ApiError, tool: str, sent: Mapping[str, object], at_hand: AtHand) -> Json:
    """A refusal without its details: code, message, and the next call as data."""
    way = at_hand.way(error)
    said = error.to_models or error.said
    message = at_hand.text(f"{said} {way.says}" if way is not None else said)
    body: Json = {"code": error.code, "message": message, "retryable": error.retryable}
    helps: list[Json] = []
    if isinstance(error, VersionConflict) and error.details is not None:
        again = {"version": error.details["currentVersion"]}
        helps = [{"operation": tool, "arguments": {**_named(sent), **again}}]
    elif error.retryable:
        helps = [{"operation": tool, "arguments": _named(sent)}]
    elif way is not None:
        helps = [{"operation": way.operation, "arguments": dict(way.arguments)}]
    return {**body, "helps": helps} if helps else body


_NAMING: Final = ("taskId", "runId")


def _named(sent: Mapping[str, object]) -> Json:
    """What of a call says what it is about: the rest its caller has."""
    return {name: sent[name] for name in _NAMING if isinstance(sent.get(name), str)}
