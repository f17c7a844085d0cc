"""complete-task, cancel-task, block-task and release-task: one guarded change each.

They need no version: without one the task is taken as it is. Doing one twice is harmless: a task that already
stands there is answered as it is, with no new version and no second stamp; a reason given is kept as a comment all
the same (contract R15). With a version they keep to it, as update-task does.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.errors import (
    Contended,
    InvalidInput,
    NotAssigned,
    NotAssignee,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
)
from app.operations.tasks.change import change
from app.operations.tasks.comment import new_comment
from app.operations.tasks.conflict import AsRead, OnConflict
from app.operations.tasks.task import Task, task_id
from app.rpc import UNTOLD, AgentWrite, Context, Outcome, Step, given, operation
from app.types import Id, Markdown


class OnTask(AgentWrite, kw_only=True):
    """A task, and optionally what was read of it."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    version: AsRead = UNSET
    on_conflict: Annotated[OnConflict, Meta(extra=UNTOLD)] = UNSET


class CompleteTask(OnTask, kw_only=True):
    """The task to complete."""


class CancelTask(OnTask, kw_only=True):
    """The task to cancel, and why."""

    reason: Annotated[
        Markdown | None | UnsetType, Meta(description="Why, in markdown; kept as a comment.")
    ] = UNSET


class BlockTask(OnTask, kw_only=True):
    """The task that is stuck, and on what."""

    reason: Annotated[
        Markdown, Meta(min_length=1, description="What it waits for, in markdown; kept as a comment.")
    ]


class ReleaseTask(OnTask, kw_only=True):
    """The task to give back."""


@operation(
    scope="task-write",
    errors=(TaskNotFound, TaskReadOnly, VersionConflict, Contended),
    core=Step(80, "done; it ends your claim."),
    idempotent=True,
    tells=True,
    spared=True,
)
async def complete_task(ctx: Context, req: CompleteTask) -> Outcome[Task]:
    """Complete a task: finish it and mark it as done.

    It is then closed, and you no longer hold it. It needs no version.

    Completing a task twice is harmless.
    """
    return await _change(ctx, req, "completed", {"status": "done"})


@operation(
    scope="task-write",
    errors=(InvalidInput, TaskNotFound, TaskReadOnly, VersionConflict, Contended),
    destructive=True,
    tells=True,
    spared=lambda req: bool(given(req.run_id)),
)
async def cancel_task(ctx: Context, req: CancelTask) -> Outcome[Task]:
    """Close a task without finishing it.

    Say why if others may wonder.
    """
    return await _change(ctx, req, "cancelled", {"status": "cancelled"}, given(req.reason))


@operation(
    scope="task-write",
    errors=(InvalidInput, TaskNotFound, TaskReadOnly, VersionConflict, Contended),
    tells=True,
    spared=lambda req: bool(given(req.run_id)),
)
async def block_task(ctx: Context, req: BlockTask) -> Outcome[Task]:
    """Mark a task as blocked: it is stuck.

    The reason says what it waits for. When it can go on, give it another status.
    """
    return await _change(ctx, req, "blocked", {"status": "blocked"}, req.reason)


@operation(
    scope="task-write",
    errors=(TaskNotFound, TaskReadOnly, VersionConflict, NotAssignee, NotAssigned, Contended),
    idempotent=True,
    tells=True,
    spared=True,
)
async def release_task(ctx: Context, req: ReleaseTask) -> Outcome[Task]:
    """Give back a task that is merely assigned to you; a claim with a run is given back with release-run.

    Only the assignment is cleared; the status stays.

    To hand it to someone in particular, use update-task.
    """
    return await _change(ctx, req, "released", {"assigneeId": None, "assigneeKind": None})


async def _change(
    ctx: Context, req: OnTask, kind: str, changes: Mapping[str, object], reason: str | None = None
) -> Outcome[Task]:
    return await change(
        ctx,
        task_id=await task_id(ctx, req.task_id),
        sent_task_id=req.task_id,
        kind=kind,
        version=given(req.version),
        merge=req.on_conflict == "merge",
        changes=changes,
        comment=await new_comment(ctx, reason) if reason else None,
    )
