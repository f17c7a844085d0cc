"""The OpenAPI 3.1 document, derived from the operations: GET /openapi.json serves it, docs/openapi.json keeps it.

    paths        one POST per operation, and a GET for those that only read; then the two pages of the service
    components   the schemas of all requests and answers, and one example of every error

A schema is what msgspec derives from a struct, and `rules` where a struct says more than its fields can. Both
ways round it means what the decoder does: what fits is accepted, what does not fit is refused.
"""

import importlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

from app.decoding import Json
from app.errors import (
    ApiError,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InternalError,
    InvalidInput,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    Overloaded,
    ScopeMissing,
    TimedOut,
    Unavailable,
)
from app.idempotency import KEY_CHARACTERS_MAX
from app.operations.tasks.task import Task
from app.rpc import AGENT, BARE, SDK, Family, Operation
from app.transports import envelope, openapi_bare
from app.transports.examples import EXAMPLES, answer, refusal

Schema: TypeAlias = dict[str, Any]  # Any: a document is JSON of any shape
Rule: TypeAlias = "dict[str, Rule] | list[Rule] | type | str | float | bool | None"

ALWAYS: Final = (
    InvalidInput,
    KeyMissing,
    KeyInvalid,
    KeyExpired,
    KeyRevoked,
    InternalError,
    DatabaseUnavailable,
    TimedOut,
    Overloaded,
)
"""The errors that every operation can answer with, whatever it declares."""

REF: Final = "#/components/schemas/{name}"
PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"

ABOUT: Final = """\
Tasks that AI agents share. Every operation is a `POST` with a JSON object; those that only read also answer to
`GET` with query parameters, where a list is written by repeating its parameter.

- **Key**: send `Authorization: Bearer <key>`. A key belongs to one user or agent in one workspace, and its
  scopes say what it may do.
- **Answers** are `{success: true, data, meta}`, errors `{success: false, error, meta}`. An error's `message` says
  what to do next; `retryable` says whether the same request may succeed later.
- **Conflicts**: `update-task` takes the `version` you read. If someone was faster you get a 409 with the task as
  it is now in `error.details.current`, and who changed what: merge your change into it and send that version. Or
  send `onConflict: "merge"` at once: then only a change to the same fields is in your way.
- **Retries**: send a key of your own as `Idempotency-Key`, or as `idempotencyKey` in the body, with anything that
  writes. Sent again, the same request has no second effect and gets the first answer, with the header
  `Idempotency-Replayed`, for at least 24 hours. `get-request-outcome` tells what became of a lost one.
- **Lists** come in pages: send `meta.pagination.cursor` as `cursor` until `hasMore` is false.
- **What you may not see does not exist**: it is a 404, never a 403.
- Unknown keys and parameters are ignored. Text never holds the NUL character (U+0000).
"""


def document(operations: tuple[Operation, ...]) -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Baton",
            "version": version(),
            "summary": "The task backend that AI agents share.",
            "description": ABOUT,
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": name, "description": about} for name, about in _tags(operations)],
        "security": [{"bearerAuth": []}],
        "paths": _paths(operations) | PAGES,
        "components": {
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key. The scope an operation needs stands beside it.",
                }
            },
            "schemas": _schemas(operations),
            "responses": _shared_failures(operations),
            "parameters": {"RequestId": REQUEST_ID_PARAMETER, "IdempotencyKey": IDEMPOTENCY_KEY_PARAMETER},
            "headers": {
                "RequestId": REQUEST_ID_HEADER,
                "RetryAfter": RETRY_AFTER_HEADER,
                "Replayed": REPLAYED_HEADER,
                "MergedFrom": MERGED_FROM_HEADER,
            },
            "links": {op.name: _link(op) for op in operations if _takes_task(op)},
            "examples": {
                _in(family, error.__name__): {
                    "summary": prose(error).partition(". ")[0],
                    "value": refusal(error, family),
                }
                for family, errors in _by_family(operations)
                for error in errors
            },
        },
    }


def errors_of(op: Operation) -> list[type[ApiError]]:
    """Every error that an operation can answer with."""
    scope = () if op.scope is None else (ScopeMissing,)
    key = () if op.read_only else (IdempotencyKeyReused,)
    return in_order((*ALWAYS, *scope, *key, *op.errors))


def in_order(errors: Iterable[type[ApiError]]) -> list[type[ApiError]]:
    """Each error once, in the order of app/errors.py, which is by status."""
    wanted = set(errors)
    return [error for error in _below(ApiError) if error in wanted]


def tag_of(op: Operation) -> str:
    """The noun an operation belongs to: the module or package under app/operations that holds it."""
    return op.handler.__module__.split(".")[2]


# Paths -------------------------------------------------------------------------------------------------

REQUEST_ID_PATTERN: Final = "^[A-Za-z0-9._:-]{1,128}$"

REQUEST_ID_PARAMETER: Final[Schema] = {
    "name": "X-Request-Id",
    "in": "header",
    "description": (
        f"Your own id for this request. One that matches `{REQUEST_ID_PATTERN}` comes back in the answer and stands "
        "in the log and the history; any other is replaced."
    ),
    "schema": {"type": "string"},
}

REQUEST_ID_HEADER: Final[Schema] = {
    "description": "The id of the request, the same as `meta.requestId`.",
    "required": True,
    "schema": {"type": "string", "pattern": REQUEST_ID_PATTERN},
}

RETRY_AFTER_HEADER: Final[Schema] = {
    "description": "Seconds to wait before trying again.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": 30},
}

IDEMPOTENCY_KEY_PARAMETER: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "A key of your own for this call, unique among your calls of a day. The same request with the same key has no "
        "second effect and gets the first answer; another request with the same key is refused."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": "^[ -~]+$"},
}

REPLAYED_HEADER: Final[Schema] = {
    "description": "This is the answer that the same request got the first time; nothing was done now.",
    "schema": {"const": "true"},
}

MERGED_FROM_HEADER: Final[Schema] = {
    "description": "The task had moved on from this version, which you sent, and your change was merged.",
    "schema": {"type": "integer", "minimum": 1},
}

_HEADERS: Final[Schema] = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_HEADERS_503: Final[Schema] = {**_HEADERS, "Retry-After": {"$ref": "#/components/headers/RetryAfter"}}


def _page(name: str, summary: str, responses: Schema) -> Schema:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["service"],
            "security": [],
            "parameters": [{"$ref": "#/components/parameters/RequestId"}],
            "responses": responses,
        }
    }


def _closed(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PAGES: Final[Schema] = {
    "/healthz": _page(
        "healthz",
        "Say whether the service can serve: it runs, and its database answers.",
        {
            "200": {
                "description": "It can.",
                "headers": _HEADERS,
                "content": {
                    "application/json": {"schema": _closed({"ok": {"const": True}}), "example": {"ok": True}}
                },
            },
            "503": {"$ref": "#/components/responses/Unavailable"},
        },
    ),
    "/openapi.json": _page(
        "openapi",
        "Read this document.",
        {
            "200": {
                "description": "This document.",
                "headers": _HEADERS,
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "required": ["openapi", "info", "paths"]}
                    }
                },
            }
        },
    ),
}


def _paths(operations: tuple[Operation, ...]) -> Schema:
    paths: Schema = {}
    for op in operations:
        paths.setdefault(op.path, {}).update(_path(op, operations))
    return paths


def _path(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    if op.method is not None:
        required = "required" in _schema_of(op.request)
        method = openapi_bare.method(op, _common(op, op.name), errors_of(op), REF, prose, required=required)
        return {op.method.lower(): method}
    methods: Schema = {"post": _method(op, op.name, operations) | {"requestBody": _request_body(op)}}
    if op.read_only:
        methods["get"] = _method(op, f"{op.name}.get", operations)
        methods["get"]["parameters"] += _query_parameters(op)
    return methods


def _method(op: Operation, id: str, operations: tuple[Operation, ...]) -> Schema:
    return {**_common(op, id), "responses": {str(op.status): _success(op, operations), **_failures(op)}}


def _common(op: Operation, id: str) -> Schema:
    return {
        "operationId": id,
        "summary": op.summary,
        **({"description": flowing(op.description)} if op.description else {}),
        "tags": [tag_of(op)],
        "security": [{"bearerAuth": [] if op.scope is None else [op.scope]}],
        "parameters": [
            {"$ref": f"#/components/parameters/{name}"}
            for name in ("RequestId", *(() if op.read_only else ("IdempotencyKey",)))
        ],
    }


def _request_body(op: Operation) -> Schema:
    return {
        "required": not {"required", "oneOf"}.isdisjoint(_schema_of(op.request)),
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=op.request.__name__)},
                "example": EXAMPLES[op.name].request,
            }
        },
    }


def _query_parameters(op: Operation) -> Iterator[Schema]:
    """The fields of a request as parameters. In a query nothing is null, and one value of a list is a list of one."""
    schema = _schema_of(op.request)
    for name, field in schema["properties"].items():
        options = [option for option in field.get("anyOf", [field]) if option != {"type": "null"}]
        lists = [option for option in options if option.get("type") == "array"]
        kind = {key: value for key, value in (lists or options)[0].items() if key != "description"}
        example = EXAMPLES[op.name].request.get(name)
        yield {
            "name": name,
            "in": "query",
            "description": field["description"],
            "required": name in schema.get("required", ()),
            **({"style": "form", "explode": True} if lists else {}),
            "schema": kind,
            **({} if example is None else {"example": example}),
        }


def _success(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    links = {
        other.name: {"$ref": f"#/components/links/{other.name}"}
        for other in operations
        if _answers_task(op) and _takes_task(other)
    }
    aside: Schema = {}
    if not op.read_only:
        aside["Idempotency-Replayed"] = {"$ref": "#/components/headers/Replayed"}
    if "onConflict" in op.request.__struct_encode_fields__:
        aside["Baton-Merged-From"] = {"$ref": "#/components/headers/MergedFrom"}
    return {
        "description": "Done.",
        "headers": _HEADERS | aside,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=_envelope_name(op))},
                "example": answer(EXAMPLES[op.name].result),
            }
        },
        **({"links": links} if links else {}),
    }


def _failures(op: Operation) -> Schema:
    """The errors of an operation by status. What many share stands among the components."""
    responses: Schema = {}
    for errors in _by_status(errors_of(op)):
        name = _shared_name(errors, op.family)
        status = str(errors[0].status)
        responses[status] = (
            {"$ref": f"#/components/responses/{name}"} if name else _failure(errors, op.family)
        )
    return responses


def _shared_failures(operations: tuple[Operation, ...]) -> Schema:
    groups = [
        (op.family, errors)
        for op in operations
        if op.family is not BARE
        for errors in _by_status(errors_of(op))
    ]
    return {
        name: _failure(errors, family) for family, errors in groups if (name := _shared_name(errors, family))
    }


def _shared_name(errors: Sequence[type[ApiError]], family: Family) -> str | None:
    """The name of a response that several operations share: one error, or those that every operation has."""
    if len(errors) == 1:
        return _in(family, errors[0].__name__)
    return _in(family, _base(errors[0]).__name__) if set(errors) <= set(ALWAYS) else None


def _failure(errors: Sequence[type[ApiError]], family: Family) -> Schema:
    return {
        "description": "\n".join(f"- `{name_of(error, family)}`: {prose(error)}" for error in errors),
        "headers": _HEADERS_503 if issubclass(errors[0], Unavailable) else _HEADERS,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=_in(family, _error_name(errors[0])))},
                "examples": {
                    error.__name__: {"$ref": f"#/components/examples/{_in(family, error.__name__)}"}
                    for error in errors
                },
            }
        },
    }


def _link(op: Operation) -> Schema:
    """How to go on to this operation from an answer that is a task."""
    fields = {"taskId": "$response.body#/data/id", "version": "$response.body#/data/version"}
    return {
        "operationId": op.name,
        "description": op.summary,
        "requestBody": {name: fields[name] for name in op.request.__struct_encode_fields__ if name in fields},
    }


def _takes_task(op: Operation) -> bool:
    return op.family is AGENT and "taskId" in op.request.__struct_encode_fields__


def _answers_task(op: Operation) -> bool:
    return op.result is Task and not _takes_fields(op)


# Schemas -----------------------------------------------------------------------------------------------


def _schemas(operations: tuple[Operation, ...]) -> Schema:
    """Every schema by name: structs, then what is made of them, sorted so that a change shows where it is."""
    structs = _structs(
        (
            *(op.request for op in operations),
            *(item_of(op) for op in operations),
            envelope.Meta,
            envelope.PageMeta,
            envelope.ErrorDetails,
        )
    )
    views = {
        name: view for op in operations if _takes_fields(op) for name, view in _views(op, structs).items()
    }
    envelopes = {_envelope_name(op): _envelope(op) for op in operations if op.family is not BARE}
    failures = {
        _in(family, _error_name(errors[0])): _error_envelope(errors, family)
        for family, of_family in _by_family(operations)
        for errors in _by_status(of_family)
    }
    if any(op.family is SDK for op in operations):
        name = envelope.ErrorDetails.__name__
        structs = structs | {_in(SDK, name): _snake_cased(structs[name])}
    bare = {"BareError": openapi_bare.error_schema()} if any(op.family is BARE for op in operations) else {}
    return dict(sorted((structs | views | envelopes | failures | bare).items()))


def request_schema(op: Operation) -> Schema:
    """All fields of a request, wherever they stand."""
    _, schemas = msgspec.json.schema_components([op.request], ref_template=REF)
    return schemas[op.request.__name__]


@cache
def _structs(given: tuple[type, ...]) -> Schema:
    """The schemas of structs and of all that they hold, with their rules."""
    structs = list(_each(each for struct in given for each in (struct, *_classes_in(_rules(struct)))))
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    for struct in structs:
        schemas[struct.__name__] = _merged(schemas[struct.__name__], _resolved(_rules(struct)))
    orders = {frozenset(values): list(values) for struct in structs for values in _literals(struct)}
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if field.keys() == {
                "enum"
            }:  # the tag of a struct that is one of several, which msgspec adds by itself
                field["description"] = "Which kind this is."
    by_name = {struct.__name__: struct for struct in structs}
    tidy: Schema = {name: _tidied(schema, orders) for name, schema in schemas.items()}
    return {
        name: openapi_bare.body_schema(by_name[name], schema) if name in by_name else schema
        for name, schema in tidy.items()
    }


def _views(op: Operation, structs: Schema) -> Schema:
    """What an operation answers with that lets the caller choose `fields`: all of an item, or a part."""
    whole = item_of(op).__name__
    part = {
        key: value for key, value in structs[whole].items() if key not in {"required", "title", "description"}
    }
    return {
        f"{whole}Part": {
            "title": f"{whole}Part",
            "description": "The keys that `fields` names.",
            **part,
            "minProperties": 1,
        },
        f"{whole}View": {
            "description": "Whole, or with `fields` only the keys it names.",
            "anyOf": [{"$ref": REF.format(name=whole)}, {"$ref": REF.format(name=f"{whole}Part")}],
        },
    }


def _envelope(op: Operation) -> Schema:
    data: Schema = {"$ref": REF.format(name=_data_name(op))}
    if get_origin(op.result) is list:
        data = {"type": "array", "items": data}
    meta = envelope.PageMeta if op.paged else envelope.Meta
    return _closed(
        {"success": {"const": True}, "data": data, "meta": {"$ref": REF.format(name=meta.__name__)}}
    )


def _error_envelope(errors: Sequence[type[ApiError]], family: Family) -> Schema:
    properties: Schema = {
        "code": {
            "enum": list(_each(envelope.code_of(error, family) for error in errors)),
            "description": "What kind of error it is.",
        },
        "message": {"type": "string", "description": "What is wrong, and what to do next."},
    }
    if family is AGENT:
        properties["retryable"] = {
            "const": errors[0].retryable,
            "description": "Whether the same request may succeed later.",
        }
    error = _closed(properties)
    error["properties"]["details"] = {"$ref": REF.format(name=_in(family, envelope.ErrorDetails.__name__))}
    return _closed(
        {
            "success": {"const": False},
            "error": error,
            "meta": {"$ref": REF.format(name=envelope.Meta.__name__)},
        }
    )


def _snake_cased(schema: Schema) -> Schema:
    """The schema of an object whose keys the SDK family writes in snake_case."""
    return {
        **schema,
        "properties": {envelope.snake(name): field for name, field in schema["properties"].items()},
    }


def _envelope_name(op: Operation) -> str:
    many = "" if op.result is item_of(op) else "Page" if op.paged else "List"
    return f"{_data_name(op)}{many}Envelope"


def _data_name(op: Operation) -> str:
    return f"{item_of(op).__name__}View" if _takes_fields(op) else item_of(op).__name__


def _error_name(error: type[ApiError]) -> str:
    return _base(error).__name__.removesuffix("Error") + "Error"


def item_of(op: Operation) -> type:
    """What an operation answers with, or answers with a list of."""
    return get_args(op.result)[0] if get_origin(op.result) is list else op.result


def _takes_fields(op: Operation) -> bool:
    return "fields" in op.request.__struct_fields__


def _schema_of(struct: type) -> Schema:
    return _structs((struct,))[struct.__name__]


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


# Errors ------------------------------------------------------------------------------------------------


def _by_family(operations: tuple[Operation, ...]) -> list[tuple[Family, list[type[ApiError]]]]:
    """The families with an envelope that operations belong to, each with all errors of its operations."""
    families = _each(op.family for op in operations if op.family is not BARE)
    return [
        (family, in_order(error for op in operations if op.family is family for error in errors_of(op)))
        for family in families
    ]


def _in(family: Family, name: str) -> str:
    """The name of a component that each family spells its own way."""
    return name if family is AGENT else family.name.capitalize() + name


def _below(base: type[ApiError]) -> Iterator[type[ApiError]]:
    for error in base.__subclasses__():
        yield error
        yield from _below(error)


def _base(error: type[ApiError]) -> type[ApiError]:
    """The class of the tree that all errors of the same status share."""
    return next(base for base in ApiError.__subclasses__() if issubclass(error, base))


def _by_status(errors: Iterable[type[ApiError]]) -> Iterator[Sequence[type[ApiError]]]:
    for _, group in groupby(errors, key=lambda error: error.status):
        yield list(group)


# Words -------------------------------------------------------------------------------------------------


def name_of(error: type[ApiError], family: Family = AGENT) -> str:
    """The code of an error as a family spells it, and the reason where several share a code."""
    body = refusal(error, family)
    said = body.get("error", body)
    reason = said.get("details", {}).get("reason")
    return f"{said['code']}/{reason}" if reason else said["code"]


def prose(error: type[ApiError]) -> str:
    """What an error means."""
    return " ".join((error.__doc__ or "").split())


def flowing(text: str) -> str:
    """Paragraphs without the line breaks they have in the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _tags(operations: tuple[Operation, ...]) -> Iterator[tuple[str, str]]:
    for tag in _each(tag_of(op) for op in operations):
        about = importlib.import_module(f"app.operations.{tag}").__doc__ or ""
        yield tag, about.partition("\n")[0]
    yield "service", "The service itself: neither page needs a key."


def version() -> str:
    """The version of this service, from the one place where it stands."""
    return tomllib.loads(PYPROJECT.read_text())["project"]["version"]


def _each(values: Iterable[Any]) -> list[Any]:  # Any: whatever can be compared
    """Each value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))
