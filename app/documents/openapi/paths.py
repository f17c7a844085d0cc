"""What one can ask: one POST per operation, and a GET for those that only read."""

from collections.abc import Iterator, Sequence

from app.documents.examples import EXAMPLES
from app.documents.openapi import records
from app.documents.openapi.failures import (
    by_status,
    errors_of,
    name_of,
    prose,
    schema_name,
    spelled,
    together,
)
from app.documents.openapi.headers import HEADERS, HEADERS_429, HEADERS_503
from app.documents.openapi.links import id_of, links_of
from app.documents.openapi.schemas import envelope_name
from app.documents.openapi.shared import shaped
from app.documents.openapi.structs import REF, Schema, schema_of
from app.errors import ApiError, RateLimited, Unavailable
from app.rpc import RECORDS, SDK, Family, Operation


def paths(operations: tuple[Operation, ...]) -> Schema:
    """Every path with its methods."""
    found: Schema = {}
    for op in operations:
        found.setdefault(op.path, {}).update(_path(op, operations))
    return found


def _path(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    if op.method is not None:
        return {op.method.lower(): records.method(op, _common(op, id_of(op)), failures(op), operations)}
    methods: Schema = {"post": _method(op, op.name) | {"requestBody": _request_body(op)}}
    if op.read_only:
        methods["get"] = _method(op, f"{op.name}.get")
        methods["get"]["parameters"] += _query_parameters(op)
    return methods


def _method(op: Operation, id: str) -> Schema:
    success = {"$ref": f"#/components/responses/{answer_name(op)}"}
    return {**_common(op, id), "responses": {str(op.status): success, **failures(op)}}


def _common(op: Operation, id: str) -> Schema:
    allowed = "Any key may call it." if op.scope is None else f"The key needs the scope `{op.scope}`."
    return {
        "operationId": id,
        "summary": op.summary,
        "description": "\n\n".join(filter(None, (flowing(op.description), allowed))),
        "tags": [tag_of(op)],
        "security": [{"bearerAuth": []}],
        **({} if op.scope is None else {"x-scope": op.scope}),
        "parameters": [
            {"$ref": f"#/components/parameters/{name}"}
            for name in ("RequestId", *(() if op.read_only else ("IdempotencyKey",)))
        ],
    }


def _request_body(op: Operation) -> Schema:
    return {
        "required": not {"required", "not"}.isdisjoint(schema_of(op.request)),
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=op.request.__name__)},
                "example": EXAMPLES[op.name].request,
            }
        },
    }


def _query_parameters(op: Operation) -> Iterator[Schema]:
    """The fields of a request as parameters. In a query nothing is null, and one value of a list is a list of one."""
    schema = shaped(op.request)
    for name, field in schema["properties"].items():
        options = [option for option in field.get("anyOf", [field]) if option != {"type": "null"}]
        lists = [option for option in options if option.get("type") == "array"]
        kind = {key: value for key, value in (lists or options)[0].items() if key != "description"}
        example = EXAMPLES[op.name].request.get(name)
        yield {
            "name": name,
            "in": "query",
            "description": field["description"],
            "required": name in (*schema.get("required", ()), *getattr(op.request, "query_needs", ())),
            **({"style": "form", "explode": True} if lists else {}),
            "schema": kind,
            **({} if example is None else {"example": example}),
        }


def _success(op: Operation, operations: tuple[Operation, ...]) -> Schema:
    aside: Schema = {}
    if op.family is not SDK:  # which refuses them
        aside["Baton-Ignored-Fields"] = {"$ref": "#/components/headers/Ignored"}
    if not op.read_only:
        aside["Idempotency-Replayed"] = {"$ref": "#/components/headers/Replayed"}
    if "onConflict" in op.request.__struct_encode_fields__:
        aside["Baton-Merged-From"] = {"$ref": "#/components/headers/MergedFrom"}
    if op.tells:
        aside["Baton-Told"] = {"$ref": "#/components/headers/Told"}
    return {
        "description": "Done.",
        "headers": HEADERS | aside,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=envelope_name(op))},
                "example": EXAMPLES[op.name].answer,
            }
        },
        **links_of(op, operations),
    }


def failures(op: Operation) -> Schema:
    """The errors of an operation by status. They stand among the components."""
    return {
        str(errors[0].status): {"$ref": f"#/components/responses/{together(errors, op.family)}"}
        for errors in by_status(errors_of(op))
    }


def responses(operations: tuple[Operation, ...]) -> Schema:
    """What operations answer, by name: their successes, and the errors that they share."""
    successes = {answer_name(op): _success(op, operations) for op in operations if op.family is not RECORDS}
    refusals = {
        together(errors, op.family): _failure(errors, op.family)
        for op in operations
        for errors in by_status(errors_of(op))
    }
    return successes | refusals


def answer_name(op: Operation) -> str:
    """The name of the response with the answer of an operation, which is the same to a GET and a POST."""
    return "".join(word.capitalize() for word in op.name.split("-")) + "Done"


def _failure(errors: Sequence[type[ApiError]], family: Family) -> Schema:
    schema = "RecordError" if family is RECORDS else spelled(family, schema_name(errors[0]))
    return {
        "description": "\n".join(f"- `{name_of(error, family)}`: {prose(error)}" for error in errors),
        "headers": _headers(errors[0]),
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(name=schema)},
                "examples": {
                    error.__name__: {"$ref": f"#/components/examples/{spelled(family, error.__name__)}"}
                    for error in errors
                },
            }
        },
    }


def _headers(error: type[ApiError]) -> Schema:
    if issubclass(error, RateLimited):
        return HEADERS_429
    return HEADERS_503 if issubclass(error, Unavailable) else HEADERS


def tag_of(op: Operation) -> str:
    """The noun an operation belongs to: the module or package under app/operations that holds it."""
    return op.handler.__module__.split(".")[2]


def flowing(text: str) -> str:
    """Paragraphs without the line breaks they have in the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
