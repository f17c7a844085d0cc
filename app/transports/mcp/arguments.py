"""What a model or its framework sends to a tool, made into what the operation takes.

Models quote numbers, booleans, lists and objects; they write `High` for `high`. Frameworks send null for every
argument that a model leaves out, and some add keys of their own. What can only mean one thing is taken as that;
the rest is left for the decoder to refuse. Three rules hold for every tool:

- null means left out. A field that null empties over HTTP is emptied by naming it in `clear`.
- An argument that the tool does not take is refused, by name, with the one that was probably meant.
- Text stays as it was sent: a title may well be `"null"` or `"3"`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from app.errors import InvalidInput
from app.rpc import emptied_by_null
from app.wording import NAME_CHARACTERS_MAX, letters, nearest

Json: TypeAlias = Any  # Any: JSON of any shape, before it is checked

CLEAR: Final = "clear"
"""The argument that names the fields to empty."""

ANSWER: Final = "answer"
"""The argument that asks for a whole answer where tools give a short one."""

WHOLE: Final = "whole"

FOREIGN: Final = frozenset(
    {"action", "chatInput", "security_context", "sessionId", "tool", "toolCallId", "tool_call_id"}
)
"""What frameworks were seen to add to the arguments of a model: n8n and CrewAI. No operation has such a field."""

NUMBER_CHARACTERS_MAX: Final = 30  # of a number in quotes; what is longer is none that any field takes
NAMED_MAX: Final = 20  # arguments that a refusal lists

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_BOOLEANS: Final = {"true": True, "false": False}
_BLANK: Final = " \t\r\n\ufeff"  # some put a byte order mark before JSON


class Taken(NamedTuple):
    """What came of the arguments of a call."""

    arguments: dict[str, Json]
    """Those of the operation."""
    aside: list[str]
    """Those of a framework, which were set aside."""
    whole: bool
    """Whether the whole answer is wanted."""


class Arguments:
    """Reads the arguments of one tool. Built once per operation."""

    def __init__(self, request: type[msgspec.Struct], *, shortened: bool = False) -> None:
        """`shortened` says that the answer is told in short, so that the whole of it can be asked for."""
        self.clearable: tuple[str, ...] = emptied_by_null(request)
        """The fields that `clear` takes, by wire name."""
        self._request = inspect.StructType(request, _fields(request))
        self._clear = inspect.ListType(inspect.LiteralType(self.clearable))
        self._names = [field.encode_name for field in self._request.fields]
        if self.clearable:
            self._names.append(CLEAR)
        self._shortened = shortened
        self._renamed = _words_of(request)
        self.least = {
            field.encode_name: least
            for field in self._request.fields
            if (least := _extra(field).get("tools_min")) is not None
        }
        """The fields of which tools take no less than this, where plain HTTP does."""
        if shortened:
            self._names.append(ANSWER)

    def read(self, sent: Mapping[str, Json]) -> Taken:
        """The arguments as the operation takes them, and what is for the tool itself."""
        sent = (
            {self._renamed.get(name, name): value for name, value in sent.items()} if self._renamed else sent
        )
        aside = [name for name in sent if _is_foreign(name, self._names)]
        given = {name: value for name, value in sent.items() if value is not None and name not in aside}
        for name in given:
            if name not in self._names:
                raise _unknown(name, self._names)
        whole = self._shortened and _asks_for_all(given.pop(ANSWER, None))
        clear: Json = given.pop(CLEAR, []) if self.clearable else []
        taken = _struct(self._request, given, "")
        for name, least in self.least.items():
            if isinstance(value := taken.get(name), int) and value < least:
                raise InvalidInput(f"`{name}`: Expected at least {least}: tools take no less.", field=name)
        for name in self._cleared(_meant(self._clear, clear, CLEAR)):
            if name in taken:
                raise InvalidInput(f"`{name}` is both given and named in `{CLEAR}`. Send one.", field=name)
            taken[name] = None
        return Taken(taken, aside, whole=whole)

    def _cleared(self, clear: Json) -> list[str]:
        try:
            names = msgspec.convert(clear, list[str])
        except msgspec.ValidationError:
            names = [""]
        if not all(name in self.clearable for name in names):
            text = f"`{CLEAR}` takes a list of these: {', '.join(self.clearable)}."
            raise InvalidInput(text, field=CLEAR)
        return list(dict.fromkeys(names))


def words_of(request: type[msgspec.Struct]) -> dict[str, str]:
    """The fields that tools call by another word than plain HTTP, by wire name: one word for one thing."""
    return {
        field.encode_name: word
        for field in _fields(request)
        if (word := _extra(field).get("tools_word")) is not None
    }


def _words_of(request: type[msgspec.Struct]) -> dict[str, str]:
    return {word: name for name, word in words_of(request).items()}


def _extra(field: inspect.Field) -> Mapping[str, Json]:
    return getattr(field.type, "extra", None) or {}


def _asks_for_all(answer: Json) -> bool:
    if answer is None:
        return False
    if not isinstance(answer, str) or letters(answer) not in {"short", WHOLE}:
        raise InvalidInput(f"`{ANSWER}` is `{WHOLE}`, or left out.", field=ANSWER)
    return letters(answer) == WHOLE


def rows_of(request: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """The lists of a request whose items its decoder takes one by one, by wire name, and what an item is."""
    found: dict[str, type[msgspec.Struct]] = {}
    for field in _fields(request):
        match field.type:
            case inspect.Metadata(extra={"items": type() as item}):
                found[field.encode_name] = item
            case _:
                pass
    return found


def _meant(kind: inspect.Type, value: Json, where: str) -> Json:  # noqa: PLR0911 - one line for each kind
    """What a value means where this kind of value is wanted; itself if that is not certain."""
    match kind:
        case inspect.Metadata(type=inner, extra={"items": type() as item}):
            rows = inspect.ListType(inspect.StructType(item, _fields(item)))
            return _meant(rows if _opens("[", value) or isinstance(value, list) else inner, value, where)
        case inspect.Metadata(type=inner):
            return _meant(inner, value, where)
        case inspect.UnionType(types=kinds):
            return _one_of(kinds, value, where)
        case inspect.ListType(item_type=item):
            value = _unquoted("[", value)
            if isinstance(value, list):
                return [_meant(item, inner, f"{where}[{place}]") for place, inner in enumerate(_list(value))]
            lone = value if _opens("[", value) else _meant(item, value, where)
            return [lone] if _is_exactly(item, lone) else value
        case inspect.StructType():
            value = _unquoted("{", value)
            return _struct(kind, _object(value), f"{where}.") if isinstance(value, dict) else value
        case inspect.DictType():
            return _unquoted("{", value)
        case _:
            return _plain(kind, value)


def _plain(kind: inspect.Type, value: Json) -> Json:
    """The same for a value without parts."""
    if not isinstance(value, str):
        return value
    text = value.strip(_BLANK)
    match kind:
        case inspect.LiteralType(values=choices):
            alike = [choice for choice in choices if letters(choice) == letters(text)]
            return alike[0] if len(alike) == 1 and value not in choices else value
        case inspect.BoolType():
            return _BOOLEANS.get(text.lower(), value)
        case inspect.IntType() | inspect.FloatType() if len(
            text
        ) <= NUMBER_CHARACTERS_MAX and _NUMBER.fullmatch(text):
            number = float(text)
            whole = number.is_integer() if math.isfinite(number) else False
            return int(text) if text.lstrip("-").isdigit() else int(number) if whole else number
        case _:
            return value


def _one_of(kinds: Iterable[inspect.Type], value: Json, where: str) -> Json:
    """What a value means where one of several kinds is wanted: as it was sent, if one of them takes that."""
    real = [kind for kind in kinds if not isinstance(kind, inspect.NoneType)]
    for kind in real:
        meant = _meant(kind, value, where)
        if _fits(kind, meant):
            return meant
    return value


def _struct(kind: inspect.StructType, sent: dict[str, Json], prefix: str) -> dict[str, Json]:
    """The fields of an object, without nulls, which mean left out."""
    fields = {field.encode_name: field.type for field in kind.fields}
    taken: dict[str, Json] = {}
    for name, value in sent.items():
        if value is None:
            continue
        if name not in fields:
            raise _unknown(name, list(fields), prefix)
        taken[name] = _meant(fields[name], value, f"{prefix}{name}")
    return taken


def _fits(kind: inspect.Type, value: Json) -> bool:  # noqa: PLR0911 - one line for each kind
    """Whether a value is of a kind, as far as can be seen from outside."""
    match kind:
        case inspect.Metadata(type=inner):
            return _fits(inner, value)
        case inspect.UnionType(types=kinds):
            return any(_fits(inner, value) for inner in kinds)
        case inspect.LiteralType(values=choices):
            return value in choices
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType() | inspect.FloatType():
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case inspect.StrType() | inspect.DateTimeType():
            return isinstance(value, str)
        case inspect.ListType():
            return isinstance(value, list)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case _:
            return False


def _is_exactly(kind: inspect.Type, value: Json) -> bool:
    """Whether a lone value can be nothing but an item of a list that was meant: one of its choices, or an object."""
    match kind:
        case inspect.Metadata(type=inner):
            return _is_exactly(inner, value)
        case inspect.LiteralType() | inspect.StructType():
            return _fits(kind, value)
        case _:
            return False


def _object(value: Json) -> dict[str, Json]:
    return value


def _list(value: Json) -> list[Json]:
    return value


def _opens(bracket: str, value: Json) -> bool:
    return isinstance(value, str) and value.lstrip(_BLANK).startswith(bracket)


def _unquoted(bracket: str, value: Json) -> Json:
    """The list or object that a string holds as JSON, if it does."""
    if not _opens(bracket, value):
        return value
    try:
        return msgspec.json.decode(value.strip(_BLANK))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value


def _unknown(name: str, names: list[str], prefix: str = "") -> InvalidInput:
    """The refusal of an argument that a tool does not take."""
    near = nearest(name, names)
    if near is not None:
        more = f"; did you mean `{prefix}{near}`?"
    elif not names:
        more = ": this tool takes none."
    else:
        more = f". There are {', '.join(names[:NAMED_MAX])}."
    shown = f"{prefix}{name[:NAME_CHARACTERS_MAX]}"
    return InvalidInput(f"Unknown argument `{shown}`{more}", field=shown)


def _is_foreign(name: str, names: list[str]) -> bool:
    """Whether an argument is a framework's, and neither the tool's nor meant to be."""
    if not (name in FOREIGN or name.startswith("_")):
        return False
    return letters(name) not in {letters(known) for known in names}


def _fields(request: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    kind = inspect.type_info(request)
    assert isinstance(kind, inspect.StructType)
    return kind.fields
