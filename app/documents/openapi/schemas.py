"""Every schema by name: the structs of requests and answers, and what answers and errors of each family are made of."""

from collections.abc import Sequence
from typing import get_args, get_origin

from app.documents.openapi.failures import by_family, by_status, schema_name, spelled
from app.documents.openapi.shared import forgiving, named
from app.documents.openapi.structs import REF, Schema, schemas_of
from app.documents.refusals import ERRORS
from app.errors import ApiError, LeaseLost
from app.rpc import AGENT, RECORDS, SDK, Family, Operation
from app.transports import envelope


def schemas(operations: tuple[Operation, ...]) -> Schema:
    """Every schema by name: structs, then what is made of them, sorted so that a change shows where it is."""
    requests = schemas_of(tuple(op.request for op in operations))
    structs = {name: forgiving(schema) for name, schema in requests.items()} | schemas_of(
        (
            *(item_of(op) for op in operations),
            envelope.Meta,
            envelope.PageMeta,
            envelope.ErrorDetails,
        )
    )
    views = {
        name: view for op in operations if takes_fields(op) for name, view in _views(op, structs).items()
    }
    envelopes = {envelope_name(op): _envelope(op) for op in operations if op.family is not RECORDS}
    failures: Schema = {}
    for family, of_family in by_family(operations):
        if family is RECORDS:
            continue
        for errors in by_status(of_family):
            failures |= _error_schemas(errors, family)
    if any(op.family is SDK for op in operations):
        name = envelope.ErrorDetails.__name__
        structs = structs | {spelled(SDK, name): _snake_cased(structs[name])}
    records: Schema = {}
    if any(op.family is RECORDS for op in operations):
        codes = list(dict.fromkeys(code for _, code in sorted(envelope.RECORD_CODES.items())))
        records["RecordErrorCode"] = {"type": "string", "enum": codes}
        records["RecordError"] = _record_error(structs[envelope.ErrorDetails.__name__]["properties"])
    return named(structs | views | envelopes | failures | records)


def _views(op: Operation, structs: Schema) -> Schema:
    """What an operation answers with that lets the caller choose `fields`: all of an item, or a part."""
    whole = item_of(op).__name__
    part = {
        key: value for key, value in structs[whole].items() if key not in {"required", "title", "description"}
    }
    return {
        f"{whole}Part": {
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
    return closed(
        {"success": {"const": True}, "data": data, "meta": {"$ref": REF.format(name=meta.__name__)}}
    )


def _error_schemas(errors: Sequence[type[ApiError]], family: Family) -> Schema:
    """What is answered with the errors of one status: the envelope, the error in it, and its codes if it has several."""
    name = spelled(family, schema_name(errors[0]))
    problem = name.removesuffix("Error") + "Problem"
    codes = list(dict.fromkeys(envelope.code_of(error, family) for error in errors))
    listed: Schema = {}
    if len(codes) == 1:
        code: Schema = {"const": codes[0]}
    else:
        code_name = schema_name(errors[0]) + "Code"  # families that spell them alike share the list
        if codes != list(dict.fromkeys(envelope.code_of(error, AGENT) for error in errors)):
            code_name = spelled(family, code_name)
        listed[code_name] = {"type": "string", "enum": codes}
        code = {"$ref": REF.format(name=code_name)}
    properties: Schema = {
        "code": {**code, "description": "What kind of error it is."},
        "message": {"type": "string", "description": "What is wrong, and what to do next."},
    }
    if family is AGENT:
        properties["retryable"] = {
            "const": errors[0].retryable,
            "description": "Whether the same request may succeed later.",
        }
    error = closed(properties)
    error["properties"]["details"] = {
        "$ref": REF.format(name=spelled(family, envelope.ErrorDetails.__name__))
    }
    whole = closed(
        {
            "success": {"const": False},
            "error": {"$ref": REF.format(name=problem)},
            "meta": {"$ref": REF.format(name=envelope.Meta.__name__)},
        }
    )
    return {name: whole, problem: error} | listed


def _record_error(details: Schema) -> Schema:
    """`{code, message}`, and beside them the facts of one error."""
    return {
        "description": "What went wrong.",
        "type": "object",
        "properties": {
            "code": {
                "$ref": REF.format(name="RecordErrorCode"),
                "description": "What kind of error it is.",
            },
            "message": {"type": "string", "description": "What is wrong, and what to do next."},
            **{name: details[name] for name in ERRORS[LeaseLost].details or ()},
        },
        "required": ["code", "message"],
        "additionalProperties": False,
    }


def _snake_cased(schema: Schema) -> Schema:
    """The schema of an object whose keys the SDK family writes in snake_case."""
    return {
        **schema,
        "properties": {envelope.snake(name): field for name, field in schema["properties"].items()},
    }


def closed(properties: Schema) -> Schema:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def envelope_name(op: Operation) -> str:
    """The name of what an operation answers with."""
    many = "" if op.result is item_of(op) else "Page" if op.paged else "List"
    return f"{_data_name(op)}{many}Envelope"


def _data_name(op: Operation) -> str:
    return f"{item_of(op).__name__}View" if takes_fields(op) else item_of(op).__name__


def item_of(op: Operation) -> type:
    """What an operation answers with, or answers with a list of."""
    return get_args(op.result)[0] if get_origin(op.result) is list else op.result


def takes_fields(op: Operation) -> bool:
    """Whether the caller may choose which keys to see."""
    return "fields" in op.request.__struct_fields__
