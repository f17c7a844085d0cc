"""A run as a record, and how Postgres writes one."""

from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta

from app.db.phrases import moment
from app.errors import RunNotFound
from app.ids import uuid_or_none
from app.operations.runs.run import RunError, RunStatus
from app.rpc import Answer
from app.types import NAME_CHARACTERS_MAX, NO_NUL, TEXT_CHARACTERS_MAX, Timestamp

Kind = Annotated[
    str,
    # The last group refuses what `$` alone would let pass: a line feed at the end.
    Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$(?!\\n)"),
]
Link = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
Title = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""Here a title may be of any length, and empty: the contract says nothing of it."""


class TaskRecord(Answer):
    """A record: one attempt to do something, which its clients call a task. All keys are always there."""

    id: Annotated[str, Meta(description="Its id.")]
    kind: Annotated[
        str,
        Meta(description="What sort of task it is: `default`, `call_action`, `flow`, `claim`, or your own."),
    ]
    status: Annotated[RunStatus, Meta(description="Where it stands.")]
    title: Annotated[str | None, Meta(description="What it is, for people.")]
    description: Annotated[str | None, Meta(description="The rest of it.")]
    target_id: Annotated[str | None, Meta(description="The resource or action it is about.")]
    executor_id: Annotated[str | None, Meta(description="Who should handle it.")]
    input: Annotated[Any, Meta(description="Data for the run; any JSON.")]
    output: Annotated[Any, Meta(description="The result; any JSON.")]
    params: Annotated[dict[str, Any], Meta(description="Settings of this task.")]
    errors: Annotated[list[RunError], Meta(description="Problems met while running.")]
    parent_id: Annotated[str | None, Meta(description="The task it is a part of.")]
    children: Annotated[
        "list[TaskRecord]",
        Meta(
            description="Its parts, oldest first, with theirs: 8 levels and 500 tasks at most, nearest first."
        ),
    ]
    state_id: Annotated[str | None, Meta(description="The State it was created with.")]
    started_at: Annotated[Timestamp | None, Meta(description="When it started.")]
    ended_at: Annotated[Timestamp | None, Meta(description="When it ended.")]
    app_id: Annotated[str | None, Meta(description="The installed app concerned.")]
    author_id: Annotated[str, Meta(description="Who created it.")]
    organization_id: Annotated[str, Meta(description="The organization, which is the workspace.")]
    created_at: Annotated[Timestamp, Meta(description="When it was created.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed.")]
    work_item_id: Annotated[
        str | None, Meta(description="The task of the workspace that it works on, if any.")
    ]


# A run `r` as it goes out, without children.
RECORD_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        r.id, r.kind, r.status, r.title, r.description, r.target_id AS "targetId", r.executor_id AS "executorId",
        r.input, r.output, r.params, r.errors, r.parent_id AS "parentId", '[]'::json AS children, r.state_id AS "stateId",
        {moment("r.started_at")} AS "startedAt",
        {moment("r.ended_at")} AS "endedAt",
        r.app_id AS "appId", r.author_id AS "authorId", r.workspace_id AS "organizationId",
        {moment("r.created_at")} AS "createdAt",
        {moment("r.updated_at")} AS "updatedAt",
        r.work_item_id AS "workItemId") w))"""

# The same with those that came along with the call, in `i.children`.
RECORD_JSON_WITH_CHILDREN: Final = RECORD_JSON.replace("'[]'::json", "coalesce(i.children, '[]')::json")


def run_id_of(sent: str) -> UUID:
    """The id of a task in a path, which may be any text."""
    if (id := uuid_or_none(sent)) is None:
        raise RunNotFound(sent, field="taskId")
    return id
