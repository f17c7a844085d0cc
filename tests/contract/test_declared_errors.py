"""What operations say of their errors is true: each declared error is raised by a call below, and no other is.

That no other is, the callers of conftest.py see to: they fail a test in which an operation raises what it does
not declare. `InvalidInput` is declared where the operation itself raises it, `ScopeMissing` and
`IdempotencyKeyReused` nowhere: the pipeline raises all three, and the document lists them for all operations.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final
from uuid import uuid4

import psycopg
import pytest

from app.errors import (
    AlreadyExists,
    ApiError,
    AttachmentNotFound,
    BlockerHidden,
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    CursorExpired,
    IdempotencyKeyReused,
    IdentityNotFound,
    InvalidInput,
    LastAdmin,
    MemberNotFound,
    MemberRemoved,
    MessageNotFound,
    NotAssigned,
    NotAssignee,
    NotYoursToShow,
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
    block_task,
    cancel_task,
    claim_next_task,
    comment_on_task,
    complete_task,
    create_channel,
    create_task,
    create_tasks_bulk,
    flag_needs_human,
    get_channel_members,
    get_inbox,
    get_messages,
    get_task,
    join_channel,
    leave_channel,
    link_tasks,
    list_comments,
    list_ready_tasks,
    list_task_history,
    list_tasks,
    post_message,
    release_task,
    remove_channel_member,
    rename_channel,
    resolve_identity,
    send_message,
    set_channel_member_role,
    update_task,
)
from app.rpc import Operation
from tests.conftest import Caller, World
from tests.contract.run_scenarios import NEVER_MADE, OVERTAKEN, RUN_SCENARIOS
from tests.operations.writes import told

Scenario = Callable[[World], Awaitable[object]]


@pytest.fixture(scope="module", autouse=True)
def overtaken(dsn: str) -> Iterator[None]:
    """Lets no update of a task with that title come through, as if somebody else had always been quicker."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION overtake() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        connection.execute(
            f"""CREATE TRIGGER overtake BEFORE UPDATE ON tasks
                FOR EACH ROW WHEN (OLD.title = '{OVERTAKEN}') EXECUTE FUNCTION overtake()"""
        )
        connection.execute(
            f"""CREATE TRIGGER overtake BEFORE UPDATE ON runs
                FOR EACH ROW WHEN ('{OVERTAKEN}' IN (OLD.title, OLD.note)) EXECUTE FUNCTION overtake()"""
        )
        connection.execute(
            f"""CREATE TRIGGER overtake BEFORE UPDATE ON states
                FOR EACH ROW WHEN (OLD.name = '{OVERTAKEN}') EXECUTE FUNCTION overtake()"""
        )
        connection.execute(
            f"""CREATE TRIGGER never BEFORE INSERT ON states
                FOR EACH ROW WHEN (NEW.name = '{NEVER_MADE}') EXECUTE FUNCTION overtake()"""
        )
    yield
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP FUNCTION overtake CASCADE")


def calls(op: Operation, **fields: object) -> Scenario:
    """A call by an agent in a workspace where nothing else is."""

    async def scenario(workspace: World) -> None:
        bot = await workspace.agent("bot")
        await bot(op, **fields)

    return scenario


def calls_on_own_task(op: Operation, title: str = "x", /, **fields: object) -> Scenario:
    """A call on T-1, which the caller has created."""

    async def scenario(workspace: World) -> None:
        bot = await workspace.agent("bot")
        await bot(create_task, title=title)
        await bot(op, task_id="T-1", **fields)

    return scenario


def calls_as_reader(op: Operation, **fields: object) -> Scenario:
    """A call on T-1, which the caller sees only as a reader of its channel."""

    async def scenario(workspace: World) -> None:
        author, reader = await workspace.agent("author"), await workspace.agent("reader")
        channel = await workspace.channel("builds", author)
        await workspace.join("builds", reader, role="reader")
        await author(create_task, title="x", channel_id=channel)
        await reader(op, task_id="T-1", **fields)

    return scenario


def calls_with_two_assignees(op: Operation, **fields: object) -> Scenario:
    """A call that names an agent and a user."""
    return calls_on_own_task(op, **fields, assignee_agent_id=str(uuid4()), assignee_user_id=str(uuid4()))


async def asks_from_before_what_was_removed(workspace: World) -> None:
    """A call with a cursor behind which something was taken out of the log."""
    bot = await workspace.agent("bot")
    await bot(create_task, title="x")
    await workspace.rows(
        "UPDATE task_events SET kind = 'removed' WHERE workspace_id = %(workspace)s RETURNING task_id"
    )
    await bot(get_inbox, cursor="0-0")


async def foreign_channel(workspace: World) -> tuple[Caller, str]:
    """A caller, and a channel they are no member of."""
    return await workspace.agent("bot"), await workspace.channel("foreign")


async def creates_in_a_foreign_channel(workspace: World) -> None:
    bot, channel = await foreign_channel(workspace)
    await bot(create_task, title="x", channel_id=channel)


async def creates_many_in_a_foreign_channel(workspace: World) -> None:
    bot, channel = await foreign_channel(workspace)
    await bot(create_tasks_bulk, tasks=[{"title": "x", "channelId": channel}])


async def moves_into_a_foreign_channel(workspace: World) -> None:
    bot, channel = await foreign_channel(workspace)
    task = await bot(create_task, title="x")
    await bot(update_task, task_id=task.id, version=1, channel_id=channel)


async def moves_a_task_of_others(workspace: World) -> None:
    bot, author = await workspace.agent("bot"), await workspace.agent("author")
    channel = await workspace.channel("builds", author, bot)
    task = await author(create_task, title="x", assignee_agent_id=bot.id)
    await bot(update_task, task_id=task.id, version=1, channel_id=channel)


async def releases_what_someone_else_has(workspace: World) -> None:
    bot, helper = await workspace.agent("bot"), await workspace.agent("helper")
    task = await bot(create_task, title="x", assignee_agent_id=helper.id)
    await bot(release_task, task_id=task.id)


async def releases_what_is_always_changed_first(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title=OVERTAKEN, assignee_agent_id=bot.id)
    await bot(release_task, task_id=task.id)


async def addresses_too_many(workspace: World) -> str:
    """The text of a comment that does."""
    for n in range(21):
        await workspace.agent(f"helper-{n}")
    return " ".join(f"@helper-{n}" for n in range(21))


def calls_and_addresses_too_many(op: Operation, field: str) -> Scenario:
    async def scenario(workspace: World) -> None:
        await calls_on_own_task(op, **{field: await addresses_too_many(workspace)})(workspace)

    return scenario


def calls_in_channel(
    op: Operation, role: str | None = "poster", /, *, archived: bool = False, **fields: object
) -> Scenario:
    """A call about #builds, in which the caller has a role or none; `text` goes where the operation takes text."""

    async def scenario(workspace: World) -> None:
        human = role == "admin"
        caller = await (workspace.user("caller") if human else workspace.agent("caller"))
        owner = await workspace.user("owner")
        channel = await workspace.channel("builds", owner)
        message = await owner(send_message, channel_id=channel, content="x")
        if role is not None:
            await workspace.join("builds", caller, role=role)
        if archived:
            await workspace.rows(
                "UPDATE channels SET archived_at = now() WHERE workspace_id = %(workspace)s RETURNING id"
            )
        if op is update_task:
            await caller(create_task, title="x")
        whole: dict[str, object] = {
            "channel_id": channel,
            "summary_channel_id": channel,
            "message_id": message.id,
            "content": "x",
            "reason": "x",
            "name": "x",
            "type": "x",
            "query": "x",
            "title": "x",
            "tasks": [{"title": "x"}],
            "task_id": "T-1",
            "version": 1,
            "member_id": owner.id,
            "role": "reader",
        }
        sent = {name: whole[name] for name in op.request.__struct_fields__ if name in whole}
        sent = {**told(op), **sent}
        await caller(op, **{**sent, **fields})

    return scenario


def channel_scenarios(op: Operation) -> "list[tuple[Operation, type[ApiError], Scenario]]":
    """What every operation on a channel refuses, as far as it declares it."""
    cases: dict[type[ApiError], Scenario] = {
        ChannelNotFound: calls_in_channel(op, channel_id="#nowhere" if op in FILTERED_BY_CHANNEL else NOBODY),
        ChannelNotMember: calls_in_channel(op, None),
        ChannelNotAdmin: calls_in_channel(op, role="admin")
        if op is add_channel_member
        else calls_in_channel(op),
        ChannelArchived: calls_in_channel(op, archived=True),
    }
    return [(op, error, cases[error]) for error in cases if error in op.errors]


FILTERED_BY_CHANNEL: Final = (list_tasks, list_ready_tasks, claim_next_task)
"""Those that find nothing in a channel which is not there: only a name that nobody has is refused."""

KEEPS_AN_ADMIN: Final = (leave_channel, remove_channel_member, set_channel_member_role)


async def makes_a_channel_twice(workspace: World) -> None:
    ada = await workspace.user("ada")
    await ada(create_channel, name="x")
    await ada(create_channel, name="x")


async def renames_to_a_name_that_is_taken(workspace: World) -> None:
    ada = await workspace.user("ada")
    channel = await ada(create_channel, name="x")
    await ada(rename_channel, channel_id=channel.id, name="general")


def calls_as_the_only_admin(op: Operation) -> Scenario:
    """A call by the only admin of a channel, about themselves."""

    async def scenario(workspace: World) -> None:
        ada, bot = await workspace.user("ada"), await workspace.agent("bot")
        channel = await ada(create_channel, name="x")
        await ada(add_channel_member, channel_id=channel.id, member_id=bot.id)
        whole = {"channel_id": channel.id, "member_id": ada.id, "role": "reader"}
        await ada(op, **{name: whole[name] for name in op.request.__struct_fields__ if name in whole})

    return scenario


def calls_about_who_was_removed(op: Operation) -> Scenario:
    """A call that would bring someone back into a channel, by themselves or by a poster."""

    async def scenario(workspace: World) -> None:
        ada, bot, poster = [await workspace.user(name) for name in ("ada", "bot", "poster")]
        channel = await ada(create_channel, name="x")
        for member in (bot, poster):
            await ada(add_channel_member, channel_id=channel.id, member_id=member.id)
        await ada(remove_channel_member, channel_id=channel.id, member_id=bot.id)
        if op is join_channel:
            await bot(op, channel_id=channel.id)
        await poster(op, channel_id=channel.id, member_id=bot.id)

    return scenario


def creates_what_waits_for(op: Operation, sent: Mapping[str, object], *, role: str | None) -> Scenario:
    """A new task that is to wait for one in #builds, where the caller has this role, or for one of the caller's own."""

    async def scenario(workspace: World) -> None:
        bot, ada = await workspace.agent("bot"), await workspace.user("ada")
        channel = await workspace.channel("builds", ada)
        if role is not None:
            await workspace.join("builds", bot, role=role)
            await ada(create_task, title="x", channel_id=channel)
        else:
            await bot(create_task, title="x")
        row: dict[str, object] = {"title": "y", "blockedBy": ["T-1"], **sent}
        if op is create_tasks_bulk:
            await bot(op, tasks=[row])
        else:
            await bot.post(op, row)

    return scenario


async def blocks_with_what_its_creator_does_not_see(workspace: World) -> None:
    bot, author = await workspace.agent("bot"), await workspace.agent("author")
    channel = await workspace.channel("builds", author, bot)
    task, mine = await author(create_task, title="x", channel_id=channel), await bot(create_task, title="y")
    await bot(link_tasks, task_id=mine.id, kind="blocks", other_task_id=task.id)


def calls_alone(op: Operation) -> Scenario:
    """A call by the only member of a channel, about itself."""

    async def scenario(workspace: World) -> None:
        ada = await workspace.user("ada")
        channel = await ada(create_channel, name="x")
        await ada(op, channel_id=channel.id, **({"member_id": ada.id} if op is remove_channel_member else {}))

    return scenario


def makes_an_agent_admin(op: Operation) -> Scenario:
    async def scenario(workspace: World) -> None:
        ada, bot = await workspace.user("ada"), await workspace.agent("bot")
        channel = await ada(create_channel, name="x")
        if op is set_channel_member_role:
            await ada(add_channel_member, channel_id=channel.id, member_id=bot.id)
        await ada(op, channel_id=channel.id, member_id=bot.id, role="admin")

    return scenario


def says_and_addresses_too_many(op: Operation) -> Scenario:
    async def scenario(workspace: World) -> None:
        await calls_in_channel(op, content=await addresses_too_many(workspace))(workspace)

    return scenario


NOBODY = str(uuid4())
REASON = {"reason": "waiting"}
BODY = {"body": "hello"}

SCENARIOS: list[tuple[Operation, type[ApiError], Scenario]] = [
    (
        create_task,
        InvalidInput,
        calls(create_task, title="x", assignee_agent_id=NOBODY, assignee_user_id=NOBODY),
    ),
    (create_task, TaskNotFound, calls(create_task, title="x", parent_task_id="T-9")),
    (create_task, IdentityNotFound, calls(create_task, title="x", assignee_agent_id=NOBODY)),
    (create_task, ChannelNotFound, calls(create_task, title="x", channel_id=NOBODY)),
    (create_task, ChannelNotMember, creates_in_a_foreign_channel),
    *(
        (op, error, creates_what_waits_for(op, sent, role=role))
        for op in (create_task, create_tasks_bulk)
        for error, sent, role in (
            (TaskReadOnly, {}, "reader"),
            (BlockerHidden, {"assigneeUserId": "@ada"}, None),
        )
    ),
    *(
        (op, IdentityNotFound, calls_in_channel(op, "admin", member_id="@nobody"))
        for op in (set_channel_member_role, remove_channel_member)
    ),
    (list_tasks, IdentityNotFound, calls(list_tasks, assignee_agent_id="@nobody")),
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
    (
        create_tasks_bulk,
        ChannelNotFound,
        calls(create_tasks_bulk, tasks=[{"title": "x"}], summary_channel_id=NOBODY),
    ),
    (create_tasks_bulk, ChannelNotMember, creates_many_in_a_foreign_channel),
    (get_task, TaskNotFound, calls(get_task, task_id="T-9")),
    (get_task, VersionNotFound, calls_on_own_task(get_task, at_version=2)),
    (update_task, InvalidInput, calls_with_two_assignees(update_task, version=1)),
    (update_task, TaskNotFound, calls(update_task, task_id="T-9", version=1)),
    (update_task, TaskReadOnly, calls_as_reader(update_task, version=1)),
    (update_task, NotYoursToShow, moves_a_task_of_others),
    (update_task, VersionConflict, calls_on_own_task(update_task, version=2)),
    (update_task, IdentityNotFound, calls_on_own_task(update_task, version=1, assignee_user_id=NOBODY)),
    (update_task, ChannelNotFound, calls_on_own_task(update_task, version=1, channel_id=NOBODY)),
    (update_task, ChannelNotMember, moves_into_a_foreign_channel),
    (update_task, ParentCycle, calls_on_own_task(update_task, version=1, parent_task_id="T-1")),
    (update_task, Contended, calls_on_own_task(update_task, OVERTAKEN, version=1, status="done")),
    (complete_task, TaskNotFound, calls(complete_task, task_id="T-9")),
    (complete_task, TaskReadOnly, calls_as_reader(complete_task)),
    (complete_task, VersionConflict, calls_on_own_task(complete_task, version=2)),
    (complete_task, Contended, calls_on_own_task(complete_task, OVERTAKEN)),
    (cancel_task, InvalidInput, calls_and_addresses_too_many(cancel_task, "reason")),
    (cancel_task, TaskNotFound, calls(cancel_task, task_id="T-9")),
    (cancel_task, TaskReadOnly, calls_as_reader(cancel_task)),
    (cancel_task, VersionConflict, calls_on_own_task(cancel_task, version=2)),
    (cancel_task, Contended, calls_on_own_task(cancel_task, OVERTAKEN)),
    (block_task, InvalidInput, calls_and_addresses_too_many(block_task, "reason")),
    (block_task, TaskNotFound, calls(block_task, task_id="T-9", **REASON)),
    (block_task, TaskReadOnly, calls_as_reader(block_task, **REASON)),
    (block_task, VersionConflict, calls_on_own_task(block_task, version=2, **REASON)),
    (block_task, Contended, calls_on_own_task(block_task, OVERTAKEN, **REASON)),
    (release_task, TaskNotFound, calls(release_task, task_id="T-9")),
    (release_task, TaskReadOnly, calls_as_reader(release_task)),
    (release_task, NotAssignee, releases_what_someone_else_has),
    (release_task, NotAssigned, calls_on_own_task(release_task)),
    (release_task, VersionConflict, calls_on_own_task(release_task, version=2)),
    (release_task, Contended, releases_what_is_always_changed_first),
    (comment_on_task, InvalidInput, calls_and_addresses_too_many(comment_on_task, "body")),
    (comment_on_task, TaskNotFound, calls(comment_on_task, task_id="T-9", **BODY)),
    (comment_on_task, TaskReadOnly, calls_as_reader(comment_on_task, **BODY)),
    (
        comment_on_task,
        IdentityNotFound,
        calls_on_own_task(comment_on_task, mentions=[{"id": NOBODY}], **BODY),
    ),
    (list_comments, TaskNotFound, calls(list_comments, task_id="T-9")),
    (list_task_history, TaskNotFound, calls(list_task_history, task_id="T-9")),
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
    (link_tasks, BlockerHidden, blocks_with_what_its_creator_does_not_see),
    *((op, LastAdmin, calls_as_the_only_admin(op)) for op in KEEPS_AN_ADMIN),
    *((op, MemberRemoved, calls_about_who_was_removed(op)) for op in (join_channel, add_channel_member)),
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
    (get_inbox, CursorExpired, asks_from_before_what_was_removed),
    *RUN_SCENARIOS,
]


@pytest.mark.parametrize(
    "op, error, scenario", SCENARIOS, ids=lambda part: getattr(part, "name", getattr(part, "__name__", ""))
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
    assert sorted({(op.name, error.__name__) for op, error, _ in SCENARIOS}) == declared


def test_what_the_pipeline_raises_for_all_is_declared_by_none() -> None:
    assert [op.name for op in OPERATIONS if {ScopeMissing, IdempotencyKeyReused} & set(op.errors)] == []
