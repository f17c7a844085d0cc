"""One example of every operation and of every error, for the documents.

The examples of the operations are a story: called one after the other in a workspace where T-41 was the last
task, they are what is sent and what comes back. A test plays it, so the examples are true.
"""

from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import replace

from app.db import Encoded
from app.errors import (
    ApiError,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    DatabaseUnavailable,
    IdentityNotFound,
    InternalError,
    InvalidInput,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    NotAssigned,
    NotAssignee,
    Overloaded,
    ParentCycle,
    ScopeMissing,
    TaskNotFound,
    TaskReadOnly,
    TimedOut,
    VersionConflict,
)
from app.operations.tasks.comment import Mention, TaskComment
from app.operations.tasks.task import Task
from app.operations.workspace import Me, MyChannel, ResolvedIdentity, VerifyConnectionResult, WorkspaceInfo
from app.rpc import Page, Result
from app.transports import envelope
from app.transports.examples_runs import RUN_ERRORS, RUN_EXAMPLES
from app.types import Scope

MOMENT: Final = "2026-03-02T09:00:00.000Z"
REQUEST_ID: Final = "3f9c1a7be042-17"

WORKSPACE: Final = "019c2f60-5a00-7000-8000-00000000000a"
GENERAL: Final = "019c2f60-5a00-7000-8000-00000000000b"
ADA: Final = "019c2f60-5a00-7000-8000-00000000000c"
SCOUT: Final = "019c2f60-5a00-7000-8000-00000000000d"
TOKEN: Final = "verify_Jx3mQv0p7Zk2Yc9Wd5Ub1Tn4"  # noqa: S105  an example, good for nothing


@dataclass(frozen=True)
class Example:
    """What to send to an operation, in wire names, and what comes back."""

    request: dict[str, object]
    result: Result


T42: Final = Task(
    id="019cadf1-2e40-7000-8000-000000000042",
    identifier="T-42",
    workspace_id=WORKSPACE,
    title="Rotate the signing keys",
    description="The old ones expire in April. Keep both until the caches have turned over.",
    status="todo",
    priority="high",
    version=1,
    due_at="2026-03-31T17:00:00.000Z",
    assignee_user_id=None,
    assignee_agent_id=None,
    created_by_user_id=None,
    created_by_agent_id=SCOUT,
    parent_task_id=None,
    channel_id=GENERAL,
    origin_message_id=None,
    origin_extraction_id=None,
    started_at=None,
    completed_at=None,
    cancelled_at=None,
    archived_at=None,
    created_at=MOMENT,
    updated_at=MOMENT,
    deleted_at=None,
)
_PART: Final = replace(
    T42, parent_task_id=T42.id, description=None, priority="none", due_at=None, channel_id=None
)
T43: Final = replace(
    _PART,
    id="019cadf1-2e40-7000-8000-000000000043",
    identifier="T-43",
    title="Write the runbook",
    assignee_agent_id=SCOUT,
)
T44: Final = replace(
    _PART,
    id="019cadf1-2e40-7000-8000-000000000044",
    identifier="T-44",
    title="Tell the customers",
    assignee_user_id=ADA,
)
CLAIMED: Final = replace(T42, version=2, status="in_progress", assignee_agent_id=SCOUT, started_at=MOMENT)
BLOCKED: Final = replace(T43, version=2, status="blocked")

REMARK: Final = TaskComment(
    id="019cadf1-2e40-7000-8000-000000000101",
    task_id=T43.id,
    author_user_id=None,
    author_agent_id=SCOUT,
    body="Waiting for @ada to say where runbooks live.",
    parent_comment_id=None,
    resolved_at=None,
    mentions=[Mention(id=ADA, type="user")],
    created_at=MOMENT,
    updated_at=MOMENT,
    deleted_at=None,
)

_encode: Final = msgspec.json.encode


def _page(*items: object, total: int | None = None) -> Page[object]:
    return Page([Encoded(_encode(item)) for item in items], None, total)


EXAMPLES: Final[dict[str, Example]] = {
    "create-task": Example(
        {
            "title": T42.title,
            "description": T42.description,
            "priority": "high",
            "dueAt": "2026-03-31T17:00:00Z",
            "channelId": GENERAL,
        },
        T42,
    ),
    "create-tasks-bulk": Example(
        {
            "tasks": [
                {"title": T43.title, "parentTaskId": "T-42", "assigneeAgentId": SCOUT},
                {"title": T44.title, "parentTaskId": "T-42", "assigneeUserId": ADA},
            ],
            "summaryChannelId": GENERAL,
        },
        Encoded(_encode([T43, T44])),
    ),
    "get-task": Example({"taskId": "T-42"}, T42),
    "list-tasks": Example(
        {"status": ["open"], "query": "signing", "limit": 10, "includeTotal": True}, _page(T42, total=1)
    ),
    "list-my-tasks": Example(
        {"status": ["open"], "fields": ["identifier", "title", "priority", "version"], "limit": 10},
        _page({"identifier": "T-43", "title": T43.title, "priority": "none", "version": 1}),
    ),
    "update-task": Example(
        {"taskId": "T-42", "version": 1, "status": "in_progress", "assigneeAgentId": SCOUT}, CLAIMED
    ),
    "complete-task": Example(
        {"taskId": "T-42"}, replace(CLAIMED, version=3, status="done", completed_at=MOMENT)
    ),
    "cancel-task": Example(
        {"taskId": "T-44", "reason": "Only we use these keys."},
        replace(T44, version=2, status="cancelled", cancelled_at=MOMENT),
    ),
    "block-task": Example({"taskId": "T-43", "reason": REMARK.body}, BLOCKED),
    "release-task": Example({"taskId": "T-43"}, replace(BLOCKED, version=3, assignee_agent_id=None)),
    "comment-on-task": Example(
        {"taskId": "T-42", "body": "Done, @ada: both keys are live."},
        replace(
            REMARK,
            id="019cadf1-2e40-7000-8000-000000000102",
            task_id=T42.id,
            body="Done, @ada: both keys are live.",
        ),
    ),
    "list-comments": Example({"taskId": "T-43"}, _page(REMARK)),
    **{name: Example(request, result) for name, (request, result) in RUN_EXAMPLES.items()},
    "get-me": Example(
        {},
        Me(
            id=SCOUT,
            kind="agent",
            handle="scout",
            name="Scout",
            workspace_id=WORKSPACE,
            workspace_slug="acme",
            owner_id=ADA,
            scopes=sorted(get_args(Scope)),
            channels=[MyChannel(id=GENERAL, name="general", role="poster")],
        ),
    ),
    "get-workspace-info": Example(
        {},
        WorkspaceInfo(
            id=WORKSPACE,
            name="Acme",
            slug="acme",
            created_at=MOMENT,
            member_count=1,
            channel_count=1,
            agent_count=1,
        ),
    ),
    "resolve-identity": Example(
        {"handle": "@ada"}, ResolvedIdentity(id=ADA, kind="user", display_name="Ada", handle="ada")
    ),
    "verify-connection": Example(
        {"token": TOKEN},
        VerifyConnectionResult(
            ok=True,
            message="The connection works.",
            verified_at=MOMENT,
            agent_id=SCOUT,
            workspace_id=WORKSPACE,
        ),
    ),
}

_ERRORS: Final[tuple[ApiError, ...]] = (
    InvalidInput("`title`: Expected `str`, got `int`.", field="title"),
    KeyMissing(),
    KeyInvalid(),
    KeyExpired(),
    KeyRevoked(),
    ScopeMissing("task-write"),
    TaskReadOnly(),
    NotAssignee(),
    ChannelNotMember(GENERAL),
    TaskNotFound("T-999"),
    IdentityNotFound("@eve", field="handle"),
    ChannelNotFound("019c2f60-5a00-7000-8000-0000000000ff"),
    VersionConflict(sent=1, current_version=2, current=CLAIMED),
    NotAssigned(),
    ParentCycle(),
    InternalError(),
    DatabaseUnavailable(),
    TimedOut(),
    Overloaded(),
    Contended(),
    *RUN_ERRORS,
)
ERRORS: Final[dict[type[ApiError], ApiError]] = {type(error): error for error in _ERRORS}


def answer(result: Result) -> dict[str, Any]:  # Any: JSON
    """The whole answer with this result, as it goes over the wire, at the moment of the story."""
    return _at_the_moment(envelope.success(result, REQUEST_ID))


def refusal(error: type[ApiError]) -> dict[str, Any]:  # Any: JSON
    """The whole answer with an error of this class."""
    return _at_the_moment(envelope.failure(ERRORS[error], REQUEST_ID))


def _at_the_moment(body: bytes) -> dict[str, Any]:
    whole = msgspec.json.decode(body, type=dict[str, Any])
    return {**whole, "meta": {**whole["meta"], "timestamp": MOMENT}}
