"""create-task and create-tasks-bulk: one statement for one task or fifty, all of them or none."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, One, Query
from app.db.phrases import agent, moment, user
from app.decoding import refuse_nul
from app.errors import (
    ApiError,
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    TaskNotFound,
)
from app.ids import TICK_NOW, id_at, new_id, tick_of, uuid_or_none
from app.operations.channels.channel import CHANNEL_OPEN, refuse_posting
from app.operations.mentions import addressed
from app.operations.messages.message import POSTED, SPOKEN
from app.operations.tasks.card import CREATE_CARDS
from app.operations.tasks.change import ASSIGNEE_KNOWN, ATTEMPTS_MAX, PARENT_VISIBLE
from app.operations.tasks.task import ASKERS_TASK_JSON, ONE_ASSIGNEE, EncodedTask, Task, priority
from app.operations.tasks.update import assignment, bound, due, ranked, under
from app.rpc import AgentRequest, AgentWrite, Context, IdempotencyKey, Step, changes, given, operation
from app.types import BULK_ROWS_MAX, Id, Markdown, NewTaskStatus, TaskPriority, Title, When, trimmed_title
from app.wording import explained
from app.writes.fence import ALIVE, FENCE_ERRORS, FENCED, HELD, UnderRun
from app.writes.fence import under as under_run
from app.writes.receipts import KEPT, NOT_KEPT, Keyed


class UnusableRow(msgspec.Struct):
    """A row that names something the caller cannot use, and what of it is in order."""

    ord: int
    assignee_known: bool
    channel_open_to_caller: bool
    parent_visible: bool


_INPUT: Final = f"""
    i AS MATERIALIZED (
        SELECT (e->>'ord')::int             AS ord,
               %(workspace_id)s::uuid       AS workspace_id,
               %(actor_id)s::uuid           AS actor_id,
               %(actor_kind)s::text         AS actor_kind,
               %(keep)s::jsonb              AS keep,
               (e->>'id')::uuid             AS id,
               (e->>'messageId')::uuid      AS message_id,
               e->>'title'                  AS title,
               e->>'description'            AS description,
               coalesce(e->>'status', 'todo') AS status,
               coalesce((e->>'priority')::smallint, 0::smallint) AS priority,
               to_timestamp((e->>'dueAt')::float8) AS due_at,
               (e->>'assigneeId')::uuid     AS assignee_id,
               e->>'assigneeKind'           AS assignee_kind,
               (e->>'channelId')::uuid      AS channel_id,
               (e->>'parentTaskId')::uuid   AS parent_task_id,
               %(run_id)s::uuid             AS run_id
          FROM jsonb_array_elements(%(rows)s::jsonb) AS e
    ), unusable AS (
        SELECT ord, assignee_known, channel_open_to_caller, parent_visible
          FROM i CROSS JOIN LATERAL (SELECT
               i.assignee_id IS NULL OR {ASSIGNEE_KNOWN} AS assignee_known,
               i.channel_id IS NULL OR {CHANNEL_OPEN} AS channel_open_to_caller,
               i.parent_task_id IS NULL OR {PARENT_VISIBLE} AS parent_visible) ok
         WHERE NOT (assignee_known AND channel_open_to_caller AND parent_visible)
    )"""

# The counter's row stays locked from here to the commit, which is this one insert. Nothing is taken from it
# unless every row can be created, so numbers are consecutive and none is lost.
#
# Ids are in the order of numbers: behind the latest that can be seen, by as many as there are between, also when a
# clock is set back.
_CREATED: Final = f"""
    WITH {_INPUT}, {HELD}, {ALIVE}, counter AS (
        UPDATE task_counters k
           SET last_number = k.last_number + %(count)s
         WHERE k.workspace_id = %(workspace_id)s::uuid AND NOT EXISTS (SELECT FROM unusable)
           AND NOT EXISTS (SELECT FROM i WHERE NOT ({NOT_KEPT} AND {FENCED}))
        RETURNING k.last_number - %(count)s AS before,
                  greatest({TICK_NOW},
                           (SELECT {tick_of("t.id")} + k.last_number - %(count)s - t.number
                              FROM tasks t
                             WHERE t.workspace_id = %(workspace_id)s::uuid
                             ORDER BY t.number DESC
                             LIMIT 1)) AS tick
    ), created AS (
        INSERT INTO tasks (workspace_id, id, number, title, description, status, priority, due_at, assignee_id, assignee_kind,
                           created_by_id, created_by_kind, parent_task_id, channel_id, started_at)
        SELECT i.workspace_id, {id_at("counter.tick + i.ord + 1", "i.id")}, counter.before + i.ord + 1,
               i.title, i.description, i.status, i.priority, i.due_at,
               i.assignee_id, i.assignee_kind, i.actor_id, i.actor_kind, i.parent_task_id, i.channel_id,
               CASE WHEN i.status = 'in_progress' THEN now() END
          FROM i CROSS JOIN counter
        RETURNING *
    ), event AS (
        INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id, changes)
        SELECT c.workspace_id, c.id, 1, 'created', c.created_by_id, c.created_by_kind, %(request_id)s,
               (SELECT jsonb_object_agg(f.key, jsonb_build_array(NULL, f.value))
                  FROM jsonb_each(jsonb_build_object(
                       'title', c.title, 'description', c.description, 'status', c.status,
                       'priority', {priority("c.priority")},
                       'dueAt', {moment("c.due_at")},
                       'assigneeUserId', {user("c.assignee")},
                       'assigneeAgentId', {agent("c.assignee")},
                       'channelId', c.channel_id, 'parentTaskId', c.parent_task_id,
                       'startedAt', {moment("c.started_at")})) AS f
                 WHERE f.value <> 'null')
          FROM created c
    ), participant AS (
        INSERT INTO task_participants (workspace_id, identity_id, task_id)
        SELECT DISTINCT c.workspace_id, p.id, c.id
          FROM created c
          JOIN identities a ON a.workspace_id = c.workspace_id AND a.id IN (c.created_by_id, c.assignee_id)
         CROSS JOIN LATERAL (VALUES (a.id), (a.owner_id)) AS p (id)
         WHERE p.id IS NOT NULL
    ), searchable AS (
        INSERT INTO task_search (workspace_id, task_id, words)
        SELECT workspace_id, id, lower(title || chr(10) || coalesce(description, '')) FROM created
    ), answered AS (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(request_id)s AS request_id,
               %(keep)s::jsonb AS keep, NULL::int AS merged_from,
               (CASE WHEN %(bulk)s THEN '[' || told.tasks || ']' ELSE told.tasks END)::json AS answer
          FROM (SELECT string_agg({ASKERS_TASK_JSON}::text, ',' ORDER BY t.number) AS tasks FROM created t) told
         WHERE told.tasks IS NOT NULL
    ), {KEPT}"""

CREATE = Keyed(
    Query(
        One[EncodedTask],
        f"""
    {_CREATED}, said AS ({CREATE_CARDS}
    ), {POSTED}
    SELECT {ASKERS_TASK_JSON} FROM created t ORDER BY t.number
    """,
    )
)

# The same with a summary: what the caller says in one channel about all the tasks, instead of the cards there.
CREATE_AND_TELL = Keyed(
    Query(
        One[EncodedTask],
        f"""
    {_CREATED}, summary AS (
        SELECT i.*, told.tasks, told.assignees
          FROM (SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id,
                       (s->>'id')::uuid AS id, (s->>'channelId')::uuid AS channel_id,
                       s->>'content' AS content, s->'mentions' AS mentions
                  FROM (SELECT %(summary)s::jsonb AS s) AS given) i
         CROSS JOIN (
               SELECT string_agg('T-' || c.number || coalesce(' @' || a.handle, ''), ', ' ORDER BY c.number) AS tasks,
                      coalesce(jsonb_agg(a.id) FILTER (WHERE a.id IS NOT NULL), '[]') AS assignees
                 FROM created c
                 LEFT JOIN identities a ON a.workspace_id = c.workspace_id AND a.id = c.assignee_id) told
         WHERE told.tasks IS NOT NULL AND {CHANNEL_OPEN}
    ), said AS ({CREATE_CARDS} AND NOT EXISTS (SELECT FROM summary s WHERE s.channel_id = c.channel_id)
         UNION ALL
        SELECT s.workspace_id, s.channel_id, %(count)s, s.id, NULL, s.actor_id,
               CASE %(actor_kind)s::text WHEN 'user' THEN 'human' ELSE 'agent' END, 'text',
               coalesce(s.content, 'Created ' || s.tasks), '{{}}', s.mentions || s.assignees
          FROM summary s
    ), {POSTED}, {SPOKEN}
    SELECT {ASKERS_TASK_JSON} FROM created t ORDER BY t.number
    """,
    )
)

FIND_UNUSABLE = Query(
    UnusableRow,
    f"""
    WITH {_INPUT}
    SELECT ord, assignee_known, channel_open_to_caller, parent_visible FROM unusable ORDER BY ord LIMIT 1
    """,
)


class NewTask(msgspec.Struct, kw_only=True, rename="camel"):
    """One task to create: a title, and whatever else is known."""

    rules: ClassVar = ONE_ASSIGNEE

    title: Annotated[Title, Meta(description="What is to be done. 1 to 500 characters after trimming.")]
    description: Annotated[Markdown | None | UnsetType, Meta(description="The rest of it, in markdown.")] = (
        UNSET
    )
    status: Annotated[
        NewTaskStatus | None | UnsetType, Meta(description="Where it starts: `todo` unless told.")
    ] = UNSET
    priority: Annotated[
        TaskPriority | None | UnsetType, Meta(description="How urgent it is: `none` unless told.")
    ] = UNSET
    assignee_agent_id: Annotated[Id | None | UnsetType, Meta(description="Agent who is to have it.")] = UNSET
    assignee_user_id: Annotated[Id | None | UnsetType, Meta(description="User who is to have it.")] = UNSET
    parent_task_id: Annotated[
        Id | None | UnsetType, Meta(description="Task it is a part of. By id or as `T-42`.")
    ] = UNSET
    channel_id: Annotated[
        Id | None | UnsetType, Meta(description="Channel to bind it to. Its members then see it.")
    ] = UNSET
    due_at: Annotated[When | None | UnsetType, Meta(description="When it is due. With an offset.")] = UNSET

    def __post_init__(self) -> None:
        """Trim the title."""
        self.title = trimmed_title(self.title)


class CreateTask(NewTask, AgentRequest):
    """The task to create."""

    run_id: UnderRun = UNSET
    idempotency_key: IdempotencyKey = UNSET


_ROWS: Final = {"type": "array", "items": NewTask, "minItems": 1, "maxItems": BULK_ROWS_MAX}


class CreateTasksBulk(AgentWrite):
    """The tasks to create."""

    rules: ClassVar = {
        "properties": {
            "tasks": {
                "anyOf": [
                    _ROWS
                ]  # a string that holds them is taken as well, but no schema can say which strings do
            }
        }
    }

    tasks: Annotated[
        str
        | list[dict[str, Any]],  # Any: each row is checked one by one, so that the failing one can be named
        Meta(
            description="1 to 50 tasks, each with the fields of create-task: a JSON array, or a string that holds one.",
            extra={"items": NewTask},
        ),
    ]
    summary_channel_id: Annotated[
        Id | None | UnsetType, Meta(description="Channel in which to announce them with one message.")
    ] = UNSET
    summary_message: Annotated[
        Markdown | None | UnsetType,
        Meta(description="What to say there; left out, the tasks and assignees are listed."),
    ] = UNSET
    run_id: UnderRun = UNSET


CREATE_ERRORS: Final = (
    InvalidInput,
    TaskNotFound,
    IdentityNotFound,
    ChannelNotFound,
    ChannelNotMember,
    ChannelArchived,
    *FENCE_ERRORS,
)


@operation(
    scope="task-write",
    errors=CREATE_ERRORS,
    core=Step(70, "Work for later or for others, in a channel that they share."),
)
async def create_task(ctx: Context, req: CreateTask) -> EncodedTask:
    """Create a task.

    Without a channel only you and the assignee see it; bind it to a channel to share it with its members.

    Only the title is required.
    """
    [task] = await _create(ctx, [req], run_id=under_run(req.run_id))
    return task


@operation(
    scope="task-write",
    errors=CREATE_ERRORS,
)
async def create_tasks_bulk(ctx: Context, req: CreateTasksBulk) -> Encoded[list[Task]]:
    """Create up to 50 tasks at once: all of them, or none if one is not in order.

    They come back in the order you sent, with consecutive identifiers. An error names the row by its `index`.
    """
    rows = _rows(req.tasks)
    summary: dict[str, object] = {}
    if channel := given(req.summary_channel_id):
        await refuse_posting(ctx, channel, field="summaryChannelId")
        content = given(req.summary_message) or None
        mentions = await addressed(ctx, content or "", field="summaryMessage")
        summary = {
            "channelId": uuid_or_none(channel),
            "id": new_id(),
            "content": content,
            "mentions": [someone.id for someone in mentions],
        }
    tasks = await _create(ctx, rows, summary, run_id=under_run(req.run_id))
    return Encoded(b"[" + b",".join([task.raw for task in tasks]) + b"]")


def _rows(sent: str | list[dict[str, Any]]) -> list[NewTask]:
    """The rows of a bulk call, each checked; an InvalidInput names the first that is not in order."""
    if isinstance(sent, str):
        try:
            sent = msgspec.json.decode(sent)
        except (msgspec.DecodeError, RecursionError) as e:
            message = f"`tasks` is a string, but not one that holds a JSON array: {e}."
            raise InvalidInput(message, field="tasks") from None
    if not isinstance(sent, list) or not 1 <= len(sent) <= BULK_ROWS_MAX:
        count = f"; this one has {len(sent)}" if isinstance(sent, list) else ""
        message = f"`tasks` must be an array of 1 to {BULK_ROWS_MAX} tasks{count}."
        raise InvalidInput(message, field="tasks")
    rows: list[NewTask] = []
    for index, row in enumerate(sent):
        try:
            rows.append(_row(row))
        except InvalidInput as e:
            raise _at(index, e) from None
    return rows


def _row(sent: Any) -> NewTask:  # Any: this is JSON of any shape, before it is checked
    try:
        row = msgspec.convert(sent, NewTask)
    except msgspec.ValidationError as e:
        raise explained(e, NewTask) from None
    except RecursionError:
        message = "It is nested too deeply."
        raise InvalidInput(message) from None
    refuse_nul(row)
    return row


async def _create(
    ctx: Context,
    tasks: Sequence[NewTask],
    summary: dict[str, object] | None = None,
    *,
    run_id: UUID | None = None,
) -> list[EncodedTask]:
    """Create all of the tasks or none. With a `summary`, even an empty one, it is a bulk call, whose errors name the row."""
    rows: list[dict[str, object]] = []
    for index, task in enumerate(tasks):
        try:
            rows.append({"ord": index, "id": new_id(), "messageId": new_id(), **await _values(ctx, task)})
        except ApiError as e:
            raise _at(index, e) if summary is not None else e from None
    parameters: dict[str, object] = {
        "actor_kind": ctx.actor.kind,
        "rows": msgspec.json.encode(rows).decode(),
        "run_id": run_id,
        "keep": None if ctx.keep is None else msgspec.json.encode(ctx.keep).decode(),
    }
    counted = {"count": len(rows), "request_id": ctx.request_id, "bulk": summary is not None}
    for _ in range(ATTEMPTS_MAX):
        if summary:
            told = msgspec.json.encode(summary).decode()
            created = await ctx.all(CREATE_AND_TELL.form(ctx.keep), **parameters, **counted, summary=told)
        else:
            created = await ctx.all(CREATE.form(ctx.keep), **parameters, **counted)
        if created:
            return [row.value for row in created]
        await ctx.unless_answered()
        if run_id is not None and (lost := await ctx.why_not_live(run_id)):
            raise lost
        if bad := await ctx.one(FIND_UNUSABLE, **parameters):
            try:
                await _refuse(ctx, bad, tasks[bad.ord])
            except ApiError as e:
                raise _at(bad.ord, e) if summary is not None else e from None
        # Nothing is missing any more: it appeared between the two statements.
    message = f"the workspace {ctx.actor.workspace_id} has no counter for its tasks"
    raise RuntimeError(message)


async def _values(ctx: Context, task: NewTask) -> dict[str, object]:
    """The columns of a new task. On creation null means the same as absent (contract R8)."""
    return {
        **changes(task, "title", "description", "status"),
        **ranked(task.priority),
        **assignment(
            agent=given(task.assignee_agent_id) or UNSET, user=given(task.assignee_user_id) or UNSET
        ),
        **due(given(task.due_at) or UNSET),
        **bound(given(task.channel_id) or UNSET),
        **await under(ctx, given(task.parent_task_id) or UNSET),
    }


async def _refuse(ctx: Context, bad: UnusableRow, task: NewTask) -> None:
    """Raise what stands in the way of a row, if it still does."""
    if not bad.assignee_known:
        agent, user = given(task.assignee_agent_id), given(task.assignee_user_id)
        raise IdentityNotFound(str(agent or user), field="assigneeAgentId" if agent else "assigneeUserId")
    if not bad.channel_open_to_caller:
        await refuse_posting(ctx, str(task.channel_id))
    if not bad.parent_visible:
        raise TaskNotFound(str(task.parent_task_id), field="parentTaskId")


def _at(index: int, error: ApiError) -> ApiError:
    """The same error, saying which row of a bulk call it is about."""
    error.message = f"Row {index}: {error.message} No task was created."
    error.args = (error.message,)
    error.details = {"index": index, **(error.details or {}), "message": error.message}
    return error
