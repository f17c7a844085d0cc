"""list-task-history and list-my-activity: the log, read by task and by who did it.

A page holds whatever was there when it was read. Entries never change and never move, so walking the pages shows
each entry that was there when the walk began, once. What is added meanwhile stands before the newest; only a
comment can still be added at a version that has been passed already, so to see what is new, read the newest first.
"""

from typing import Annotated, ClassVar, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Listed, Query
from app.db.phrases import moment
from app.errors import TaskNotFound, VersionNotFound
from app.operations.tasks.comment import SEES_TASK
from app.operations.tasks.conflict import Author, author, shown_changes
from app.operations.tasks.task import TASK_JSON, EncodedTask, task_id
from app.rpc import AgentRequest, Answer, Context, Page, given, operation
from app.types import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, VERSION_MAX, Id, PageLimit, Timestamp
from app.writes.access import CALLER, VISIBLE


class FieldChange(Answer):
    """How one field was changed."""

    brief: ClassVar[tuple[str, ...]] = ("field", "to")
    cut: ClassVar[tuple[str, ...]] = ("from", "to")

    field: Annotated[str, Meta(description="Its name.")]
    was: Annotated[str | None, Meta(description="Its value before.")] = msgspec.field(name="from")
    now: Annotated[str | None, Meta(description="Its value after.")] = msgspec.field(name="to")


EventKind: TypeAlias = Annotated[
    str,
    Meta(
        description=(
            "`created`, `updated`, `completed`, `cancelled`, `blocked`, `released`, `commented`, `linked`, `unlinked`, "
            "`claimed`, or how a claim ended: `run_completed`, `run_failed`, `run_released`, `run_expired`, "
            "`run_force_released`. `removed`: what happened up to here is no longer known, but for the creation."
        )
    ),
]


class HistoryEntry(Answer):
    """Something that happened to a task."""

    brief: ClassVar[tuple[str, ...]] = ("kind", "version", "by", "at", "changes", "comment")

    kind: EventKind
    version: Annotated[int, Meta(description="The task's version after it; a comment leaves it as it was.")]
    by: Annotated[Author, Meta(description="Who did it.")]
    at: Annotated[Timestamp, Meta(description="When.")]
    request_id: Annotated[str, Meta(description="The request that did it: `meta.requestId` of its answer.")]
    changes: Annotated[
        list[FieldChange], Meta(description="What changed, field by field; none for a comment.")
    ]
    comment_id: Annotated[str | None, Meta(description="The comment, if it is one.")]
    comment: Annotated[str | None, Meta(description="How the comment begins: its first 200 characters.")]


class TaskName(Answer):
    """A task, briefly."""

    id: Annotated[str, Meta(description="Its id.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title now.")]


class Activity(HistoryEntry):
    """Something that you did to a task."""

    brief: ClassVar[tuple[str, ...]] = ("kind", "version", "at", "changes", "comment", "task")

    task: Annotated[TaskName, Meta(description="Which task.")]


class TaskAtRow(msgspec.Struct):
    """A task as it is, and what differed at an earlier version."""

    task: EncodedTask
    version: int
    then: dict[str, object]
    updated_at: str | None  # None: it has not had that version, or nobody knows any more
    removed_to: int | None


_ENTRY: Final = f"""
        e.kind, e.version, {author("e.actor_id", "e.actor_kind")} AS by,
        {moment("e.created_at")} AS at, e.request_id AS "requestId",
        (SELECT coalesce(array_to_json(array_agg(row_to_json((SELECT w FROM (SELECT
                    f.field, f.change->0 AS "from", f.change->1 AS "to") w)) ORDER BY f.field)), '[]')
           FROM {shown_changes("e", "%(actor_id)s::uuid")} AS f (field, change)) AS changes,
        c.id AS "commentId", left(c.body, 200) AS comment"""

_NAMES: Final = """
      LEFT JOIN identities a ON a.workspace_id = e.workspace_id AND a.id = e.actor_id
      LEFT JOIN task_comments c ON c.workspace_id = e.workspace_id AND c.task_id = e.task_id AND c.id = e.subject_id"""

OLDEST_FIRST = Query(
    Listed[HistoryEntry],
    f"""
    SELECT row_to_json((SELECT w FROM (SELECT {_ENTRY}) w)), e.version || '-' || e.subject_id
      FROM task_events e
      {_NAMES}
     WHERE e.workspace_id = %(workspace_id)s::uuid AND e.task_id = %(task_id)s::uuid
       AND (e.version, e.subject_id) > (%(version)s::int, %(subject_id)s::uuid)
     ORDER BY e.version, e.subject_id
     LIMIT %(limit)s::int
    """,
)

NEWEST_FIRST = Query(
    Listed[HistoryEntry],
    f"""
    SELECT row_to_json((SELECT w FROM (SELECT {_ENTRY}) w)), e.version || '-' || e.subject_id
      FROM task_events e
      {_NAMES}
     WHERE e.workspace_id = %(workspace_id)s::uuid AND e.task_id = %(task_id)s::uuid
       AND (e.version, e.subject_id) < (%(version)s::int, %(subject_id)s::uuid)
     ORDER BY e.version DESC, e.subject_id DESC
     LIMIT %(limit)s::int
    """,
)

MY_ACTIVITY = Query(
    Listed[Activity],
    f"""
    WITH i AS ({CALLER})
    SELECT row_to_json((SELECT w FROM (SELECT {_ENTRY},
               row_to_json((SELECT w FROM (SELECT t.id, 'T-' || t.number AS identifier, t.title) w)) AS task) w)),
           e.seq::text
      FROM i
      JOIN task_events e ON e.workspace_id = i.workspace_id AND e.actor_id = i.actor_id AND e.seq < %(before)s::bigint
      {_NAMES}
      JOIN tasks t ON t.workspace_id = e.workspace_id AND t.id = e.task_id
     WHERE {VISIBLE}
     ORDER BY e.seq DESC
     LIMIT %(limit)s::int
    """,
)

# A task now, and what each field that changed after a version was at that version: its value before the first change.
TASK_AT = Query(
    TaskAtRow,
    f"""
    WITH i AS ({CALLER})
    SELECT {TASK_JSON}, t.version,
           (SELECT coalesce(jsonb_object_agg(f.field, f.was), '{{}}')
              FROM (SELECT DISTINCT ON (x.field) x.field, x.change->0 AS was
                      FROM task_events e
                     CROSS JOIN LATERAL {shown_changes("e", "i.actor_id")} AS x (field, change)
                     WHERE e.workspace_id = t.workspace_id AND e.task_id = t.id AND e.version > %(version)s::int
                     ORDER BY x.field, e.version) f),
           (SELECT {moment("e.created_at")}
              FROM task_events e
             WHERE e.workspace_id = t.workspace_id AND e.task_id = t.id AND e.version = %(version)s::int
               AND e.subject_id = '00000000-0000-0000-0000-000000000000'),
           (SELECT max(e.version) FILTER (WHERE e.kind = 'removed')
              FROM task_events e
             WHERE e.workspace_id = t.workspace_id AND e.task_id = t.id AND e.version >= %(version)s::int)
      FROM i
      JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = %(task_id)s::uuid
     WHERE {VISIBLE}
    """,
)

FIRST: Final = "0-00000000-0000-0000-0000-000000000000"
LAST: Final = f"{VERSION_MAX}-ffffffff-ffff-ffff-ffff-ffffffffffff"
SEQ_MAX: Final = 2**63 - 1  # what a Postgres bigint holds


class ListTaskHistory(AgentRequest):
    """Of which task, and how."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    order: Annotated[
        Literal["newest", "oldest"] | UnsetType,
        Meta(description="Which entries come first: `newest` by default."),
    ] = UNSET
    limit: PageLimit = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^[0-9]{1,9}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=46)]
        | None
        | UnsetType,
        Meta(description="The `pagination.cursor` of the page before, read in the same order."),
    ] = UNSET


class ListMyActivity(AgentRequest):
    """How much of it."""

    limit: PageLimit = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^[0-9]{1,18}$", max_length=18)] | None | UnsetType,
        Meta(description="The `pagination.cursor` of the page before."),
    ] = UNSET


@operation(scope="task-read", read_only=True, errors=(TaskNotFound,))
async def list_task_history(ctx: Context, req: ListTaskHistory) -> Page[HistoryEntry]:
    """List what happened to a task: every change, who made it, the values before and after, and the comments.

    Newest first by default. To see the whole task as it was at some version, use get-task with `atVersion`.
    """
    id = await task_id(ctx, req.task_id)
    if not await ctx.one(SEES_TASK, task_id=id):
        raise TaskNotFound(req.task_id)
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    query, start = (OLDEST_FIRST, FIRST) if req.order == "oldest" else (NEWEST_FIRST, LAST)
    version, _, subject_id = (given(req.cursor) or start).partition("-")
    rows = await ctx.all(
        query,
        task_id=id,
        version=int(version),
        subject_id=subject_id,
        limit=limit + 1,
    )
    return Page[HistoryEntry].cut(rows, limit)


@operation(scope="task-read", read_only=True)
async def list_my_activity(ctx: Context, req: ListMyActivity) -> Page[Activity]:
    """List what you did yourself, newest first; what others did says get-inbox.

    For an agent that starts with an empty memory: what was I working on, and what did I do already? It leaves out
    what you can no longer see, and what an operator no longer keeps.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    rows = await ctx.all(
        MY_ACTIVITY,
        before=int(given(req.cursor) or SEQ_MAX),
        limit=limit + 1,
    )
    return Page[Activity].cut(rows, limit)


async def task_at(ctx: Context, task_id: UUID, version: int) -> EncodedTask | None:
    """A task as it was at a version, worked back from what it is; None if the caller sees no such task."""
    row = await ctx.one(TASK_AT, task_id=task_id, version=version)
    if row is None:
        return None
    if row.updated_at is None or (row.removed_to is not None and row.removed_to > version):
        raise VersionNotFound(version=version, current_version=row.version, removed_to=row.removed_to)
    now = msgspec.json.decode(row.task.raw, type=dict[str, object])
    then = {
        field: was for field, was in row.then.items() if field in now
    }  # the log knows more than a task shows
    return Encoded(msgspec.json.encode({**now, **then, "version": version, "updatedAt": row.updated_at}))
