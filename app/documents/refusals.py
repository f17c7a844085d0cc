"""One example of every error: how it is said, about the things of the story."""

from typing import Any, Final

import msgspec

from app.documents.examples import value
from app.documents.story import ADA, GENERAL, MOMENT, REQUEST_ID, SCOUT
from app.errors import (
    AlreadyExists,
    ApiError,
    AttachmentNotFound,
    BlockerHidden,
    CallerGone,
    CallsLimited,
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    CursorExpired,
    DatabaseUnavailable,
    EtagMismatch,
    IdempotencyKeyReused,
    IdentityNotFound,
    InternalError,
    InvalidInput,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    LastAdmin,
    LeaseLost,
    LogFull,
    MemberNotFound,
    MemberRemoved,
    MessageNotFound,
    NotAssigned,
    NotAssignee,
    NotClaimable,
    NotHolder,
    NotYoursToShow,
    Overloaded,
    ParentCycle,
    RelationCycle,
    RunClaimed,
    RunEnded,
    RunNotFound,
    ScopeMissing,
    SoleMember,
    StateNotFound,
    StorageFull,
    TaskNotFound,
    TaskReadOnly,
    TimedOut,
    TooManyParts,
    UnknownHost,
    VersionConflict,
    VersionNotFound,
    WaitsLimited,
)
from app.operations.runs.explain import Obstacle
from app.operations.tasks.conflict import Author, ChangedField, OverlappingField
from app.operations.told import Help
from app.rpc import AGENT, Family
from app.transports import envelope

_SCOUT: Final = Author(id=SCOUT, kind="agent", handle="scout")
_HELD: Final = Obstacle(
    code="blocked_by",
    message="It waits for T-38. Finish or cancel those first, or unlink them.",
    helps=[Help(operation="complete-task", arguments={"taskId": "T-38"}, by="you")],
)

_ERRORS: Final[tuple[ApiError, ...]] = (
    InvalidInput("`title`: Expected text, got a whole number.", field="title"),
    KeyMissing(),
    KeyInvalid(),
    KeyExpired(),
    KeyRevoked(),
    UnknownHost("tasks.example"),
    ScopeMissing("task-write"),
    TaskReadOnly(),
    NotAssignee(),
    NotHolder(),
    NotYoursToShow(),
    BlockerHidden(),
    MemberRemoved(),
    LastAdmin(),
    ChannelNotMember(GENERAL),
    ChannelNotAdmin(),
    TaskNotFound("T-999"),
    VersionNotFound(version=9, current_version=3),
    IdentityNotFound("@eve", field="handle"),
    ChannelNotFound("019c2f60-5a00-7000-8000-0000000000ff"),
    MemberNotFound(ADA),
    MessageNotFound("019c2f60-5a00-7000-8000-0000000000ff"),
    AttachmentNotFound("diagram"),
    RunNotFound("019c2f60-5a00-7000-8000-0000000000ff"),
    StateNotFound("019c2f60-5a00-7000-8000-0000000000ff"),
    VersionConflict(
        sent=1,
        current_version=2,
        current=value("update-task", "data"),
        mergeable=False,
        changed=[
            ChangedField(field=field, was=was, now=now, version=2, by=_SCOUT, at=MOMENT)
            for field, was, now in (
                ("assigneeAgentId", None, SCOUT),
                ("startedAt", None, MOMENT),
                ("status", "todo", "in_progress"),
            )
        ],
        overlapping=[OverlappingField(field="status", yours="blocked", theirs="in_progress")],
        removed_to=None,
        knows_merge=True,
    ),
    CursorExpired(),
    NotAssigned(),
    IdempotencyKeyReused("create-task"),
    ParentCycle(),
    RelationCycle(),
    ChannelArchived("keys"),
    SoleMember(),
    AlreadyExists("channel", "keys"),
    LeaseLost(
        run_id=value("fail-run", "data", "run", "id"),
        task_id=value("fail-run", "data", "task", "id"),
        identifier="T-39",
        end_reason="lease_expired",
        ended_at=MOMENT,
        holder={
            "runId": value("claim-task", "data", "run", "id"),
            "id": SCOUT,
            "kind": "agent",
            "handle": "scout",
            "leaseExpiresAt": value("claim-task", "data", "run", "leaseExpiresAt"),
        },
    ),
    NotClaimable("T-39", [_HELD], _HELD.message),
    RunClaimed(),
    RunEnded("completed"),
    LogFull(100_000),
    TooManyParts(1000),
    EtagMismatch('"2"'),
    CallsLimited("key", per_second=200, burst=2000, used=1998.5, cost=20),
    WaitsLimited("waiting-key", most=100),
    InternalError(),
    DatabaseUnavailable(),
    StorageFull(),
    TimedOut(),
    Overloaded(),
    Contended(),
    CallerGone(),
)
ERRORS: Final[dict[type[ApiError], ApiError]] = {type(error): error for error in _ERRORS}


def refusal(error: type[ApiError], family: Family = AGENT) -> dict[str, Any]:  # Any: JSON
    """The whole answer with an error of this class, at the moment of the story."""
    whole = msgspec.json.decode(envelope.failure(ERRORS[error], REQUEST_ID, family), type=dict[str, Any])
    if "meta" in whole:
        whole["meta"]["timestamp"] = MOMENT
    return whole
