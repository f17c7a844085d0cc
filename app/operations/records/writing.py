"""What writing to a task takes, whether it is created, changed or deleted: what may be sent, and who may send it."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, UnsetType

from app.errors import ApiError, RunNotFound, TaskNotFound, TaskReadOnly
from app.ids import uuid_or_none
from app.operations.runs.run import RUN_SHOWABLE, RUN_VISIBLE, RUN_WRITABLE, sees_all
from app.operations.tasks.comment import SEES_TASK
from app.operations.tasks.task import task_id
from app.rpc import Context, RecordRequest, changes
from app.writes.access import WRITABLE

WRITE_ERRORS: Final = (TaskNotFound, TaskReadOnly, RunNotFound)

# `id` is the run that is written.
TAKES: Final = """id uuid, children text, sees_all boolean, versions jsonb, changes jsonb, parent_id uuid, work_item_id uuid"""

PARENT_VISIBLE: Final = f"""EXISTS (
        SELECT FROM runs r WHERE r.workspace_id = i.workspace_id AND r.id = i.parent_id AND {RUN_VISIBLE})"""

WORK_ITEM_WRITABLE: Final = f"""EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.work_item_id AND {WRITABLE})"""

MATCHES: Final = """(i.versions IS NULL OR i.versions @> to_jsonb(o.version))"""

# Whether a run without a task stays without one, or is given one by whom it is for to say who sees it.
MAY_SHOW: Final = f"""(o.work_item_id IS NOT NULL OR i.work_item_id IS NULL OR {RUN_SHOWABLE})"""

# Who may write into it: into a claim its holder while it lives, and nothing that is the claim's own; into any
# other run see RUN_WRITABLE.
MAY_WRITE: Final = f"""(CASE WHEN o.holder_id IS NULL THEN {RUN_WRITABLE}
        ELSE o.holder_id = i.actor_id AND o.ended_at IS NULL AND o.lease_expires_at > now()
             AND NOT i.changes ?| ARRAY['status', 'startedAt', 'endedAt', 'workItemId'] END)"""


def item_of(ctx: Context, id: UUID, sent: dict[str, Any], **more: object) -> dict[str, object]:
    """A call as the statements take it."""
    return {
        "id": id,
        "sees_all": sees_all(ctx),
        "changes": sent,
        "parent_id": sent.get("parentId"),
        "work_item_id": sent.get("workItemId"),
        **more,
    }


def values(
    req: RecordRequest, started_at: datetime | None | UnsetType, ended_at: datetime | None | UnsetType
) -> dict[str, object]:
    """What was sent, with times as epoch seconds. An empty link is an absent one (B17), and a status cannot be cleared."""
    sent = changes(
        req, "status", "title", "description", "input", "output", "params", "errors", "executor_id"
    )
    if sent.get("status") is None:
        sent.pop("status", None)
    if sent.get("executorId") == "":
        del sent["executorId"]
    for name, at in (("startedAt", started_at), ("endedAt", ended_at)):
        if at is not UNSET:
            sent[name] = at and at.timestamp()
    return sent


async def links(
    ctx: Context, parent_id: str | None | UnsetType, work_item_id: str | None | UnsetType
) -> dict[str, Any]:  # Any: ids, or null to clear
    """The links that were sent, as ids."""
    found: dict[str, Any] = {}
    if parent_id is None:
        found["parentId"] = None
    elif parent_id:
        if (parent := uuid_or_none(parent_id)) is None:
            raise RunNotFound(parent_id, field="parentId")
        found["parentId"] = parent
    if work_item_id is None:
        found["workItemId"] = None
    elif work_item_id:
        found["workItemId"] = await task_id(ctx, work_item_id, field="workItemId")
    return found


async def work_item_refusal(ctx: Context, id: UUID, sent: str) -> ApiError:
    """Why a task of the workspace cannot be what a run works on."""
    seen = await ctx.one(SEES_TASK, task_id=id)
    return TaskReadOnly() if seen else TaskNotFound(sent, field="workItemId")
