"""Every operation there is. Standing in this tuple is what makes one exist; all doors are derived from it."""

from app.operations.channels.directory import (
    get_channel_manifest,
    get_channel_members,
    get_channels,
    list_channel_members,
)
from app.operations.channels.management import archive_channel, create_channel, rename_channel
from app.operations.channels.membership import (
    add_channel_member,
    join_channel,
    leave_channel,
    remove_channel_member,
    set_channel_member_role,
)
from app.operations.inbox.reading import get_inbox
from app.operations.messages.post import post_message
from app.operations.messages.reading import get_messages
from app.operations.messages.send import create_artifact, flag_needs_human, send_message
from app.operations.messages.unread import get_unread_mentions
from app.operations.records import states
from app.operations.records.create import create_task as create_task_record
from app.operations.records.delete import delete_task as delete_task_record
from app.operations.records.reading import get_task as get_task_record
from app.operations.records.reading import list_tasks as list_task_records
from app.operations.records.update import update_task as update_task_record
from app.operations.requests import get_request_outcome
from app.operations.runs.claim import claim_next_task, claim_task
from app.operations.runs.explain import explain_task
from app.operations.runs.finish import complete_run, fail_run, force_release_run, release_run
from app.operations.runs.heartbeat import append_run_log, heartbeat_run, list_run_log
from app.operations.runs.listing import get_run, list_runs
from app.operations.runs.ready import list_ready_tasks
from app.operations.search import search_messages, search_tasks
from app.operations.tasks.bulk import create_tasks_bulk
from app.operations.tasks.comment import comment_on_task, list_comments
from app.operations.tasks.create import create_task
from app.operations.tasks.history import list_my_activity, list_task_history
from app.operations.tasks.lifecycle import block_task, cancel_task, complete_task, release_task
from app.operations.tasks.listing import list_tasks
from app.operations.tasks.mine import list_my_tasks
from app.operations.tasks.reading import get_task
from app.operations.tasks.relations import link_tasks, list_task_relations, unlink_tasks
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
    # channels
    get_channels,
    get_channel_members,
    list_channel_members,
    get_channel_manifest,
    create_channel,
    rename_channel,
    archive_channel,
    join_channel,
    leave_channel,
    add_channel_member,
    set_channel_member_role,
    remove_channel_member,
    # messages
    send_message,
    get_messages,
    get_unread_mentions,
    create_artifact,
    flag_needs_human,
    post_message,
    # what waits
    get_inbox,
    # search
    search_messages,
    search_tasks,
    # how tasks hang together
    link_tasks,
    list_task_relations,
    unlink_tasks,
    # claims: who does what
    list_ready_tasks,
    explain_task,
    claim_task,
    claim_next_task,
    heartbeat_run,
    append_run_log,
    complete_run,
    fail_run,
    release_run,
    force_release_run,
    get_run,
    list_runs,
    list_run_log,
    # records: runs as the clients of /v1/tasks know them
    create_task_record,
    update_task_record,
    get_task_record,
    list_task_records,
    delete_task_record,
    states.create_state,
    states.get_state,
    states.update_state,
    # the workspace and who is in it
    get_me,
    get_workspace_info,
    resolve_identity,
    verify_connection,
)
