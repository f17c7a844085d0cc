"""The names of what is there, which schemathesis cannot know: loaded by one of the runs that test_schemathesis.py starts.

Nothing here makes a case valid or a failure none.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, HookContext
from schemathesis.generation.meta import TestPhase

from app.operations.runs.claim import WAIT_SECONDS_MAX

KNOWN: dict[str, list[Any]] = json.loads(Path(os.environ["SCHEMATHESIS_KNOWN"]).read_text(encoding="utf-8"))
STRANGERS = 5  # of so many calls one keeps the names that were made up for it

_calls = itertools.count(1)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Name what is there, and do not wait for work: that is tested elsewhere, and would take minutes here."""
    body: dict[str, Any] = case.body if isinstance(case.body, dict) else {}
    for fields in (body, case.query):
        seconds = fields.get("waitSeconds")
        if isinstance(seconds, int | float) and 0 < seconds <= WAIT_SECONDS_MAX:
            fields["waitSeconds"] = 0
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
