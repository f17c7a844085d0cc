"""The calls of every client, with what openapi-python-client writes."""

import json
import os
from http import HTTPStatus
from typing import Any

from generated import AuthenticatedClient
from generated.api.inbox import get_inbox
from generated.api.records import create_task_record
from generated.api.runs import claim_next_task, complete_run
from generated.api.tasks import (
    comment_on_task,
    create_task,
    get_task,
    get_task_get,
    list_tasks_get,
    update_task,
)
from generated.models import (
    ClaimListEnvelope,
    ClaimNextTask,
    CommentOnTask,
    CompleteRun,
    ConflictError,
    CreateTask,
    CreateTaskRecord,
    ErrorDetails,
    GetInbox,
    GetTask,
    InboxEnvelope,
    JsonObject,
    NotFoundError,
    RunAndTaskEnvelope,
    Task,
    TaskCommentEnvelope,
    TaskEnvelope,
    TaskPriority,
    TaskRecord,
    TaskStatusFilter,
    TaskViewPageEnvelope,
    UpdateTask,
)


def told(call: str, status: HTTPStatus, value: Any) -> None:
    """Say what came of a call."""
    print(json.dumps([call, int(status), value]))


baton = AuthenticatedClient(base_url=os.environ["BATON"], token=os.environ["KEY"])

made = create_task.sync_detailed(client=baton, body=CreateTask(title="Try it"))
assert isinstance(made.parsed, TaskEnvelope)
task_id = made.parsed.data.id
told("create-task", made.status_code, made.parsed.data.version)

change = UpdateTask(task_id=task_id, version=1, title="Try it again", priority=TaskPriority.HIGH)
changed = update_task.sync_detailed(client=baton, body=change)
assert isinstance(changed.parsed, TaskEnvelope)
told("update-task", changed.status_code, changed.parsed.data.version)

stale = update_task.sync_detailed(client=baton, body=UpdateTask(task_id=task_id, version=1, title="Lost"))
assert isinstance(stale.parsed, ConflictError)
assert isinstance(stale.parsed.error.details, ErrorDetails)
assert isinstance(stale.parsed.error.details.current, Task)
told("stale", stale.status_code, stale.parsed.error.details.current.version)

listed = list_tasks_get.sync_detailed(client=baton, status=[TaskStatusFilter.OPEN], limit=5)
assert isinstance(listed.parsed, TaskViewPageEnvelope)
told("list-tasks", listed.status_code, len(listed.parsed.data))

read = get_task_get.sync_detailed(client=baton, task_id=task_id)
assert not isinstance(read.parsed, NotFoundError) and read.parsed is not None
told("get-task", read.status_code, read.parsed.to_dict()["data"]["title"])

missing = get_task.sync_detailed(client=baton, body=GetTask(task_id="T-999"))
assert isinstance(missing.parsed, NotFoundError)
told("missing", missing.status_code, missing.parsed.error.code)

remark = comment_on_task.sync_detailed(
    client=baton, body=CommentOnTask(task_id=task_id, body="Soon."), idempotency_key="once"
)
assert isinstance(remark.parsed, TaskCommentEnvelope)
told("comment-on-task", remark.status_code, remark.parsed.data.body)

claimed = claim_next_task.sync_detailed(client=baton, body=ClaimNextTask(wait_seconds=0))
assert isinstance(claimed.parsed, ClaimListEnvelope)
told("claim-next-task", claimed.status_code, len(claimed.parsed.data))

finish = CompleteRun(run_id=claimed.parsed.data[0].run.id, complete_task=True, output={"tries": 2})
finished = complete_run.sync_detailed(client=baton, body=finish)
assert isinstance(finished.parsed, RunAndTaskEnvelope)
assert isinstance(finished.parsed.data.task, Task)
told("complete-run", finished.status_code, finished.parsed.data.task.status)

params = JsonObject.from_dict({"retries": 3, "deep": [{"a": "b"}]})
record = create_task_record.sync_detailed(client=baton, body=CreateTaskRecord(kind="default", params=params))
assert isinstance(record.parsed, TaskRecord)
told("create-task-record", record.status_code, record.parsed.params["retries"])

inbox = get_inbox.sync_detailed(client=baton, body=GetInbox())
assert isinstance(inbox.parsed, InboxEnvelope)
told("get-inbox", inbox.status_code, len(inbox.parsed.data.claims))
