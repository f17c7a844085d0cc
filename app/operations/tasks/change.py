"""How a task changes: one statement for update, complete, cancel, block and release alike.

Each call is an item: who acts, which task, the `version` they read (or null, to take it as it is), and
`changes`, where an absent key keeps a column and null clears it. The statement joins each item `i` to the row
as it was, `o`, works out the row as it shall be, `n`, once, and the difference `d` between them. No difference,
no write: no new version and no event. In the same statement it writes the event, the words for search, who now
takes part, the card for the channel, and the comment that came along, if any.

A version that has passed is refused, unless the call may be merged and nobody touched its fields since: that is
read from the log in the same snapshot, and `t.version = o.version` holds it until the write.

A change that takes the task from its assignee, or out of progress and review, ends the claim on it, if there is
one.

When no row comes back, `WHY` runs over the same input and says why not; that is off the hot path.
"""

from collections.abc import Mapping
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from app.db import BatchQuery, Encoded, Item
from app.errors import (
    ApiError,
    NotAssigned,
    NotAssignee,
    NotYoursToShow,
    ParentCycle,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
)
from app.ids import TICK_NOW, id_at, new_id
from app.operations.channels.channel import CHANNEL_OPEN, refuse_posting
from app.operations.identities import not_named
from app.operations.tasks.comment import COMMENT_CTES
from app.operations.tasks.conflict import (
    MERGEABLE,
    NONE_OVERLAPS,
    OVERLAPPING,
    SEEN,
    ChangedField,
    OverlappingField,
    touches,
)
from app.operations.tasks.moved import Field, difference, moved
from app.operations.tasks.task import ACTORS_TASK_JSON, EncodedTask, Task
from app.operations.told import any_blocker, blockers
from app.rpc import Context, Outcome
from app.writes.access import KNOWN_IDENTITY, MOVABLE, SHARABLE, VISIBLE, WRITABLE, seen_id
from app.writes.write import Write, calls


class RefusalRow(msgspec.Struct):
    """Why a change did not happen: the state of everything it depended on."""

    ord: int
    task: EncodedTask
    version: int
    unchanged: bool
    writable: bool
    assigned: bool
    assigned_to_caller: bool
    may_assign: bool
    may_share: bool
    may_move: bool
    may_bind: bool
    may_put_under: bool
    parent_is_below: bool
    mergeable: bool
    changed: Encoded[list[ChangedField]] | None  # null: the version has not passed
    overlapping: Encoded[list[OverlappingField]] | None
    removed_to: int | None


_TAKES_OWN: Final = (
    "task_id uuid, message_id uuid, version int, merge text[], kind text, changes jsonb, comment jsonb"
)
_TAKES: Final = f"""{_TAKES_OWN},
        assignee_id uuid, assignee_kind text, channel_id uuid, parent_task_id uuid"""

# The row as it shall be, `n`, and how it differs from the row as it was, `o`: one entry per field, as
# {"field": [from, to]}, or null where nothing differs. (OFFSET 0 has it worked out once, not wherever it is named.)
# `unassign` clears the assignee only if it is of that kind: a null for one of the two fields says nothing of the other.
# A parent that the caller does not see was shown to them as null, so their null says nothing of it.
_UNASSIGNED: Final[tuple[LiteralString, LiteralString]] = (
    "CASE WHEN i.changes->>'unassign' = o.assignee_kind THEN NULL ELSE o.assignee_id END",
    "CASE WHEN i.changes->>'unassign' = o.assignee_kind THEN NULL ELSE o.assignee_kind END",
)
_OWN: Final = f"""
        {_UNASSIGNED[0]} AS assignee_id, {_UNASSIGNED[1]} AS assignee_kind, o.channel_id, o.parent_task_id"""
_OTHERS: Final = f"""
        CASE WHEN i.changes ? 'assigneeId' THEN i.assignee_id ELSE {_UNASSIGNED[0]} END AS assignee_id,
        CASE WHEN i.changes ? 'assigneeId' THEN i.assignee_kind ELSE {_UNASSIGNED[1]} END AS assignee_kind,
        CASE WHEN i.changes ? 'channelId' THEN i.channel_id ELSE o.channel_id END AS channel_id,
        CASE WHEN i.changes ? 'parentTaskId' AND (
                i.parent_task_id IS NOT NULL OR {seen_id("i.workspace_id", "i.actor_id", "o.parent_task_id")} IS NOT NULL)
             THEN i.parent_task_id ELSE o.parent_task_id END AS parent_task_id"""
_OWN_FIELDS: Final[tuple[Field, ...]] = (
    *("title", "description", "status", "priority", "dueAt", "assigneeUserId", "assigneeAgentId"),
    *("startedAt", "completedAt", "cancelledAt", "runId"),
)


def _next(others: LiteralString, *fields: Field) -> LiteralString:
    return f"""
    CROSS JOIN LATERAL (SELECT
        CASE WHEN i.changes ? 'title' THEN i.changes->>'title' ELSE o.title END AS title,
        CASE WHEN i.changes ? 'description' THEN i.changes->>'description' ELSE o.description END AS description,
        CASE WHEN i.changes ? 'status' THEN i.changes->>'status' ELSE o.status END AS status,
        CASE WHEN i.changes ? 'priority' THEN (i.changes->>'priority')::smallint ELSE o.priority END AS priority,
        CASE WHEN i.changes ? 'dueAt' THEN to_timestamp((i.changes->>'dueAt')::float8) ELSE o.due_at END AS due_at,{others}) w
    CROSS JOIN LATERAL (SELECT w.*,
        CASE WHEN w.status = 'in_progress' THEN coalesce(o.started_at, now()) ELSE o.started_at END AS started_at,
        CASE WHEN w.status = 'done' AND o.status <> 'done' THEN now() ELSE o.completed_at END AS completed_at,
        CASE WHEN w.status = 'cancelled' AND o.status <> 'cancelled' THEN now() ELSE o.cancelled_at END AS cancelled_at,
        CASE WHEN w.status IN ('in_progress', 'in_review') AND w.assignee_id = o.assignee_id THEN o.run_id END AS run_id,
        CASE WHEN w.status = 'done' OR (o.status = 'blocked' AND w.status <> 'blocked') THEN 0 ELSE o.failures END AS failures) n
    CROSS JOIN LATERAL (
        SELECT {difference("o.", "n.", *fields)} AS changes OFFSET 0) d"""


NEXT: Final = _next(_OTHERS, *_OWN_FIELDS, "channelId", "parentTaskId")


ASSIGNEE_KNOWN: Final = f"""EXISTS (
        SELECT FROM identities a
         WHERE a.workspace_id = i.workspace_id AND a.id = i.assignee_id AND a.kind = i.assignee_kind
           AND a.deactivated_at IS NULL AND {KNOWN_IDENTITY})"""

PARENT_VISIBLE: Final = f"""EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.parent_task_id AND {VISIBLE})"""

# Whether the new parent is the task itself or stands below it. Two moves at once could each look harmless, so
# callers that set a parent take their turn first.
PARENT_BELOW: Final = """EXISTS (
        WITH RECURSIVE up AS (
            SELECT p.id, p.parent_task_id FROM tasks p WHERE p.workspace_id = i.workspace_id AND p.id = i.parent_task_id
             UNION
            SELECT p.id, p.parent_task_id FROM up JOIN tasks p ON p.workspace_id = i.workspace_id AND p.id = up.parent_task_id
        )
        SELECT FROM up WHERE up.id = o.id)"""

# What a change may say of the three: nothing, what is the case already (whoever sends a task back as they read
# it asks for nothing), or something that is theirs to use.
MAY_ASSIGN: Final = f"""(
        i.assignee_id IS NULL OR (i.assignee_id, i.assignee_kind) = (o.assignee_id, o.assignee_kind) OR {ASSIGNEE_KNOWN})"""
MAY_BIND: Final = f"""(i.channel_id IS NULL OR i.channel_id = o.channel_id OR {CHANNEL_OPEN})"""

# Whether it stays shown to whom it was, or the caller may decide that: see SHARABLE and MOVABLE. Whoever works on a
# task without being one of those whose task it is may still give it to somebody who sees it anyway.
MAY_MOVE: Final = f"""(n.channel_id IS NOT DISTINCT FROM o.channel_id OR {MOVABLE})"""
MAY_SHARE: Final = f"""(
        n.assignee_id IS NULL OR n.assignee_id IS NOT DISTINCT FROM o.assignee_id OR {SHARABLE}
        OR EXISTS (SELECT FROM task_participants p
                    WHERE p.workspace_id = i.workspace_id AND p.identity_id = n.assignee_id AND p.task_id = t.id)
        OR EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = i.workspace_id AND m.identity_id = n.assignee_id AND m.channel_id = t.channel_id))"""
MAY_PUT_UNDER: Final = (
    f"""(i.parent_task_id IS NULL OR i.parent_task_id = o.parent_task_id OR {PARENT_VISIBLE})"""
)

_RETURNED: Final = """t.*, i.ord, i.actor_id, i.actor_kind, i.request_id, i.kind, i.message_id, i.comment,
                  d.changes AS difference, CASE WHEN i.version < o.version THEN i.version END AS merged_from,
                  CASE WHEN n.run_id IS NULL THEN o.run_id END AS ended_run_id, o.assignee_id AS old_assignee_id"""


def _changed(next: LiteralString, may: LiteralString) -> LiteralString:
    return f"""
    moved AS (
        UPDATE tasks t
           SET title = n.title, description = n.description, status = n.status, priority = n.priority, due_at = n.due_at,
               assignee_id = n.assignee_id, assignee_kind = n.assignee_kind, channel_id = n.channel_id,
               parent_task_id = n.parent_task_id, started_at = n.started_at, completed_at = n.completed_at,
               cancelled_at = n.cancelled_at, run_id = n.run_id, failures = n.failures,
               version = o.version + 1, updated_at = now()
          FROM i
          JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
         {next}
         WHERE t.workspace_id = i.workspace_id AND t.id = i.task_id
           AND t.version = o.version                      -- nobody came in between, also where no version decides
           AND (i.version IS NULL OR i.version = o.version OR {MERGEABLE})
           AND {WRITABLE}
           {may}
           AND (i.kind <> 'released' OR o.assignee_id = i.actor_id)
           AND d.changes IS NOT NULL
        RETURNING {_RETURNED}"""


def _moved(changed: LiteralString, *, assigns: bool) -> LiteralString:
    return f"""{changed}
    ), {moved(assigns=assigns, rewords=True, ends_claims=True)}"""


_CHANGED: Final = _changed(
    NEXT,
    f"""AND {MAY_ASSIGN}
           AND {MAY_SHARE}
           AND {MAY_MOVE}
           AND {MAY_BIND}
           AND {MAY_PUT_UNDER}
           AND (i.parent_task_id IS NULL OR NOT {PARENT_BELOW})""",
)
_MOVED: Final = _moved(_CHANGED, assigns=True)

# The task as it is where it stands already where the caller wants it.
_UNCHANGED: Final = f"""
          FROM i
          JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
         CROSS JOIN LATERAL (SELECT o.*) t                -- the same row, under the name the shared fragments use
         {NEXT}
         WHERE (i.version IS NULL OR i.version = o.version OR {MERGEABLE})
           AND {WRITABLE}
           AND d.changes IS NULL"""

# What a change has to say besides: that it ended a claim; and for models whose that was, and what blocks what is in progress
# now. Those are looked up by a statement of its own, for even what is never looked up takes its time in one that could.
_HOW_IT_ENDED: Final = """CASE WHEN t.status = 'done' THEN 'completed'
                       WHEN t.old_assignee_id = t.actor_id THEN 'released' ELSE 'superseded' END"""
_SAYS_SO: Final = f"""CASE WHEN t.ended_run_id IS NOT NULL THEN json_build_object('claimEnded', json_build_object(
                  'runId', t.ended_run_id, 'reason', {_HOW_IT_ENDED})) END AS told"""
_BLOCKERS: Final = blockers("t.workspace_id", "t.actor_id", "t.id")
_TOLD: Final = f"""CASE WHEN t.ended_run_id IS NOT NULL
                  OR (t.status = 'in_progress' AND t.difference ? 'status' AND {any_blocker("t.workspace_id", "t.id")}) THEN (
               SELECT jsonb_strip_nulls(jsonb_build_object(
                          'claimEnded', CASE WHEN t.ended_run_id IS NOT NULL THEN jsonb_build_object(
                              'runId', t.ended_run_id, 'reason', {_HOW_IT_ENDED},
                              'holder', (SELECT a.handle FROM identities a
                                          WHERE a.workspace_id = t.workspace_id AND a.id = t.old_assignee_id
                                            AND a.id <> t.actor_id)) END,
                          'blockers', b.shown,
                          'hiddenBlockers', nullif(b.open - coalesce(jsonb_array_length(b.shown), 0), 0)))::json
                 FROM (SELECT) one
                 LEFT JOIN LATERAL {_BLOCKERS} b ON t.status = 'in_progress' AND t.difference ? 'status') END AS told"""


def _task_at_stake(item: Item) -> tuple[object, ...]:
    """The task, unless a version decides which of two calls on it wins."""
    return (item["task_id"],) if item["version"] is None or "merge" in item else ()


def _change(
    takes: LiteralString, does: LiteralString, answers: LiteralString, *, ends_claims: LiteralString = "moved"
) -> Write[Task]:
    return Write(
        takes=takes,
        does=does,
        answers=answers,
        merges=True,
        tells=True,
        ends_claims=ends_claims,
        locks="task_id",
        one_per=_task_at_stake,
    )


def _answers(told: LiteralString) -> LiteralString:
    return f"SELECT t.ord, {ACTORS_TASK_JSON} AS answer, t.merged_from, {told} FROM moved t"


_CHANGED_OR_NOT: Final = f"""
        {_answers(_TOLD)}
         UNION ALL
        SELECT t.ord, {ACTORS_TASK_JSON}, NULL, NULL FROM unchanged t"""

# Most changes name no assignee, channel or parent, and so need not ask who may: even what is never asked takes its time
# in a statement that could, and all that was three tenths of a single call's.
CHANGE: Final = _change(
    _TAKES_OWN, _moved(_changed(_next(_OWN, *_OWN_FIELDS), ""), assigns=False), _answers(_SAYS_SO)
)

# The same for those that do.
PLACE: Final = _change(_TAKES, _MOVED, _answers(_SAYS_SO))

# The same for models, when the change can end a claim or set going what is blocked.
CHANGE_AND_TELL: Final = _change(_TAKES, _MOVED, _answers(_TOLD))

# The same with a comment that says why. Apart, because a plain update should not pay for it. A task that stands
# where the caller wants it keeps its version, but the comment is written all the same.
CHANGE_AND_COMMENT: Final = _change(
    _TAKES,
    f"""{_MOVED}, unchanged AS (
        SELECT o.*, i.ord, i.actor_id, i.actor_kind, i.request_id, i.comment {_UNCHANGED}
    ), remark AS (
        SELECT ord, workspace_id, id AS task_id, version, actor_id, actor_kind, request_id, comment FROM moved
         UNION ALL
        SELECT ord, workspace_id, id AS task_id, version, actor_id, actor_kind, request_id, comment FROM unchanged
    ), {COMMENT_CTES}""",
    _CHANGED_OR_NOT,
)

# The same with what the next holder should know. It stands in the run of the claim, whether that ends now or goes on, where
# the next claim finds it. Who had the task without a claim leaves a run behind that has ended.
HAND_OVER: Final = _change(
    f"{_TAKES}, handoff text, handoff_run_id uuid",
    f"""{_CHANGED}, i.handoff, i.handoff_run_id
    ), {moved(assigns=True, rewords=True, ends_claims=True, hands_over=True)}, unchanged AS (
        SELECT o.*, i.ord, i.actor_id, i.actor_kind, i.handoff, i.handoff_run_id {_UNCHANGED}
    ), handed AS (
        SELECT workspace_id, id AS task_id, actor_id, actor_kind, handoff, handoff_run_id, started_at, run_id,
               coalesce(ended_run_id, run_id) AS ended_run_id
          FROM moved
         UNION ALL
        SELECT workspace_id, id, actor_id, actor_kind, handoff, handoff_run_id, started_at, run_id, run_id FROM unchanged
    ), noted AS (                                         -- a sign of life of its holder, like any write under it
        UPDATE runs r
           SET handoff = h.handoff, updated_at = now(), version = r.version + 1,
               lease_expires_at = CASE WHEN r.holder_id = h.actor_id AND r.lease_expires_at > now()
                                       THEN greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
                                       ELSE r.lease_expires_at END
          FROM handed h
         WHERE r.workspace_id = h.workspace_id AND r.id = h.run_id AND r.ended_at IS NULL
    ), attempt AS (
        INSERT INTO runs (workspace_id, id, kind, status, work_item_id, author_id, author_kind, started_at, ended_at, holder_id,
                          holder_kind, attempt, lease_expires_at, lease_check_at, handoff, end_reason)
        SELECT h.workspace_id, {id_at(TICK_NOW, "h.handoff_run_id")}, 'claim', 'cancelled', h.task_id, h.actor_id, h.actor_kind,
               h.started_at, now(), h.actor_id, h.actor_kind,
               1 + coalesce((SELECT p.attempt
                               FROM runs p
                              WHERE p.workspace_id = h.workspace_id AND p.work_item_id = h.task_id AND p.attempt IS NOT NULL
                              ORDER BY p.id DESC
                              LIMIT 1), 0),
               now(), now(), h.handoff, 'released'
          FROM handed h
         WHERE h.ended_run_id IS NULL
    )""",
    _CHANGED_OR_NOT,
    ends_claims="handed",
)

MOVE_AND_HAND_OVER: Final = HAND_OVER.in_turn("move")
MOVE: Final = PLACE.in_turn("move")
MOVE_AND_COMMENT: Final = CHANGE_AND_COMMENT.in_turn("move")
_MOVES: Final = {
    PLACE: MOVE,
    CHANGE_AND_TELL: CHANGE_AND_TELL.in_turn("move"),
    CHANGE_AND_COMMENT: MOVE_AND_COMMENT,
    HAND_OVER: MOVE_AND_HAND_OVER,
}
_TELLING: Final = frozenset({"status", "assigneeId", "unassign"})
"""What of a change can end a claim or set going what is blocked."""

WHY = BatchQuery(
    RefusalRow,
    f"""
    WITH i AS MATERIALIZED ({calls(_TAKES)}
    ), {SEEN}
    SELECT i.ord, seen.task, seen.version,
           d.changes IS NULL,
           {WRITABLE},
           t.assignee_id IS NOT NULL,
           t.assignee_id IS NOT DISTINCT FROM i.actor_id,
           {MAY_ASSIGN},
           {MAY_SHARE},
           {MAY_MOVE},
           {MAY_BIND},
           {MAY_PUT_UNDER},
           i.parent_task_id IS NOT NULL AND {PARENT_BELOW},
           {NONE_OVERLAPS}, seen.changed, {OVERLAPPING}, seen.removed_to
      FROM i
      JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
      JOIN seen ON (seen.workspace_id, seen.task_id) = (i.workspace_id, i.task_id) AND seen.sent IS NOT DISTINCT FROM i.version
               AND (seen.viewer_id IS NULL OR seen.viewer_id = i.actor_id)
     CROSS JOIN LATERAL (SELECT o.*) t                    -- the same row, under the name the shared fragments use
     {NEXT}
     WHERE {VISIBLE}
    """,
)


async def change(
    ctx: Context,
    *,
    task_id: UUID,
    sent_task_id: str,
    kind: str,
    changes: Mapping[str, object],
    sent_parent_id: str | None = None,
    version: int | None = None,
    merge: bool = False,
    comment: Mapping[str, object] | None = None,
    handoff: str | None = None,
) -> Outcome[Task]:
    """Change a task, and answer with the task as it is after that; or raise what stands in the way.

    A call that would change nothing writes nothing but its comment or handoff. With `merge`, a version that has passed is in
    the way only if somebody has touched the same fields since. Errors name tasks as the caller did, in `sent_…`:
    the id behind a `T-42` that they may not see is not theirs to learn.
    """
    item = {**item_of(task_id, version, changes), "message_id": new_id(), "kind": kind}
    if comment is not None:
        item["comment"] = comment
    if handoff is not None:
        item |= {"handoff": handoff, "handoff_run_id": new_id()}
    plain = CHANGE_AND_TELL if ctx.for_model and not _TELLING.isdisjoint(changes) else write_of(changes)
    write = HAND_OVER if handoff is not None else CHANGE_AND_COMMENT if comment is not None else plain
    if changes.get("parentTaskId") is not None:
        write = _MOVES[write]
    says_more = comment is not None or handoff is not None

    async def otherwise() -> Outcome[Task] | None:
        why = await ctx.ask(WHY, **{**item, "merge": touches(changes)})
        if why is None:
            raise TaskNotFound(sent_task_id)
        if refusal := await _refusal(ctx, why, item, sent_parent_id, may_merge=merge):
            raise refusal
        return Outcome(why.task, wrote=False) if why.unchanged and not says_more else None

    if merge and version is not None:
        item["merge"] = touches(changes)
    return await ctx.settle(write, otherwise, **item)


def write_of(changes: Mapping[str, object]) -> Write[Task]:
    """The statement for a change that needs no turn and says nothing besides."""
    return CHANGE if _NAMES.keys().isdisjoint(changes) else PLACE


def item_of(
    task_id: UUID, version: int | None, changes: Mapping[str, object]
) -> dict[str, Any]:  # Any: becomes JSON
    """The columns that say what is to change, and of which task. What names something else is a column too."""
    named = {column: changes[name] for name, column in _NAMES.items() if name in changes}
    return {"task_id": task_id, "version": version, "changes": changes, **named}


_NAMES: Final = {
    "assigneeId": "assignee_id",
    "assigneeKind": "assignee_kind",
    "channelId": "channel_id",
    "parentTaskId": "parent_task_id",
}


async def _refusal(  # noqa: PLR0911 - a ladder
    ctx: Context, why: RefusalRow, item: Mapping[str, Any], sent_parent_id: str | None, *, may_merge: bool
) -> ApiError | None:
    """The first thing that stands in the way, most fundamental first; None if nothing does."""
    changes = item["changes"]
    if not why.writable:
        return TaskReadOnly()
    if why.changed is not None and not (why.mergeable and may_merge):
        return _passed(item["version"], why, knows_merge=True)
    if item["kind"] == "released" and not why.assigned_to_caller:
        return NotAssignee() if why.assigned else NotAssigned()
    if not why.may_assign:
        field = "assigneeUserId" if changes["assigneeKind"] == "user" else "assigneeAgentId"
        return await not_named(ctx, str(changes["assigneeId"]), field=field)
    if not (why.may_share and why.may_move):
        return NotYoursToShow()
    if not why.may_bind:
        await refuse_posting(ctx, str(changes["channelId"]))
    if not why.may_put_under:
        return TaskNotFound(sent_parent_id or str(changes["parentTaskId"]), field="parentTaskId")
    if why.parent_is_below:
        return ParentCycle()
    return None


async def version_conflict(
    ctx: Context, *, task_id: UUID, version: int | None, changes: Mapping[str, object]
) -> VersionConflict | None:
    """For a verb with a statement of its own: the conflict, if the task is not at the version that was sent."""
    if version is None:
        return None
    why = await ctx.ask(WHY, **item_of(task_id, version, changes), merge=touches(changes))
    if why is None or why.changed is None:
        return None
    return _passed(version, why, knows_merge=False)


def _passed(sent: int, why: RefusalRow, *, knows_merge: bool) -> VersionConflict:
    return VersionConflict(
        sent=sent,
        current_version=why.version,
        current=why.task,
        mergeable=why.mergeable,
        changed=why.changed,
        overlapping=why.overlapping,
        removed_to=why.removed_to,
        knows_merge=knows_merge,
    )
