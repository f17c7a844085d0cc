"""update-task: change a task under the version that was read."""

from datetime import UTC
from typing import Annotated, ClassVar, Final
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from app.errors import (
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    IdentityNotFound,
    InvalidInput,
    NotYoursToShow,
    ParentCycle,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
)
from app.ids import uuid_or_none
from app.operations.tasks.change import change
from app.operations.tasks.conflict import OnConflict
from app.operations.tasks.task import ONE_ASSIGNEE, PRIORITIES, Task, task_id
from app.rpc import EMPTIED, AgentWrite, Context, Outcome, Step, changes, given, operation
from app.types import Id, Markdown, Note, TaskPriority, TaskStatus, Title, Version, When, trimmed_title

HANDED_OVER: Final[frozenset[TaskStatus]] = frozenset({"todo", "blocked", "in_review"})
"""Where a task goes on with somebody else, who should know how far it is."""


_UNPLACED_HANDOFF: Final = {
    "required": ["handoff"],
    "properties": {"handoff": {"type": "string", "minLength": 1}},
    "not": {
        "required": ["status"],
        "properties": {"status": {"type": "string", "pattern": f"^({'|'.join(sorted(HANDED_OVER))})$"}},
    },
}
"""A handoff without one of these statuses, which is refused."""


class UpdateTask(AgentWrite):
    """The fields to change. An absent field stays as it is; null clears it where that makes sense."""

    rules: ClassVar = {"not": {"anyOf": [ONE_ASSIGNEE["not"], _UNPLACED_HANDOFF]}}

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    version: Annotated[
        Version, Meta(description="The version you read. If the task has moved on you get a 409.")
    ]
    on_conflict: OnConflict = UNSET
    title: Annotated[
        Title | None | UnsetType, Meta(description="New title. 1 to 500 characters after trimming.")
    ] = UNSET
    description: Annotated[
        Markdown | None | UnsetType, Meta(description="New description; null clears it.", extra=EMPTIED)
    ] = UNSET
    status: Annotated[
        TaskStatus | None | UnsetType, Meta(description="New status. Any status may follow any other.")
    ] = UNSET
    priority: Annotated[TaskPriority | None | UnsetType, Meta(description="New priority.")] = UNSET
    assignee_agent_id: Annotated[
        Id | None | UnsetType,
        Meta(
            description="Agent to assign; null takes it from one. Nobody else has it then.",
            extra=EMPTIED,
        ),
    ] = UNSET
    assignee_user_id: Annotated[
        Id | None | UnsetType,
        Meta(
            description="User to assign; null takes it from one. Nobody else has it then.",
            extra=EMPTIED,
        ),
    ] = UNSET
    due_at: Annotated[
        When | None | UnsetType,
        Meta(description="When it is due; null clears it. With an offset.", extra=EMPTIED),
    ] = UNSET
    channel_id: Annotated[
        Id | None | UnsetType, Meta(description="Channel to bind it to; null unbinds it.", extra=EMPTIED)
    ] = UNSET
    parent_task_id: Annotated[
        Id | None | UnsetType,
        Meta(description="Task to move it under; null moves it out. By id or as `T-42`.", extra=EMPTIED),
    ] = UNSET

    handoff: Annotated[
        Note | None | UnsetType,
        Meta(description="With status `todo`, `blocked` or `in_review`: what the next holder should know."),
    ] = UNSET

    def __post_init__(self) -> None:
        """Trim the title, and take null for absent where there is nothing to clear (contract R8)."""
        self.title = trimmed_title(self.title) if isinstance(self.title, str) else UNSET
        self.status = self.status or UNSET
        self.priority = self.priority or UNSET


def _ends_claim(req: UpdateTask) -> bool:
    """Whether an update gives up the claim that it is made under, or hands it to somebody."""
    hands_over = req.assignee_agent_id is not UNSET or req.assignee_user_id is not UNSET
    return bool(given(req.run_id)) and (
        hands_over or given(req.status) not in {None, "in_progress", "in_review"}
    )


@operation(
    scope="task-write",
    errors=(
        InvalidInput,
        TaskNotFound,
        TaskReadOnly,
        NotYoursToShow,
        VersionConflict,
        IdentityNotFound,
        ChannelNotFound,
        ChannelNotMember,
        ChannelArchived,
        ParentCycle,
        Contended,
    ),
    core=Step(
        50,
        "change, block, hand over, send to review.",
        "On a version conflict merge, and send the current version. Status `blocked` or `todo` gives your claim up, and "
        "`handoff` tells the next how far you got. `in_review` keeps it; a reviewer ends it with complete-task, without `runId`.",
    ),
    destructive=True,
    idempotent=True,
    tells=True,
    spared=_ends_claim,
)
async def update_task(ctx: Context, req: UpdateTask) -> Outcome[Task]:
    """Update a task: set its status (blocked, in review), priority or other fields, assign it, hand it over, give it up.

    If someone else did so in between, nothing is written and you get a 409 that says what.

    With `onConflict: "merge"` your change is applied anyway if nobody touched its fields; the answer then has the
    header `Baton-Merged-From` with your version. Assigning a task to yourself takes it without a lease. An update that
    changes nothing keeps the version.

    Your claim ends when the task gets another assignee or leaves `in_progress` and `in_review`; `Baton-Told` says so.
    Say in `handoff` how far you got: whoever claims it next reads it. A tool also names what still blocks a task that
    you set in progress.
    """
    handoff = given(req.handoff) or None
    if handoff is not None and req.status not in HANDED_OVER:
        message = (
            "`handoff` goes with the status `todo`, `blocked` or `in_review`: then somebody else goes on."
        )
        raise InvalidInput(message, field="handoff")
    return await change(
        ctx,
        task_id=await task_id(ctx, req.task_id),
        sent_task_id=req.task_id,
        sent_parent_id=given(req.parent_task_id),
        kind="updated",
        version=req.version,
        merge=req.on_conflict == "merge",
        changes={
            **changes(req, "title", "description", "status"),
            **ranked(req.priority),
            **assignment(agent=req.assignee_agent_id, user=req.assignee_user_id),
            **due(req.due_at),
            **bound(req.channel_id),
            **await under(ctx, req.parent_task_id),
        },
        handoff=handoff,
    )


def ranked(priority: TaskPriority | None | UnsetType) -> dict[str, object]:
    """A priority by its rank."""
    return {"priority": PRIORITIES.index(priority)} if priority else {}


def due(at: When | None | UnsetType) -> dict[str, object]:
    """A due date in epoch seconds: turning text into a moment depends on settings, a number does not.

    It is kept as answers write it, to the millisecond: a task sent back as it was read is not changed.
    """
    if at is UNSET or at is None:
        return {} if at is UNSET else {"dueAt": None}
    try:
        at = at.astimezone(UTC)
        return {"dueAt": at.replace(microsecond=at.microsecond // 1000 * 1000).timestamp()}
    except OverflowError:
        message = "This moment lies outside of the years 1 to 9999 in UTC. Send an earlier or later one."
        raise InvalidInput(message, field="dueAt") from None


def assignment(*, agent: str | None | UnsetType, user: str | None | UnsetType) -> dict[str, object]:
    """Who is to have the task. A null for one kind clears an assignee of that kind only (contract R7)."""
    match agent, user:
        case str(), str():
            message = "Send assigneeAgentId or assigneeUserId, not both: a task has one assignee at most."
            raise InvalidInput(message, field="assigneeAgentId")
        case str(), _:
            return {"assigneeId": _identity(agent, "assigneeAgentId"), "assigneeKind": "agent"}
        case _, str():
            return {"assigneeId": _identity(user, "assigneeUserId"), "assigneeKind": "user"}
        case None, None:
            return {"assigneeId": None, "assigneeKind": None}
        case None, _:
            return {"unassign": "agent"}
        case _, None:
            return {"unassign": "user"}
        case _:
            return {}


def bound(channel_id: str | None | UnsetType) -> dict[str, object]:
    """The channel to bind a task to."""
    if channel_id is UNSET or channel_id is None:
        return {} if channel_id is UNSET else {"channelId": None}
    if (id := uuid_or_none(channel_id)) is None:
        raise ChannelNotFound(channel_id)
    return {"channelId": id}


async def under(ctx: Context, parent: str | None | UnsetType) -> dict[str, object]:
    """The task to move a task under."""
    if parent is UNSET or parent is None:
        return {} if parent is UNSET else {"parentTaskId": None}
    return {"parentTaskId": await task_id(ctx, parent, field="parentTaskId")}


def _identity(sent: str, field: str) -> UUID:
    if (id := uuid_or_none(sent)) is None:
        raise IdentityNotFound(sent, field=field)
    return id
