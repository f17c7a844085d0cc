"""What operations say of their errors is true: each declared error is raised by a call below, and no other is.

That no other is, the callers of conftest.py see to: they fail a test in which an operation raises what it does
not declare. `ScopeMissing`, `IdempotencyKeyReused`, and `InvalidInput` for what cannot be decoded, are raised by
the pipeline and documented for every operation.
"""

from collections.abc import Iterator

import psycopg
import pytest

from app.errors import (
    AlreadyExists,
    ApiError,
    AttachmentNotFound,
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    IdempotencyKeyReused,
    IdentityNotFound,
    InvalidInput,
    MemberNotFound,
    MessageNotFound,
    NotAssigned,
    NotAssignee,
    ParentCycle,
    ScopeMissing,
    SoleMember,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
    VersionNotFound,
)
from app.operations import (
    OPERATIONS,
    add_channel_member,
    archive_channel,
    block_task,
    cancel_task,
    comment_on_task,
    complete_task,
    create_artifact,
    create_channel,
    create_task,
    create_tasks_bulk,
    flag_needs_human,
    get_channel_manifest,
    get_channel_members,
    get_messages,
    get_task,
    join_channel,
    leave_channel,
    list_channel_members,
    list_comments,
    list_task_history,
    list_tasks,
    post_message,
    release_task,
    remove_channel_member,
    rename_channel,
    resolve_identity,
    search_messages,
    search_tasks,
    send_message,
    set_channel_member_role,
    update_task,
)
from app.rpc import Operation
from tests.conftest import World
from tests.contract.scenarios import (
    A_STRANGER,
    NOBODY,
    OVERTAKEN,
    OWN_TASK,
    THE_CALLER,
    THE_CHANNEL,
    THE_MEMBER,
    THE_MESSAGE,
    Scenario,
    addresses_too_many,
    calls,
    calls_as_reader,
    calls_on_a_task_of,
    calls_on_own_task,
    in_channel,
)


@pytest.fixture(scope="module", autouse=True)
def overtaken(dsn: str) -> Iterator[None]:
    """Lets no change of a task with that title come through, as if somebody else had always been quicker."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION overtake() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        connection.execute(
            f"""CREATE TRIGGER overtake BEFORE UPDATE ON tasks
                FOR EACH ROW WHEN (OLD.title = '{OVERTAKEN}') EXECUTE FUNCTION overtake()"""
        )
    yield
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP FUNCTION overtake CASCADE")


TWO = {"assignee_agent_id": NOBODY, "assignee_user_id": NOBODY}
ROW = [{"title": "x"}]
REASON = {"reason": "waiting"}
BODY = {"body": "hello"}
TEXT = {"content": "hello"}
FILE = {"name": "x.py", "type": "code", "content": "pass"}
NOWHERE = {"channel_id": NOBODY}

SCENARIOS: list[tuple[Operation, type[ApiError], Scenario]] = [
    # tasks
    (create_task, InvalidInput, calls(create_task, title="x", **TWO)),
    (create_task, TaskNotFound, calls(create_task, title="x", parent_task_id="T-9")),
    (create_task, IdentityNotFound, calls(create_task, title="x", assignee_agent_id=NOBODY)),
    (create_task, ChannelNotFound, calls(create_task, title="x", **NOWHERE)),
    (create_task, ChannelNotMember, in_channel(create_task, None, title="x")),
    (create_task, ChannelArchived, in_channel(create_task, "poster", "archived", title="x")),
    (create_tasks_bulk, InvalidInput, calls(create_tasks_bulk, tasks=[])),
    (
        create_tasks_bulk,
        TaskNotFound,
        calls(create_tasks_bulk, tasks=[{"title": "x", "parentTaskId": "T-9"}]),
    ),
    (
        create_tasks_bulk,
        IdentityNotFound,
        calls(create_tasks_bulk, tasks=[{"title": "x", "assigneeUserId": NOBODY}]),
    ),
    (create_tasks_bulk, ChannelNotFound, calls(create_tasks_bulk, tasks=ROW, summary_channel_id=NOBODY)),
    (
        create_tasks_bulk,
        ChannelNotMember,
        in_channel(create_tasks_bulk, None, tasks=[{"title": "x", "channelId": THE_CHANNEL}]),
    ),
    (
        create_tasks_bulk,
        ChannelArchived,
        in_channel(create_tasks_bulk, "poster", "archived", tasks=ROW, summary_channel_id=THE_CHANNEL),
    ),
    (get_task, TaskNotFound, calls(get_task, task_id="T-9")),
    (get_task, VersionNotFound, calls_on_own_task(get_task, at_version=2)),
    (list_tasks, InvalidInput, calls(list_tasks, **TWO)),
    (update_task, InvalidInput, calls_on_own_task(update_task, version=1, **TWO)),
    (update_task, TaskNotFound, calls(update_task, task_id="T-9", version=1)),
    (update_task, TaskReadOnly, calls_as_reader(update_task, version=1)),
    (update_task, VersionConflict, calls_on_own_task(update_task, version=2)),
    (update_task, IdentityNotFound, calls_on_own_task(update_task, version=1, assignee_user_id=NOBODY)),
    (update_task, ChannelNotFound, calls_on_own_task(update_task, version=1, **NOWHERE)),
    (update_task, ChannelNotMember, in_channel(update_task, None, task_id=OWN_TASK, version=1)),
    (
        update_task,
        ChannelArchived,
        in_channel(update_task, "poster", "archived", task_id=OWN_TASK, version=1),
    ),
    (update_task, ParentCycle, calls_on_own_task(update_task, version=1, parent_task_id="T-1")),
    (update_task, Contended, calls_on_own_task(update_task, OVERTAKEN, version=1, status="done")),
    (complete_task, TaskNotFound, calls(complete_task, task_id="T-9")),
    (complete_task, TaskReadOnly, calls_as_reader(complete_task)),
    (complete_task, VersionConflict, calls_on_own_task(complete_task, version=2)),
    (complete_task, Contended, calls_on_own_task(complete_task, OVERTAKEN)),
    (cancel_task, InvalidInput, addresses_too_many(cancel_task, "reason", calls_on_own_task)),
    (cancel_task, TaskNotFound, calls(cancel_task, task_id="T-9")),
    (cancel_task, TaskReadOnly, calls_as_reader(cancel_task)),
    (cancel_task, VersionConflict, calls_on_own_task(cancel_task, version=2)),
    (cancel_task, Contended, calls_on_own_task(cancel_task, OVERTAKEN)),
    (block_task, InvalidInput, addresses_too_many(block_task, "reason", calls_on_own_task)),
    (block_task, TaskNotFound, calls(block_task, task_id="T-9", **REASON)),
    (block_task, TaskReadOnly, calls_as_reader(block_task, **REASON)),
    (block_task, VersionConflict, calls_on_own_task(block_task, version=2, **REASON)),
    (block_task, Contended, calls_on_own_task(block_task, OVERTAKEN, **REASON)),
    (release_task, TaskNotFound, calls(release_task, task_id="T-9")),
    (release_task, TaskReadOnly, calls_as_reader(release_task)),
    (release_task, VersionConflict, calls_on_own_task(release_task, version=2)),
    (release_task, NotAssignee, calls_on_a_task_of("other", release_task)),
    (release_task, NotAssigned, calls_on_own_task(release_task)),
    (release_task, Contended, calls_on_a_task_of("bot", release_task, OVERTAKEN)),
    (comment_on_task, InvalidInput, addresses_too_many(comment_on_task, "body", calls_on_own_task)),
    (comment_on_task, TaskNotFound, calls(comment_on_task, task_id="T-9", **BODY)),
    (comment_on_task, TaskReadOnly, calls_as_reader(comment_on_task, **BODY)),
    (
        comment_on_task,
        IdentityNotFound,
        calls_on_own_task(comment_on_task, mentions=[{"id": NOBODY}], **BODY),
    ),
    (list_comments, TaskNotFound, calls(list_comments, task_id="T-9")),
    (list_task_history, TaskNotFound, calls(list_task_history, task_id="T-9")),
    # channels
    (get_channel_members, ChannelNotFound, calls(get_channel_members, **NOWHERE)),
    (get_channel_members, ChannelNotMember, in_channel(get_channel_members, None)),
    (get_channel_members, MemberNotFound, in_channel(get_channel_members, after="nobody")),
    (list_channel_members, ChannelNotFound, calls(list_channel_members, **NOWHERE)),
    (list_channel_members, ChannelNotMember, in_channel(list_channel_members, None)),
    (get_channel_manifest, ChannelNotFound, calls(get_channel_manifest, **NOWHERE)),
    (get_channel_manifest, ChannelNotMember, in_channel(get_channel_manifest, None)),
    (create_channel, InvalidInput, calls(create_channel, name="No Such Name")),
    (create_channel, AlreadyExists, calls(create_channel, name="general")),
    (rename_channel, InvalidInput, in_channel(rename_channel, "admin", name="No Such Name")),
    (rename_channel, ChannelNotFound, calls(rename_channel, name="x", **NOWHERE)),
    (rename_channel, ChannelNotMember, in_channel(rename_channel, None, name="x")),
    (rename_channel, ChannelNotAdmin, in_channel(rename_channel, "poster", name="x")),
    (rename_channel, AlreadyExists, in_channel(rename_channel, "admin", name="general")),
    (archive_channel, ChannelNotFound, calls(archive_channel, **NOWHERE)),
    (archive_channel, ChannelNotMember, in_channel(archive_channel, None)),
    (archive_channel, ChannelNotAdmin, in_channel(archive_channel, "poster")),
    (join_channel, ChannelNotFound, calls(join_channel, **NOWHERE)),
    (join_channel, ChannelArchived, in_channel(join_channel, None, "archived")),
    (leave_channel, ChannelNotFound, calls(leave_channel, **NOWHERE)),
    (leave_channel, ChannelNotMember, in_channel(leave_channel, None)),
    (leave_channel, SoleMember, in_channel(leave_channel, "poster", "alone")),
    (
        add_channel_member,
        InvalidInput,
        in_channel(add_channel_member, "admin", member_id=A_STRANGER, role="admin"),
    ),
    (add_channel_member, ChannelNotFound, calls(add_channel_member, member_id=NOBODY, **NOWHERE)),
    (add_channel_member, ChannelNotMember, in_channel(add_channel_member, None, member_id=A_STRANGER)),
    (
        add_channel_member,
        ChannelNotAdmin,
        in_channel(add_channel_member, "poster", member_id=A_STRANGER, role="admin"),
    ),
    (
        add_channel_member,
        ChannelArchived,
        in_channel(add_channel_member, "poster", "archived", member_id=A_STRANGER),
    ),
    (add_channel_member, IdentityNotFound, in_channel(add_channel_member, "poster", member_id=NOBODY)),
    (remove_channel_member, ChannelNotFound, calls(remove_channel_member, member_id=NOBODY, **NOWHERE)),
    (remove_channel_member, ChannelNotMember, in_channel(remove_channel_member, None, member_id=THE_MEMBER)),
    (
        remove_channel_member,
        ChannelNotAdmin,
        in_channel(remove_channel_member, "poster", member_id=THE_MEMBER),
    ),
    (remove_channel_member, MemberNotFound, in_channel(remove_channel_member, "admin", member_id=A_STRANGER)),
    (
        remove_channel_member,
        SoleMember,
        in_channel(remove_channel_member, "admin", "alone", member_id=THE_CALLER),
    ),
    (
        set_channel_member_role,
        InvalidInput,
        in_channel(set_channel_member_role, "admin", member_id=THE_MEMBER, role="admin"),
    ),
    (
        set_channel_member_role,
        ChannelNotFound,
        calls(set_channel_member_role, member_id=NOBODY, role="reader", **NOWHERE),
    ),
    (
        set_channel_member_role,
        ChannelNotMember,
        in_channel(set_channel_member_role, None, member_id=THE_MEMBER, role="reader"),
    ),
    (
        set_channel_member_role,
        ChannelNotAdmin,
        in_channel(set_channel_member_role, "poster", member_id=THE_MEMBER, role="reader"),
    ),
    (
        set_channel_member_role,
        MemberNotFound,
        in_channel(set_channel_member_role, "admin", member_id=A_STRANGER, role="reader"),
    ),
    # messages
    (send_message, InvalidInput, addresses_too_many(send_message, "content", in_channel)),
    (send_message, ChannelNotFound, calls(send_message, **NOWHERE, **TEXT)),
    (send_message, ChannelNotMember, in_channel(send_message, "reader", **TEXT)),
    (send_message, ChannelArchived, in_channel(send_message, "poster", "archived", **TEXT)),
    (send_message, MessageNotFound, in_channel(send_message, thread_id=NOBODY, **TEXT)),
    (send_message, IdentityNotFound, in_channel(send_message, mentions=[{"id": NOBODY}], **TEXT)),
    (send_message, AttachmentNotFound, in_channel(send_message, attachment_ids=[NOBODY], **TEXT)),
    (get_messages, ChannelNotFound, calls(get_messages, **NOWHERE)),
    (get_messages, ChannelNotMember, in_channel(get_messages, None)),
    (get_messages, MessageNotFound, in_channel(get_messages, before=NOBODY)),
    (create_artifact, InvalidInput, in_channel(create_artifact, **{**FILE, "name": ""})),
    (create_artifact, ChannelNotFound, calls(create_artifact, **NOWHERE, **FILE)),
    (create_artifact, ChannelNotMember, in_channel(create_artifact, "reader", **FILE)),
    (create_artifact, ChannelArchived, in_channel(create_artifact, "poster", "archived", **FILE)),
    (flag_needs_human, InvalidInput, in_channel(flag_needs_human, message_id=THE_MESSAGE, reason="")),
    (flag_needs_human, MessageNotFound, calls(flag_needs_human, message_id=NOBODY, **REASON)),
    (
        flag_needs_human,
        ChannelNotMember,
        in_channel(flag_needs_human, "reader", message_id=THE_MESSAGE, **REASON),
    ),
    (
        flag_needs_human,
        ChannelArchived,
        in_channel(flag_needs_human, "poster", "archived", message_id=THE_MESSAGE, **REASON),
    ),
    (post_message, InvalidInput, in_channel(post_message, metadata={"x": "x" * 4096}, **TEXT)),
    (post_message, ChannelNotFound, calls(post_message, **NOWHERE, **TEXT)),
    (post_message, ChannelNotMember, in_channel(post_message, None, **TEXT)),
    (post_message, ChannelArchived, in_channel(post_message, "poster", "archived", **TEXT)),
    (post_message, MessageNotFound, in_channel(post_message, parent_message_id=NOBODY, **TEXT)),
    (post_message, IdentityNotFound, in_channel(post_message, mention_identity_ids=[NOBODY], **TEXT)),
    (search_messages, ChannelNotFound, calls(search_messages, query="x", **NOWHERE)),
    (search_messages, ChannelNotMember, in_channel(search_messages, None, query="x")),
    (search_tasks, ChannelNotFound, calls(search_tasks, query="x", **NOWHERE)),
    (search_tasks, ChannelNotMember, in_channel(search_tasks, None, query="x")),
    # who is who
    (resolve_identity, InvalidInput, calls(resolve_identity)),
    (resolve_identity, IdentityNotFound, calls(resolve_identity, handle="nobody")),
    *(
        (op, ChannelArchived, calls_in_channel(op, archived=True))
        for op in (create_task, create_tasks_bulk, update_task)
    ),
    *(
        scenario
        for op in OPERATIONS
        if op not in {create_task, create_tasks_bulk, update_task, flag_needs_human, join_channel}
        for scenario in channel_scenarios(op)
    ),
    (send_message, InvalidInput, says_and_addresses_too_many(send_message)),
    (send_message, MessageNotFound, calls_in_channel(send_message, thread_id=NOBODY)),
    (send_message, IdentityNotFound, calls_in_channel(send_message, mentions=[{"id": NOBODY}])),
    (send_message, AttachmentNotFound, calls_in_channel(send_message, attachment_ids=["x"])),
    (post_message, InvalidInput, calls_in_channel(post_message, metadata={"x": "x" * 5000})),
    (post_message, MessageNotFound, calls_in_channel(post_message, parent_message_id=NOBODY)),
    (post_message, IdentityNotFound, calls_in_channel(post_message, mention_identity_ids=[NOBODY])),
    (flag_needs_human, MessageNotFound, calls_in_channel(flag_needs_human, None)),
    (flag_needs_human, ChannelNotMember, calls_in_channel(flag_needs_human, "reader")),
    (flag_needs_human, ChannelArchived, calls_in_channel(flag_needs_human, archived=True)),
    (get_messages, MessageNotFound, calls_in_channel(get_messages, before=NOBODY)),
    (get_channel_members, MemberNotFound, calls_in_channel(get_channel_members, after="x")),
    (create_channel, AlreadyExists, makes_a_channel_twice),
    (rename_channel, AlreadyExists, renames_to_a_name_that_is_taken),
    (join_channel, ChannelNotFound, calls_in_channel(join_channel, channel_id=NOBODY)),
    (join_channel, ChannelArchived, calls_in_channel(join_channel, archived=True)),
    (leave_channel, SoleMember, calls_alone(leave_channel)),
    (remove_channel_member, SoleMember, calls_alone(remove_channel_member)),
    (
        remove_channel_member,
        MemberNotFound,
        calls_in_channel(remove_channel_member, "admin", member_id=NOBODY),
    ),
    (
        set_channel_member_role,
        MemberNotFound,
        calls_in_channel(set_channel_member_role, "admin", member_id=NOBODY),
    ),
    (set_channel_member_role, InvalidInput, makes_an_agent_admin(set_channel_member_role)),
    (add_channel_member, InvalidInput, makes_an_agent_admin(add_channel_member)),
    (add_channel_member, IdentityNotFound, calls_in_channel(add_channel_member, member_id=NOBODY)),
]


@pytest.mark.parametrize(
    "op, error, scenario",
    SCENARIOS,
    ids=lambda part: getattr(part, "name", getattr(part, "__name__", "")),
)
async def test_a_declared_error_is_raised(
    workspace: World, op: Operation, error: type[ApiError], scenario: Scenario
) -> None:
    with pytest.raises(error) as refused:
        await scenario(workspace)
    assert refused.type is error
    assert error in op.errors


def test_every_declared_error_has_its_scenario() -> None:
    declared = sorted((op.name, error.__name__) for op in OPERATIONS for error in op.errors)
    assert sorted((op.name, error.__name__) for op, error, _ in SCENARIOS) == declared


def test_what_the_pipeline_raises_for_all_is_declared_by_none() -> None:
    assert [op.name for op in OPERATIONS if {ScopeMissing, IdempotencyKeyReused} & set(op.errors)] == []
