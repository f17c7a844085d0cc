"""A task moves in one place: everything that follows when a row of `tasks` has changed, whoever changed it.

A statement that changes tasks has a CTE `moved`, with a row per task as it is now, made by UPDATE or INSERT:

    all columns of tasks
    ord                                place of the call, for the order of what is said
    kind                               of the event: `updated`, `claimed`, …
    actor_id, actor_kind, request_id   who did it, in which request
    message_id                         for the card, if there is one
    difference                         what changed: `difference` below
    ended_run_id                       the claim that it ends, where `ends_claims`
    handoff                            what its next holder should know, where it `hands_over`

and behind it `moved(…)`: the event, who takes part now, the words for search, the end of a claim, the card in the channel.
"""

from collections.abc import Callable
from typing import Final, Literal, LiteralString, TypeAlias

from app.db.phrases import agent, folded, moment, user
from app.operations.messages.message import POSTED
from app.operations.tasks.card import CARDS
from app.operations.tasks.task import priority

Field: TypeAlias = Literal[
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
    "completedAt",
    "cancelledAt",
    "runId",
]
_Sql: TypeAlias = Callable[[LiteralString], LiteralString]


def _itself(column: LiteralString) -> LiteralString:
    return column


# Of each field its column, how it is compared, and how it is written.
_FIELDS: Final[dict[Field, tuple[LiteralString, _Sql, _Sql]]] = {
    "title": ("title", _itself, _itself),
    "description": ("description", _itself, _itself),
    "status": ("status", _itself, _itself),
    "priority": ("priority", _itself, priority),
    "dueAt": ("due_at", _itself, moment),
    "assigneeUserId": ("assignee", user, user),
    "assigneeAgentId": ("assignee", agent, agent),
    "channelId": ("channel_id", _itself, _itself),
    "parentTaskId": ("parent_task_id", _itself, _itself),
    "startedAt": ("started_at", _itself, moment),
    "completedAt": ("completed_at", _itself, moment),
    "cancelledAt": ("cancelled_at", _itself, moment),
    "runId": ("run_id", _itself, _itself),
}


def difference(
    was: LiteralString, now: LiteralString, *fields: Field, started_at: LiteralString | None = None
) -> LiteralString:
    """How a row differs from what it was: `{"field": [from, to]}` for each of these fields that does, or null.

    `was` and `now` are what stands before the columns, as in `o.` or `g.old_`. `started_at` is the old one where no such
    column says so.
    """
    pairs: list[LiteralString] = []
    for field in fields:
        column, compared, written = _FIELDS[field]
        old: LiteralString = f"{was}{column}"
        if column == "started_at" and started_at is not None:
            old = started_at
        new: LiteralString = f"{now}{column}"
        pairs.append(
            f"""
            '{field}', CASE WHEN {compared(new)} IS DISTINCT FROM {compared(old)} THEN
                jsonb_build_array({written(old)}, {written(new)}) END"""
        )
    return f"""nullif(jsonb_strip_nulls(jsonb_build_object({",".join(pairs)})), '{{}}')"""


def beginning(now: LiteralString, *fields: Field) -> LiteralString:
    """The difference of a new row: each of these fields that has a value, from null."""
    pairs: list[LiteralString] = []
    for field in fields:
        column, compared, written = _FIELDS[field]
        new: LiteralString = f"{now}{column}"
        pairs.append(
            f"""
            '{field}', CASE WHEN {compared(new)} IS NOT NULL THEN jsonb_build_array(NULL, {written(new)}) END"""
        )
    return f"""jsonb_strip_nulls(jsonb_build_object({",".join(pairs)}))"""


EVENT: Final = """
    event AS (
        INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id, changes)
        SELECT workspace_id, id, version, kind, actor_id, actor_kind, request_id, difference FROM moved
    )"""

# Whoever was just assigned takes part, and their owner.
_PARTICIPANT: Final = """
    participant AS (
        INSERT INTO task_participants (workspace_id, identity_id, task_id)
        SELECT m.workspace_id, p.id, m.id
          FROM moved m
          JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.assignee_id
         CROSS JOIN LATERAL (VALUES (a.id), (a.owner_id)) AS p (id)
         WHERE m.difference ?| ARRAY['assigneeUserId', 'assigneeAgentId'] AND p.id IS NOT NULL
         ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    )"""

_SEARCHABLE: Final = f"""
    searchable AS (
        UPDATE task_search x
           SET words = {folded("m.title || chr(10) || coalesce(m.description, '')")}
          FROM moved m
         WHERE x.workspace_id = m.workspace_id AND x.task_id = m.id AND m.difference ?| ARRAY['title', 'description']
    )"""


# A claim that somebody else ends is lost to its holder, who is told until they say that they know. Not if it stood in review
# and is done now: then it ended well.
def _ended(more: LiteralString = "") -> LiteralString:
    return f"""
    ended AS (
        UPDATE runs r
           SET status = CASE m.status WHEN 'done' THEN 'completed' ELSE 'cancelled' END,
               end_reason = CASE WHEN m.status = 'done' THEN 'completed'
                                 WHEN r.holder_id = m.actor_id THEN 'released' ELSE 'superseded' END,
               ended_at = now(), updated_at = now(), version = r.version + 1,
               loss_unseen = CASE WHEN r.holder_id <> m.actor_id
                                   AND NOT (m.status = 'done' AND m.difference->'status'->>0 = 'in_review') THEN true END{more}
          FROM moved m
         WHERE r.workspace_id = m.workspace_id AND r.id = m.ended_run_id AND r.ended_at IS NULL
    )"""


_ENDED: Final = _ended()
_HANDED_OVER: Final = _ended(", handoff = m.handoff")


def moved(
    *,
    assigns: bool = False,
    rewords: bool = False,
    ends_claims: bool = False,
    hands_over: bool = False,
    says: LiteralString = "SELECT * FROM card",
) -> LiteralString:
    """What follows from `moved`. A verb says what it can do, and pays for no more; `says` is for what it says besides cards."""
    follows: list[LiteralString] = [EVENT]
    if ends_claims:
        follows.append(_HANDED_OVER if hands_over else _ENDED)
    if assigns:
        follows.append(_PARTICIPANT)
    if rewords:
        follows.append(_SEARCHABLE)
    return f"""{",".join(follows)}, {CARDS}, said AS ({says}), {POSTED}"""
