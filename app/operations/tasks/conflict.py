"""When a version has passed: what changed since, whether that is in the way, and what a caller is told of it.

Everything is read from the log. An event has the version it made and its difference, `{"field": [from, to]}`, so
the events above the version a caller read are exactly what they have not seen. A change is *mergeable* if none of
these events touched a field that it writes. Whether the values happen to agree does not matter: two agents who
both write `in_progress` both believe that they were first, and one is wrong.

Fragments speak of `i`, the input with its `version` and, in `merge`, the fields it touches (null: it must not be
merged), of `o`, the task as it is, and of `d`, the difference the change would make.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, LiteralString, TypeAlias

import msgspec
from msgspec import Meta, UnsetType

from app.db.phrases import moment
from app.operations.tasks.task import task_json
from app.rpc import UNTOLD, Answer
from app.types import ActorKind, Timestamp, Version
from app.writes.access import seen_id

VERSIONS_BACK_MAX: Final[LiteralString] = (
    "1000"  # of one task's log, read to explain or merge; who is further behind must read anew
)

AsRead: TypeAlias = Annotated[
    Version | None | UnsetType,
    Meta(
        description="The version you read: 409 if the task has moved on. Without it the task is taken as it is.",
        extra=UNTOLD,
    ),
]
OnConflict: TypeAlias = Annotated[
    Literal["reject", "merge"] | None | UnsetType,
    Meta(
        description=(
            "If the task has moved on: `reject` (the default), or `merge` if nobody touched the same fields. A "
            "change that is rejected, or cannot be merged, is answered with 409."
        )
    ),
]


class Author(Answer):
    """Who did something."""

    brief: ClassVar[tuple[str, ...]] = ("handle",)

    id: Annotated[str, Meta(description="The user or agent; of the service itself all zeros.")]
    kind: Annotated[
        ActorKind, Meta(description="Which of the two; `system`: nobody, such as a lease that ran out.")
    ]
    handle: Annotated[str, Meta(description="Its handle; `baton` of the service itself.")]


def author(id: LiteralString, kind: LiteralString) -> LiteralString:
    """SQL for an Author. `a` is the identity with this id, or no row where the service itself did it."""
    return f"""row_to_json((SELECT w FROM (SELECT {id} AS id, {kind} AS kind, coalesce(a.handle, 'baton') AS handle) w))"""


class ChangedField(Answer):
    """A field that was changed after the version you sent."""

    brief: ClassVar[tuple[str, ...]] = ("field", "to", "by")
    cut: ClassVar[tuple[str, ...]] = ("from", "to")

    field: Annotated[str, Meta(description="Its name.")]
    was: Annotated[str | None, Meta(description="Its value in the version you sent.")] = msgspec.field(
        name="from"
    )
    now: Annotated[str | None, Meta(description="Its value now.")] = msgspec.field(name="to")
    version: Annotated[int, Meta(description="The version that changed it last.")]
    by: Annotated[Author, Meta(description="Who changed it last.")]
    at: Annotated[Timestamp, Meta(description="When.")]


class OverlappingField(Answer):
    """A field that you change and someone else has changed after the version you sent."""

    field: Annotated[str, Meta(description="Its name.")]
    yours: Annotated[str | None, Meta(description="The value you want.")]
    theirs: Annotated[str | None, Meta(description="The value it has now.")]


# What events say of other tasks.
_TASK_FIELDS: Final = "'{parentTaskId, blocks, blocked_by, related, duplicate, duplicated_by}'::text[]"


def shown_changes(event: LiteralString, viewer: LiteralString) -> LiteralString:
    """SQL for the fields that an event changed, as rows of (field, [from, to]), without tasks that the viewer does not see."""
    before = seen_id(f"{event}.workspace_id", viewer, "(x.change->>0)::uuid")
    after = seen_id(f"{event}.workspace_id", viewer, "(x.change->>1)::uuid")
    return f"""(
            SELECT x.field, x.change FROM jsonb_each({event}.changes) AS x (field, change) WHERE x.field <> ALL ({_TASK_FIELDS})
             UNION ALL
            SELECT x.field, jsonb_build_array(y.before, y.after)
              FROM jsonb_each({event}.changes) AS x (field, change)
             CROSS JOIN LATERAL (SELECT {before} AS before, {after} AS after) y
             WHERE x.field = ANY ({_TASK_FIELDS}) AND (y.before IS NOT NULL OR y.after IS NOT NULL))"""


# Whether a change may be applied to a task that has moved on. A version that has not been yet is no base for it, nor one
# since which something happened that nobody knows any more: see jobs/retention.py.
MERGEABLE: Final = f"""(
        i.merge IS NOT NULL AND i.version < o.version AND i.version >= o.version - {VERSIONS_BACK_MAX}
        AND NOT EXISTS (
            SELECT FROM task_events v
             WHERE v.workspace_id = i.workspace_id AND v.task_id = i.task_id AND v.version > i.version
               AND (v.changes ?| i.merge OR v.kind = 'removed')))"""

# The task as it is, and what has changed since the version that was sent, each field once: from the value it had then to
# the value it has now. Only what it is a part of depends on who asks, so for a task that stands alone it is worked out
# once for all who lost to the same writer. (What it was once a part of, and is no more, is then shown to nobody.)
# Without a version, or with the one the task is at, nothing has changed and these are null. If some of it was removed from the
# log, `removed_to` is the last version of which that is so, and nothing is said of what has changed: it would be wrong.
SEEN: Final = f"""
    seen AS MATERIALIZED (
        SELECT k.workspace_id, k.task_id, k.version AS sent, k.viewer_id, t.version, {task_json("k.viewer_id")} AS task,
               CASE WHEN gone.removed_to IS NULL THEN since.changed ELSE '[]' END AS changed,
               CASE WHEN gone.removed_to IS NULL THEN since.became ELSE '{{}}' END AS became, gone.removed_to
          FROM (SELECT DISTINCT i.workspace_id, i.task_id, i.version,
                       CASE WHEN p.parent_task_id IS NOT NULL THEN i.actor_id END AS viewer_id
                  FROM i JOIN tasks p ON p.workspace_id = i.workspace_id AND p.id = i.task_id) k
          JOIN tasks t ON t.workspace_id = k.workspace_id AND t.id = k.task_id
         CROSS JOIN LATERAL (
                SELECT max(v.version) FILTER (WHERE v.kind = 'removed') AS removed_to
                  FROM task_events v
                 WHERE v.workspace_id = k.workspace_id AND v.task_id = k.task_id
                   AND v.version > k.version) gone
          LEFT JOIN LATERAL (
                SELECT coalesce(array_to_json(array_agg(row_to_json((SELECT w FROM (SELECT
                           c.field, c.was AS "from", c.becomes AS "to", c.version,
                           {author("c.actor_id", "c.actor_kind")} AS by,
                           {moment("c.created_at")} AS at) w))
                           ORDER BY c.version, c.field)), '[]') AS changed,
                       coalesce(jsonb_object_agg(c.field, c.becomes), '{{}}') AS became
                  FROM (SELECT DISTINCT ON (f.field)
                               f.field, v.version, v.actor_id, v.actor_kind, v.created_at, f.change->1 AS becomes,
                               first_value(f.change->0) OVER (PARTITION BY f.field ORDER BY v.version) AS was
                          FROM task_events v
                         CROSS JOIN LATERAL {shown_changes("v", "k.viewer_id")} AS f (field, change)
                         WHERE v.workspace_id = k.workspace_id AND v.task_id = k.task_id
                           AND v.version > k.version AND v.version > t.version - {VERSIONS_BACK_MAX}
                         ORDER BY f.field, v.version DESC) c
                  LEFT JOIN identities a ON a.workspace_id = k.workspace_id AND a.id = c.actor_id) since ON k.version <> t.version
    )"""

# Of what has changed, what the caller writes too; and whether it is nothing. `d.changes` says what the caller would change
# of the task as it is; a field that is not in it has the wanted value already.
OVERLAPPING: Final = """
           CASE WHEN seen.became IS NOT NULL THEN (
               SELECT coalesce(array_to_json(array_agg(row_to_json((SELECT w FROM (SELECT
                          f.field, f.becomes AS theirs,
                          CASE WHEN d.changes ? f.field THEN d.changes->f.field->1 ELSE f.becomes END AS yours) w))
                          ORDER BY f.field)), '[]')
                 FROM jsonb_each(seen.became) AS f (field, becomes)
                WHERE f.field = ANY(i.merge)) END"""
NONE_OVERLAPS: Final = f"""coalesce(
               i.version < o.version AND i.version >= o.version - {VERSIONS_BACK_MAX} AND seen.removed_to IS NULL
               AND NOT seen.became ?| i.merge, false)"""

_PAIR: Final = (
    "assigneeUserId",
    "assigneeAgentId",
)  # one place with two names: whoever sets one clears the other
_TOUCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "assigneeId": _PAIR,
    "assigneeKind": _PAIR,
    "unassign": _PAIR,
}


def touches(changes: Mapping[str, object]) -> list[str]:
    """The wire names of the fields that a change writes.

    The stamps (startedAt, completedAt, cancelledAt) follow from the status, so `status` stands for them.
    """
    return list(dict.fromkeys(name for key in changes for name in _TOUCHES.get(key, (key,))))
