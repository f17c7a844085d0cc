"""How each declared error of the operations on relations, claims and runs comes about."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from app.errors import (
    ApiError,
    Contended,
    EtagMismatch,
    InvalidInput,
    LeaseLost,
    LogFull,
    NotClaimable,
    NotHolder,
    NotYoursToShow,
    RelationCycle,
    RunClaimed,
    RunEnded,
    RunNotFound,
    StateNotFound,
    TaskNotFound,
    TaskReadOnly,
    TooManyParts,
    VersionConflict,
)
from app.operations import (
    append_run_log,
    claim_task,
    complete_run,
    create_task,
    create_task_record,
    delete_task_record,
    fail_run,
    force_release_run,
    get_run,
    get_task_record,
    heartbeat_run,
    link_tasks,
    list_run_log,
    list_task_relations,
    release_run,
    states,
    unlink_tasks,
    update_task_record,
)
from app.rpc import ClaimWrite, Operation
from tests.conftest import Caller, World
from tests.operations.claims import expire, needs, placed
from tests.operations.writes import WRITES

Scenario = Callable[[World], Awaitable[object]]

OVERTAKEN: Final = "somebody else always changes this one first"
NEVER_MADE: Final = "a State that is never made"
NOBODY: Final = "019cadf1-2e40-7000-8000-0000000000ff"
ERRORS: Final = [{"code": "x", "message": "y"}]
EDGE: Final[dict[str, Any]] = {"kind": "blocks", "other_task_id": "T-2"}

ELSEWHERE: Final = (
    claim_task,
    update_task_record,
    delete_task_record,
)  # theirs is no task of two_tasks_one_held
UNDER_A_CLAIM: Final[list[tuple[Operation, dict[str, Any]]]] = [
    (op, {**fields, "task_id": "T-1"} if "task_id" in needs(op) and op not in ELSEWHERE else fields)
    for op, fields in WRITES
]
"""Every operation that takes a `runId`, with what it needs besides."""


async def two_tasks_one_held(workspace: World, note: str | None = None) -> tuple[Caller, str]:
    """A holder of T-1, which stands with T-2 in a channel, and its run."""
    bot = await workspace.agent("bot")
    channel = await workspace.channel("work", bot)
    for _ in range(2):
        await bot(create_task, title="x", channel_id=channel)
    claim = await bot(claim_task, task_id="T-1")
    if note is not None:
        await bot(heartbeat_run, run_id=claim.run.id, note=note)
    return bot, claim.run.id


def after_the_lease(op: Operation, fields: dict[str, Any]) -> Scenario:
    async def scenario(workspace: World) -> None:
        bot, run_id = await two_tasks_one_held(workspace)
        await expire(workspace, run_id)
        await bot(op, run_id=run_id, **await placed(workspace, bot, op, fields))

    return scenario


def under_anothers(op: Operation, fields: dict[str, Any]) -> Scenario:
    async def scenario(workspace: World) -> None:
        _, run_id = await two_tasks_one_held(workspace)
        other = await workspace.agent("other")
        await workspace.join("work", other)
        await other(op, run_id=run_id, **await placed(workspace, other, op, fields))

    return scenario


def under_none(op: Operation, fields: dict[str, Any]) -> Scenario:
    async def scenario(workspace: World) -> None:
        bot, _ = await two_tasks_one_held(workspace)
        await bot(op, run_id=NOBODY, **await placed(workspace, bot, op, fields))

    return scenario


def at_another_version(op: Operation, **fields: object) -> Scenario:
    async def scenario(workspace: World) -> None:
        bot, run_id = await two_tasks_one_held(workspace)
        await bot(op, run_id=run_id, version=7, **fields)

    return scenario


def always_overtaken(op: Operation, fields: dict[str, Any]) -> Scenario:
    async def scenario(workspace: World) -> None:
        bot, run_id = await two_tasks_one_held(workspace, OVERTAKEN)
        await bot(op, run_id=run_id, **fields)

    return scenario


def as_reader(op: Operation, **fields: object) -> Scenario:
    """A call by one who only reads in the channel of T-1 and T-2."""

    async def scenario(workspace: World) -> None:
        author, reader = await workspace.agent("author"), await workspace.agent("reader")
        channel = await workspace.channel("builds", author)
        await workspace.join("builds", reader, role="reader")
        for _ in range(2):
            await author(create_task, title="x", channel_id=channel)
        await reader(op, **fields)

    return scenario


def on_two_tasks(op: Operation, title: str = "x", /, *, linked: bool = False, **fields: object) -> Scenario:
    """A call by the one who created T-1 and T-2."""

    async def scenario(workspace: World) -> None:
        bot = await workspace.agent("bot", scopes="all,operator")
        for _ in range(2):
            await bot(create_task, title=title)
        if linked:
            await bot(link_tasks, task_id="T-1", **EDGE)
        await bot(op, **fields)

    return scenario


async def logs_too_much(workspace: World) -> None:
    bot, run_id = await two_tasks_one_held(workspace)
    await workspace.rows("UPDATE runs SET log_length = 99999 WHERE workspace_id = %(workspace)s RETURNING id")
    await bot(append_run_log, run_id=run_id, steps=[{"text": "x"}, {"text": "y"}])


async def forces_what_has_ended(workspace: World) -> None:
    bot, run_id = await two_tasks_one_held(workspace)
    await bot(release_run, run_id=run_id)
    await (await workspace.user("boss", scopes="operator"))(force_release_run, run_id=run_id)


async def forces_what_is_always_changed_first(workspace: World) -> None:
    _, run_id = await two_tasks_one_held(workspace, OVERTAKEN)
    await (await workspace.user("boss", scopes="operator"))(force_release_run, run_id=run_id)


# Records -----------------------------------------------------------------------------------


def record_calls(op: Operation, **fields: object) -> Scenario:
    """A call on a run or State of the caller's own, unless the fields name another."""

    async def scenario(workspace: World) -> None:
        bot = await workspace.agent("bot")
        run = await bot(create_task_record, kind="x", title=fields.pop("titled", None))
        state = await bot(states.create_state, name=fields.pop("named", "x"))
        wanted = op.request.__struct_fields__
        named = {"task_id": run.id, "state_id": state.id, **fields}
        parent = {"parent_id": run.id} if named.get("parent_id") == "self" else {}
        await bot(op, **{name: value for name, value in {**named, **parent}.items() if name in wanted})

    return scenario


def record_as_reader(op: Operation, **fields: object) -> Scenario:
    """A call on a run of a task that the caller may only read."""

    async def scenario(workspace: World) -> None:
        author, reader = await workspace.agent("author"), await workspace.agent("reader")
        channel = await workspace.channel("builds", author)
        await workspace.join("builds", reader, role="reader")
        await author(create_task, title="x", channel_id=channel)
        run = await author(create_task_record, kind="x", work_item_id="T-1")
        await reader(
            op, **({"task_id": run.id} if "task_id" in op.request.__struct_fields__ else {}), **fields
        )

    return scenario


def on_a_claim(op: Operation, *, by: str = "bot", lost: bool = False, **fields: object) -> Scenario:
    async def scenario(workspace: World) -> None:
        bot, run_id = await two_tasks_one_held(workspace)
        caller = bot
        if by != "bot":
            caller = await workspace.agent(by)
            await workspace.join("work", caller)
        if lost:
            await expire(workspace, run_id)
        await caller(op, task_id=run_id, **fields)

    return scenario


async def shows_a_run_it_carries_out(workspace: World) -> None:
    author, worker = await workspace.agent("author"), await workspace.agent("worker")
    run = await author(create_task_record, kind="x", executor_id=worker.id)
    task = await worker(create_task, title="x")
    await worker(update_task_record, task_id=run.id, work_item_id=task.id)


async def writes_the_state_of_a_task_as_its_reader(workspace: World) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", bot, role="reader")
    task = await author(create_task, title="x", channel_id=channel)
    run = await author(create_task_record, kind="x", work_item_id=task.id, stateful=True)
    await bot(states.update_state, state_id=run.state_id, removed=["a"])


async def deletes_too_much(workspace: World) -> None:
    bot = await workspace.agent("bot")
    root = await bot(create_task_record, kind="x")
    await workspace.rows(
        """INSERT INTO runs (workspace_id, id, parent_id, author_id, author_kind)
           SELECT %(workspace)s, gen_random_uuid(), %(root)s::uuid, %(author)s::uuid, 'agent' FROM generate_series(1, 1000)
           RETURNING id""",
        root=root.id,
        author=bot.id,
    )
    await bot(delete_task_record, task_id=root.id)


RUN_SCENARIOS: Final[list[tuple[Operation, type[ApiError], Scenario]]] = [
    *((op, LeaseLost, after_the_lease(op, fields)) for op, fields in UNDER_A_CLAIM),
    *((op, NotHolder, under_anothers(op, fields)) for op, fields in UNDER_A_CLAIM),
    *((op, RunNotFound, under_none(op, fields)) for op, fields in UNDER_A_CLAIM),
    *(
        (op, Contended, always_overtaken(op, fields))
        for op, fields in UNDER_A_CLAIM
        if issubclass(op.request, ClaimWrite)
    ),
    (link_tasks, InvalidInput, on_two_tasks(link_tasks, task_id="T-2", **EDGE)),
    (link_tasks, TaskNotFound, on_two_tasks(link_tasks, task_id="T-9", **EDGE)),
    (link_tasks, TaskReadOnly, as_reader(link_tasks, task_id="T-1", **EDGE)),
    (
        link_tasks,
        RelationCycle,
        on_two_tasks(link_tasks, linked=True, task_id="T-2", kind="blocks", other_task_id="T-1"),
    ),
    (unlink_tasks, InvalidInput, on_two_tasks(unlink_tasks, task_id="T-2", **EDGE)),
    (unlink_tasks, TaskNotFound, on_two_tasks(unlink_tasks, task_id="T-9", **EDGE)),
    (unlink_tasks, TaskReadOnly, as_reader(unlink_tasks, task_id="T-1", **EDGE)),
    (list_task_relations, TaskNotFound, on_two_tasks(list_task_relations, task_id="T-9")),
    (claim_task, TaskNotFound, on_two_tasks(claim_task, task_id="T-9")),
    (claim_task, TaskReadOnly, as_reader(claim_task, task_id="T-1")),
    (claim_task, NotClaimable, on_two_tasks(claim_task, linked=True, task_id="T-2")),
    (claim_task, Contended, on_two_tasks(claim_task, OVERTAKEN, task_id="T-1")),
    (complete_run, VersionConflict, at_another_version(complete_run)),
    (fail_run, VersionConflict, at_another_version(fail_run, errors=ERRORS)),
    (release_run, VersionConflict, at_another_version(release_run)),
    (claim_task, VersionConflict, on_two_tasks(claim_task, task_id="T-1", version=7)),
    (link_tasks, VersionConflict, on_two_tasks(link_tasks, task_id="T-1", version=7, **EDGE)),
    (unlink_tasks, VersionConflict, on_two_tasks(unlink_tasks, task_id="T-1", version=7, **EDGE)),
    (append_run_log, LogFull, logs_too_much),
    (force_release_run, RunNotFound, on_two_tasks(force_release_run, run_id=NOBODY)),
    (force_release_run, RunEnded, forces_what_has_ended),
    (force_release_run, Contended, forces_what_is_always_changed_first),
    (get_run, RunNotFound, on_two_tasks(get_run, run_id=NOBODY)),
    (list_run_log, RunNotFound, on_two_tasks(list_run_log, run_id=NOBODY)),
    (create_task_record, RunNotFound, record_calls(create_task_record, kind="x", parent_id=NOBODY)),
    (create_task_record, TaskNotFound, record_calls(create_task_record, kind="x", work_item_id="T-9")),
    (create_task_record, TaskReadOnly, record_as_reader(create_task_record, kind="x", work_item_id="T-1")),
    (update_task_record, InvalidInput, record_calls(update_task_record, parent_id="self")),
    (update_task_record, RunNotFound, record_calls(update_task_record, task_id=NOBODY)),
    (update_task_record, TaskNotFound, record_calls(update_task_record, work_item_id="T-9")),
    (update_task_record, TaskReadOnly, record_as_reader(update_task_record, title="y")),
    (update_task_record, NotYoursToShow, shows_a_run_it_carries_out),
    (update_task_record, EtagMismatch, record_calls(update_task_record, if_match='"7"', title="y")),
    (update_task_record, RunClaimed, on_a_claim(update_task_record, status="completed")),
    (update_task_record, NotHolder, on_a_claim(update_task_record, by="other", title="y")),
    (update_task_record, LeaseLost, on_a_claim(update_task_record, lost=True, title="y")),
    (update_task_record, Contended, record_calls(update_task_record, titled=OVERTAKEN, title="y")),
    (get_task_record, RunNotFound, record_calls(get_task_record, task_id=NOBODY)),
    (delete_task_record, RunNotFound, record_calls(delete_task_record, task_id=NOBODY)),
    (delete_task_record, EtagMismatch, record_calls(delete_task_record, if_match='"7"')),
    (delete_task_record, RunClaimed, on_a_claim(delete_task_record)),
    (delete_task_record, TaskReadOnly, record_as_reader(delete_task_record)),
    (delete_task_record, TooManyParts, deletes_too_much),
    (states.create_state, Contended, record_calls(states.create_state, name=NEVER_MADE)),
    (states.get_state, StateNotFound, record_calls(states.get_state, state_id=NOBODY)),
    (
        states.update_state,
        InvalidInput,
        record_calls(states.update_state, variables=[{"name": f"{n}"} for n in range(501)]),
    ),
    (states.update_state, StateNotFound, record_calls(states.update_state, state_id=NOBODY)),
    (states.update_state, TaskReadOnly, writes_the_state_of_a_task_as_its_reader),
    (states.update_state, EtagMismatch, record_calls(states.update_state, if_match='"7"', removed=["a"])),
    (states.update_state, Contended, record_calls(states.update_state, named=OVERTAKEN, removed=["a"])),
]
