"""Operations as tools for a model: names, short descriptions, small schemas, and the sets one can choose from.

Every tool costs the context of every agent that connects, in every conversation. So schemas are inlined and keep
what tells a model what to send, and leave out what only the server must know: it checks each call in full, and a
refusal names the field and its rule. Nothing here knows an operation by name.

Frameworks and providers convert schemas before a model sees them, each in its own way. So these keep to what all of
them take: plain types, one to a schema; no null, which as an argument means left out; and every object of an answer
that has more keys than are told says so.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from app.errors import InvalidInput
from app.rpc import UNTOLD, Operation, marked
from app.transports.mcp.arguments import ANSWER, CLEAR, WHOLE, Arguments, rows_of, words_of
from app.transports.mcp.refusals import AtHand
from app.transports.mcp.results import brief_of, shape_of
from app.wording import in_order

Schema: TypeAlias = dict[str, Any]  # Any: JSON Schema is JSON of any shape

CORE_TOOLS_MAX: Final = 8  # a model picks well from eight, and they cost less than two screens of text
CHOICES_MAX: Final = 12  # a longer enumeration costs more than it tells: a refusal names what was wrong
COMMON_TOOLS_MIN: Final = 5  # what as many tools say of a field is told once, to all
DEPTH_MAX: Final = 1  # of what an output schema spells out: the answer or a list's items, not what they hold
CORE_BYTES_MAX: Final = 8 * 1024  # of its tools/list: some 2,000 tokens
HANDS_REMEMBERED_MAX: Final = 200  # connections differ in a few ways: by set, and by the scopes of their keys
TOOL_BYTES_MAX: Final = 1024  # on average over all tools

_CORE: Final = "core"
_ALL: Final = "all"

# What a server checks and a model does not need to be told beforehand.
_UNTOLD: Final = frozenset(
    {
        *(
            "title",
            "default",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minimum",
            "maximum",
            "pattern",
        ),
        "format",  # of which some frameworks make an object that they cannot send
    }
)
_WORD: Final = re.compile(r"[A-Za-z][a-z]*")
_EMPTY: Final = frozenset({"a", "the", "its", "new", "to"})
_SENTENCE_END: Final = re.compile(r"(?<=[.?!])\s")
_PLAIN: Final[Mapping[type[msgspec.inspect.Type], str]] = {
    msgspec.inspect.StrType: "string",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "boolean",
}
_ANYTHING: Final[Schema] = {
    "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "number"}, {"type": "boolean"}]
}
"""What is told of a field that takes any JSON: some frameworks know no schema without a type."""
_ALL_KEYS: Final = f"`{WHOLE}` for all keys; left out, those that tell you something new."
_NULL: Final[Schema] = {"type": "null"}
_PLAIN_TYPES: Final = frozenset(_PLAIN.values())
_NAME: Final[Schema] = {"type": "string"}  # a handle where an answer has an id, or a text
_OF_NULL: Final = re.compile(r"; null [^.;]*")  # in a description: what null does over HTTP
_PAGINATION: Final[Schema] = {"type": "object"}  # whose `cursor` may be null, so that it has not one type


class Tool:
    """One operation as a model sees it."""

    __slots__ = ("arguments", "brief", "json", "name", "operation", "shape", "shortened", "strict", "wrapped")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.name = operation.name
        self.shape = shape_of(operation)
        """How its answers are told."""
        kind = msgspec.inspect.type_info(operation.result)
        self.wrapped = isinstance(kind, msgspec.inspect.ListType)
        """Whether the result is a list, which structured content cannot be: it stands in an object then."""
        self.brief = _brief(operation, kind)
        """The keys of each item of a list, unless the caller names others; empty where it cannot choose."""
        self.shortened = not self.brief and self.shape.chooses
        """Whether the answer is told in short unless the caller asks for all of it."""
        self.arguments = Arguments(operation.request, shortened=self.shortened)
        """What reads the arguments of a call."""
        self.json: Schema = {
            "name": self.name,
            "description": _description(operation),
            "inputSchema": self._input(),
            "outputSchema": self._output(kind),
            "annotations": _annotations(operation),
        }
        self.strict: Schema = self.json
        """The same for providers whose models must fill in every argument; see `_strict`."""

    def tighten(self) -> None:
        """Make the strict form of what is told by now."""
        self.strict = {**self.json, "inputSchema": _strict(self.json["inputSchema"])}

    def _input(self) -> Schema:
        schema = _schema(self.operation.request)
        untold = marked(self.operation.request, UNTOLD)
        properties = {k: v for k, v in schema.get("properties", {}).items() if k not in untold}
        for name, item in rows_of(self.operation.request).items():
            told = {"type": "array", "items": _bare(_schema(item))}
            properties[name] = {"description": properties[name]["description"], **told}
        for name, least in self.arguments.least.items():
            properties[name]["description"] = f"{properties[name]['description']} {least} or more.".strip()
        words = words_of(self.operation.request)
        properties = {words.get(name, name): told for name, told in properties.items()}
        if self.brief:
            properties["fields"]["description"] += f" Unless told: {', '.join(self.brief)}."
        if clearable := self.arguments.clearable:
            names = {"type": "string", "enum": list(clearable)}
            properties[CLEAR] = {"type": "array", "items": names}
        if self.shortened and self.shape.is_short_outside:
            properties[ANSWER] = {"description": _ALL_KEYS, "type": "string", "enum": [WHOLE]}
        told: Schema = {"type": "object", "properties": properties}
        if schema.get("required"):
            told["required"] = [words.get(name, name) for name in schema["required"]]
        return told

    def _output(self, kind: msgspec.inspect.Type) -> Schema:
        """Types without prose. No key is required: `fields` may leave it out, and a refusal comes in the same place."""
        words = self.shape.words()
        keys = self.shape.told_keys()
        match kind:
            case msgspec.inspect.StructType(cls=answer) if main := brief_of(answer):
                keys &= set(main) or keys
            case _:
                pass
        told = {key: words.get(key, key) for key in keys}
        if not self.wrapped:
            return _shape(kind, told)
        properties: Schema = {"data": _shape(kind, told)}
        if self.operation.paged:
            properties["pagination"] = _PAGINATION
        return {"type": "object", "properties": properties}


class Toolbox:
    """All tools, and the sets of them that a connection can ask for."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        operations = [op for op in operations if op.family.tools]
        self._tools = {op.name: Tool(op) for op in sorted(operations, key=_place)}
        self._common = _taken_out(list(self._tools.values()))
        for tool in self._tools.values():
            tool.tighten()
        self._hands: dict[tuple[frozenset[str], frozenset[str]], AtHand] = {}
        self.sets: Mapping[str, frozenset[str]] = {
            _CORE: frozenset(op.name for op in operations if op.core),
            **{op.noun: frozenset(o.name for o in operations if o.noun == op.noun) for op in operations},
            _ALL: frozenset(self._tools),
        }
        """The sets by name: the loop, each noun of the product, and everything."""

    def find(self, name: str) -> Tool | None:
        """The tool of this name."""
        return self._tools.get(name)

    def chosen(self, asked: str) -> frozenset[str]:
        """The names that `?tools=` asks for: sets and single tools, split by commas; all of them when it is empty."""
        if (names_of_set := self.sets.get(asked or _ALL)) is not None:
            return names_of_set
        names: set[str] = set()
        for word in asked.split(","):
            if word in self.sets:
                names |= self.sets[word]
            elif word in self._tools:
                names.add(word)
            else:
                message = f"There is no tool or tool set `{word[:80]}`. The sets are {', '.join(self.sets)}."
                raise InvalidInput(message, field="tools")
        return frozenset(names)

    def shown(self, names: frozenset[str], scopes: frozenset[str]) -> list[Tool]:
        """The tools among these that a key with these scopes can call: the loop, then the rest."""
        return [tool for tool in self._tools.values() if tool.name in names and tool.operation.allows(scopes)]

    def at_hand(self, names: frozenset[str], scopes: frozenset[str]) -> AtHand:
        """What may be said to whoever has these tools and no others."""
        if (known := self._hands.get((names, scopes))) is None:
            tools = frozenset(tool.name for tool in self.shown(names, scopes))
            known = AtHand(tools, self._tools.keys() - tools)
            if len(self._hands) < HANDS_REMEMBERED_MAX:
                self._hands[names, scopes] = known
        return known

    def common(self, shown: Sequence[Tool]) -> list[tuple[str, str]]:
        """The fields that many tools take, and what they are: told once, and not in each; those that these tools take."""
        taken = {
            name
            for tool in shown
            for name, schema in tool.json["inputSchema"]["properties"].items()
            if "description" not in schema
        }
        return [(name, what) for name, what in self._common if name in taken]


class Taught(NamedTuple):
    """A step of the daily loop, as it is taught."""

    name: str
    line: str
    rule: str


def loop(shown: Sequence[Tool]) -> list[Taught]:
    """The daily loop as far as these tools carry it."""
    return [
        Taught(tool.name, tool.operation.core.line, tool.operation.core.rule)
        for tool in shown
        if tool.operation.core
    ]


def _place(operation: Operation) -> float:
    """The loop comes first, for clients that show a model only so many tools; the rest stays in its order."""
    return operation.core.order if operation.core else math.inf


def _taken_out(tools: Sequence[Tool]) -> list[tuple[str, str]]:
    """Take the descriptions out of the tools that many of them repeat word by word; answers with what was taken."""
    properties = [item for tool in tools for item in tool.json["inputSchema"]["properties"].items()]
    counts = Counter((name, schema.get("description", "")) for name, schema in properties)
    common = [told for told, count in counts.items() if count >= COMMON_TOOLS_MIN and told[1]]
    for name, schema in properties:
        if (name, schema.get("description", "")) in common:
            del schema["description"]
    return common


def _description(operation: Operation) -> str:
    """What it does and when to use it: the summary and the first paragraph."""
    when = operation.description.partition("\n\n")[0]
    return f"{operation.summary} {' '.join(when.split())}".strip()


def _annotations(operation: Operation) -> dict[str, bool]:
    """What a client may show or ask before it calls, as far as it differs from what it would suppose."""
    if operation.read_only and not operation.uses_up:
        return {"readOnlyHint": True}
    hints = {} if operation.destructive else {"destructiveHint": False}
    return {**hints, "idempotentHint": True} if operation.idempotent else hints


def _brief(operation: Operation, kind: msgspec.inspect.Type) -> tuple[str, ...]:
    """The keys of a list's items by default, where its callers can choose others."""
    match kind:
        case msgspec.inspect.ListType(item_type=msgspec.inspect.StructType(cls=item)):
            return brief_of(item) if "fields" in operation.request.__struct_encode_fields__ else ()
        case _:
            return ()


def _schema(request: type[msgspec.Struct]) -> Schema:
    """What a model is told of a request: in one piece, and only what it needs."""
    whole = msgspec.json.schema(request)
    return _told(_inlined(whole, whole.get("$defs", {})))


def _inlined(schema: Schema, definitions: Schema, within: tuple[str, ...] = ()) -> Schema:
    """The schema with every reference replaced by what it refers to; one that contains itself ends as any object."""

    def inlined(value: Any) -> Any:  # Any: JSON of any shape
        match value:
            case {**inner}:
                return _inlined(inner, definitions, within)
            case [*items]:
                return [inlined(item) for item in items]
            case _:
                return value

    beside = {key: inlined(value) for key, value in schema.items() if key not in {"$ref", "$defs"}}
    if "$ref" not in schema:
        return beside
    name = schema["$ref"].removeprefix("#/$defs/")
    if name in within:
        return {"type": "object"}
    return {**_inlined(definitions[name], definitions, (*within, name)), **beside}


def _told(schema: Schema) -> Schema:
    """The schema with what a model needs in order to call well, in its shortest form."""
    told: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            told[key] = {name: _unless_obvious(name, _told(inner)) for name, inner in value.items()}
        elif key == "items":
            told[key] = _bare(_told(value))
        elif key == "anyOf":
            told |= _either([_told(choice) for choice in value if choice != _NULL])
        elif key == "description":
            first = _SENTENCE_END.split(value, 1)[0]  # what follows is for the documentation
            told[key] = _OF_NULL.sub("", first)
        elif key not in _UNTOLD and not (key == "required" and not value):
            told[key] = value
    if not told.keys() & {"type", "anyOf", "enum"}:
        told |= _ANYTHING
    if "enum" in told:
        told["enum"] = in_order(told["enum"])
        told.setdefault("type", _type_of(told["enum"]))
        if len(told["enum"]) > CHOICES_MAX:
            del told["enum"]
    return told


def _unless_obvious(name: str, schema: Schema) -> Schema:
    """The schema of a field, without a description that only repeats its name: `status`, for one, is the new status."""
    said = tuple(word.lower() for word in _WORD.findall(name))
    words = {word.lower() for word in _WORD.findall(schema.get("description", ""))} - _EMPTY
    if all(any(known.startswith(word) for known in said) for word in words):  # to assign: the assignee
        schema.pop("description", None)
    return schema


def _bare(schema: Schema) -> Schema:
    """The schema of an item of a list, whose field says what it is: names and types are enough within it."""
    properties = {name: _bare(inner) for name, inner in schema.get("properties", {}).items()}
    bare = {key: value for key, value in schema.items() if key != "description"}
    return {**bare, "properties": properties} if properties else bare


def _either(choices: list[Schema]) -> Schema:
    """A choice of schemas; where one is a list of another, both are told in their shortest form."""
    for choice in choices:
        if choice.get("items") in choices:
            choice["items"] = {"type": choice["items"]["type"]}
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _strict(schema: Schema, *, optional: bool = False) -> Schema:
    """The schema as the strict mode of providers wants it: every field required, and null to leave one out.

    An object of any shape has no place there: it is sent as a string that holds JSON, which a tool takes as well.
    """
    match schema:
        case {"type": "object", "properties": properties}:
            required = schema.get("required", ())
            inner = {
                name: _strict(field, optional=name not in required) for name, field in properties.items()
            }
            strict: Schema = {
                **schema,
                "properties": inner,
                "required": [*inner],
                "additionalProperties": False,
            }
        case {"type": "array", "items": items}:
            strict = {**schema, "items": _strict(items)}
        case {"anyOf": choices}:
            strict = {
                **schema,
                "anyOf": [_strict(choice) for choice in choices if choice != {"type": "object"}],
            }
        case {"type": "object"} | {"type": "array"}:
            strict = {
                **schema,
                "type": "string",
                "description": f"{schema.get('description', '')} As JSON.".strip(),
            }
        case _:
            strict = schema
    if not optional:
        return strict
    told = {"description": strict["description"]} if "description" in strict else {}
    bare: Schema = {key: value for key, value in strict.items() if key != "description"}
    return {**told, "anyOf": [*bare.get("anyOf", [bare]), _NULL]}


def _shape(kind: msgspec.inspect.Type, told: Mapping[str, str], depth: int = 0) -> Schema:
    """The type of a part of an answer: only the outermost deep inside, and nothing of what may be null.

    `told` are the keys that are told, and the names under which they stand.
    """
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _shape(inner, told, depth)
        case msgspec.inspect.StructType(fields=fields) if depth < DEPTH_MAX:
            shapes = {
                told[field.encode_name]: _NAME
                if told[field.encode_name] != field.encode_name
                else _shape(field.type, {}, depth + 1)
                for field in fields
                if field.encode_name in told
            }
            real = {name: shape for name, shape in shapes.items() if shape}
            plain = {name: shape for name, shape in real.items() if shape["type"] in _PLAIN_TYPES}
            told_shapes = plain or real  # what has parts is named only where there is nothing else to name
            more = {} if len(told_shapes) == len(fields) else {"additionalProperties": True}
            return {"type": "object", "properties": told_shapes, **more}
        case msgspec.inspect.ListType(item_type=item):
            return (
                {"type": "array", "items": _shape(item, told, depth)}
                if depth < DEPTH_MAX
                else {"type": "array"}
            )
        case msgspec.inspect.LiteralType(values=values):
            return {"type": _type_of(list(values))}
        case msgspec.inspect.StructType() | msgspec.inspect.DictType():
            return {"type": "object"}
        case _:
            return {"type": _PLAIN[type(kind)]} if type(kind) in _PLAIN else {}


def _type_of(values: list[object]) -> str:
    return "string" if all(isinstance(value, str) for value in values) else "integer"
