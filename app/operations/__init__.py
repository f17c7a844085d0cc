"""Every operation there is. Standing in this tuple is what makes one exist; all doors are derived from it."""

from app.operations.requests import get_request_outcome
from app.operations.tasks.comment import comment_on_task, list_comments
from app.operations.tasks.create import create_task, create_tasks_bulk
from app.operations.tasks.history import list_my_activity, list_task_history
from app.operations.tasks.lifecycle import block_task, cancel_task, complete_task, release_task
from app.operations.tasks.listing import get_task, list_my_tasks, list_tasks
from app.operations.tasks.update import update_task
from app.operations.workspace import get_me, get_workspace_info, resolve_identity, verify_connection
from app.rpc import Operation

OPERATIONS: tuple[Operation, ...] = (
    # tasks
    create_task,
    create_tasks_bulk,
    get_task,
    list_tasks,
    list_my_tasks,
    update_task,
    complete_task,
    cancel_task,
    block_task,
    release_task,
    comment_on_task,
    list_comments,
    # what happened, and what became of a call
    list_task_history,
    list_my_activity,
    get_request_outcome,
    # the workspace and who is in it
    get_me,
    get_workspace_info,
    resolve_identity,
    verify_connection,
)
