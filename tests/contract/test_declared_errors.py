"""What operations say of their errors is true: each declared error is raised by a call below, and no other is.

That no other is, the callers of conftest.py see to: they fail a test in which an operation raises what it does
not declare. `InvalidInput` is declared where the operation itself raises it, `ScopeMissing` and
`IdempotencyKeyReused` nowhere: the pipeline raises all three, and the document lists them for all operations.
"""

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import psycopg
import pytest

from app.errors import (
    ApiError,
    ChannelNotFound,
    ChannelNotMember,
    Contended,
    IdempotencyKeyReused,
    IdentityNotFound,
    InvalidInput,
    NotAssigned,
    NotAssignee,
    ParentCycle,
    ScopeMissing,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
    VersionNotFound,
)
from app.operations import (
    OPERATIONS,
    block_task,
    cancel_task,
    comment_on_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    get_task,
    list_comments,
    list_task_history,
    list_tasks,
    release_task,
    resolve_identity,
    update_task,
)
from app.rpc import Operation
from tests.conftest import Caller, World
from tests.contract.run_scenarios import OVERTAKEN, RUN_SCENARIOS

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
    (list_tasks, InvalidInput, calls(list_tasks, assignee_agent_id=NOBODY, assignee_user_id=NOBODY)),
    (update_task, InvalidInput, calls_with_two_assignees(update_task, version=1)),
    (update_task, TaskNotFound, calls(update_task, task_id="T-9", version=1)),
    (update_task, TaskReadOnly, calls_as_reader(update_task, version=1)),
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
    assert sorted((op.name, error.__name__) for op, error, _ in SCENARIOS) == declared


def test_what_the_pipeline_raises_for_all_is_declared_by_none() -> None:
    assert [op.name for op in OPERATIONS if {ScopeMissing, IdempotencyKeyReused} & set(op.errors)] == []
