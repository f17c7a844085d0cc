"""What a tool answers: what is new to the model that called it, in as few bytes as say it.

Over HTTP an answer has all of its keys, always. A model reads each of them, in every conversation. So a tool

- answers a write with what the caller does not know yet: the `news` of its answer;
- tells of the items of a list their `brief` keys;
- leaves out what is null or empty;
- says `@handle`, `#channel` and `T-42` where an answer has an id, and beside the id where the whole answer was asked for.

Nothing here knows an operation by name: what is new and what is brief is declared with each answer.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from app.operations.told import Help
from app.rpc import Answer, Operation, SdkAnswer
from app.transports.envelope import ErrorDetails
from app.transports.mcp.refusals import AtHand

Json: TypeAlias = Any  # Any: JSON of any shape
Noun: TypeAlias = Literal["identity", "channel", "task"]
Names: TypeAlias = Mapping[tuple[Noun, str], str]
"""What is called by an id: `@scout`, `#general`, `T-42`."""


class Reader(NamedTuple):
    """For whom something is told."""

    names: Names
    at_hand: AtHand
    whole: bool = False
    """Whether they asked for all of it."""


CUT_CHARACTERS_MAX: Final = 80  # of a value that is told for its change, and not to be worked with

_IDENTITY: Final = re.compile(r"(author|sender|actor|member|owner|\w+(?=Agent|User))(?:Agent|User)?Id")
_CHANNEL: Final = re.compile(r"((?:\w+C|c)hannel)Id")
_TASK: Final = re.compile(r"((?:\w+T|t)ask)Id")
_WORDS: Final = {"content": "body"}
"""One word for one thing: the text of a message is called as that of a comment."""

_TOLD_BESIDE: Final = {"member": "handle", "channel": "channelName", "task": "identifier"}
"""For the name of an id: the key under which some answers say it themselves."""


class Known(NamedTuple):
    """A key that holds an id, and the key under which the name of it stands."""

    noun: Noun
    word: str


class Shape:
    """How what has one type is told."""

    __slots__ = (
        "_advises",
        "_cut",
        "_free",
        "_items",
        "_keys",
        "_known",
        "_parts",
        "_words",
        "counts",
        "is_anything",
        "is_call",
    )

    def __init__(self, kind: inspect.Type, keys: tuple[str, ...] = (), *, listed: bool = False) -> None:
        """`keys` are those told by default, with dots for those of what stands inside; all of them where there are none.

        `listed` says that it stands in a list, whose items are told by their brief keys.
        """
        self.counts = isinstance(kind, inspect.IntType)
        self.is_anything = isinstance(kind, inspect.AnyType)
        self._free = True
        self._items: Shape | None = None
        self._keys: frozenset[str] | None = None
        self._parts: dict[str, Shape] = {}
        self._known: dict[str, Known] = {}
        self._cut: frozenset[str] = frozenset()
        self._advises: frozenset[str] = frozenset()
        self.is_call = False
        self._words: dict[str, str] = {}
        match kind:
            case inspect.Metadata(type=inner):
                self._take(Shape(inner, keys, listed=listed))
            case inspect.UnionType(types=kinds):
                real = [inner for inner in kinds if not isinstance(inner, inspect.NoneType)]
                if real:
                    self._take(Shape(real[0], keys, listed=listed))
            case inspect.ListType(item_type=item):
                self._free = False
                self._items = Shape(item, keys, listed=True)
            case inspect.StructType(cls=answer, fields=fields):
                self._free = False
                self._of_struct(answer, fields, keys or (brief_of(answer) if listed else ()), listed=listed)
            case _:
                pass

    def _take(self, other: "Shape") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def _of_struct(
        self,
        answer: type[msgspec.Struct],
        fields: tuple[inspect.Field, ...],
        keys: tuple[str, ...],
        *,
        listed: bool,
    ) -> None:
        if keys:
            self._keys = frozenset(key.partition(".")[0] for key in keys)
        if issubclass(answer, Answer):
            self._cut = frozenset(answer.cut)
            self._advises = frozenset(answer.advises)
        self.is_call = issubclass(answer, Help)
        names = {field.encode_name for field in fields}
        self._words = {key: word for key, word in _WORDS.items() if key in names and word not in names}
        for field in fields:
            name = field.encode_name
            inner = tuple(key.partition(".")[2] for key in keys if key.startswith(f"{name}."))
            self._parts[name] = Shape(field.type, inner, listed=listed)
            if (known := _known(name, field.type, names)) is not None:
                self._known[name] = known

    @property
    def is_short(self) -> bool:
        """Whether only some of its keys are told by default; names then stand in the place of ids."""
        return self._keys is not None and self._keys < self._parts.keys()

    @property
    def is_short_outside(self) -> bool:
        """The same of an answer, or of the items that it is a list of."""
        return self.is_short if self._items is None else self._items.is_short_outside

    @property
    def chooses(self) -> bool:
        """Whether something is left out by default that is there."""
        if self.is_short:
            return True
        inner = [*self._parts.values()] if self._keys is None else [self._parts[key] for key in self._keys]
        return any(part.chooses for part in [*inner, *([self._items] if self._items else [])])

    def told_keys(self) -> frozenset[str]:
        """The keys of an object that are told by default; of a list, those of its items."""
        if self._items is not None:
            return self._items.told_keys()
        return frozenset(self._parts) if self._keys is None else self._keys

    def words(self) -> dict[str, str]:
        """The keys of ids in whose place names stand by default, and the keys of those."""
        if self._items is not None:
            return self._items.words()
        if not self.is_short:
            return self._words
        return {**self._words, **{key: known.word for key, known in self._known.items()}}

    def ids(self, value: Json, *, whole: bool) -> Iterator[tuple[Noun, str]]:
        """The ids in a value whose names are to be told."""
        if isinstance(value, list) and self._items is not None:
            for item in _items(value):
                yield from self._items.ids(item, whole=whole)
        elif isinstance(value, dict):
            for key, inner in _object(value).items():
                if not whole and self._keys is not None and key not in self._keys:
                    continue
                known = self._known.get(key)
                if known is not None and isinstance(inner, str):
                    yield known.noun, inner
                elif (part := self._parts.get(key)) is not None:
                    yield from part.ids(inner, whole=whole)

    def told(self, value: Json, reader: Reader) -> Json:
        """A value as a model reads it."""
        if isinstance(value, list) and self._items is not None:
            calls = reader.at_hand.calls(_items(value)) if self._items.is_call else _items(value)
            return [self._items.told(item, reader) for item in calls]
        if self._free or not isinstance(value, dict):
            return _itself(value)
        told: dict[str, Json] = {}
        for key, inner in _object(value).items():
            if reader.whole or self._keys is None or key in self._keys:
                said = self._told_of(key, inner, reader)
                told |= (
                    {self._words.get(name, name): value for name, value in said.items()}
                    if self._words
                    else said
                )
        return told

    def says_nothing(self, value: Json) -> bool:
        """Whether a value is empty, or counts nothing."""
        if self.is_anything:
            return value is None
        return value in (None, "", [], {}) or (self.counts and value == 0)

    def _told_of(self, key: str, inner: Json, reader: Reader) -> dict[str, Json]:
        """A key of an object with what it is called, or nothing where it says nothing."""
        part = self._parts.get(key)
        said = inner if part is None else part.told(inner, reader)
        if said is None or (part is not None and part.says_nothing(said)):
            return {}
        if not isinstance(said, str):
            return {key: said}
        if key in self._advises:
            said = reader.at_hand.text(said)
        if not reader.whole and key in self._cut and len(said) > CUT_CHARACTERS_MAX:
            said = f"{said[:CUT_CHARACTERS_MAX]}…"
        known = self._known.get(key)
        name = None if known is None else reader.names.get((known.noun, said))
        if known is None or name is None:
            return {key: said}
        return {known.word: name} if self.is_short and not reader.whole else {known.word: name, key: said}


def news_of(operation: Operation) -> tuple[str, ...]:
    """The keys of a write's answer that are new to whoever wrote; none where all of them are, and for reads."""
    kind = inspect.type_info(operation.result)
    answer = kind.item_type if isinstance(kind, inspect.ListType) else kind
    if operation.read_only or not isinstance(answer, inspect.StructType):
        return ()
    return answer.cls.news if issubclass(answer.cls, (Answer, SdkAnswer)) else ()


def brief_of(answer: type[msgspec.Struct]) -> tuple[str, ...]:
    """The keys worth telling of an item of a list; empty for all of them."""
    return answer.brief if issubclass(answer, Answer) else ()


_NO_NEWS: Final = frozenset({"sentVersion", "current", "message", "operation"})


def shape_of_refusals() -> Shape:
    """How the facts behind an error are told: without what the caller has sent, nor what `overlapping` says in short."""
    kind = inspect.type_info(ErrorDetails)
    assert isinstance(kind, inspect.StructType)
    names = [field.encode_name for field in kind.fields]
    return Shape(kind, tuple(name for name in names if name not in _NO_NEWS))


def shape_of(operation: Operation) -> Shape:
    """How the answers of an operation are told."""
    return Shape(inspect.type_info(operation.result), news_of(operation))


def _known(name: str, kind: inspect.Type, siblings: set[str]) -> Known | None:
    """What a key that holds an id is the id of, if what it is called is not told beside it anyway."""
    if not isinstance(_bare(kind), inspect.StrType):
        return None
    if name == "id":
        return Known("identity", "handle") if _is_someone(siblings) else None
    found: Known | None = None
    if match := _IDENTITY.fullmatch(name):
        found = Known("identity", match[1])
    elif match := _CHANNEL.fullmatch(name):
        found = Known("channel", match[1])
    elif match := _TASK.fullmatch(name):
        found = Known("task", match[1])
    if found is None or found.word in siblings:
        return None
    return None if _TOLD_BESIDE.get(found.word) in siblings else found


def _itself(value: Json) -> Json:
    return value


def _object(value: Json) -> dict[str, Json]:
    return value


def _items(value: Json) -> list[Json]:
    return value


def _is_someone(siblings: set[str]) -> bool:
    """Whether an object is only an id and the kind of someone."""
    return siblings == {"id", "type"}


def _bare(kind: inspect.Type) -> inspect.Type:
    match kind:
        case inspect.Metadata(type=inner):
            return _bare(inner)
        case inspect.UnionType(types=kinds):
            real = [inner for inner in kinds if not isinstance(inner, inspect.NoneType)]
            return _bare(real[0]) if len(real) == 1 else kind
        case _:
            return kind
