"""Addressing someone: `@handle` in a text, outside code, or an id that is mentioned on purpose.

Messages and comments share this. What is addressed to someone waits for them in `unread_mentions` until they
answer; get-unread-mentions reads it.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Query
from app.errors import InvalidInput
from app.ids import uuid_or_none
from app.operations.identities import not_named
from app.rpc import Answer, Context
from app.types import MENTIONS_MAX, Id, IdentityKind
from app.writes.access import CALLER, NAMED_IDENTITY


class Mention(Answer):
    """Someone who is addressed."""

    brief: ClassVar[tuple[str, ...]] = ("id",)

    id: Annotated[str, Meta(description="The user or agent.")]
    type: Annotated[IdentityKind, Meta(description="Which of the two.")]


class GivenMention(msgspec.Struct, rename="camel"):
    """Someone to address, whether or not the body names them."""

    id: Annotated[Id, Meta(description="The user or agent.")]
    type: Annotated[IdentityKind | UnsetType, Meta(description="Which of the two; may be left out.")] = UNSET


class Addressed(msgspec.Struct):
    """Someone whom a text or an explicit mention names."""

    id: UUID
    kind: IdentityKind
    handle: str


# Handles that are written in a text, and ids that are mentioned on purpose. A private agent can be named by
# whoever may know of it, and by anyone who shares a channel with it.
FIND_ADDRESSED = Query(
    Addressed,
    f"""
    WITH i AS ({CALLER})
    SELECT a.id, a.kind, a.handle
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id
       AND (a.handle = ANY(%(handles)s::text[]) OR a.id = ANY(%(ids)s::uuid[]))
     WHERE a.deactivated_at IS NULL AND {NAMED_IDENTITY}
     ORDER BY a.id
    """,
    pipelined=True,
)


async def addressed(
    ctx: Context, text: str, mentions: Sequence[GivenMention] = (), *, field: str
) -> list[Addressed]:
    """Everyone whom a text addresses, and everyone mentioned besides.

    A handle in a text that nobody has, or that somebody had who was deactivated, is just text.
    """
    handles = handles_in(text)
    named = [mention.id[1:].lower() for mention in mentions if mention.id.startswith("@")]
    ids = [id for mention in mentions if (id := uuid_or_none(mention.id))]
    found: list[Addressed] = []
    if handles or named or ids:
        found = await ctx.all(
            FIND_ADDRESSED,
            handles=[*handles, *named],
            ids=ids,
        )
    kinds = {name: someone.kind for someone in found for name in (str(someone.id), f"@{someone.handle}")}
    for mention in mentions:
        kind = kinds.get(str(uuid_or_none(mention.id) or mention.id.lower()))
        if kind is None or mention.type not in {kind, UNSET}:
            raise await not_named(ctx, mention.id, field=field)
    if len(found) > MENTIONS_MAX:
        message = (
            f"One text addresses at most {MENTIONS_MAX} users and agents; this one addresses {len(found)}."
        )
        raise InvalidInput(message, field=field)
    return found


HANDLES_READ_MAX: Final = 200  # of one body; a text with more @words is data, not an address

_SIGN: Final = "@\uff20\ufe6b"  # also as keyboards for Chinese and Japanese type it
_LETTER: Final = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u036f\u1e00-\u1eff"
"""Latin letters and digits hold on to what stands beside them, since words of Latin letters are split by blanks."""

# Not in an address of mail or an identifier (a letter before it, or a letter and a joint), nor in a path. A full stop may
# end a sentence before it, but between letters and a domain it is a part of an address.
_HANDLE: Final = re.compile(
    rf"(?<![{_LETTER}/{_SIGN}])(?<![{_LETTER}][_+-])(?<![{_LETTER}]__)"
    rf"(?:(?<![\w.+-])|(?![{_SIGN}][A-Za-z0-9-]+\.[A-Za-z0-9]))"
    rf"[{_SIGN}]([A-Za-z0-9][A-Za-z0-9-]{{0,62}}+)(?![{_LETTER}{_SIGN}-]|_+[{_LETTER}])"
)


def handles_in(text: str) -> list[str]:
    """The handles that a markdown text addresses: `@handle` outside code, each once, in lower case."""
    if not any(sign in text for sign in _SIGN):
        return []
    found = dict.fromkeys(match[1].lower().rstrip("-") for match in _HANDLE.finditer(prose(text)))
    return list(found)[:HANDLES_READ_MAX]


# What CommonMark says of code, as far as it takes to leave it out (https://spec.commonmark.org/0.31.2, 4.5 and 6.1). A
# parser of all of markdown takes several times as long, a tenth of a second for the longest text, and everybody waits; the
# tests hold this one against such a parser.

_QUOTES: Final = re.compile(r"(?: {0,3}> ?)*")
_ITEM: Final = re.compile(r" {0,3}(?:[-+*]|[0-9]{1,9}[.)])(?: {1,4}(?! )|(?= *$)| (?= ))")
_INTERRUPTS: Final = re.compile(
    r" {0,3}(?:[-+*]|0{0,8}1[.)]) +[^ ]"
)  # an item that ends a paragraph has a text, and number 1
_FENCE: Final = re.compile(r" {0,3}(?:(`{3,})([^`]*)|(~{3,})(.*))$")
_RULE: Final = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_BREAKS: Final = re.compile(rf" {{0,3}}(?:#{{1,6}}(?:[ \t]|$)|=+[ \t]*$|-+[ \t]*$)|{_RULE.pattern}")
_TICKS: Final = re.compile(r"\\.|`+", re.DOTALL)
_RUN: Final = re.compile(r"`+")


def prose(text: str) -> str:
    """A markdown text without its code: code spans and fenced blocks are blanks."""
    if "`" not in text and "~~~" not in text:
        return text
    reader = _Reader()
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        reader.read(line)
    return reader.end()


class _Reader:
    """Goes through the lines of a text and keeps what is not code."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._paragraph: list[str] = []  # the lines that a code span may cross
        self._quoted = 0  # how deep in quotations
        self._indent = 0  # of what stands in the list that is open
        self._fence = ""  # the fence that is open,
        self._fence_quoted = 0  # and where it stands
        self._fence_indent = 0

    def read(self, line: str) -> None:
        """Take the next line."""
        quotes = _QUOTES.match(line)
        assert quotes is not None, "it also matches nothing"
        quoted, rest = quotes[0].count(">"), line[quotes.end() :].expandtabs(4)
        if self._fence and self._is_code(rest, quoted):
            return
        if not rest.strip():
            self._end_paragraph()
            self._quoted = quoted
            return
        if quoted > self._quoted or not self._paragraph:
            self._end_paragraph()
            self._quoted = quoted
        goes_on = bool(self._paragraph) and _indent(rest) >= self._indent
        if _indent(rest) < self._indent and not (self._paragraph and _continues(rest)):
            self._indent = 0
        content = rest[min(self._indent, _indent(rest)) :]
        if not goes_on or _INTERRUPTS.match(content):
            content = self._inside_items(content, quoted)
        if opened := _FENCE.match(content):
            self._end_paragraph()
            self._fence, self._fence_quoted, self._fence_indent = opened[1] or opened[3], quoted, self._indent
            self._told.append(" ")
        elif _BREAKS.match(content):
            self._end_paragraph()
            self._told.append(_without_spans(content))
        else:
            self._paragraph.append(content)

    def end(self) -> str:
        """All that is not code."""
        self._end_paragraph()
        return "\n".join(self._told)

    def _is_code(self, rest: str, quoted: int) -> bool:
        """Whether a line belongs to the open fence, which it may close; it ends with what it stands in."""
        if quoted < self._fence_quoted or (rest.strip() and _indent(rest) < self._fence_indent):
            self._fence = ""
            return False
        shut = _FENCE.match(rest[self._fence_indent :]) if quoted == self._fence_quoted else None
        if shut and (shut[1] or shut[3]).startswith(self._fence) and not (shut[2] or shut[4] or "").strip():
            self._fence = ""
        return True

    def _inside_items(self, content: str, quoted: int) -> str:
        """What stands in the items of lists that begin on this line."""
        while (item := _ITEM.match(content)) and not _RULE.match(content):
            self._end_paragraph()
            self._quoted = quoted
            self._indent += item.end()
            content = content[item.end() :]
        return content

    def _end_paragraph(self) -> None:
        if self._paragraph:
            self._told.append(_without_spans("\n".join(self._paragraph)))
            self._paragraph.clear()


def _continues(line: str) -> bool:
    """Whether a line can go on with a paragraph in a list though it is not indented as that is."""
    return not (_FENCE.match(line) or _ITEM.match(line) or _BREAKS.match(line))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _without_spans(text: str) -> str:
    """A paragraph without its code spans: what stands between two runs of as many backticks."""
    if "`" not in text:
        return text
    runs: dict[int, list[int]] = {}
    for run in _RUN.finditer(text):
        runs.setdefault(len(run[0]), []).append(run.start())
    told: list[str] = []
    told_to = at = 0
    while ticks := _TICKS.search(text, at):
        at = ticks.end()
        if ticks[0][0] == "\\":
            continue
        closing = runs.get(len(ticks[0]), [])
        place = bisect_left(closing, at)
        if place < len(closing):
            told += (text[told_to : ticks.start()], " ")
            told_to = at = closing[place] + len(ticks[0])
    told.append(text[told_to:])
    return "".join(told)
