"""How a task changes: one statement for update, complete, cancel, block and release alike.

Each call is an item: who acts, which task, the `version` they read (or null, to take it as it is), and
`changes`, where an absent key keeps a column and null clears it. The statement joins each item `i` to the row
as it was, `o`, works out the row as it shall be, `n`, once, and the difference `d` between them. No difference,
no write: no new version and no event. In the same statement it writes the event, the words for search, who now
takes part, the card for the channel, and the comment that came along, if any.

A version that has passed is refused, unless the call may be merged and nobody touched its fields since: that is
read from the log in the same snapshot, and `t.version = o.version` holds it until the write.

A change that takes the task from its assignee, or out of progress and review, ends the claim on it, if there is
one. A change that says `runId` is made under a claim: see app/writes/fence.py.

When no row comes back, `WHY` runs over the same input and says why not; that is off the hot path.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from app.db import ITEMS, BatchQuery, Encoded
from app.db.phrases import agent, folded, moment, user
from app.errors import (
    ApiError,
    Contended,
    IdentityNotFound,
    NotAssigned,
    NotAssignee,
    NotYoursToShow,
    ParentCycle,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
)
from app.ids import new_id
from app.operations.channels.channel import CHANNEL_OPEN, refuse_posting
from app.operations.messages.message import POSTED
from app.operations.tasks.card import CHANGE_CARDS
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
from app.operations.tasks.task import ACTORS_TASK_JSON, EncodedTask, Task, priority
from app.operations.turns import take_turn
from app.rpc import WHO, Context, Outcome
from app.writes.access import KNOWN_IDENTITY, MOVABLE, SHARABLE, VISIBLE, WRITABLE, seen_id
from app.writes.fence import FENCED, HELD, LIVE
from app.writes.receipts import KEPT, NOT_KEPT, Keyed

ATTEMPTS_MAX: Final = 30  # where no version decides, losing this often means the task is changed all the time


class ChangedRow(msgspec.Struct):
    """A task after its change."""

    ord: int
    task: EncodedTask
    merged_from: int | None  # the version the caller had read, if the task had moved on since


class RefusalRow(msgspec.Struct):
    """Why a change did not happen: the state of everything it depended on."""

    ord: int
    task: EncodedTask
    version: int
    unchanged: bool
    writable: bool
    live: bool
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


INPUT: Final = f"""
    i AS MATERIALIZED (
        SELECT {WHO},
               (e->>'taskId')::uuid      AS task_id,
               (e->>'messageId')::uuid   AS message_id,
               (e->>'version')::int      AS version,
               (e->>'runId')::uuid       AS run_id,
               (e->>'merge')::text[]     AS merge,
               e->>'kind'                AS kind,
               e->'changes'              AS changes,
               e->'comment'              AS comment,
               (e->'changes'->>'assigneeId')::uuid   AS assignee_id,
               e->'changes'->>'assigneeKind'         AS assignee_kind,
               (e->'changes'->>'channelId')::uuid    AS channel_id,
               (e->'changes'->>'parentTaskId')::uuid AS parent_task_id
          FROM {ITEMS}
    )"""

# The row as it shall be, and how it differs from the row as it was: one entry per field, as {"field": [from, to]}, or
# null where nothing differs. (OFFSET 0 has it worked out once, not wherever it is named.)
# `unassign` clears the assignee only if it is of that kind: a null for one of the two fields says nothing of the other.
# A parent that the caller does not see was shown to them as null, so their null says nothing of it.
_OLD_PARENT_SEEN: Final = seen_id("i.workspace_id", "i.actor_id", "o.parent_task_id")
NEXT: Final = f"""
    CROSS JOIN LATERAL (SELECT
        CASE WHEN i.changes ? 'title' THEN i.changes->>'title' ELSE o.title END AS title,
        CASE WHEN i.changes ? 'description' THEN i.changes->>'description' ELSE o.description END AS description,
        CASE WHEN i.changes ? 'status' THEN i.changes->>'status' ELSE o.status END AS status,
        CASE WHEN i.changes ? 'priority' THEN (i.changes->>'priority')::smallint ELSE o.priority END AS priority,
        CASE WHEN i.changes ? 'dueAt' THEN to_timestamp((i.changes->>'dueAt')::float8) ELSE o.due_at END AS due_at,
        CASE WHEN i.changes ? 'assigneeId' THEN i.assignee_id
             WHEN i.changes->>'unassign' = o.assignee_kind THEN NULL ELSE o.assignee_id END AS assignee_id,
        CASE WHEN i.changes ? 'assigneeId' THEN i.assignee_kind
             WHEN i.changes->>'unassign' = o.assignee_kind THEN NULL ELSE o.assignee_kind END AS assignee_kind,
        CASE WHEN i.changes ? 'channelId' THEN i.channel_id ELSE o.channel_id END AS channel_id,
        CASE WHEN i.changes ? 'parentTaskId' AND (i.parent_task_id IS NOT NULL OR {_OLD_PARENT_SEEN} IS NOT NULL)
             THEN i.parent_task_id ELSE o.parent_task_id END AS parent_task_id) n
    CROSS JOIN LATERAL (SELECT
        CASE WHEN n.status = 'in_progress' THEN coalesce(o.started_at, now()) ELSE o.started_at END AS started_at,
        CASE WHEN n.status = 'done' AND o.status <> 'done' THEN now() ELSE o.completed_at END AS completed_at,
        CASE WHEN n.status = 'cancelled' AND o.status <> 'cancelled' THEN now() ELSE o.cancelled_at END AS cancelled_at,
        CASE WHEN n.status IN ('in_progress', 'in_review') AND n.assignee_id = o.assignee_id THEN o.run_id END AS run_id,
        CASE WHEN n.status = 'done' OR (o.status = 'blocked' AND n.status <> 'blocked') THEN 0 ELSE o.failures END AS failures) s
    CROSS JOIN LATERAL (SELECT
        {user("o.assignee")} AS user_before,
        {user("n.assignee")} AS user_after,
        {agent("o.assignee")} AS agent_before,
        {agent("n.assignee")} AS agent_after) x
    CROSS JOIN LATERAL (
        SELECT nullif(jsonb_strip_nulls(jsonb_build_object(
            'title', CASE WHEN n.title IS DISTINCT FROM o.title THEN
                jsonb_build_array(o.title, n.title) END,
            'description', CASE WHEN n.description IS DISTINCT FROM o.description THEN
                jsonb_build_array(o.description, n.description) END,
            'status', CASE WHEN n.status IS DISTINCT FROM o.status THEN
                jsonb_build_array(o.status, n.status) END,
            'priority', CASE WHEN n.priority IS DISTINCT FROM o.priority THEN jsonb_build_array(
                {priority("o.priority")},
                {priority("n.priority")}) END,
            'dueAt', CASE WHEN n.due_at IS DISTINCT FROM o.due_at THEN jsonb_build_array(
                {moment("o.due_at")},
                {moment("n.due_at")}) END,
            'assigneeUserId', CASE WHEN x.user_after IS DISTINCT FROM x.user_before THEN
                jsonb_build_array(x.user_before, x.user_after) END,
            'assigneeAgentId', CASE WHEN x.agent_after IS DISTINCT FROM x.agent_before THEN
                jsonb_build_array(x.agent_before, x.agent_after) END,
            'channelId', CASE WHEN n.channel_id IS DISTINCT FROM o.channel_id THEN
                jsonb_build_array(o.channel_id, n.channel_id) END,
            'parentTaskId', CASE WHEN n.parent_task_id IS DISTINCT FROM o.parent_task_id THEN
                jsonb_build_array(o.parent_task_id, n.parent_task_id) END,
            'startedAt', CASE WHEN s.started_at IS DISTINCT FROM o.started_at THEN jsonb_build_array(
                {moment("o.started_at")},
                {moment("s.started_at")}) END,
            'completedAt', CASE WHEN s.completed_at IS DISTINCT FROM o.completed_at THEN jsonb_build_array(
                {moment("o.completed_at")},
                {moment("s.completed_at")}) END,
            'cancelledAt', CASE WHEN s.cancelled_at IS DISTINCT FROM o.cancelled_at THEN jsonb_build_array(
                {moment("o.cancelled_at")},
                {moment("s.cancelled_at")}) END)), '{{}}') AS changes
        OFFSET 0) d"""


ASSIGNEE_KNOWN: Final = f"""EXISTS (
        SELECT FROM identities a
         WHERE a.workspace_id = i.workspace_id AND a.id = i.assignee_id AND a.kind = i.assignee_kind AND {KNOWN_IDENTITY})"""

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

_CHANGED: Final = f"""
        UPDATE tasks t
           SET title = n.title, description = n.description, status = n.status, priority = n.priority, due_at = n.due_at,
               assignee_id = n.assignee_id, assignee_kind = n.assignee_kind, channel_id = n.channel_id,
               parent_task_id = n.parent_task_id, started_at = s.started_at, completed_at = s.completed_at,
               cancelled_at = s.cancelled_at, run_id = s.run_id, failures = s.failures,
               version = o.version + 1, updated_at = now()
          FROM i
          JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
         {NEXT}
         WHERE t.workspace_id = i.workspace_id AND t.id = i.task_id
           AND t.version = o.version                      -- nobody came in between, also where no version decides
           AND (i.version IS NULL OR i.version = o.version OR {MERGEABLE})
           AND {WRITABLE}
           AND {MAY_ASSIGN}
           AND {MAY_SHARE}
           AND {MAY_MOVE}
           AND {MAY_BIND}
           AND {MAY_PUT_UNDER}
           AND (i.parent_task_id IS NULL OR NOT {PARENT_BELOW})
           AND (i.kind <> 'released' OR o.assignee_id = i.actor_id)
           AND d.changes IS NOT NULL
           AND {NOT_KEPT}"""

_RETURNED: Final = """
        RETURNING t.*, i.ord, i.actor_id, i.actor_kind, i.request_id, i.kind, i.comment, i.message_id, i.keep,
                  d.changes AS difference, CASE WHEN i.version < o.version THEN i.version END AS merged_from,
                  CASE WHEN s.run_id IS NULL THEN o.run_id END AS ended_run_id"""

_CONSEQUENCES: Final = f"""
    event AS (
        INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id, changes)
        SELECT workspace_id, id, version, kind, actor_id, actor_kind, request_id,
               CASE WHEN ended_run_id IS NULL THEN difference
                    ELSE difference || jsonb_build_object('runId', jsonb_build_array(ended_run_id, NULL)) END
          FROM changed
        RETURNING workspace_id, task_id
    ), ended AS (
        UPDATE runs r
           SET status = CASE c.status WHEN 'done' THEN 'completed' ELSE 'cancelled' END,
               end_reason = CASE WHEN c.status = 'done' THEN 'completed'
                                 WHEN r.holder_id = c.actor_id THEN 'released' ELSE 'superseded' END,
               ended_at = now(), updated_at = now(), version = r.version + 1
          FROM changed c
         WHERE r.workspace_id = c.workspace_id AND r.id = c.ended_run_id AND r.ended_at IS NULL
    ), participant AS (
        INSERT INTO task_participants (workspace_id, identity_id, task_id)
        SELECT c.workspace_id, p.id, c.id
          FROM changed c
          JOIN identities a ON a.workspace_id = c.workspace_id AND a.id = c.assignee_id
         CROSS JOIN LATERAL (VALUES (a.id), (a.owner_id)) AS p (id)
         WHERE c.difference ?| ARRAY['assigneeUserId', 'assigneeAgentId'] AND p.id IS NOT NULL
         ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    ), searchable AS (
        UPDATE task_search x
           SET words = {folded("c.title || chr(10) || coalesce(c.description, '')")}
          FROM changed c
         WHERE x.workspace_id = c.workspace_id AND x.task_id = c.id AND c.difference ?| ARRAY['title', 'description']
    ), {CHANGE_CARDS}, {POSTED}"""

# The same under a claim: it must live, and lives on. Apart, because a plain update should not pay for it.
_CHANGE_UNDER_RUN: Final = f"""
    WITH {INPUT}, {HELD}, changed AS ({_CHANGED}
           AND {FENCED} {_RETURNED}
    ), {_CONSEQUENCES}, alive AS (
        UPDATE runs r
           SET lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds))
          FROM held
         WHERE r.workspace_id = held.workspace_id AND r.id = held.run_id AND r.ended_at IS NULL
           AND NOT EXISTS (SELECT FROM changed c WHERE c.ended_run_id = r.id)  -- a row is changed once in a statement
    )"""

_ANSWERED: Final = f"""
    answered AS (
        SELECT t.ord, t.workspace_id, t.actor_id, t.request_id, t.keep, {ACTORS_TASK_JSON} AS answer, t.merged_from FROM changed t
    ), {KEPT}
    SELECT ord, answer, merged_from FROM answered"""

CHANGE = Keyed(
    BatchQuery(
        ChangedRow,
        f"""
    WITH {INPUT}, changed AS ({_CHANGED} {_RETURNED}
    ), {_CONSEQUENCES}, {_ANSWERED}""",
        one_per="taskId",
    )
)

CHANGE_UNDER_RUN = Keyed(BatchQuery(ChangedRow, f"""{_CHANGE_UNDER_RUN}, {_ANSWERED}""", one_per="taskId"))

# The same with a comment that says why. Apart, because a plain update should not pay for it. A task that stands
# where the caller wants it keeps its version, but the comment is written all the same.
CHANGE_AND_COMMENT = Keyed(
    BatchQuery(
        ChangedRow,
        f"""{_CHANGE_UNDER_RUN}, unchanged AS (
        SELECT o.*, i.ord, i.actor_id, i.actor_kind, i.request_id, i.comment, i.keep
          FROM i
          JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = i.task_id
         CROSS JOIN LATERAL (SELECT o.*) t                -- the same row, under the name the shared fragments use
         {NEXT}
         WHERE (i.version IS NULL OR i.version = o.version OR {MERGEABLE})
           AND {WRITABLE}
           AND d.changes IS NULL
           AND {NOT_KEPT}
           AND {FENCED}
    ), remark AS (
        SELECT ord, workspace_id, id AS task_id, version, actor_id, actor_kind, request_id, comment FROM changed
         UNION ALL
        SELECT ord, workspace_id, id AS task_id, version, actor_id, actor_kind, request_id, comment FROM unchanged
    ), {COMMENT_CTES}, answered AS (
        SELECT t.ord, t.workspace_id, t.actor_id, t.request_id, t.keep, {ACTORS_TASK_JSON} AS answer, t.merged_from FROM changed t
         UNION ALL
        SELECT t.ord, t.workspace_id, t.actor_id, t.request_id, t.keep, {ACTORS_TASK_JSON}, NULL FROM unchanged t
    ), {KEPT}
    SELECT ord, answer, merged_from FROM answered""",
        one_per="taskId",
    )
)

WHY = BatchQuery(
    RefusalRow,
    f"""
    WITH {INPUT}, {SEEN}
    SELECT i.ord, seen.task, seen.version,
           d.changes IS NULL,
           {WRITABLE},
           {LIVE},
           t.assignee_id IS NOT NULL,
           t.assignee_id IS NOT DISTINCT FROM i.actor_id,
           {MAY_ASSIGN},
           {MAY_SHARE},
           {MAY_MOVE},
           {MAY_BIND},
           {MAY_PUT_UNDER},
           i.parent_task_id IS NOT NULL AND {PARENT_BELOW},
           {NONE_OVERLAPS}, seen.changed, {OVERLAPPING}
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
    run_id: UUID | None = None,
) -> Outcome[Task]:
    """Change a task, and answer with the task as it is after that; or raise what stands in the way.

    A call that would change nothing writes nothing but its comment. With `merge`, a version that has passed is in
    the way only if somebody has touched the same fields since. Errors name tasks as the caller did, in `sent_…`:
    the id behind a `T-42` that they may not see is not theirs to learn.
    """
    item = {
        **ctx.who,
        "taskId": task_id,
        "messageId": new_id(),
        "version": version,
        "kind": kind,
        "changes": changes,
        "comment": comment,
        "runId": run_id,
    }
    if merge and version is not None:
        item["merge"] = touches(changes)
    for _ in range(ATTEMPTS_MAX):
        if (row := await _attempt(ctx, item)) is not None:
            return Outcome(row.task, merged_from=row.merged_from)
        await ctx.unless_answered()
        why = await ctx.db.ask(WHY, {**item, "merge": touches(changes)})
        if why is None:
            raise TaskNotFound(sent_task_id)
        if run_id is not None and not why.live and (lost := await ctx.why_not_live(run_id)):
            raise lost
        if refusal := await _refusal(ctx, why, item, sent_parent_id):
            raise refusal
        if why.unchanged and comment is None:
            return Outcome(why.task, wrote=False)
        # Nothing is in the way any more: someone changed the task between the two statements.
    raise Contended


async def _attempt(ctx: Context, item: Mapping[str, Any]) -> ChangedRow | None:
    if item["comment"]:
        statement = CHANGE_AND_COMMENT
    elif item["runId"]:
        statement = CHANGE_UNDER_RUN
    else:
        statement = CHANGE
    if item["changes"].get("parentTaskId") is None:
        return await ctx.db.write(statement.form(ctx.keep), item)
    async with ctx.db.transaction(ctx.whose) as tx:
        await take_turn(ctx, tx, "move")
        return await tx.write(statement.form(ctx.keep), item)


async def _refusal(  # noqa: PLR0911 - a ladder
    ctx: Context, why: RefusalRow, item: Mapping[str, Any], sent_parent_id: str | None
) -> ApiError | None:
    """The first thing that stands in the way, most fundamental first; None if nothing does."""
    changes = item["changes"]
    if not why.writable:
        return TaskReadOnly()
    if why.changed is not None and not (why.mergeable and "merge" in item):
        return _passed(item["version"], why, knows_merge=True)
    if item["kind"] == "released" and not why.assigned_to_caller:
        return NotAssignee() if why.assigned else NotAssigned()
    if not why.may_assign:
        field = "assigneeUserId" if changes["assigneeKind"] == "user" else "assigneeAgentId"
        return IdentityNotFound(str(changes["assigneeId"]), field=field)
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
    item = {**ctx.who, "taskId": task_id, "version": version, "changes": changes, "merge": touches(changes)}
    why = await ctx.db.ask(WHY, item)
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
        knows_merge=knows_merge,
    )
