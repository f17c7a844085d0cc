"""What a task is: its shape on the wire, who may touch it, and the SQL fragments every statement on tasks shares.

Fragments speak of `t`, a row of `tasks`, and of `i`, the input that names the caller: `i.workspace_id` and
`i.actor_id`. All are constants, so that a statement built from them is still a constant.
"""

from typing import Annotated, ClassVar, Final, LiteralString, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from app.db import Encoded, Query
from app.errors import TaskNotFound
from app.rpc import Answer, Context
from app.types import TaskPriority, TaskStatus, Timestamp

PRIORITIES: Final[tuple[TaskPriority, ...]] = get_args(TaskPriority)
"""By rank, as stored: a priority is its place in this tuple."""

DIGITS_MAX: Final = 9  # of an identifier; the counter is an integer, and longer numbers would not fit

CLOSED: Final[frozenset[TaskStatus]] = frozenset({"done", "cancelled"})


ONE_ASSIGNEE: Final = {
    "not": {
        "required": ["assigneeAgentId", "assigneeUserId"],
        "properties": {"assigneeAgentId": {"type": "string"}, "assigneeUserId": {"type": "string"}},
    }
}
"""What requests that name an assignee say in the documents: not two, for a task has one at most."""


class Task(Answer):
    """A piece of work. All 24 keys are always there; what has no value is null."""

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
    description: Annotated[str | None, Meta(description="The rest of it, in markdown.")]
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


TASK_FIELDS: Final = frozenset(msgspec.structs.fields(Task)[n].encode_name for n in range(24))

# Who sees a task: whoever takes part in it, and the members of its channel. The first two lines only save
# the look-ups that follow; creator and assignee are participants too.
VISIBLE: Final = """(
        t.created_by_id = i.actor_id OR t.assignee_id = i.actor_id
        OR EXISTS (SELECT FROM task_participants p
                    WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = t.id)
        OR EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = t.channel_id))"""

# Being one of those whose task it is: who may post in its channel; of a task in no channel, who takes part in it.
_POSTS_THERE: Final = """EXISTS (
            SELECT FROM channel_members m
             WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = t.channel_id
               AND m.role <> 'reader')"""
_TAKES_PART: Final = """(t.created_by_id = i.actor_id OR EXISTS (
            SELECT FROM task_participants p
             WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = t.id))"""

# Who may bring others in, by assigning it to them or mentioning them: those whose task it is.
SHARABLE: Final = f"""(t.channel_id IS NULL AND {_TAKES_PART} OR {_POSTS_THERE})"""

# Who may move it to another channel, into one, or out of one: who may post in the one it is in. One that is in none
# was shown to each who takes part in it, one by one: only its creator, or who answers for them, shows it to a channel.
MOVABLE: Final = f"""(CASE WHEN t.channel_id IS NOT NULL THEN {_POSTS_THERE}
        ELSE t.created_by_id = i.actor_id OR EXISTS (
            SELECT FROM identities a
             WHERE a.workspace_id = i.workspace_id AND a.id = t.created_by_id AND a.owner_id = i.actor_id) END)"""

# Who may change it: those whose task it is, its assignee, and who answers for the assignee (contract F5).
WRITABLE: Final = f"""(
        t.assignee_id = i.actor_id OR {SHARABLE}
        OR EXISTS (SELECT FROM identities a
                    WHERE a.workspace_id = i.workspace_id AND a.id = t.assignee_id AND a.owner_id = i.actor_id))"""

# Who may remark on it: everyone who sees it, but for mere readers of its channel (contract R12).
REMARKABLE: Final = f"""(t.assignee_id = i.actor_id OR {_TAKES_PART} OR {_POSTS_THERE})"""


def seen_id(workspace: LiteralString, viewer: LiteralString, id: LiteralString) -> LiteralString:
    """SQL for the id of a task if the viewer sees that task, else null: for what one task says of another."""
    return f"""(
            SELECT t.id
              FROM (SELECT {workspace} AS workspace_id, {viewer} AS actor_id, {id} AS task_id) i
              JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id
             WHERE {VISIBLE})"""


def task_json(viewer: LiteralString) -> LiteralString:
    """SQL for a task `t` as it goes out to a viewer: the one definition, with exactly the keys of Task in their order."""
    parent = seen_id("t.workspace_id", viewer, "t.parent_task_id")
    return f"""
    row_to_json((SELECT w FROM (SELECT
        t.id, 'T-' || t.number AS identifier, t.workspace_id AS "workspaceId", t.title, t.description, t.status,
        (ARRAY['none', 'low', 'medium', 'high', 'urgent'])[t.priority + 1] AS priority, t.version,
        to_char(t.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "dueAt",
        CASE WHEN t.assignee_kind = 'user' THEN t.assignee_id END AS "assigneeUserId",
        CASE WHEN t.assignee_kind = 'agent' THEN t.assignee_id END AS "assigneeAgentId",
        CASE WHEN t.created_by_kind = 'user' THEN t.created_by_id END AS "createdByUserId",
        CASE WHEN t.created_by_kind = 'agent' THEN t.created_by_id END AS "createdByAgentId",
        CASE WHEN t.parent_task_id IS NOT NULL THEN {parent} END AS "parentTaskId", t.channel_id AS "channelId",
        NULL AS "originMessageId", NULL AS "originExtractionId",
        to_char(t.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "startedAt",
        to_char(t.completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "completedAt",
        to_char(t.cancelled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "cancelledAt",
        NULL AS "archivedAt",
        to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "createdAt",
        to_char(t.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "updatedAt",
        NULL AS "deletedAt") w))"""


TASK_JSON: Final = task_json("i.actor_id")
"""For statements in which `i` names who will read the answer."""

ASKERS_TASK_JSON: Final = task_json("%(actor_id)s::uuid")
"""For statements of one call, in which a parameter names who will read the answer."""

ACTORS_TASK_JSON: Final = task_json("t.actor_id")
"""For statements in which the row that was written says who wrote it, and so who will read the answer."""

# Which identities `a` the caller may know of: all but private agents of other owners (contract section 8).
KNOWN_IDENTITY: Final = """(
        NOT a.is_private OR a.owner_id = i.actor_id OR a.id = i.actor_id
        OR a.owner_id = (SELECT me.owner_id FROM identities me WHERE me.workspace_id = i.workspace_id AND me.id = i.actor_id))"""


class TaskId(msgspec.Struct):
    """The id behind an identifier."""

    id: UUID


FIND_NUMBER = Query(
    TaskId,
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
        found = await ctx.db.one(FIND_NUMBER, workspace_id=ctx.actor.workspace_id, number=int(digits))
        if found is not None:
            return found.id
    elif (id := uuid_or_none(sent)) is not None:
        return id
    raise TaskNotFound(sent, field=field)


def uuid_or_none(sent: str) -> UUID | None:
    """The UUID a caller sent, or None where it is not one: then no such thing can exist."""
    try:
        return msgspec.convert(sent, UUID)  # a third of what UUID() takes
    except msgspec.ValidationError:
        return None


EncodedTask = Encoded[Task]
