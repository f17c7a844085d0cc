"""complete-task, cancel-task, block-task and release-task: one guarded change each, without a version.

Doing one twice is harmless: a task that already stands there is answered as it is, with no new version and no
second stamp; a reason given is kept as a comment all the same (contract R15).
"""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.errors import Contended, InvalidInput, NotAssigned, NotAssignee, TaskNotFound, TaskReadOnly
from app.operations.tasks.change import Unchanged, change
from app.operations.tasks.comment import ADD_COMMENT, new_comment
from app.operations.tasks.fence import FENCE_ERRORS, UnderRun, under
from app.operations.tasks.task import EncodedTask, task_id
from app.rpc import AgentRequest, Context, given, operation
from app.types import Id, Markdown, TaskStatus


class CompleteTask(AgentRequest):
    """The task to complete."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    run_id: UnderRun = UNSET


class CancelTask(AgentRequest):
    """The task to cancel, and why."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    reason: Annotated[
        Markdown | None | UnsetType, Meta(description="Why, in markdown; kept as a comment.")
    ] = UNSET
    run_id: UnderRun = UNSET


class BlockTask(AgentRequest):
    """The task that is stuck, and on what."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    reason: Annotated[
        Markdown, Meta(min_length=1, description="What it waits for, in markdown; kept as a comment.")
    ]
    run_id: UnderRun = UNSET


class ReleaseTask(AgentRequest):
    """The task to give back."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    run_id: UnderRun = UNSET


@operation(scope="task-write", errors=(TaskNotFound, TaskReadOnly, *FENCE_ERRORS, Contended))
async def complete_task(ctx: Context, req: CompleteTask) -> EncodedTask:
    """Close a task as done.

    The same as update-task with status `done`, but it needs no version. Completing a task twice is harmless.
    """
    return await _set_status(ctx, req, "completed", "done")


@operation(scope="task-write", errors=(InvalidInput, TaskNotFound, TaskReadOnly, *FENCE_ERRORS, Contended))
async def cancel_task(ctx: Context, req: CancelTask) -> EncodedTask:
    """Close a task without finishing it.

    Give a reason if others may wonder: it becomes a comment.
    """
    return await _set_status(ctx, req, "cancelled", "cancelled", given(req.reason))


@operation(scope="task-write", errors=(InvalidInput, TaskNotFound, TaskReadOnly, *FENCE_ERRORS, Contended))
async def block_task(ctx: Context, req: BlockTask) -> EncodedTask:
    """Mark a task as stuck.

    Say what it waits for: the reason becomes a comment. Set another status with update-task when it can go on.
    """
    return await _set_status(ctx, req, "blocked", "blocked", req.reason)


@operation(
    scope="task-write",
    errors=(TaskNotFound, TaskReadOnly, NotAssignee, NotAssigned, *FENCE_ERRORS, Contended),
)
async def release_task(ctx: Context, req: ReleaseTask) -> EncodedTask:
    """Give back a task that is assigned to you, so that someone else can take it.

    Only the assignment is cleared; the status stays. To hand it to someone in particular, use update-task.
    """
    changed = await change(
        ctx,
        task_id=await task_id(ctx, req.task_id),
        sent_task_id=req.task_id,
        kind="released",
        changes={"assigneeId": None, "assigneeKind": None},
        run_id=under(req.run_id),
    )
    return changed.task if isinstance(changed, Unchanged) else changed


async def _set_status(
    ctx: Context,
    req: CompleteTask | CancelTask | BlockTask,
    kind: str,
    status: TaskStatus,
    reason: str | None = None,
) -> EncodedTask:
    id, run_id = await task_id(ctx, req.task_id), under(req.run_id)
    comment = await new_comment(ctx, reason) if reason else None
    changed = await change(
        ctx,
        task_id=id,
        sent_task_id=req.task_id,
        kind=kind,
        changes={"status": status},
        comment=comment,
        run_id=run_id,
    )
    if not isinstance(changed, Unchanged):
        return changed
    if comment is not None:
        await ctx.db.write(ADD_COMMENT, {**ctx.who, "taskId": id, "comment": comment, "runId": run_id})
    return changed.task
