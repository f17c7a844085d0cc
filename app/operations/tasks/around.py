"""What stands around a task: what was said last, relations, open blockers, what was left for whoever goes on.

get-task shows it to whoever asks, by `fields`; tools ask by default.

It is bounded in rows and bytes, because it is read with every look at a task. Whoever needs all of it has list-comments and
list-task-relations.
"""

from typing import Annotated, Final, Literal, LiteralString, get_args
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Query
from app.db.phrases import moment
from app.operations.tasks.selection import TaskField
from app.operations.tasks.task import RelationView, Task
from app.operations.told import TITLE_CHARACTERS, OpenBlocker, blockers
from app.rpc import Answer, Context
from app.types import FIELDS_MAX, TaskStatus, Timestamp
from app.writes.access import CALLER, VISIBLE

COMMENTS_MAX: Final[LiteralString] = "10"  # the last ones: a discussion that goes on is rarely longer
COMMENT_CHARACTERS_MAX: Final[LiteralString] = "2000"  # of each: some 500 tokens
COMMENTS_BYTES_MAX: Final[LiteralString] = "6000"  # of all of them; the newest is always there
COMMENTS_COUNTED_MAX: Final[LiteralString] = "1000"
RELATIONS_MAX: Final[LiteralString] = "20"
BLOCKERS_MAX: Final[LiteralString] = "10"

AroundField = Literal["comments", "relations", "blockers", "hiddenBlockers", "handoff"]

AROUND_FIELDS: Final[frozenset[str]] = frozenset(get_args(AroundField))
DetailField = Literal[TaskField, AroundField]
Fields = Annotated[list[DetailField], Meta(min_length=1, max_length=FIELDS_MAX)]
ALL_FIELDS: Final[tuple[str, ...]] = get_args(DetailField)


class Remark(Answer):
    """A comment, in short."""

    id: Annotated[str, Meta(description="Its id.")]
    by: Annotated[str, Meta(description="Whose it is, by handle; `baton`: the service itself.")]
    body: Annotated[str, Meta(description="The first 2,000 characters of what it says.")]
    at: Annotated[Timestamp, Meta(description="When it was written.")]


class Remarks(Answer):
    """What was said about a task last."""

    last: Annotated[
        list[Remark], Meta(description="The last ten, as far as 6,000 bytes reach; oldest first.")
    ]
    earlier: Annotated[
        int, Meta(description="How many more there are: list-comments has them. 1000 means that or more.")
    ]


class NearTask(Answer):
    """A task that hangs together with this one."""

    kind: Annotated[RelationView, Meta(description="How, seen from this one.")]
    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title, at most 80 characters of it.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]


class Handoff(Answer):
    """What its last holder left for whoever goes on."""

    by: Annotated[str, Meta(description="Whose words they are, by handle.")]
    text: Annotated[str, Meta(description="What they say.")]
    at: Annotated[Timestamp, Meta(description="When they were left.")]


class TaskInFull(Task, omit_defaults=True):
    """A task, and what stands around it as far as `fields` asked for that."""

    comments: Annotated[Remarks | UnsetType, Meta(description="What was said last.")] = UNSET
    relations: Annotated[
        list[NearTask] | UnsetType,
        Meta(
            description="Tasks that hang together with it, but for the open ones that block it; 20 at most."
        ),
    ] = UNSET
    blockers: Annotated[
        list[OpenBlocker] | UnsetType,
        Meta(description="Open tasks that have to be done or cancelled first; 10 at most."),
    ] = UNSET
    hidden_blockers: Annotated[
        int | UnsetType, Meta(description="How many more block it, here not listed or not yours to see.")
    ] = UNSET
    handoff: Annotated[
        Handoff | None | UnsetType, Meta(description="What the last attempt left; null if nothing.")
    ] = UNSET


class AroundRow(msgspec.Struct):
    """All of it, each as JSON."""

    comments: Encoded[Remarks]
    relations: Encoded[list[NearTask]]
    blockers: Encoded[list[OpenBlocker]]
    hidden_blockers: int
    handoff: Encoded[Handoff] | None


_BLOCKERS: Final = blockers("i.workspace_id", "i.actor_id", "i.task_id", BLOCKERS_MAX)

AROUND = Query(
    AroundRow,
    f"""
    WITH i AS ({CALLER}, %(task_id)s::uuid AS task_id), said AS (
        SELECT c.id, coalesce(a.handle, 'baton') AS by, c.created_at,
               CASE WHEN length(c.body) > {COMMENT_CHARACTERS_MAX} THEN left(c.body, {COMMENT_CHARACTERS_MAX} - 1) || '…'
                    ELSE c.body END AS body
          FROM (SELECT c.*
                  FROM i JOIN task_comments c ON c.workspace_id = i.workspace_id AND c.task_id = i.task_id
                 ORDER BY c.id DESC
                 LIMIT {COMMENTS_MAX}) c
          LEFT JOIN identities a ON a.workspace_id = c.workspace_id AND a.id = c.author_id
    ), weighed AS (
        SELECT s.*, sum(octet_length(s.body)) OVER (ORDER BY s.id DESC) AS bytes, row_number() OVER (ORDER BY s.id DESC) AS place
          FROM said s
    ), near AS (
        SELECT CASE WHEN r.from_task_id = i.task_id OR r.kind = 'related' THEN r.kind
                    WHEN r.kind = 'blocks' THEN 'blocked_by' ELSE 'duplicated_by' END AS kind,
               r.created_at, t.id, t.number, t.title, t.status
          FROM i
         CROSS JOIN LATERAL (
               SELECT r.* FROM task_relations r WHERE r.workspace_id = i.workspace_id AND r.from_task_id = i.task_id
                UNION ALL
               SELECT r.* FROM task_relations r WHERE r.workspace_id = i.workspace_id AND r.to_task_id = i.task_id) r
          JOIN tasks t ON t.workspace_id = i.workspace_id
                      AND t.id = CASE WHEN r.from_task_id = i.task_id THEN r.to_task_id ELSE r.from_task_id END
         WHERE NOT (r.kind = 'blocks' AND r.to_task_id = i.task_id AND t.is_open) AND {VISIBLE}
         ORDER BY r.created_at, t.id
         LIMIT {RELATIONS_MAX}
    )
    SELECT (SELECT row_to_json((SELECT w FROM (SELECT
                       coalesce(json_agg(row_to_json((SELECT w FROM (SELECT
                           s.id, s.by, s.body, {moment("s.created_at")} AS at) w)) ORDER BY s.id), '[]') AS last,
                       (SELECT count(*) FROM (SELECT FROM task_comments c
                                               WHERE c.workspace_id = %(workspace_id)s::uuid AND c.task_id = %(task_id)s::uuid
                                               LIMIT {COMMENTS_COUNTED_MAX}) c) - count(s.id) AS earlier) w))
              FROM weighed s
             WHERE s.bytes <= {COMMENTS_BYTES_MAX} OR s.place = 1),
           (SELECT coalesce(json_agg(row_to_json((SELECT w FROM (SELECT
                       n.kind, 'T-' || n.number AS identifier, left(n.title, {TITLE_CHARACTERS}) AS title, n.status) w))
                       ORDER BY n.created_at, n.id), '[]')
              FROM near n),
           coalesce(b.shown, '[]')::json, b.open - coalesce(jsonb_array_length(b.shown), 0),
           (SELECT row_to_json((SELECT w FROM (SELECT
                       (SELECT a.handle FROM identities a WHERE a.workspace_id = r.workspace_id AND a.id = r.holder_id) AS by,
                       r.handoff AS text, {moment("coalesce(r.ended_at, r.updated_at)")} AS at) w))
              FROM (SELECT r.*
                      FROM runs r
                     WHERE r.workspace_id = i.workspace_id AND r.work_item_id = i.task_id AND r.holder_id IS NOT NULL
                       AND (r.ended_at IS NOT NULL OR r.handoff IS NOT NULL)
                     ORDER BY r.id DESC
                     LIMIT 1) r
             WHERE r.handoff IS NOT NULL)
      FROM i
     CROSS JOIN LATERAL {_BLOCKERS} b
    """,
    pipelined=True,
)


async def with_around(
    ctx: Context, task_id: UUID, task: Encoded[TaskInFull], fields: frozenset[str]
) -> Encoded[TaskInFull]:
    """A task that the caller sees, with what stands around it as far as it is asked for."""
    row = await ctx.one(AROUND, task_id=task_id)
    assert row is not None, "it is asked of one row"
    around = {
        "comments": row.comments,
        "relations": row.relations,
        "blockers": row.blockers,
        "hiddenBlockers": row.hidden_blockers,
        "handoff": row.handoff,
    }
    return task.plus({name: value for name, value in around.items() if name in fields})
