"""The reference: docs/openapi.json for machines and docs/operations.md for people and agents.

    python -m app.documents.reference            writes both
    python -m app.documents.reference --check    exits with 1 if one of them is stale

Both are derived from the operations and the recorded examples, and kept in the repository, so that a change of the
interface is seen in its diff. A test runs the check.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from app.decoding import places
from app.documents import examples
from app.documents.examples import EXAMPLES
from app.documents.openapi.document import ABOUT, document
from app.documents.openapi.failures import ALWAYS, errors_of, in_order, name_of, prose
from app.documents.openapi.paths import flowing, tag_of
from app.documents.openapi.schemas import item_of
from app.documents.openapi.shared import ENUMS, FREE
from app.documents.openapi.structs import Schema, request_schema
from app.documents.refusals import ERRORS
from app.errors import ApiError, MethodNotAllowed, ScopeMissing, UnknownEncoding, UnknownPath
from app.errors.kinds import Unframed
from app.operations import OPERATIONS
from app.operations.tasks.task import Task
from app.rpc import AGENT, Family, Operation

DOCS: Final = Path(__file__).parents[2] / "docs"
COMMAND: Final = "python -m app.documents.reference"
CURL_CHARACTERS_MAX: Final = 110  # a longer call is broken into two lines


def main(arguments: Sequence[str]) -> int:
    """Write the reference, or check it. The exit status."""
    old = list(examples.stale(OPERATIONS))
    stale = [path for path, write in FILES.items() if not path.exists() or path.read_text() != write()]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(
                f"{path.relative_to(DOCS.parent)} is stale. Run `{COMMAND}` and look at the difference.\n"
            )
        for why in old:
            sys.stderr.write(
                f"docs/examples.json is stale: {why}. Run `{examples.COMMAND}` and look at the difference.\n"
            )
        return 1 if stale or old else 0
    for path in stale:
        path.write_text(FILES[path]())
        sys.stdout.write(f"wrote {path.relative_to(DOCS.parent)}\n")
    return 0


def openapi_json() -> str:
    """The OpenAPI document, for reading."""
    return json.dumps(_document(), indent=1, ensure_ascii=False) + "\n"


def operations_md() -> str:
    """The reference of the operations, in markdown."""
    schemas = _document()["components"]["schemas"]
    by_noun = [(noun, list(ops)) for noun, ops in groupby(OPERATIONS, key=tag_of)]
    lines = [
        f"<!-- Written by `{COMMAND}`. Change the code, not this file. -->",
        "# Operations",
        "",
        ABOUT.rstrip(),
        "",
        "Below, bold fields must be sent, and moments are written as `2026-12-01T09:00:00Z`. The calls want `curl` 7.82",
        "or newer, and to know where to ask and with what key:",
        "",
        "```sh",
        "export BATON=http://127.0.0.1:8000 KEY=baton_sk_...",
        "```",
        "",
        "| Operation | |",
        "| --- | --- |",
        *(f"| [{op.name}](#{op.name}) | {op.summary} |" for op in OPERATIONS),
        "",
        "Then: [errors of every operation](#errors-of-every-operation), [errors before any",
        "operation](#errors-before-any-operation), [what comes back](#what-comes-back).",
        "",
    ]
    for noun, ops in by_noun:
        lines += [f"## {noun.capitalize()}", ""]
        for op in ops:
            lines += [*_operation(op, schemas), ""]
    lines += [
        "## Errors of every operation",
        "",
        *_errors((*ALWAYS, ScopeMissing), AGENT, explained=True),
        "",
        "## Errors before any operation",
        "",
        "What no client of these operations is meant to meet: a wrong address or verb, and requests that cannot be read.",
        "",
        *_at_the_door(),
        "",
    ]
    lines += ["## What comes back", ""]
    for name in _answers(schemas):
        lines += [
            f"### {name}",
            "",
            schemas[name]["description"],
            "",
            *_fields(schemas[name], marked=False),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


FILES: Final[dict[Path, Callable[[], str]]] = {
    DOCS / "openapi.json": openapi_json,
    DOCS / "operations.md": operations_md,
}


def _document() -> Schema:
    return document(OPERATIONS)


def _operation(op: Operation, schemas: Schema) -> Iterator[str]:
    """What one operation does, takes, answers and refuses, and a call of it."""
    verbs = f"`{op.method}`" if op.method else "`GET` or `POST`" if op.read_only else "`POST`"
    scope = f"scope `{op.scope}`" if op.scope else "any key"
    yield from (f"### {op.name}", "", op.summary, "")
    if op.description:
        yield from (flowing(op.description), "")
    yield from (f"{verbs} `{op.path}` · {scope} · answers with {_answer(op)}", "")
    request = request_schema(op)
    if request["properties"]:
        yield from (*_fields(request, marked=True), "")
    if own := [error for error in errors_of(op) if error not in {*ALWAYS, ScopeMissing}]:
        yield from (*_errors(own, op.family, explained=False), "")
    yield from ("```sh", *_curl(op), "```")


def _answer(op: Operation) -> str:
    item = item_of(op)
    many = "" if op.result is item else "a page of " if op.paged else "a list of "
    return many + _linked(item.__name__)


def _fields(schema: Schema, *, marked: bool) -> Iterator[str]:
    """The fields of an object as a table; `marked` makes those that must be sent bold."""
    required = schema.get("required", ())
    yield from ("| Field | | |", "| --- | --- | --- |")
    for name, field in schema["properties"].items():
        shown = f"**`{name}`**" if marked and name in required else f"`{name}`"
        yield f"| {shown} | {_kind(field)} | {field.get('description', '')} |"


def _kind(schema: Schema) -> str:
    """The type of a field in a few words."""
    match schema:
        case {"anyOf": [one, {"type": "array", "items": item}]} if one == item:
            words = f"{_kind(one)}, or a list of them"
        case {"anyOf": options}:
            words = " or ".join(_kind(option) for option in options)
        case {"$ref": ref}:
            words = _named(ref.rpartition("/")[2])
        case {"const": value}:
            words = f"`{value}`"
        case {"enum": values}:
            words = _choice(values)
        case {"type": "array", "items": items}:
            words = f"list of {_kind(items)}"
        case {"type": "string", "format": "date-time"}:
            words = "moment"
        case {"contentSchema": _}:
            words = "the same in a string"
        case {"type": kind}:
            words = kind
        case _:
            words = "any JSON"
    return words


def _named(name: str) -> str:
    if name == "JsonObject":
        return "object"
    return _choice(ENUMS[name]) if name in ENUMS else _linked(name)


def _choice(values: Sequence[str]) -> str:
    if set(values) == set(Task.__struct_encode_fields__):
        return f"keys of {_linked('Task')}"
    return ", ".join(f"`{value}`" for value in values)


def _linked(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _errors(errors: Sequence[type[ApiError]], family: Family, *, explained: bool) -> Iterator[str]:
    """Errors as a table: how to tell them, what they say to do and, where there is room, what they mean."""
    yield from (
        ("| Error | Says | Means |", "| --- | --- | --- |")
        if explained
        else ("| Error | Says |", "| --- | --- |")
    )
    for error in in_order(errors):
        row = f"| {error.status} `{name_of(error, family)}` | {ERRORS[error].message} |"
        yield f"{row} {prose(error)} |" if explained else row


def _at_the_door() -> Iterator[str]:
    """The errors that come before it is known which operation is meant, as a table."""
    yield from ("| Error | Means |", "| --- | --- |")
    for error in (UnknownPath, MethodNotAllowed, UnknownEncoding, *Unframed.__subclasses__()):
        yield f"| {error.status} `{error.code}` | {prose(error)} |"


def _curl(op: Operation) -> Iterator[str]:
    """A call with curl: a GET where there is one, which is shorter."""
    sent = EXAMPLES[op.name].request
    key = '-H "Authorization: Bearer $KEY"'
    if op.method is not None:
        yield from _curl_record(op, sent, key)
        return
    if op.read_only:
        query = urlencode({name: _in_query(value) for name, value in sent.items()}, doseq=True)
        yield f'curl -s "$BATON{op.path}{"?" if query else ""}{query}" {key}'
        return
    body = shlex.quote(json.dumps(sent, ensure_ascii=False))
    together = f'curl -s "$BATON{op.path}" {key} --json {body}'
    if len(together) <= CURL_CHARACTERS_MAX:
        yield together
    else:
        yield f'curl -s "$BATON{op.path}" {key} \\'
        yield f"     --json {body}"


def _curl_record(op: Operation, sent: dict[str, object], key: str) -> Iterator[str]:
    """A call of an operation that has a part of its request in the path and the headers."""
    elsewhere = places(op.request)
    path = op.path
    for name, value in sent.items():
        path = path.replace(f"{{{name}}}", str(value))
    if query := urlencode(
        {name: sent[name] for name, place in elsewhere.items() if place == "query" and name in sent}
    ):
        path += f"?{query}"
    for name, place in elsewhere.items():
        if place not in {"path", "query"} and name in sent:
            key += f" -H {shlex.quote(f'{place}: {sent[name]}')}"
    verb = "" if op.method in {"GET", "POST"} else f"-X {op.method} "
    together = f'curl -s {verb}"$BATON{path}" {key}'
    body = {name: value for name, value in sent.items() if name not in elsewhere}
    if op.method in {"GET", "DELETE"}:
        yield together
    else:
        yield f"{together} \\"
        yield f"     --json {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def _in_query(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _answers(schemas: Schema) -> list[str]:
    """The objects of requests and answers, those that stand inside of others behind them."""
    names = [item_of(op).__name__ for op in OPERATIONS] + ["NewTask", "PageMeta"]
    for name in names:
        text = json.dumps(schemas[name])
        names += [
            inner
            for inner in schemas
            if f'"#/components/schemas/{inner}"' in text
            and inner not in names
            and inner not in {*ENUMS, *FREE}
        ]
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
