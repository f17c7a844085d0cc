"""What one can ask: one POST per operation, and a GET for those that only read."""

from collections.abc import Iterator, Sequence

from app.documents.examples import EXAMPLES
from app.documents.openapi import bare
from app.documents.openapi.failures import (
    ALWAYS,
    base_of,
    by_status,
    errors_of,
    name_of,
    prose,
    schema_name,
    spelled,
)
from app.documents.openapi.headers import HEADERS, HEADERS_503
from app.documents.openapi.schemas import envelope_name, takes_fields
from app.documents.openapi.structs import REF, Schema, schema_of
from app.errors import ApiError, Unavailable
from app.operations.tasks.task import Task
from app.rpc import AGENT, BARE, Family, Operation


def paths(operations: tuple[Operation, ...]) -> Schema:
    """Every path with its methods."""
    found: Schema = {}
    for op in operations:
        found.setdefault(op.path, {}).update(_path(op, operations))
    return found


def _path(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    if op.method is not None:
        return {op.method.lower(): bare.method(op, _common(op, op.name))}
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
        "required": not {"required", "oneOf"}.isdisjoint(schema_of(op.request)),
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=op.request.__name__)},
                "example": EXAMPLES[op.name].request,
            }
        },
    }


def _query_parameters(op: Operation) -> Iterator[Schema]:
    """The fields of a request as parameters. In a query nothing is null, and one value of a list is a list of one."""
    schema = schema_of(op.request)
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
        if _answers_task(op) and takes_task(other)
    }
    aside: Schema = {}
    if not op.read_only:
        aside["Idempotency-Replayed"] = {"$ref": "#/components/headers/Replayed"}
    if "onConflict" in op.request.__struct_encode_fields__:
        aside["Baton-Merged-From"] = {"$ref": "#/components/headers/MergedFrom"}
    return {
        "description": "Done.",
        "headers": HEADERS | aside,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=envelope_name(op))},
                "example": EXAMPLES[op.name].answer,
            }
        },
        **({"links": links} if links else {}),
    }


def _failures(op: Operation) -> Schema:
    """The errors of an operation by status. What many share stands among the components."""
    responses: Schema = {}
    for errors in by_status(errors_of(op)):
        name = _shared_name(errors, op.family)
        status = str(errors[0].status)
        responses[status] = (
            {"$ref": f"#/components/responses/{name}"} if name else _failure(errors, op.family)
        )
    return responses


def shared_failures(operations: tuple[Operation, ...]) -> Schema:
    """The responses to errors that several operations share, by name."""
    groups = [
        (op.family, errors)
        for op in operations
        if op.family is not BARE
        for errors in by_status(errors_of(op))
    ]
    return {
        name: _failure(errors, family) for family, errors in groups if (name := _shared_name(errors, family))
    }


def _shared_name(errors: Sequence[type[ApiError]], family: Family) -> str | None:
    """The name of a response that several operations share: one error, or those that every operation has."""
    if len(errors) == 1:
        return spelled(family, errors[0].__name__)
    return spelled(family, base_of(errors[0]).__name__) if set(errors) <= set(ALWAYS) else None


def _failure(errors: Sequence[type[ApiError]], family: Family) -> Schema:
    return {
        "description": "\n".join(f"- `{name_of(error, family)}`: {prose(error)}" for error in errors),
        "headers": HEADERS_503 if issubclass(errors[0], Unavailable) else HEADERS,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=spelled(family, schema_name(errors[0])))},
                "examples": {
                    error.__name__: {"$ref": f"#/components/examples/{spelled(family, error.__name__)}"}
                    for error in errors
                },
            }
        },
    }


def link(op: Operation) -> Schema:
    """How to go on to this operation from an answer that is a task."""
    fields = {"taskId": "$response.body#/data/id", "version": "$response.body#/data/version"}
    return {
        "operationId": op.name,
        "description": op.summary,
        "requestBody": {name: fields[name] for name in op.request.__struct_encode_fields__ if name in fields},
    }


def takes_task(op: Operation) -> bool:
    """Whether one can go on to this operation from a task."""
    return op.family is AGENT and "taskId" in op.request.__struct_encode_fields__


def _answers_task(op: Operation) -> bool:
    return op.result is Task and not takes_fields(op)


def tag_of(op: Operation) -> str:
    """The noun an operation belongs to: the module or package under app/operations that holds it."""
    return op.handler.__module__.split(".")[2]


def flowing(text: str) -> str:
    """Paragraphs without the line breaks they have in the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
