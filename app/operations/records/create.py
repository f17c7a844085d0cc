"""createTask: a new run, which nothing runs by itself."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from app.errors import RunNotFound
from app.ids import TICK_NOW, id_at, new_id
from app.operations.records.task import RECORD_JSON, Kind, Link, TaskRecord, Title
from app.operations.records.tree import tree
from app.operations.records.writing import (
    PARENT_VISIBLE,
    TAKES,
    WORK_ITEM_WRITABLE,
    WRITE_ERRORS,
    item_of,
    links,
    values,
    work_item_refusal,
)
from app.operations.runs.run import RunStatus
from app.rpc import Context, Outcome, RecordWrite, changes, given, operation
from app.types import Markdown, When
from app.writes.write import Write

# A State that is asked for comes first: the run names it.
CREATE_RUN = Write[TaskRecord](
    takes=TAKES,
    does=f"""
    usable AS MATERIALIZED (                              -- with its id in its place in time
        SELECT i.ord, i.workspace_id, i.actor_id, i.actor_kind, {id_at(TICK_NOW, "i.id")} AS id, i.changes, i.parent_id,
               i.work_item_id
          FROM i
         WHERE (i.parent_id IS NULL OR {PARENT_VISIBLE}) AND (i.work_item_id IS NULL OR {WORK_ITEM_WRITABLE})
    ), state AS (
        INSERT INTO states (workspace_id, id, name, root_id)
        SELECT u.workspace_id, (u.changes->>'stateId')::uuid,
               left(coalesce(nullif(u.changes->>'title', ''), u.id::text), 500), (u.changes->>'rootId')::uuid
          FROM usable u
         WHERE u.changes ? 'stateId'
        RETURNING id
    ), r AS (
        INSERT INTO runs (workspace_id, id, kind, status, title, description, target_id, executor_id, input, output, params,
                          parent_id, state_id, app_id, work_item_id, author_id, author_kind, started_at, ended_at)
        SELECT u.workspace_id, u.id, u.changes->>'kind', n.status, u.changes->>'title', u.changes->>'description',
               u.changes->>'targetId', u.changes->>'executorId', nullif(u.changes->'input', 'null'),
               nullif(u.changes->'output', 'null'), coalesce(u.changes->'params', '{{}}'), u.parent_id, state.id,
               u.changes->>'appId', u.work_item_id, u.actor_id, u.actor_kind,
               CASE WHEN u.changes ? 'startedAt' THEN to_timestamp((u.changes->>'startedAt')::float8)
                    WHEN n.status = 'running' THEN now() END,
               CASE WHEN u.changes ? 'endedAt' THEN to_timestamp((u.changes->>'endedAt')::float8)
                    WHEN n.status IN ('completed', 'failed', 'cancelled') THEN now() END
          FROM usable u
          LEFT JOIN state ON state.id = (u.changes->>'stateId')::uuid
         CROSS JOIN LATERAL (SELECT coalesce(u.changes->>'status', 'created') AS status) n
        RETURNING *
    )""",
    answers=f"SELECT u.ord, {RECORD_JSON} AS answer, r.version FROM r JOIN usable u ON u.id = r.id",
    versioned=True,
    locks="id",
)


class CreateTaskRecord(RecordWrite, kw_only=True):
    """The task to create."""

    kind: Annotated[
        Kind, Meta(description="What sort of task: `default`, `call_action`, `flow`, or a name of your own.")
    ]
    status: Annotated[
        RunStatus | None | UnsetType, Meta(description="Where it starts: `created` unless told.")
    ] = UNSET
    title: Annotated[Title | None | UnsetType, Meta(description="What it is, for people.")] = UNSET
    description: Annotated[Markdown | None | UnsetType, Meta(description="The rest of it.")] = UNSET
    target_id: Annotated[Link | None | UnsetType, Meta(description="The resource or action it is about.")] = (
        UNSET
    )
    executor_id: Annotated[Link | None | UnsetType, Meta(description="Who should handle it.")] = UNSET
    input: Annotated[Any | UnsetType, Meta(description="Data for the run; any JSON.")] = UNSET
    output: Annotated[Any | UnsetType, Meta(description="The result; any JSON.")] = UNSET
    params: Annotated[dict[str, Any] | None | UnsetType, Meta(description="Settings of this task.")] = UNSET
    parent_id: Annotated[Link | None | UnsetType, Meta(description="The task it is a part of.")] = UNSET
    stateful: Annotated[bool | None | UnsetType, Meta(description="Whether to create a State with it.")] = (
        UNSET
    )
    started_at: Annotated[When | None | UnsetType, Meta(description="When it started, with an offset.")] = (
        UNSET
    )
    ended_at: Annotated[When | None | UnsetType, Meta(description="When it ended, with an offset.")] = UNSET
    app_id: Annotated[Link | None | UnsetType, Meta(description="The installed app concerned.")] = UNSET
    work_item_id: Annotated[
        Link | None | UnsetType,
        Meta(description="The task of the workspace it works on, by id or as `T-42`."),
    ] = UNSET


@operation(scope="task-write", path="tasks", method="POST", status=201, errors=WRITE_ERRORS)
async def create_task(ctx: Context, req: CreateTaskRecord) -> Outcome[TaskRecord]:
    """Create a task: one attempt to do something.

    Only the kind is required. Nothing runs by itself: executors find it with listTasks and report with updateTask.
    """
    linked = await links(ctx, req.parent_id, req.work_item_id)
    sent = {
        **values(req, req.started_at, req.ended_at),
        **{name: value for name, value in changes(req, "target_id", "app_id").items() if value},
        "kind": req.kind,
        **({"stateId": new_id(), "rootId": new_id()} if req.stateful is True else {}),
        **linked,
    }
    sent = {name: value for name, value in sent.items() if value is not None}  # here null means absent

    async def otherwise() -> None:
        if given(req.parent_id) and not await tree(ctx, [linked["parentId"]], depth_max=0):
            raise RunNotFound(str(req.parent_id), field="parentId")
        if given(req.work_item_id):
            raise await work_item_refusal(ctx, linked["workItemId"], str(req.work_item_id))

    return await ctx.settle(CREATE_RUN, otherwise, **item_of(ctx, new_id(), sent))
