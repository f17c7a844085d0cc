"""The part of the OpenAPI document about the second contract: paths with parameters, bare answers, flat errors."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, Final, TypeAlias

import msgspec

from app.decoding import places
from app.errors import ApiError, Unavailable
from app.rpc import BARE, Operation
from app.transports import envelope
from app.transports.examples import ERRORS, EXAMPLES

Schema: TypeAlias = dict[str, Any]  # Any: a document is JSON of any shape

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


def body_schema(struct: type, schema: Schema) -> Schema:
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


def error_schema() -> Schema:
    """`{code, message}`, and nothing else."""
    return {
        "title": "BareError",
        "description": "What went wrong.",
        "type": "object",
        "properties": {
            "code": {
                "enum": [envelope.BARE_CODES[status] for status in sorted(envelope.BARE_CODES)],
                "description": "What kind of error it is.",
            },
            "message": {"type": "string", "description": "What is wrong, and what to do next."},
        },
        "required": ["code", "message"],
        "additionalProperties": False,
    }


def method(
    op: Operation,
    common: Schema,
    errors: list[type[ApiError]],
    ref: str,
    prose: Callable[[type[ApiError]], str],
    *,
    required: bool,
) -> Schema:
    """One operation under its method. `common` is what all families say alike."""
    example = EXAMPLES[op.name]
    described: Schema = {
        **common,
        "parameters": [*common["parameters"], *_parameters(op, example.request)],
        "responses": {str(op.status): _success(op, ref), **_failures(errors, prose)},
    }
    if op.method in {"POST", "PUT"}:
        described["requestBody"] = {
            "required": required,
            "content": {
                "application/json": {
                    "schema": {"$ref": ref.format(name=op.request.__name__)},
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
                "schema": {"type": "string", "minLength": 1, "maxLength": 500},
                **({"example": example[name]} if name in example else {}),
            }
        else:
            yield {**ETAG_PARAMETER, "description": description}


def _success(op: Operation, ref: str) -> Schema:
    schema: Schema = {"$ref": ref.format(name=(op.result.__args__[0] if op.paged else op.result).__name__)}
    if op.paged:
        schema = {"type": "array", "items": schema}
    result = EXAMPLES[op.name].result
    shown = msgspec.json.decode(envelope.success(result, "", BARE))
    return {
        "description": "Done.",
        "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}, "ETag": ETAG_HEADER},
        "content": {"application/json": {"schema": schema, "example": shown}},
    }


def _failures(errors: Iterable[type[ApiError]], prose: Callable[[type[ApiError]], str]) -> Schema:
    responses: Schema = {}
    for status, group in groupby(errors, key=lambda error: error.status):
        each = list(group)
        headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
        if issubclass(each[0], Unavailable):
            headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
        responses[str(status)] = {
            "description": "\n".join(f"- `{envelope.BARE_CODES[status]}`: {prose(error)}" for error in each),
            "headers": headers,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/BareError"},
                    "examples": {
                        error.__name__: {
                            "value": msgspec.json.decode(envelope.failure(ERRORS[error], "", BARE))
                        }
                        for error in each
                    },
                }
            },
        }
    return responses
