"""What a task is: its shape on the wire, its JSON in SQL, and how a caller names one."""

from typing import Annotated, ClassVar, Final, Literal, LiteralString, get_args
from uuid import UUID

from msgspec import Meta

from app.db import Encoded, One, Query
from app.db.phrases import agent, moment, user
from app.errors import TaskNotFound
from app.ids import uuid_or_none
from app.rpc import Answer, Context
from app.types import TaskPriority, TaskStatus, Timestamp
from app.writes.access import seen_id

PRIORITIES: Final[tuple[TaskPriority, ...]] = get_args(TaskPriority)
"""By rank, as stored: a priority is its place in this tuple."""

_BY_RANK: Final = ", ".join(f"'{name}'" for name in PRIORITIES)


def priority(rank: LiteralString) -> LiteralString:
    """A rank as the priority it is."""
    return f"(ARRAY[{_BY_RANK}])[{rank} + 1]"


DIGITS_MAX: Final = 9  # of an identifier; the counter is an integer, and longer numbers would not fit

CLOSED: Final[frozenset[TaskStatus]] = frozenset({"done", "cancelled"})


RelationView = Literal["blocks", "blocked_by", "related", "duplicate", "duplicated_by"]
"""What one task is to another, seen from either."""

ONE_ASSIGNEE: Final = {
    "not": {
        "required": ["assigneeAgentId", "assigneeUserId"],
        "properties": {"assigneeAgentId": {"type": "string"}, "assigneeUserId": {"type": "string"}},
    }
}
"""What requests that name an assignee say in the documents: not two, for a task has one at most."""


class Task(Answer):
    """A piece of work. All 24 keys are always there; what has no value is null."""

    news: ClassVar[tuple[str, ...]] = ("identifier", "version", "status")

    brief: ClassVar[tuple[str, ...]] = (
        "identifier",
        "title",
        "status",
        "priority",
        "version",
        "assigneeAgentId",
        "assigneeUserId",
        "dueAt",
    )

    id: Annotated[str, Meta(description="Its id.")]
    identifier: Annotated[str, Meta(description="`T-42`: short, unique in the workspace, never changes.")]
    workspace_id: Annotated[str, Meta(description="The workspace it belongs to.")]
    title: Annotated[str, Meta(description="What is to be done, in one line.")]
    description: Annotated[str | None, Meta(description="The details, in markdown.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]
    priority: Annotated[TaskPriority, Meta(description="How urgent it is.")]
    version: Annotated[int, Meta(description="The optimistic lock: send it with your next update.")]
    due_at: Annotated[Timestamp | None, Meta(description="When it is due.")]
    assignee_user_id: Annotated[
        str | None, Meta(description="The human who has it; at most one assignee is set.")
    ]
    assignee_agent_id: Annotated[
        str | None, Meta(description="The agent who has it; at most one assignee is set.")
    ]
    created_by_user_id: Annotated[str | None, Meta(description="The human who created it.")]
    created_by_agent_id: Annotated[str | None, Meta(description="The agent who created it.")]
    parent_task_id: Annotated[str | None, Meta(description="The task it is a part of.")]
    channel_id: Annotated[str | None, Meta(description="The channel it is bound to, whose members see it.")]
    origin_message_id: Annotated[str | None, Meta(description="Always null here.")]
    origin_extraction_id: Annotated[str | None, Meta(description="Always null here.")]
    started_at: Annotated[Timestamp | None, Meta(description="When it was first in progress.")]
    completed_at: Annotated[Timestamp | None, Meta(description="When it was last set to done.")]
    cancelled_at: Annotated[Timestamp | None, Meta(description="When it was last set to cancelled.")]
    archived_at: Annotated[Timestamp | None, Meta(description="Always null here.")]
    created_at: Annotated[Timestamp, Meta(description="When it was created.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed; comments do not count.")]
    deleted_at: Annotated[Timestamp | None, Meta(description="Always null here.")]


def task_json(viewer: LiteralString) -> LiteralString:
    """SQL for a task `t` as it goes out to a viewer: the one definition, with exactly the keys of Task in their order."""
    parent = seen_id("t.workspace_id", viewer, "t.parent_task_id")
    return f"""
    row_to_json((SELECT w FROM (SELECT
        t.id, 'T-' || t.number AS identifier, t.workspace_id AS "workspaceId", t.title, t.description, t.status,
        {priority("t.priority")} AS priority, t.version,
        {moment("t.due_at")} AS "dueAt",
        {user("t.assignee")} AS "assigneeUserId",
        {agent("t.assignee")} AS "assigneeAgentId",
        {user("t.created_by")} AS "createdByUserId",
        {agent("t.created_by")} AS "createdByAgentId",
        CASE WHEN t.parent_task_id IS NOT NULL THEN {parent} END AS "parentTaskId", t.channel_id AS "channelId",
        NULL AS "originMessageId", NULL AS "originExtractionId",
        {moment("t.started_at")} AS "startedAt",
        {moment("t.completed_at")} AS "completedAt",
        {moment("t.cancelled_at")} AS "cancelledAt",
        NULL AS "archivedAt",
        {moment("t.created_at")} AS "createdAt",
        {moment("t.updated_at")} AS "updatedAt",
        NULL AS "deletedAt") w))"""


TASK_JSON: Final = task_json("i.actor_id")
"""For statements in which `i` names who will read the answer."""

ASKERS_TASK_JSON: Final = task_json("%(actor_id)s::uuid")
"""For statements of one call, in which a parameter names who will read the answer."""

ACTORS_TASK_JSON: Final = task_json("t.actor_id")
"""For statements in which the row that was written says who wrote it, and so who will read the answer."""


FIND_NUMBER = Query(
    One[UUID],
    """
    SELECT id FROM tasks WHERE workspace_id = %(workspace_id)s::uuid AND number = %(number)s::int
    """,
    pipelined=True,
)


async def task_id(ctx: Context, sent: str, *, field: str = "taskId") -> UUID:
    """The id of the task that a caller named by id or as `T-42`, in any case (contract R10).

    Says nothing about whether the caller may see it: the statement that uses the id does.
    """
    if (
        sent[:2] in {"T-", "t-"}
        and (digits := sent[2:]).isascii()
        and digits.isdigit()
        and len(digits) <= DIGITS_MAX
    ):
        found = await ctx.one(FIND_NUMBER, number=int(digits))
        if found is not None:
            return found.value
    elif (id := uuid_or_none(sent)) is not None:
        return id
    raise TaskNotFound(sent, field=field)


EncodedTask = Encoded[Task]
