"""create-task, and the statement that creates one task or fifty: all of them or none."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import BatchQuery
from app.db.phrases import folded
from app.errors import (
    ApiError,
    BlockerHidden,
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    TaskNotFound,
    TaskReadOnly,
)
from app.ids import TICK_NOW, id_at, new_id, tick_of, uuid_or_none
from app.operations.channels.channel import CHANNEL_OPEN, refuse_posting
from app.operations.identities import not_named
from app.operations.messages.message import SPOKEN
from app.operations.tasks.change import ASSIGNEE_KNOWN, PARENT_VISIBLE
from app.operations.tasks.comment import in_its_place
from app.operations.tasks.moved import beginning, moved
from app.operations.tasks.similar import similar
from app.operations.tasks.task import ACTORS_TASK_JSON, ONE_ASSIGNEE, Task, task_id
from app.operations.tasks.update import assignment, bound, due, ranked, under
from app.operations.told import Told
from app.rpc import (
    AgentRequest,
    Context,
    IdempotencyKey,
    Outcome,
    Step,
    changes,
    given,
    operation,
)
from app.types import Id, Markdown, NewTaskStatus, TaskPriority, Title, When, trimmed_title
from app.writes.access import VISIBLE, WRITABLE, seen_id
from app.writes.fence import UnderRun
from app.writes.write import Write, calls


class UnusableRow(msgspec.Struct):
    """A row that names something the caller cannot use, and what of it is in order."""

    ord: int
    place: int
    assignee_known: bool
    channel_open_to_caller: bool
    parent_visible: bool
    blocker_id: UUID | None  # the first that it must not be made to wait for
    blocker_seen: bool | None
    blocker_writable: bool | None


BLOCKERS_MAX: Final = 20  # of one new task; link-tasks adds more

_TAKES: Final = "rows jsonb, bulk boolean, summary jsonb, told json"

# The first of the tasks that a row is to wait for and must not: as with link-tasks, the caller has to be able to change it,
# and whoever is to do the waiting one has to see it.
_NO_BLOCKER: Final = f"""(
               SELECT x.id, coalesce(x.seen, false) AS seen, coalesce(x.writable, false) AS writable
                 FROM (SELECT e.id, e.place, t.seen, t.writable, i.assignee_id IS NULL
                              OR {seen_id("i.workspace_id", "i.assignee_id", "e.id")} IS NOT NULL AS shown
                         FROM unnest(i.blocked_by) WITH ORDINALITY AS e (id, place)
                         LEFT JOIN LATERAL (
                              SELECT {VISIBLE} AS seen, {WRITABLE} AS writable
                                FROM tasks t
                               WHERE t.workspace_id = i.workspace_id AND t.id = e.id) t ON true) x
                WHERE (x.seen AND x.writable AND x.shown) IS NOT TRUE
                ORDER BY x.place
                LIMIT 1)"""

# The tasks to create, and those of them that cannot be.
_WANTED: Final = f"""
    wanted AS MATERIALIZED (
        SELECT i.ord, i.workspace_id, i.actor_id, i.actor_kind, i.request_id, w.place, w.id, w.message_id, w.title, w.description,
               coalesce(w.status, 'todo') AS status, coalesce(w.priority, 0::smallint) AS priority,
               to_timestamp(w."dueAt") AS due_at, w."assigneeId" AS assignee_id, w."assigneeKind" AS assignee_kind,
               w."channelId" AS channel_id, w."parentTaskId" AS parent_task_id, w.blocked_by
          FROM i
         CROSS JOIN LATERAL jsonb_to_recordset(i.rows) AS w (
               place int, id uuid, message_id uuid, title text, description text, status text, priority smallint,
               "dueAt" float8, "assigneeId" uuid, "assigneeKind" text, "channelId" uuid, "parentTaskId" uuid,
               blocked_by uuid[])
    ), unusable AS (
        SELECT i.ord, i.place, assignee_known, channel_open_to_caller, parent_visible, b.id AS blocker_id, b.seen AS blocker_seen,
               b.writable AS blocker_writable
          FROM wanted i
          LEFT JOIN LATERAL {_NO_BLOCKER} b ON i.blocked_by IS NOT NULL
         CROSS JOIN LATERAL (SELECT
               i.assignee_id IS NULL OR {ASSIGNEE_KNOWN} AS assignee_known,
               i.channel_id IS NULL OR {CHANNEL_OPEN} AS channel_open_to_caller,
               i.parent_task_id IS NULL OR {PARENT_VISIBLE} AS parent_visible) ok
         WHERE NOT (assignee_known AND channel_open_to_caller AND parent_visible) OR b.id IS NOT NULL
    )"""

_BEGINNING: Final = beginning(
    "t.",
    "title",
    "description",
    "status",
    "priority",
    "dueAt",
    "assigneeUserId",
    "assigneeAgentId",
    "channelId",
    "parentTaskId",
    "startedAt",
)

# The counter's row stays locked from here to the commit, which is this one insert. Nothing is taken from it
# unless every row can be created, so numbers are consecutive and none is lost.
#
# Ids are in the order of numbers: behind the latest that can be seen, by as many as there are between, also when a
# clock is set back.
_CREATED: Final = f"""{_WANTED}, counter AS (
        UPDATE task_counters k
           SET last_number = k.last_number + w.count
          FROM (SELECT workspace_id, count(*)::int AS count FROM wanted GROUP BY 1) w
         WHERE k.workspace_id = w.workspace_id AND NOT EXISTS (SELECT FROM unusable)
        RETURNING k.last_number - w.count AS before,
                  greatest({TICK_NOW},
                           (SELECT {tick_of("t.id")} + k.last_number - w.count - t.number
                              FROM tasks t
                             WHERE t.workspace_id = w.workspace_id
                             ORDER BY t.number DESC
                             LIMIT 1)) AS tick
    ), created AS (
        INSERT INTO tasks (workspace_id, id, number, title, description, status, priority, due_at, assignee_id, assignee_kind,
                           created_by_id, created_by_kind, parent_task_id, channel_id, started_at)
        SELECT w.workspace_id, {id_at("counter.tick + w.place + 1", "w.id")}, counter.before + w.place + 1,
               w.title, w.description, w.status, w.priority, w.due_at,
               w.assignee_id, w.assignee_kind, w.actor_id, w.actor_kind, w.parent_task_id, w.channel_id,
               CASE WHEN w.status = 'in_progress' THEN now() END
          FROM wanted w CROSS JOIN counter
        RETURNING *
    ), moved AS (
        SELECT t.*, w.place AS ord, 'created' AS kind, w.actor_id, w.actor_kind, w.request_id, w.message_id,
               {_BEGINNING} AS difference
          FROM created t
         CROSS JOIN counter
          JOIN wanted w ON w.place = t.number - counter.before - 1
    ), participant AS (
        INSERT INTO task_participants (workspace_id, identity_id, task_id)
        SELECT DISTINCT c.workspace_id, p.id, c.id
          FROM created c
          JOIN identities a ON a.workspace_id = c.workspace_id AND a.id IN (c.created_by_id, c.assignee_id)
         CROSS JOIN LATERAL (VALUES (a.id), (a.owner_id)) AS p (id)
         WHERE p.id IS NOT NULL
    ), searchable AS (
        INSERT INTO task_search (workspace_id, task_id, words)
        SELECT workspace_id, id, {folded("title || chr(10) || coalesce(description, '')")} FROM created
    )"""

# What the new tasks wait for. Both ends keep their version, so each event has a subject of its own. Nothing waits for a new
# task yet, so no cycle can come of it.
_BLOCKED: Final = f""", edge AS (
        INSERT INTO task_relations (workspace_id, from_task_id, kind, to_task_id, created_by_id, created_by_kind)
        SELECT DISTINCT m.workspace_id, b.id, 'blocks', m.id, m.actor_id, m.actor_kind
          FROM moved m
          JOIN wanted w ON w.place = m.ord
         CROSS JOIN LATERAL unnest(w.blocked_by) AS b (id)
        RETURNING *
    ), linked AS (
        INSERT INTO task_events (workspace_id, task_id, version, subject_id, kind, actor_id, actor_kind, request_id, changes)
        SELECT r.workspace_id, r.task_id, r.version, {in_its_place("r.task_id", "r.subject_id")}, 'linked', r.actor_id,
               r.actor_kind, r.request_id, r.changes
          FROM (SELECT e.workspace_id, x.task_id, x.version, gen_random_uuid() AS subject_id, m.actor_id, m.actor_kind,
                       m.request_id, x.changes
                  FROM edge e
                  JOIN moved m ON m.id = e.to_task_id
                 CROSS JOIN LATERAL (          -- one look-up for each, also where the planner expects many
                       SELECT t.id, t.version
                         FROM tasks t
                        WHERE t.workspace_id = e.workspace_id AND t.id = e.from_task_id
                        LIMIT 1) k
                 CROSS JOIN LATERAL (VALUES
                       (k.id, k.version, jsonb_build_object('blocks', jsonb_build_array(NULL, m.id))),
                       (m.id, m.version, jsonb_build_object('blocked_by', jsonb_build_array(NULL, k.id)))
                       ) AS x (task_id, version, changes)
                 ORDER BY x.task_id
                OFFSET 0) r
    )"""

_ANSWERS: Final = f"""
        SELECT i.ord, (CASE WHEN i.bulk THEN '[' || told.tasks || ']' ELSE told.tasks END)::json AS answer, i.told
          FROM i
         CROSS JOIN LATERAL (
               SELECT string_agg({ACTORS_TASK_JSON}::text, ',' ORDER BY t.number) AS tasks FROM moved t) told
         WHERE told.tasks IS NOT NULL"""

CREATE: Final[Write[Any]] = Write(  # Any: a task, or several
    takes=_TAKES, does=f"{_CREATED}, {moved()}", answers=_ANSWERS, tells=True, alone=True
)

# The same for tasks that wait for others. Apart, because most do not, and should not pay for it.
CREATE_BLOCKED: Final[Write[Any]] = Write(  # Any: as above
    takes=_TAKES, does=f"{_CREATED}, {moved()}{_BLOCKED}", answers=_ANSWERS, tells=True, alone=True
)

# The same with a summary: what the caller says in one channel about all the tasks, instead of the cards there.
CREATE_AND_TELL: Final[Write[Any]] = Write(  # Any: as above
    takes=_TAKES,
    does=f"""{_CREATED}, summary AS (
        SELECT i.*, told.last_place, told.tasks, told.assignees
          FROM (SELECT i.workspace_id, i.actor_id, i.actor_kind,
                       (i.summary->>'id')::uuid AS id, (i.summary->>'channelId')::uuid AS channel_id,
                       i.summary->>'content' AS content, i.summary->'mentions' AS mentions
                  FROM i) i
         CROSS JOIN (
               SELECT max(m.ord) AS last_place,
                      string_agg('T-' || m.number || coalesce(' @' || a.handle, ''), ', ' ORDER BY m.number) AS tasks,
                      coalesce(jsonb_agg(a.id) FILTER (WHERE a.id IS NOT NULL), '[]') AS assignees
                 FROM moved m
                 LEFT JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.assignee_id) told
         WHERE told.tasks IS NOT NULL AND {CHANNEL_OPEN}
    ), {
        moved(
            says='''
        SELECT c.*, '[]'::jsonb AS mentions
          FROM card c
         WHERE NOT EXISTS (SELECT FROM summary s WHERE s.channel_id = c.channel_id)
         UNION ALL
        SELECT s.workspace_id, s.channel_id, s.last_place + 1, s.id, NULL, s.actor_id,
               CASE s.actor_kind WHEN 'user' THEN 'human' ELSE 'agent' END, 'text',
               coalesce(s.content, 'Created ' || s.tasks), '{}', s.mentions || s.assignees
          FROM summary s'''
        )
    }, {SPOKEN}{_BLOCKED}""",
    answers=_ANSWERS,
    tells=True,
    alone=True,
)

FIND_UNUSABLE = BatchQuery(
    UnusableRow,
    f"""
    WITH i AS MATERIALIZED ({calls(_TAKES)}
    ), {_WANTED}
    SELECT * FROM unusable ORDER BY place LIMIT 1
    """,
    alone=True,
)


class NewTask(msgspec.Struct, kw_only=True, rename="camel"):
    """One task to create: a title, and whatever else is known."""

    rules: ClassVar = ONE_ASSIGNEE

    title: Annotated[Title, Meta(description="What to do. 1 to 500 characters after trimming.")]
    description: Annotated[Markdown | None | UnsetType, Meta(description="The details, in markdown.")] = UNSET
    status: Annotated[
        NewTaskStatus | None | UnsetType, Meta(description="Where it starts: `todo` by default.")
    ] = UNSET
    priority: Annotated[
        TaskPriority | None | UnsetType, Meta(description="How urgent it is: `none` by default.")
    ] = UNSET
    assignee_agent_id: Annotated[Id | None | UnsetType, Meta(description="Agent who should have it.")] = UNSET
    assignee_user_id: Annotated[Id | None | UnsetType, Meta(description="User who should have it.")] = UNSET
    parent_task_id: Annotated[
        Id | None | UnsetType, Meta(description="Its parent task. By id or as `T-42`.")
    ] = UNSET
    channel_id: Annotated[
        Id | None | UnsetType, Meta(description="Channel to bind it to. Its members then see it.")
    ] = UNSET
    due_at: Annotated[When | None | UnsetType, Meta(description="When it is due. With an offset.")] = UNSET
    blocked_by: Annotated[
        Annotated[list[Id], Meta(max_length=BLOCKERS_MAX)] | None | UnsetType,
        Meta(description="Tasks it waits for, to be done first. By id or as `T-42`, at most 20."),
    ] = UNSET

    def __post_init__(self) -> None:
        """Trim the title."""
        self.title = trimmed_title(self.title)


class CreateTask(NewTask, AgentRequest):
    """The task to create."""

    run_id: UnderRun = UNSET
    idempotency_key: IdempotencyKey = UNSET


CREATE_ERRORS: Final = (
    InvalidInput,
    TaskNotFound,
    IdentityNotFound,
    ChannelNotFound,
    ChannelNotMember,
    ChannelArchived,
    TaskReadOnly,
    BlockerHidden,
)


@operation(
    scope="task-write",
    errors=CREATE_ERRORS,
    core=Step(70, "new work, with its `blockedBy`."),
)
async def create_task(ctx: Context, req: CreateTask) -> Outcome[Task]:
    """Create a task: add a new task for later or for others.

    Without a channel only you and the assignee see it; bind it to a channel to share it with its members.

    Only the title is required. A tool also names the open tasks that look like it, as `similar`: if one is the same, cancel
    yours.
    """
    found = await similar(ctx, req.title, uuid_or_none(given(req.channel_id) or ""))
    return await create(ctx, [req], told=Told(similar=found) if found else None)


async def create(
    ctx: Context,
    tasks: Sequence[NewTask],
    summary: dict[str, object] | None = None,
    told: Told | None = None,
) -> Outcome[Any]:  # Any: a task, or several
    """Create all of the tasks or none. With a `summary`, even an empty one, it is a bulk call, whose errors name the row."""
    rows: list[dict[str, object]] = []
    for index, task in enumerate(tasks):
        try:
            rows.append({"place": index, "id": new_id(), "message_id": new_id(), **await _values(ctx, task)})
        except ApiError as e:
            raise at(index, e) if summary is not None else e from None

    async def otherwise() -> None:
        if bad := await ctx.ask(FIND_UNUSABLE, rows=rows):
            try:
                await _refuse(ctx, bad, tasks[bad.place])
            except ApiError as e:
                raise at(bad.place, e) if summary is not None else e from None

    return await ctx.settle(
        CREATE_AND_TELL
        if summary
        else CREATE_BLOCKED
        if any("blocked_by" in row for row in rows)
        else CREATE,
        otherwise,
        rows=rows,
        bulk=summary is not None,
        summary=summary,
        **({} if told is None else {"told": told}),
    )


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
        **await _blocked(ctx, given(task.blocked_by) or ()),
    }


async def _blocked(ctx: Context, blockers: Sequence[str]) -> dict[str, object]:
    """The tasks that a new one is to wait for."""
    ids = [await task_id(ctx, sent, field="blockedBy") for sent in blockers]
    return {"blocked_by": list(dict.fromkeys(ids))} if ids else {}


async def _refuse(ctx: Context, bad: UnusableRow, task: NewTask) -> None:
    """Raise what stands in the way of a row, if it still does."""
    if not bad.assignee_known:
        agent, user = given(task.assignee_agent_id), given(task.assignee_user_id)
        raise await not_named(ctx, str(agent or user), field="assigneeAgentId" if agent else "assigneeUserId")
    if not bad.channel_open_to_caller:
        await refuse_posting(ctx, str(task.channel_id))
    if not bad.parent_visible:
        raise TaskNotFound(str(task.parent_task_id), field="parentTaskId")
    if bad.blocker_id is not None:
        if not bad.blocker_seen:
            raise TaskNotFound(await _as_sent(ctx, task, bad.blocker_id), field="blockedBy")
        raise BlockerHidden if bad.blocker_writable else TaskReadOnly


async def _as_sent(ctx: Context, task: NewTask, id: UUID) -> str:
    """How the caller named a task: the id behind a `T-42` that they may not see is not theirs to learn."""
    for sent in given(task.blocked_by) or ():
        if await task_id(ctx, sent, field="blockedBy") == id:
            return sent
    return "blockedBy"


def at(index: int, error: ApiError) -> ApiError:
    """The same error, saying which row of a bulk call it is about."""
    error.within(f"Row {index}:", "No task was created.")
    error.details = {"index": index, **(error.details or {}), "message": error.message}
    return error
