"""One call of each operation that writes, for what must hold for all of them.

What an operation requires is taken from the story of the examples, so that a new one is tried from the day it has its
request there. Ids stand in no such call: `placed` and the tests themselves know what there is to name.
"""

import re
from typing import Any, Final

import msgspec

from app.documents.story import ADA, GENERAL, SCOUT, STORY, WORKSPACE, Of
from app.operations import (
    OPERATIONS,
    cancel_task,
    create_task_record,
    create_tasks_bulk,
    force_release_run,
    link_tasks,
    states,
    unlink_tasks,
    update_task,
    update_task_record,
)
from app.rpc import Operation

_NAMES: Final = {WORKSPACE, GENERAL, ADA, SCOUT}


def told(op: Operation) -> dict[str, Any]:
    """What the story sends for the fields that an operation requires, as far as it names nobody and nothing."""
    sent = STORY[op.name].request
    return {
        field.name: _anonymous(sent[field.encode_name])
        for field in msgspec.structs.fields(op.request)
        if field.required and not _names(sent[field.encode_name])
    }


def _names(value: object) -> bool:
    return isinstance(value, Of) or (
        isinstance(value, str) and (value in _NAMES or re.fullmatch(r"T-\d+", value) is not None)
    )


def _anonymous(value: Any) -> Any:
    match value:
        case dict():
            return {key: _anonymous(inner) for key, inner in value.items() if not _names(inner)}
        case list():
            return [_anonymous(inner) for inner in value]
        case _:
            return value


_EDGE: Final = {"kind": "blocks", "other_task_id": "T-2"}
_CHANGES: Final[dict[Operation, dict[str, Any]]] = {
    update_task: {"version": 2, "title": "other"},
    create_tasks_bulk: {"tasks": [{"title": "other"}]},
    link_tasks: _EDGE,
    unlink_tasks: _EDGE,
    cancel_task: {"reason": "other"},
    create_task_record: {"stateful": True},
    update_task_record: {"title": "other"},
    states.update_state: {"variables": [{"name": "other"}]},
}
"""Where what is required changes nothing yet, or names what a test does not have."""

WRITES: Final = [
    (op, {**told(op), **_CHANGES.get(op, {})})
    for op in OPERATIONS
    if not op.read_only and op is not force_release_run
]
"""All that can be done under a claim: an operator ends the claim of somebody else, whose run it names."""
