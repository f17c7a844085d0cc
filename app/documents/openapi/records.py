"""The operations on records: methods, parameters in paths, results with nothing around them, and flat errors."""

from collections.abc import Iterator
from typing import Final

import msgspec

from app.decoding import places
from app.documents.examples import EXAMPLES
from app.documents.openapi.headers import HEADERS
from app.documents.openapi.links import links_of
from app.documents.openapi.schemas import item_of
from app.documents.openapi.structs import REF, Schema, schema_of
from app.rpc import Operation
from app.types import NAME_CHARACTERS_MAX, NO_NUL

ETAG_PARAMETER: Final[Schema] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
}

ETAG_HEADER: Final[Schema] = {
    "description": "The state of what is shown: send it as `If-Match` with a change, to be refused if it is not the latest.",
    "required": True,
    "schema": {"type": "string", "pattern": '^"[^"]+"$'},
}


def method(op: Operation, common: Schema, failures: Schema, operations: tuple[Operation, ...]) -> Schema:
    """One operation under its method. `common` is what all families say alike, `failures` are its errors by status."""
    example = EXAMPLES[op.name]
    described: Schema = {
        **common,
        "parameters": [*common["parameters"], *_parameters(op, example.request)],
        "responses": {str(op.status): _success(op, operations), **failures},
    }
    if op.method in {"POST", "PUT"}:
        described["requestBody"] = {
            "required": "required" in schema_of(op.request),
            "content": {
                "application/json": {
                    "schema": {"$ref": REF.format(name=op.request.__name__)},
                    "example": {k: v for k, v in example.request.items() if k not in places(op.request)},
                }
            },
        }
    return described


def _parameters(op: Operation, example: dict[str, object]) -> Iterator[Schema]:
    hints = {field.encode_name: field for field in msgspec.structs.fields(op.request)}
    for name, place in places(op.request).items():
        kind = msgspec.inspect.type_info(hints[name].type)
        about: Schema = getattr(kind, "extra_json_schema", None) or {}
        description = about.get("description", "")
        if place == "path":
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": description,
                "schema": {"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS_MAX},
                **({"example": example[name]} if name in example else {}),
            }
        elif place == "query":
            schema = {"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS_MAX, **NO_NUL}
            yield {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": schema,
            }
        else:
            yield {**ETAG_PARAMETER, "description": description}


def _success(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    schema: Schema = {"$ref": REF.format(name=item_of(op).__name__)}
    if op.paged:
        schema = {"type": "array", "items": schema}
    return {
        "description": "Done.",
        "headers": {**HEADERS, "ETag": ETAG_HEADER},
        "content": {"application/json": {"schema": schema, "example": EXAMPLES[op.name].answer}},
        **links_of(op, operations),
    }
