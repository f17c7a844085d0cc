"""The schema of a struct: what msgspec derives from it, and `rules` where it says more than its fields can.

Both ways round it means what the decoder does: what fits is accepted, what does not fit is refused.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

from app.decoding import Json, null_is_idle, places
from app.rpc import Operation, Request

Schema: TypeAlias = dict[str, Any]  # Any: a document is JSON of any shape

Rule: TypeAlias = "dict[str, Rule] | list[Rule] | type | str | float | bool | None"

_NULL: Final[Schema] = {"type": "null"}
REF: Final = "#/components/schemas/{name}"


def request_schema(op: Operation) -> Schema:
    """All fields of a request, wherever they stand."""
    _, schemas = msgspec.json.schema_components([op.request], ref_template=REF)
    return schemas[op.request.__name__]


def schema_of(struct: type) -> Schema:
    """The schema of one struct."""
    return schemas_of((struct,))[struct.__name__]


@cache
def schemas_of(given: tuple[type, ...]) -> Schema:
    """The schemas of structs and of all that they hold, by name and with their rules."""
    structs = list(dict.fromkeys(each for struct in given for each in (struct, *_classes_in(_rules(struct)))))
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    for struct in structs:
        schemas[struct.__name__] = _merged(schemas[struct.__name__], _resolved(_rules(struct)))
    orders = {frozenset(values): list(values) for struct in structs for values in _literals(struct)}
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if field.keys() == {"enum"}:  # the tag of one struct of several, which msgspec adds by itself
                field["description"] = "Which kind this is."
    for struct in structs:
        for sent in _sent(msgspec.inspect.type_info(struct)) if issubclass(struct, Request) else ():
            _take_idle_nulls(sent, schemas[sent.cls.__name__])
    by_name = {struct.__name__: struct for struct in structs}
    tidy: Schema = {name: _tidied(schema, orders) for name, schema in schemas.items()}
    return {
        name: _body_schema(by_name[name], schema) if name in by_name else schema
        for name, schema in tidy.items()
    }


def _sent(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.StructType]:
    """The objects of which a request consists: itself, and what stands in its fields."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            yield kind
            yield from (found for field in fields for found in _sent(field.type))
        case msgspec.inspect.Metadata(type=inner) | msgspec.inspect.ListType(item_type=inner):
            yield from _sent(inner)
        case msgspec.inspect.UnionType(types=kinds):
            yield from (found for inner in kinds for found in _sent(inner))
        case _:
            pass


def _take_idle_nulls(sent: msgspec.inspect.StructType, schema: Schema) -> None:
    """Let null stand in every field where the decoder takes it for left out."""
    for field in sent.fields:
        told = schema["properties"][field.encode_name]
        if null_is_idle(field) and _NULL not in told.get("anyOf", ()):
            about = {key: told.pop(key) for key in ("title", "description", "default") if key in told}
            choices = told.pop("anyOf", None) or [dict(told)]
            told.clear()
            told |= {**about, "anyOf": [*choices, _NULL]}


def _rules(struct: type) -> dict[str, Rule]:
    return getattr(struct, "rules", {})


def _classes_in(value: Rule) -> Iterator[type]:
    match value:
        case type():
            yield value
        case dict():
            yield from (found for inner in value.values() for found in _classes_in(inner))
        case list():
            yield from (found for inner in value for found in _classes_in(inner))
        case _:
            pass


def _resolved(value: Rule) -> Json:
    """Rules with a reference where a class stands."""
    match value:
        case type():
            return {"$ref": REF.format(name=value.__name__)}
        case dict():
            return {key: _resolved(inner) for key, inner in value.items()}
        case list():
            return [_resolved(inner) for inner in value]
        case _:
            return value


def _merged(schema: Json, rules: Json) -> Json:
    """A schema with rules laid over it; unlike in msgspec's own merge a list replaces a list."""
    if not isinstance(schema, dict) or not isinstance(rules, dict):
        return rules
    return schema | {
        key: _merged(schema[key], rule) if key in schema else rule for key, rule in rules.items()
    }


def _tidied(value: Json, orders: Mapping[frozenset[Json], list[Json]]) -> Json:
    """The same schema with its enums in the order they are declared in, and without empty `required` lists."""
    match value:
        case {"enum": list(values), **rest}:
            return {"enum": orders.get(frozenset(values), values), **rest}
        case dict():
            return {
                key: _tidied(inner, orders)
                for key, inner in value.items()
                if (key, inner) != ("required", [])
            }
        case list():
            return [_tidied(inner, orders) for inner in value]
        case _:
            return value


def _literals(hint: Any, above: tuple[type, ...] = ()) -> Iterator[tuple[Any, ...]]:  # Any: a type hint
    """The values of every Literal in a type, as declared; msgspec sorts them. A struct may hold itself."""
    if get_origin(hint) is Literal:
        yield get_args(hint)
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        if hint not in above:
            for inner in get_type_hints(hint, include_extras=True).values():
                yield from _literals(inner, (*above, hint))
    else:
        for inner in get_args(hint):
            yield from _literals(inner, above)


def _body_schema(struct: type, schema: Schema) -> Schema:
    """The schema of a request without the fields that stand in its path and headers."""
    elsewhere = set(places(struct))
    if not elsewhere:
        return schema
    without = {
        **schema,
        "properties": {name: field for name, field in schema["properties"].items() if name not in elsewhere},
    }
    if required := [name for name in schema.get("required", ()) if name not in elsewhere]:
        without["required"] = required
    else:
        without.pop("required", None)
    return without
