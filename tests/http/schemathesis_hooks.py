"""What schemathesis cannot know from the document: loaded by the run that test_schemathesis.py starts."""

import json
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import UnsupportedMethodResponse

from app.operations.runs.claim import WAIT_SECONDS_MAX

FREE = {
    "input",
    "output",
    "params",
    "metadata",
    "steps",
    "errors",
    "variables",
}  # fields that hold JSON of any shape


@schemathesis.hook
def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
    """Make valid what the document has no words for, where the case is meant to be valid."""
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return case
    if isinstance(case.body, dict):
        if "Idempotency-Key" in case.headers:
            case.body.pop("idempotencyKey", None)  # in both places it must be the same
        for name in FREE & case.body.keys():
            case.body[name] = _without_nul(
                case.body[name]
            )  # of values of any shape the document cannot forbid it
    match case.operation.definition.raw["operationId"]:
        case "create-tasks-bulk" if isinstance(case.body, dict) and isinstance(case.body.get("tasks"), str):
            # JSON Schema can say what a string holds, but not make a validator look.
            title = f"A task {case.body['tasks']}".replace("\0", "")[:500]
            case.body["tasks"] = json.dumps([{"title": title}])
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
    """Do not wait for work: what may be waited for is tested elsewhere, and here it would take minutes."""
    body: Any = case.body
    seconds = body.get("waitSeconds") if isinstance(body, dict) else None
    if isinstance(seconds, int | float) and 0 < seconds <= WAIT_SECONDS_MAX:
        body["waitSeconds"] = 0


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Whether a failure is one: a wrong verb gets 404, because the published client knows no 405."""
    if isinstance(failure, UnsupportedMethodResponse) and failure.status_code == 404:
        said = response.json()
        return said.get("error", said)["code"].lower() != "not_found"
    return True
