"""What schemathesis cannot know from the document: loaded by the run that test_schemathesis.py starts."""

import itertools
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import UnsupportedMethodResponse

from app.operations.runs.claim import WAIT_SECONDS_MAX

FREE = (
    "input",
    "output",
    "params",
    "metadata",
    "steps",
    "errors",
    "variables",
)  # fields of JSON of any shape
KNOWN: dict[str, list[Any]] = json.loads(Path(os.environ["SCHEMATHESIS_KNOWN"]).read_text(encoding="utf-8"))
STRANGERS = 5  # of so many calls one keeps the names that were made up for it

_calls = itertools.count(1)
_used: set[str] = set()  # idempotency keys that some call had before


@schemathesis.hook
def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
    """Make valid what the document has no words for, where the case is meant to be valid."""
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return case
    operation = case.operation.definition.raw["operationId"]
    body: dict[str, Any] = case.body if isinstance(case.body, dict) else {}
    _with_a_key_of_its_own(case.headers, body)
    for name in set(FREE) & body.keys():
        body[name] = _without_nul(body[name])
    match operation:
        case "create-tasks-bulk" if isinstance(body.get("tasks"), str):
            # JSON Schema can say what a string holds, but not make a validator look.
            title = f"A task {body['tasks']}".replace("\0", "")[:500]
            body["tasks"] = json.dumps([{"title": title}])
        case "createState" | "updateState" if body.get("variables"):
            # Nor that no two of a list have the same name.
            body["variables"] = list({variable["name"]: variable for variable in body["variables"]}.values())
        case "list-tasks.get" if {"assigneeAgentId", "assigneeUserId"} <= case.query.keys():
            # Not both: a body's schema says so, but parameters stand alone.
            del case.query["assigneeUserId"]
        case "resolve-identity.get" if len({"handle", "email"} & case.query.keys()) != 1:
            # Likewise: exactly one of the two.
            case.query.pop("email", None)
            case.query["handle"] = case.query.get("handle", "ada")
        case _:
            pass
    return case


def _with_a_key_of_its_own(headers: Any, body: dict[str, Any]) -> None:
    """One idempotency key in one place for one call: any other use of it is rightly refused."""
    if "Idempotency-Key" in headers:
        body.pop("idempotencyKey", None)
    for place, name in ((headers, "Idempotency-Key"), (body, "idempotencyKey")):
        if isinstance(key := place.get(name), str):
            if key in _used:
                place[name] = str(uuid4())
            _used.add(key)


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "")
        case dict():
            return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
        case list():
            return [_without_nul(inner) for inner in value]
        case _:
            return value


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Name what is there, and do not wait for work: that is tested elsewhere, and would take minutes here."""
    body: dict[str, Any] = case.body if isinstance(case.body, dict) else {}
    seconds = body.get("waitSeconds")
    if isinstance(seconds, int | float) and 0 < seconds <= WAIT_SECONDS_MAX:
        body["waitSeconds"] = 0
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or case.meta.phase.name == TestPhase.STATEFUL
    ):
        return
    call = next(_calls)
    operation = case.operation.definition.raw["operationId"].removesuffix(".get")
    for fields in (body, case.query, case.path_parameters):
        for name, value in fields.items():
            own = KNOWN.get(f"{operation} {name}")  # always: this operation would end what others need
            known = own or (KNOWN.get(name) if call % STRANGERS else None)
            if known is not None and value is not None:
                fields[name] = known[call % len(known)]


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Whether a failure is one: a wrong verb gets 404, because the published client knows no 405."""
    if isinstance(failure, UnsupportedMethodResponse) and failure.status_code == 404:
        said = response.json()
        return said.get("error", said)["code"].lower() != "not_found"
    return True
