"""What makes schemas easy to generate code from: shared lists of words, open objects, names that agree.

Generators differ in what they make of the same schema. These are the spellings that all of them read as meant.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeGuard, get_args

from app.decoding import Json
from app.documents.openapi.structs import REF, Schema, schema_of
from app.operations.channels.channel import ChannelKind, Role
from app.operations.inbox.shapes import ReviewReason, SectionName, Waker
from app.operations.messages.message import SenderType
from app.operations.runs.explain import ObstacleCode
from app.operations.runs.run import EndReason, RunStatus
from app.operations.tasks.around import DetailField
from app.operations.tasks.relations import RelationKind
from app.operations.tasks.selection import TaskField
from app.operations.tasks.task import RelationView
from app.types import (
    NO_NUL,
    ActorKind,
    IdentityKind,
    NewTaskStatus,
    Scope,
    StatusFilter,
    TaskPriority,
    TaskStatus,
)

ENUMS: Final[dict[str, tuple[str, ...]]] = {
    "ActorKind": get_args(ActorKind),
    "ChannelRole": get_args(Role),
    "ChannelType": get_args(ChannelKind),
    "EndReason": get_args(EndReason),
    "Helper": ("you", "holder", "operator"),
    "HistoryOrder": ("newest", "oldest"),
    "IdentityKind": get_args(IdentityKind),
    "InboxSection": get_args(SectionName),
    "InboxWaker": get_args(Waker),
    "MemberType": ("human", "agent"),
    "NewChannelType": ("public", "private"),
    "NewTaskStatus": get_args(NewTaskStatus),
    "ObstacleCode": get_args(ObstacleCode),
    "OnConflict": ("reject", "merge"),
    "OutcomeState": ("unknown", "in_progress", "done"),
    "RelationKind": get_args(RelationKind),
    "RelationView": get_args(RelationView),
    "ReviewReason": get_args(ReviewReason),
    "RunStatus": get_args(RunStatus),
    "Scope": get_args(Scope),
    "SenderType": get_args(SenderType),
    "TaskDetailField": get_args(DetailField),
    "TaskField": get_args(TaskField),
    "TaskPriority": get_args(TaskPriority),
    "TaskStatus": get_args(TaskStatus),
    "TaskStatusFilter": get_args(StatusFilter),
    "VerificationFailure": ("invalid_token", "expired", "already_used", "agent_mismatch"),
}
"""Every list of words that requests and answers choose from, by the name that generated code knows it under."""


# What validators read and generators do not: for them it is JSON of any shape, as it is for those who write it.
_STORABLE: Final[Schema] = {"not": {"not": {"$ref": REF.format(name="WithoutNul")}}}

FREE: Final[Schema] = {
    "JsonObject": {
        "type": "object",
        "description": "An object with keys of your own.",
        "additionalProperties": True,
        **_STORABLE,
    },
    "WithoutNul": {
        "description": "No text in it, however deep, holds the NUL character.",
        **NO_NUL,
        "propertyNames": NO_NUL,
        "items": {"$ref": REF.format(name="WithoutNul")},
        "additionalProperties": {"$ref": REF.format(name="WithoutNul")},
    },
}
"""JSON of any shape, but for the one character that cannot be stored."""

_NAMES: Final[dict[frozenset[Json], str]] = {frozenset(words): name for name, words in ENUMS.items()}


class NoName(Exception):
    """A list of words has no name in ENUMS, so each generator would make one up."""


def named(schemas: Mapping[str, Schema]) -> Schema:
    """The same schemas: lists of words replaced by their names, titles equal to names, and nothing with a default.

    The lists stand among them. A field with a default is an optional one that some generators make a required one, so
    the default is said in words.
    """
    names = _NAMES | {
        frozenset(schema["enum"]): name for name, schema in schemas.items() if "enum" in schema
    }  # those of errors, which follow from their codes
    shaped: Schema = FREE | {
        name: schema if "enum" in schema else _shaped(schema, names) for name, schema in schemas.items()
    }
    wanted = set(used(shaped))
    shaped |= {
        name: {"type": "string", "enum": list(words)}
        for name, words in ENUMS.items()
        if REF.format(name=name) in wanted
    }
    return {
        name: {"title": name, **{k: v for k, v in shaped[name].items() if k != "title"}}
        for name in sorted(shaped)
    }


def forgiving(schema: Schema) -> Schema:
    """The schema of what callers send, where null means left out in fields that may be left out."""
    required = schema.get("required", ())
    fields = schema.get("properties", {})
    return {
        **schema,
        "properties": {
            name: field if name in required or _is_any(field) else _or_null(field)
            for name, field in fields.items()
        },
    }


def _or_null(field: Schema) -> Schema:
    null = {"type": "null"}
    about = {key: value for key, value in field.items() if key in {"description", "default"}}
    options = field.get("anyOf") or [{key: value for key, value in field.items() if key not in about}]
    return {**about, "anyOf": options if null in options else [*options, null]}


@cache
def shaped(struct: type) -> Schema:
    """The schema of one struct, spelled like those among the components."""
    return _shaped(schema_of(struct), _NAMES)


def _shaped(value: Json, names: Mapping[frozenset[Json], str]) -> Any:  # Any: a schema
    match value:
        case {"anyOf": [dict(only)], **rest}:
            return _shaped({**only, **rest}, names)
        case {"default": default, **rest}:
            return _shaped({**rest, "description": _with_default(rest.get("description"), default)}, names)
        case dict():
            return {key: _shaped(inner, names) for key, inner in _spelled(value, names).items()}
        case list():
            return [_shaped(inner, names) for inner in value]
        case _:
            return value


def _spelled(schema: dict[str, Json], names: Mapping[frozenset[Json], str]) -> dict[str, Json]:
    words = schema.get("enum")
    if isinstance(words, list):
        rest = {key: value for key, value in schema.items() if key != "enum"}
        if len(words) == 1:
            return {"const": words[0], **rest}
        if (name := names.get(frozenset(words))) is None:
            raise NoName(words)
        return {"$ref": REF.format(name=name), **rest}
    if schema.get("type") == "object" and schema.keys().isdisjoint({"properties", "additionalProperties"}):
        return {"$ref": REF.format(name="JsonObject"), **{k: v for k, v in schema.items() if k != "type"}}
    fields = schema.get("properties")
    if isinstance(fields, dict):
        any_json = {name: {**field, **_STORABLE} for name, field in fields.items() if _is_any(field)}
        return {**schema, "properties": {**fields, **any_json}}
    return schema


def _is_any(field: Json) -> TypeGuard[dict[str, Json]]:
    """Whether JSON of any shape fits."""
    return isinstance(field, dict) and field.keys() <= {"description"}


def _with_default(description: Json, default: Json) -> str:
    said = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"{description}" if said in str(description) else f"{description} By default {said}."


def used(value: Json) -> Iterator[str]:
    """Every reference in a document."""
    match value:
        case dict():
            if isinstance(ref := value.get("$ref"), str):
                yield ref
            for inner in value.values():
                yield from used(inner)
        case list():
            for inner in value:
                yield from used(inner)
        case _:
            pass
