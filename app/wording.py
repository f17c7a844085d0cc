"""What the decoder complains of, in words for people and models.

msgspec names the types of its language and quotes regular expressions. A caller wants to know which field it is,
what may stand there, and which name was probably meant.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final, TypeVar, get_args

import msgspec
from msgspec import inspect

from app.errors import InvalidInput
from app.types import TaskPriority, TaskStatus

COMPLAINT_CHARACTERS_MAX: Final = 200  # some quote the value, which may be as long as the whole body
QUOTED_CHARACTERS_MAX: Final = 80  # of what was sent: enough to know it by, beside a list of choices
NAME_CHARACTERS_MAX: Final = 80  # of a name that a caller sent, when it is repeated

MOMENT: Final = "a time with an offset, like 2026-12-01T09:00:00Z"

Choice = TypeVar("Choice")

_ORDERS: Final[tuple[tuple[object, ...], ...]] = (get_args(TaskPriority), ("open", *get_args(TaskStatus)))

_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": MOMENT,
    "null": "null",
}
_PARTS: Final = {"str": "character", "array": "item", "object": "key"}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_LETTERS: Final = re.compile(r"[\W_]+")


def explained(
    error: msgspec.ValidationError, request: type | None = None, sent: Iterable[str] = ()
) -> InvalidInput:
    """What msgspec complains of, with the place as a field name.

    `request` is what was to be decoded: with it, choices are listed. `sent` are the names in the body, among which
    the one that is missing may stand misspelt.
    """
    what, found, place = str(error).rpartition(
        " - at `$"
    )  # the last: a value that is quoted may say the same
    field = place.removesuffix("`").lstrip(".") if found else ""
    what = what if found else place
    at = _Place(request, field, sent)
    for pattern, say in _COMPLAINTS:
        if match := pattern.fullmatch(what):
            said, field = say(match, at)
            return InvalidInput(said, field=field or None)
    return InvalidInput(at.says(f"{what[:COMPLAINT_CHARACTERS_MAX]}."), field=field or None)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    by_letters = {letters(known): known for known in names}
    found = get_close_matches(letters(name[:NAME_CHARACTERS_MAX]), by_letters, n=1)
    return by_letters[found[0]] if found else None


def letters(text: object) -> str:
    """A name or a choice without what people vary: case, and what stands between its words."""
    return _LETTERS.sub("", str(text)).casefold()


def in_order(choices: Iterable[Choice]) -> list[Choice]:
    """Choices in the order that they have among themselves, where they have one: priorities from none to urgent."""
    told = list(choices)
    for order in _ORDERS:
        if set(told) <= set(order):
            return sorted(told, key=order.index)
    return told


class _Place:
    """Where in a request something is wrong."""

    def __init__(self, request: type | None, field: str, sent: Iterable[str]) -> None:
        self.field = field
        self.sent = sent
        self._kinds = [] if request is None else [inspect.type_info(request)]
        for name, _ in _STEP.findall(field):
            self._kinds = [inner for kind in self._kinds for inner in _within(kind, name)]

    def says(self, what: str) -> str:
        """What is wrong, and where."""
        return f"`{self.field}`: {what}" if self.field else what

    def below(self, name: str) -> str:
        """A field of the object that stands here."""
        return f"{self.field}.{name}" if self.field else name

    def names(self) -> list[str]:
        """The fields of the object that stands here."""
        return [
            field.encode_name
            for kind in self._plain()
            if isinstance(kind, inspect.StructType)
            for field in kind.fields
        ]

    def choices(self) -> Sequence[object]:
        """The values that may stand here, if there are only some."""
        return [
            choice
            for kind in self._plain()
            if isinstance(kind, inspect.LiteralType)
            for choice in kind.values
        ]

    def _plain(self) -> Iterator[inspect.Type]:
        for kind in self._kinds:
            yield from _alternatives(kind)


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    match kind:
        case inspect.Metadata(type=inner):
            yield from _alternatives(inner)
        case inspect.UnionType(types=kinds):
            for inner in kinds:
                yield from _alternatives(inner)
        case _:
            yield kind


def _within(kind: inspect.Type, name: str) -> Iterator[inspect.Type]:
    """What stands one step further: in a field, or in a list where no name is given."""
    for plain in _alternatives(kind):
        match plain:
            case inspect.StructType(fields=fields):
                yield from (field.type for field in fields if field.encode_name == name)
            case inspect.ListType(item_type=item) if not name:
                yield item
            case _:
                pass


def _kind(names: str) -> str:
    """Kinds of values in words; that null may stand there as well helps nobody who sent something else."""
    kinds = [name for name in names.split(" | ") if name != "null" or names == "null"]
    return " or ".join(_KINDS.get(name, name) for name in kinds)


_Said = tuple[str, str]


def _other_kind(found: re.Match[str], at: _Place) -> _Said:
    return at.says(f"Expected {_kind(found['wanted'])}, got {_kind(found['got'])}."), at.field


def _other_choice(found: re.Match[str], at: _Place) -> _Said:
    value = found["value"]
    if len(value) > QUOTED_CHARACTERS_MAX:
        value = f"{value[:QUOTED_CHARACTERS_MAX]}…'"
    choices = ", ".join(map(str, in_order(at.choices())))
    return at.says(
        f"{value} is none of {choices}." if choices else f"{value} is no value of this field."
    ), at.field


def _other_length(found: re.Match[str], at: _Place) -> _Said:
    part = _PARTS.get(found["kind"], "item")
    ending = "" if found["count"] == "1" else "s"
    return at.says(f"Expected {_BOUNDS[found['bound']]} {found['count']} {part}{ending}."), at.field


def _other_size(found: re.Match[str], at: _Place) -> _Said:
    return at.says(
        f"Expected {_kind(found['kind'])} of {_BOUNDS[found['bound']]} {found['limit']}."
    ), at.field


def _missing(found: re.Match[str], at: _Place) -> _Said:
    name = at.below(found["name"])
    known = at.names()
    near = nearest(found["name"], [sent for sent in at.sent if sent not in known]) if not at.field else None
    hint = "" if near is None else f" You sent `{near[:NAME_CHARACTERS_MAX]}`."
    return f"`{name}` is required.{hint}", name


def _unknown(found: re.Match[str], at: _Place) -> _Said:
    name = at.below(found["name"][:NAME_CHARACTERS_MAX])
    near = nearest(found["name"], at.names())
    hint = "" if near is None else f"; did you mean `{at.below(near)}`?"
    return f"Unknown field `{name}`{hint or '.'}", name


def _no_moment(found: re.Match[str], at: _Place) -> _Said:
    return at.says(f"Expected {MOMENT}."), at.field


def _other_form(found: re.Match[str], at: _Place) -> _Said:
    return at.says(f"Expected text of the form {found['pattern'][:COMPLAINT_CHARACTERS_MAX]}."), at.field


_COMPLAINTS: Final[Sequence[tuple[re.Pattern[str], Callable[[re.Match[str], _Place], _Said]]]] = [
    (re.compile(pattern, re.DOTALL), say)
    for pattern, say in (
        (r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`", _other_kind),
        (r"Invalid enum value (?P<value>.*)", _other_choice),
        (r"Expected `(?P<kind>\w+)` of length (?P<bound>[<>]=) (?P<count>\d+)", _other_length),
        (r"Expected `(?P<kind>\w+)` (?P<bound>[<>]=?) (?P<limit>\S+)", _other_size),
        (r"Object missing required field `(?P<name>.*)`", _missing),
        (r"Object contains unknown field `(?P<name>.*)`", _unknown),
        (r"Invalid RFC3339 encoded datetime|Expected `datetime` with a timezone component", _no_moment),
        (r"Expected `str` matching regex (?P<pattern>.*)", _other_form),
    )
]
