"""What an answer says besides its data: a claim that ended, blockers that are open, what looks like the same.

The data of an answer keeps its shape, which clients know. So this stands beside it: over HTTP in the header `Baton-Told`, as
JSON, and in the results of tools among their keys. It is written by the statement that does the work, and kept with the
answer under an idempotency key: a repetition tells the same.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, LiteralString

from msgspec import UNSET, Meta, UnsetType

from app.rpc import Answer
from app.types import TaskPriority, TaskStatus
from app.writes.access import VISIBLE

SHOWN_MAX: Final[LiteralString] = "3"  # blockers of one task, and tasks that wait: enough to know what to do
TITLE_CHARACTERS: Final[LiteralString] = "80"  # of each title; the task itself has all of it


class Help(Answer):
    """A call that would remove an obstacle."""

    operation: Annotated[str, Meta(description="Which operation to call.")]
    arguments: Annotated[dict[str, Any], Meta(description="With which fields, as far as they are known.")]
    by: Annotated[Literal["you", "holder", "operator"], Meta(description="Who can make this call.")]


class ClaimEnded(Answer, omit_defaults=True):
    """A claim that ended with the call."""

    run_id: Annotated[str, Meta(description="The run. Nothing can be written under it any more.")]
    reason: Annotated[
        Literal["completed", "failed", "released", "superseded", "force_released"],
        Meta(description="How it ended; `superseded`: it was somebody else's."),
    ]
    holder: Annotated[str | UnsetType, Meta(description="Whose it was, by handle, if not yours.")] = UNSET
    parked: Annotated[
        bool | UnsetType, Meta(description="Whether the task is `blocked` now, after too many failures.")
    ] = UNSET


class OpenBlocker(Answer, omit_defaults=True):
    """A task that has to be done or cancelled first."""

    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title, at most 80 characters of it.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]
    holder: Annotated[
        str | UnsetType, Meta(description="Who has it, by handle; left out if nobody does.")
    ] = UNSET


class WaitingTask(Answer, omit_defaults=True):
    """A task that would be next if it did not wait for others."""

    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title, at most 80 characters of it.")]
    priority: Annotated[TaskPriority, Meta(description="How urgent it is.")]
    waits_for: Annotated[
        list[OpenBlocker], Meta(description="What it waits for, three at most, as far as you see it.")
    ]
    hidden_blockers: Annotated[
        int | UnsetType, Meta(description="How many more it waits for, here not listed or not yours to see.")
    ] = UNSET


class Waiting(Answer):
    """Why there was nothing to claim."""

    advises: ClassVar[tuple[str, ...]] = ("message",)

    message: Annotated[str, Meta(description="Why, in a line, and what to do.")]
    tasks: Annotated[list[WaitingTask], Meta(description="The three most urgent that wait for others.")]
    helps: Annotated[list[Help], Meta(description="Calls that would help.")]


class SimilarTask(Answer, omit_defaults=True):
    """An open task whose title is much like the new one's."""

    identifier: Annotated[str, Meta(description="`T-42`.")]
    title: Annotated[str, Meta(description="Its title, at most 80 characters of it.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]
    holder: Annotated[
        str | UnsetType, Meta(description="Who has it, by handle; left out if nobody does.")
    ] = UNSET


class Told(Answer, omit_defaults=True):
    """What a call did or found besides what it answers with."""

    claim_ended: Annotated[ClaimEnded | UnsetType, Meta(description="A claim that ended with it.")] = UNSET
    blockers: Annotated[
        list[OpenBlocker] | UnsetType,
        Meta(description="The task is in progress now, and these are open that block it; three at most."),
    ] = UNSET
    hidden_blockers: Annotated[
        int | UnsetType, Meta(description="How many more block it, here not listed or not yours to see.")
    ] = UNSET
    similar: Annotated[
        list[SimilarTask] | UnsetType, Meta(description="Open tasks that look like the one you created.")
    ] = UNSET
    waiting: Annotated[Waiting | UnsetType, Meta(description="Why there was nothing to claim.")] = UNSET


_OPEN: Final = """task_relations b
                JOIN tasks t ON t.workspace_id = b.workspace_id AND t.id = b.from_task_id AND t.is_open
               WHERE b.workspace_id = i.workspace_id AND b.to_task_id = i.task_id AND b.kind = 'blocks'"""


def blockers(
    workspace: LiteralString, viewer: LiteralString, task: LiteralString, shown_max: LiteralString = SHOWN_MAX
) -> LiteralString:
    """SQL for what blocks a task, to be joined LATERAL: `shown`, the JSON of those the viewer sees, and how many are `open`."""
    return f"""(
            SELECT (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                           'identifier', 'T-' || s.number, 'title', left(s.title, {TITLE_CHARACTERS}), 'status', s.status,
                           'holder', (SELECT a.handle FROM identities a
                                       WHERE a.workspace_id = s.workspace_id AND a.id = s.assignee_id))) ORDER BY s.number)
                      FROM (SELECT t.* FROM {_OPEN} AND {VISIBLE} ORDER BY t.number LIMIT {shown_max}) s) AS shown,
                   (SELECT count(*)::int FROM {_OPEN}) AS open
              FROM (SELECT {workspace} AS workspace_id, {viewer} AS actor_id, {task} AS task_id) i)"""


def open_blockers(workspace: LiteralString, task: LiteralString) -> LiteralString:
    """SQL for how many open tasks block a task."""
    return f"""(
            SELECT count(*)::int
              FROM (SELECT {workspace} AS workspace_id, {task} AS task_id) i CROSS JOIN LATERAL (SELECT FROM {_OPEN}) b)"""


def any_blocker(workspace: LiteralString, task: LiteralString) -> LiteralString:
    """SQL for whether anything open blocks a task."""
    return f"""EXISTS (
            SELECT FROM (SELECT {workspace} AS workspace_id, {task} AS task_id) i CROSS JOIN LATERAL (SELECT FROM {_OPEN}) b)"""
