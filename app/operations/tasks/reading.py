"""get-task: one task, as it is or as it was at some version."""

from collections.abc import Awaitable
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from app.db import Answered, BatchQuery, Encoded
from app.errors import TaskNotFound, VersionNotFound
from app.operations.tasks.around import ALL_FIELDS, AROUND_FIELDS, Fields, TaskInFull, with_around
from app.operations.tasks.history import task_at
from app.operations.tasks.task import TASK_JSON, Task, task_id
from app.rpc import AgentRequest, Context, Step, given, operation
from app.types import Id, Version
from app.writes.access import VISIBLE
from app.writes.write import calls

GET_TASK = BatchQuery(
    Answered[Task],
    f"""
    WITH i AS MATERIALIZED ({calls("task_id uuid")}
    )
    SELECT i.ord, {TASK_JSON}
      FROM i
      JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id
     WHERE {VISIBLE}
    """,
)


def look_up(ctx: Context, id: UUID) -> Awaitable[Answered[Task] | None]:
    """The task, if the caller may see it."""
    return ctx.ask(GET_TASK, task_id=id)


class GetTask(AgentRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    at_version: Annotated[
        Version | None | UnsetType,
        Meta(description="The version to show; the latest unless told."),
    ] = UNSET
    fields: Annotated[
        Fields | UnsetType,
        Meta(
            description="Only these keys, to save tokens. Left out, all but `comments`, `relations`, `blockers`, "
            "`hiddenBlockers` and `handoff`, which tools give, too."
        ),
    ] = UNSET


@operation(
    scope="task-read",
    read_only=True,
    errors=(TaskNotFound, VersionNotFound),
    core=Step(40, "read one, with comments and blockers."),
    resource="task://{taskId}",
    tools_ask={"fields": ALL_FIELDS},
)
async def get_task(ctx: Context, req: GetTask) -> Encoded[TaskInFull]:
    """Read one task: its details, who has it, its last comments, relations and blockers.

    It has the `version` that a change needs.

    Over HTTP the last comments, relations, open blockers and the last handoff come if `fields` names them. With `atVersion`
    it shows the task as it once was; what stands around it is always as it is now.
    """
    id = await task_id(ctx, req.task_id)
    if version := given(req.at_version):
        task = await task_at(ctx, id, version)
    else:
        row = await look_up(ctx, id)
        task = row and row.answer
    if task is None:
        raise TaskNotFound(req.task_id)
    if not req.fields:
        return Encoded(task.raw)
    fields = frozenset[str](req.fields)
    shown = Encoded[TaskInFull](task.only(fields).raw)
    return await with_around(ctx, id, shown, fields) if fields & AROUND_FIELDS else shown
