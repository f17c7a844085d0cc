"""link-tasks, unlink-tasks and list-task-relations: how tasks hang together.

There is one row per edge and a view of it from either end. A task that is blocked waits: it is in nobody's queue
until everything that blocks it is done or cancelled (see runs/ready.py).
"""

from typing import Annotated, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Answered, BatchQuery, Listed, Query
from app.db.phrases import agent, moment, user
from app.errors import BlockerHidden, InvalidInput, RelationCycle, TaskNotFound, TaskReadOnly, VersionConflict
from app.ids import FIRST_ID, new_id
from app.operations.tasks.change import version_conflict
from app.operations.tasks.comment import SEES_TASK, in_its_place
from app.operations.tasks.task import RelationView, task_id
from app.rpc import AgentRequest, AgentWrite, Answer, Context, Outcome, Page, given, operation
from app.types import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Id, PageLimit, TaskStatus, Timestamp, Version
from app.writes.access import CALLER, VISIBLE, WRITABLE, seen_id
from app.writes.write import Write, calls

HIDDEN: Final = "hidden"  # in the place of a task: one that is there but cannot be seen
NOTHING: Final = UUID(int=0)  # no task has it

RelationKind = Literal["blocks", "related", "duplicate"]


class RelatedTask(Answer):
    """The task at the other end."""

    id: Annotated[str, Meta(description="Its id.")]
    identifier: Annotated[str, Meta(description="Its short name, `T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]


class Relation(Answer):
    """An edge between two tasks, seen from one of them."""

    news: ClassVar[tuple[str, ...]] = ("kind", "task.identifier", "task.status")
    brief: ClassVar[tuple[str, ...]] = ("kind", "task")

    kind: Annotated[RelationView, Meta(description="What the task you asked about is to the other one.")]
    task: Annotated[RelatedTask, Meta(description="The other one.")]
    created_by_user_id: Annotated[str | None, Meta(description="The human who linked them.")]
    created_by_agent_id: Annotated[str | None, Meta(description="The agent who linked them.")]
    created_at: Annotated[Timestamp, Meta(description="When they were linked.")]


_TAKES: Final = """kind text, from_task_id uuid, to_task_id uuid, task_id uuid, version int,
        from_event_id uuid, to_event_id uuid, hidden boolean"""

_FROM_WRITABLE: Final = f"""EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.from_task_id AND {WRITABLE})"""
_TO_WRITABLE: Final = f"""EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.to_task_id AND {WRITABLE})"""

_FROM_VISIBLE: Final = f"""EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.from_task_id AND {VISIBLE})"""

# Whether those whom it holds up see what they wait for: the waiting task's creator and its assignee.
_OPEN_TO_ALL: Final = f"""(i.kind <> 'blocks' OR NOT EXISTS (
        SELECT FROM tasks w
         CROSS JOIN LATERAL (VALUES (w.created_by_id), (w.assignee_id)) AS who (id)
         WHERE w.workspace_id = i.workspace_id AND w.id = i.to_task_id AND who.id IS NOT NULL
           AND {seen_id("i.workspace_id", "who.id", "i.from_task_id")} IS NULL))"""

# Who may take an edge away: who may change both tasks; and what a task waits for, who may change that task. What they do
# not see they cannot name: `i.hidden` says that it was found for them.
_MAY_UNLINK: Final = f"""({_TO_WRITABLE} AND (
        {_FROM_WRITABLE} OR (i.kind = 'blocks' AND (i.hidden OR {_FROM_VISIBLE}))))"""

# Whether the task that was named first is at the version that was sent.
_AT_VERSION: Final = """(i.version IS NULL OR EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.task_id AND t.version = i.version))"""

# Whether the one that is to wait blocks, directly or through others, the one it is to wait for. Two links at once
# could each look harmless, so they take turns.
_CYCLE: Final = """(i.kind = 'blocks' AND EXISTS (
        WITH RECURSIVE down AS (
            SELECT i.to_task_id AS id
             UNION
            SELECT r.to_task_id FROM down
              JOIN task_relations r ON r.workspace_id = i.workspace_id AND r.from_task_id = down.id AND r.kind = 'blocks'
        )
        SELECT FROM down WHERE down.id = i.from_task_id))"""

# Both tasks keep their version: a relation is no part of either. So each event has a subject of its own.
_EVENTS: Final = f"""
        INSERT INTO task_events (workspace_id, task_id, version, subject_id, kind, actor_id, actor_kind, request_id, changes)
        SELECT r.workspace_id, r.task_id, r.version, {in_its_place("r.task_id", "r.subject_id")}, r.kind, r.actor_id,
               r.actor_kind, r.request_id, r.changes
          FROM (SELECT i.workspace_id, t.id AS task_id, t.version, e.subject_id, e.kind, i.actor_id, i.actor_kind,
                       i.request_id, e.changes
                  FROM edge CROSS JOIN i
                 CROSS JOIN LATERAL (VALUES"""

# The relations of `i.task_id` to be shown, from `related`: rows of task_relations, from either end.
_SHOWN: Final = f"""
    shown AS (
        SELECT CASE WHEN r.from_task_id = i.task_id OR r.kind = 'related' THEN r.kind
                    WHEN r.kind = 'blocks' THEN 'blocked_by' ELSE 'duplicated_by' END AS kind,
               r.created_at, r.created_by_id, r.created_by_kind, t.id, t.number, t.title, t.status,
               (extract(epoch FROM r.created_at) * 1000000)::bigint AS at, r.kind AS edge
          FROM i
         CROSS JOIN related r
          JOIN tasks t ON t.workspace_id = i.workspace_id
                      AND t.id = CASE WHEN r.from_task_id = i.task_id THEN r.to_task_id ELSE r.from_task_id END
         WHERE {VISIBLE}
    )"""

_RELATION_JSON: Final = f"""
            row_to_json((SELECT w FROM (SELECT
                s.kind,
                row_to_json((SELECT w FROM (SELECT s.id, 'T-' || s.number AS identifier, s.title, s.status) w)) AS task,
                {user("s.created_by")} AS "createdByUserId",
                {agent("s.created_by")} AS "createdByAgentId",
                {moment("s.created_at")} AS "createdAt") w))"""

# Those between the two tasks only: an answer with all that one of them has would grow with every link.
_BETWEEN: Final = """
        SELECT r.* FROM i JOIN task_relations r
            ON r.workspace_id = i.workspace_id AND r.from_task_id = i.from_task_id AND r.to_task_id = i.to_task_id
         UNION ALL
        SELECT r.* FROM i JOIN task_relations r
            ON r.workspace_id = i.workspace_id AND r.from_task_id = i.to_task_id AND r.to_task_id = i.from_task_id"""
_BETWEEN_JSON: Final = f"""
        (SELECT coalesce(array_to_json(array_agg({_RELATION_JSON} ORDER BY s.created_at, s.edge)), '[]') FROM shown s)"""

_ANSWERS: Final = f"SELECT i.ord, {_BETWEEN_JSON} AS answer FROM edge CROSS JOIN i"

# What is written is not seen by the statement that writes it: `related` adds the new edge, or leaves out the old one.
LINK = Write[list[Relation]](
    takes=_TAKES,
    does=f"""
    edge AS (
        INSERT INTO task_relations (workspace_id, from_task_id, kind, to_task_id, created_by_id, created_by_kind)
        SELECT i.workspace_id, i.from_task_id, i.kind, i.to_task_id, i.actor_id, i.actor_kind
          FROM i
         WHERE {_FROM_WRITABLE} AND {_TO_WRITABLE} AND {_AT_VERSION} AND NOT {_CYCLE} AND {_OPEN_TO_ALL}
        ON CONFLICT DO NOTHING
        RETURNING *
    ), event AS (
        {_EVENTS}
               (i.from_task_id, i.from_event_id, 'linked', jsonb_build_object(edge.kind, jsonb_build_array(NULL, i.to_task_id))),
               (i.to_task_id, i.to_event_id, 'linked',
                jsonb_build_object(CASE edge.kind WHEN 'blocks' THEN 'blocked_by' WHEN 'duplicate' THEN 'duplicated_by'
                                                  ELSE edge.kind END, jsonb_build_array(NULL, i.from_task_id)))
               ) AS e (task_id, subject_id, kind, changes)
                  JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = e.task_id
                 ORDER BY t.id
                OFFSET 0) r
    ), related AS ({_BETWEEN}
         UNION ALL
        SELECT * FROM edge
    ), {_SHOWN}""",
    answers=_ANSWERS,
    turn="link",
    alone=True,
)

UNLINK = Write[list[Relation]](
    takes=_TAKES,
    does=f"""
    edge AS (
        DELETE FROM task_relations r
         USING i
         WHERE r.workspace_id = i.workspace_id AND r.from_task_id = i.from_task_id AND r.kind = i.kind
           AND r.to_task_id = i.to_task_id AND {_MAY_UNLINK} AND {_AT_VERSION}
        RETURNING r.*
    ), event AS (
        {_EVENTS}
               (i.from_task_id, i.from_event_id, 'unlinked',
                jsonb_build_object(edge.kind, jsonb_build_array(i.to_task_id, NULL))),
               (i.to_task_id, i.to_event_id, 'unlinked',
                jsonb_build_object(CASE edge.kind WHEN 'blocks' THEN 'blocked_by' WHEN 'duplicate' THEN 'duplicated_by'
                                                  ELSE edge.kind END, jsonb_build_array(i.from_task_id, NULL)))
               ) AS e (task_id, subject_id, kind, changes)
                  JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = e.task_id
                 ORDER BY t.id
                OFFSET 0) r
    ), related AS (
        SELECT was.* FROM ({_BETWEEN}) was
         WHERE NOT EXISTS (SELECT FROM edge
                            WHERE (edge.from_task_id, edge.kind, edge.to_task_id) = (was.from_task_id, was.kind, was.to_task_id))
    ), {_SHOWN}""",
    answers=_ANSWERS,
    turn="link",
    alone=True,
)


class MayRow(msgspec.Struct):
    """What of a relation is in order."""

    ord: int
    from_visible: bool
    to_visible: bool
    from_writable: bool
    to_writable: bool
    cycle: bool
    may_unlink: bool
    open_to_all: bool


class HiddenRow(msgspec.Struct):
    """Something that a task waits for and the caller does not see."""

    id: UUID


MAY = BatchQuery(
    MayRow,
    f"""
    WITH i AS MATERIALIZED ({calls(_TAKES)}
    )
    SELECT i.ord,
           EXISTS (SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.from_task_id AND {VISIBLE}),
           EXISTS (SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.to_task_id AND {VISIBLE}),
           {_FROM_WRITABLE}, {_TO_WRITABLE}, {_CYCLE}, {_MAY_UNLINK}, {_OPEN_TO_ALL}
      FROM i
    """,
    alone=True,
)

FIND_HIDDEN = Query(
    HiddenRow,
    f"""
    WITH i AS ({CALLER})
    SELECT t.id
      FROM i
      JOIN task_relations r ON r.workspace_id = i.workspace_id AND r.to_task_id = %(task_id)s::uuid AND r.kind = 'blocks'
      JOIN tasks t ON t.workspace_id = r.workspace_id AND t.id = r.from_task_id AND t.is_open
     WHERE {VISIBLE} IS NOT TRUE
     ORDER BY r.created_at, t.id
     LIMIT 1
    """,
)

BETWEEN = BatchQuery(
    Answered[list[Relation]],
    f"""
    WITH i AS MATERIALIZED ({calls(_TAKES)}
    ), related AS ({_BETWEEN}
    ), {_SHOWN}
    SELECT i.ord, {_BETWEEN_JSON} FROM i
    """,
    alone=True,
)

RELATIONS = Query(
    Listed[Relation],
    f"""
    WITH i AS ({CALLER}, %(task_id)s::uuid AS task_id), related AS (
        SELECT r.* FROM i JOIN task_relations r ON r.workspace_id = i.workspace_id AND r.from_task_id = i.task_id
         UNION ALL
        SELECT r.* FROM i JOIN task_relations r ON r.workspace_id = i.workspace_id AND r.to_task_id = i.task_id
    ), {_SHOWN}
    SELECT {_RELATION_JSON}, s.at || '-' || s.id || '-' || s.kind
      FROM shown s
     WHERE (%(kind)s::text IS NULL OR s.kind = %(kind)s::text)
       AND (s.at, s.id, s.kind) > (%(after_at)s::bigint, %(after_id)s::uuid, %(after_kind)s::text)
     ORDER BY s.at, s.id, s.kind
     LIMIT %(limit)s::int
    """,
)

FIRST: Final = f"0-{FIRST_ID}-"


class LinkTasks(AgentWrite):
    """The two ends of a relation, and its kind."""

    task_id: Annotated[
        Id, Meta(description="The task it starts from, by id or as `T-42`: the one that blocks.")
    ]
    kind: Annotated[
        RelationKind,
        Meta(
            description="`blocks`: the other one waits until this one is done or cancelled. `related`: for people to see. "
            "`duplicate`: this one repeats the other."
        ),
    ]
    other_task_id: Annotated[
        Id, Meta(description="The task it leads to, by id or as `T-42`: the one that waits.")
    ]
    version: Annotated[
        Version | None | UnsetType,
        Meta(
            description="The version you read of `taskId`: if it has moved on you get a 409. Linking itself moves none."
        ),
    ] = UNSET


class UnlinkTasks(LinkTasks):
    """The relation to remove, from either of its ends if it is `related`."""

    task_id: Annotated[
        Id,
        Meta(
            description="The task it starts from, by id or as `T-42`: the one that blocks. `hidden` stands for one that you "
            "cannot see; then the version is the other task's."
        ),
    ]


class ListTaskRelations(AgentRequest):
    """Whose relations."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    kind: Annotated[RelationView | UnsetType, Meta(description="Only relations of this kind.")] = UNSET
    limit: PageLimit = UNSET
    cursor: Annotated[
        Annotated[
            str,
            Meta(
                pattern="^[0-9]{1,18}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[a-z_]{1,20}$", max_length=80
            ),
        ]
        | None
        | UnsetType,
        Meta(description="The `pagination.cursor` of the page before."),
    ] = UNSET


@operation(
    scope="task-write",
    errors=(
        InvalidInput,
        TaskNotFound,
        TaskReadOnly,
        BlockerHidden,
        VersionConflict,
        RelationCycle,
    ),
)
async def link_tasks(ctx: Context, req: LinkTasks) -> Outcome[list[Relation]]:
    """Link two tasks, for instance when one depends on the other, which blocks it.

    A blocked task is not ready: claim-next-task leaves it out until everything that blocks it is done or cancelled.
    Linking twice is harmless. The answer is how the two hang together now.

    You must be able to change both tasks; and who made the task that is to wait, or has it, must be able to see the one
    that blocks it.
    """
    return await _change(ctx, req, LINK)


@operation(
    scope="task-write",
    errors=(InvalidInput, TaskNotFound, TaskReadOnly, VersionConflict),
)
async def unlink_tasks(ctx: Context, req: UnlinkTasks) -> Outcome[list[Relation]]:
    """Remove a relation between two tasks.

    Removing what is not there is harmless. The answer is how the two still hang together. You must be able to change both
    tasks; to remove what a task waits for, that task. If explain-task counts blockers that you cannot see, send `hidden` as
    `taskId` to remove one of them, the oldest.
    """
    return await _change(ctx, req, UNLINK)


@operation(scope="task-read", read_only=True, errors=(TaskNotFound,))
async def list_task_relations(ctx: Context, req: ListTaskRelations) -> Page[Relation]:
    """List how a task hangs together with others, oldest relation first; tasks you cannot see are left out.

    `blocked_by` and `duplicated_by` are the views from the other end. Page with `cursor`.
    """
    id = await task_id(ctx, req.task_id)
    if not await ctx.one(SEES_TASK, task_id=id):
        raise TaskNotFound(req.task_id)
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    at, _, rest = (given(req.cursor) or FIRST).partition("-")
    after_id, _, after_kind = rest.rpartition("-")
    rows = await ctx.all(
        RELATIONS,
        task_id=id,
        kind=given(req.kind),
        after_at=int(at),
        after_id=after_id,
        after_kind=after_kind,
        limit=limit + 1,
    )
    return Page[Relation].cut(rows, limit)


async def _change(ctx: Context, req: LinkTasks, write: Write[list[Relation]]) -> Outcome[list[Relation]]:
    """Add or remove an edge, and answer with what there is between the two tasks, seen from the one that was named first."""
    other = await task_id(ctx, req.other_task_id, field="otherTaskId")
    hidden = req.task_id == HIDDEN and req.kind == "blocks" and write is UNLINK
    if hidden:
        found = await ctx.one(FIND_HIDDEN, task_id=other)
        first = NOTHING if found is None else found.id
    else:
        first = await task_id(ctx, req.task_id)
    if first == other:
        message = "A task cannot be related to itself. Name two tasks."
        raise InvalidInput(message, field="otherTaskId")
    from_id, to_id = sorted((first, other)) if req.kind == "related" else (first, other)
    edge: dict[str, object] = {
        "kind": req.kind,
        "from_task_id": from_id,
        "to_task_id": to_id,
        "task_id": other if hidden else first,
        "hidden": hidden,
        "version": given(req.version),
        "from_event_id": new_id(),
        "to_event_id": new_id(),
    }
    if (changed := await ctx.write(write, **edge)) is not None:
        return changed
    await _refuse(ctx, req, edge, first, adds=write is LINK)
    between = await ctx.ask(BETWEEN, **edge)
    assert between is not None, "an aggregate has one row"
    return Outcome(between.answer, wrote=False)


async def _refuse(
    ctx: Context,
    req: LinkTasks,
    edge: dict[str, object],
    first: UUID,
    *,
    adds: bool,
) -> None:
    """Raise what stood in the way; return if the edge was simply as wanted already."""
    may = await ctx.ask(MAY, **edge)
    assert may is not None, "a SELECT from one row of input has one row"
    first_seen, other_seen = may.from_visible, may.to_visible
    if edge["from_task_id"] != first:
        first_seen, other_seen = other_seen, first_seen
    if not first_seen and not edge["hidden"]:
        raise TaskNotFound(req.task_id)
    if not other_seen:
        raise TaskNotFound(req.other_task_id, field="otherTaskId")
    if not (may.from_writable and may.to_writable if adds else may.may_unlink):
        raise TaskReadOnly
    if adds and not may.open_to_all:
        raise BlockerHidden
    named = edge["to_task_id"] if edge["hidden"] else first
    assert isinstance(named, UUID), "an edge has two ends"
    if conflict := await version_conflict(ctx, task_id=named, version=given(req.version), changes={}):
        raise conflict
    if adds and may.cycle:
        raise RelationCycle
