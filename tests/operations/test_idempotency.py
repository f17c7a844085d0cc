"""Idempotency keys and get-request-outcome: the same request again has no second effect and gets the first answer."""

import asyncio
import json
from typing import Any

import pytest

from app.db import Command, Database, One, Query
from app.errors import IdempotencyKeyReused, InvalidInput, TaskReadOnly, TimedOut
from app.operations import (
    OPERATIONS,
    block_task,
    cancel_task,
    claim_next_task,
    comment_on_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    get_request_outcome,
    get_task,
    leave_channel,
    link_tasks,
    list_comments,
    list_tasks,
    release_task,
    unlink_tasks,
    update_task,
)
from app.rpc import AGENT, Context, Operation, execute, whose
from app.writes.turns import Turn, take_turn
from tests.conftest import Caller, World

# Those of every day; the first things asked of them, tests/http/test_keys.py asks of every operation.
KEYED: dict[Operation, dict[str, object]] = {
    create_task: {"title": "New"},
    create_tasks_bulk: {"tasks": [{"title": "One"}, {"title": "Two"}]},
    update_task: {"version": 1, "title": "B"},
    complete_task: {},
    cancel_task: {"reason": "No need."},
    block_task: {"reason": "Waiting."},
    release_task: {},
    comment_on_task: {"body": "Look."},
    claim_next_task: {},
}
ON_TASK = [op for op in KEYED if op not in (create_task, create_tasks_bulk, claim_next_task)]


async def fields_for(op: Operation, bot: Caller, **fields: object) -> dict[str, object]:
    """A request that the operation accepts, on a fresh task if it needs one."""
    if op in ON_TASK or op is claim_next_task:
        task = await bot(create_task, title="A", assignee_agent_id=bot.id)
        if op in ON_TASK:
            fields["task_id"] = task.id
    return {**KEYED[op], **fields}


async def everything(workspace: World) -> dict[str, list[dict[str, Any]]]:
    """All that calls can leave behind in a workspace."""
    return {
        "tasks": await workspace.rows("SELECT * FROM tasks WHERE workspace_id = %(workspace)s ORDER BY id"),
        "events": await workspace.rows(
            "SELECT * FROM task_events WHERE workspace_id = %(workspace)s ORDER BY seq"
        ),
        "comments": await workspace.rows(
            "SELECT * FROM task_comments WHERE workspace_id = %(workspace)s ORDER BY id"
        ),
        "messages": await workspace.rows(
            "SELECT * FROM messages WHERE workspace_id = %(workspace)s ORDER BY id"
        ),
        "counter": await workspace.rows("SELECT * FROM task_counters WHERE workspace_id = %(workspace)s"),
        "keys": await workspace.rows("SELECT * FROM idempotency_keys WHERE workspace_id = %(workspace)s"),
    }


def test_every_operation_that_writes_takes_a_key() -> None:
    # The bodies of the SDK family are closed by contract: there the key comes in the header alone.
    writing = {op for op in OPERATIONS if not op.read_only and op.family is AGENT}
    taking = {op for op in OPERATIONS if "idempotency_key" in op.request.__struct_fields__}
    assert taking - {get_request_outcome} == writing


@pytest.mark.parametrize("op", KEYED, ids=lambda op: op.name)
async def test_the_same_request_again_gets_the_first_answer_and_has_no_effect(
    workspace: World, op: Operation
) -> None:
    bot = await workspace.agent("bot")
    fields = await fields_for(op, bot, idempotency_key="k-1")
    first = await bot.answer(op, "first", **fields)
    assert first[0] == 200 and first[2] == {}
    assert json.loads(first[1])["meta"]["requestId"] == "first"
    after_first = await everything(workspace)
    assert [row["key"] for row in after_first["keys"]] == ["k-1"]
    again = await bot.answer(op, "second", **fields)
    assert again == (200, first[1], {"idempotency-replayed": "true"})
    assert await everything(workspace) == after_first


@pytest.mark.parametrize("op", KEYED, ids=lambda op: op.name)
async def test_of_many_at_once_one_has_an_effect_and_all_get_its_answer(
    workspace: World, op: Operation
) -> None:
    bot = await workspace.agent("bot")
    fields = await fields_for(op, bot, idempotency_key="k-1")
    before = await everything(workspace)
    answers = await asyncio.gather(*(bot.answer(op, f"r{number}", **fields) for number in range(20)))
    assert {(status, body) for status, body, _ in answers} == {(200, answers[0][1])}
    assert sorted(aside.get("idempotency-replayed", "") for *_, aside in answers) == [""] + ["true"] * 19
    after = await everything(workspace)
    effects = {create_tasks_bulk: 2, cancel_task: 2, block_task: 2}
    assert len(after["events"]) - len(before["events"]) == effects.get(op, 1)
    assert len(after["keys"]) == 1


@pytest.mark.parametrize("op", KEYED, ids=lambda op: op.name)
async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(
    workspace: World, op: Operation
) -> None:
    bot = await workspace.agent("bot")
    fields = await fields_for(op, bot, idempotency_key="k-1")
    await bot.answer(op, "first", **fields)
    after_first = await everything(workspace)
    with pytest.raises(IdempotencyKeyReused) as refused:
        await bot(create_task, title="Something else", idempotency_key="k-1")
    assert refused.value.status == 409
    assert refused.value.retryable is False
    assert bot.decoded(refused.value).operation == op.name
    assert await everything(workspace) == after_first


async def test_a_key_is_free_for_every_identity(workspace: World) -> None:
    bot, scout = await workspace.agent("bot"), await workspace.agent("scout")
    one = await bot(create_task, title="A", idempotency_key="k-1")
    other = await scout(create_task, title="A", idempotency_key="k-1")
    assert one.id != other.id


async def test_layout_and_order_of_a_body_make_no_other_request(workspace: World) -> None:
    bot = await workspace.agent("bot")
    one = await bot.post(create_task, b'{"title": "A", "priority": "low", "idempotencyKey": "k-1"}')
    other = await bot.post(create_task, b'{"idempotencyKey":"k-1",\n"priority":"low","title":"A"}')
    assert one == other


async def test_the_header_and_the_field_are_the_same_key(workspace: World) -> None:
    bot = await workspace.agent("bot")
    one = await bot(create_task, title="A", idempotency_key="k-1")
    for header in ("k-1", '"k-1"'):
        ctx = Context(workspace.db, bot.context.actor, "by-header", idempotency_key=header)
        assert bot.of(await execute(create_task, ctx, body=b'{"title": "A"}'), create_task) == one


async def test_a_key_has_up_to_255_characters_in_either_place(workspace: World) -> None:
    bot = await workspace.agent("bot")
    for key in ("x", "y" * 255):
        one = await bot(create_task, title="A", idempotency_key=key)
        ctx = Context(workspace.db, bot.context.actor, "by-header", idempotency_key=key)
        assert bot.of(await execute(create_task, ctx, body=b'{"title": "A"}'), create_task) == one
    for key in ("", "z" * 256):
        with pytest.raises(InvalidInput):
            await bot(create_task, title="A", idempotency_key=key)


@pytest.mark.parametrize("header", ["", "x" * 256, "a\tb", "\xe9"])
async def test_a_header_that_cannot_be_a_key_is_refused(workspace: World, header: str) -> None:
    bot = await workspace.agent("bot")
    ctx = Context(workspace.db, bot.context.actor, "r", idempotency_key=header)
    with pytest.raises(InvalidInput, match="Idempotency-Key"):
        await execute(create_task, ctx, body=b'{"title": "A"}')
    assert await bot(list_tasks) == []


async def test_of_two_keys_on_one_call_that_in_the_header_counts(workspace: World) -> None:
    bot = await workspace.agent("bot")
    ctx = Context(workspace.db, bot.context.actor, "r", idempotency_key="k-1")
    bodies = (
        b'{"title": "A", "idempotencyKey": "k-2"}',
        b'{"title": "A", "idempotencyKey": "k-3"}',
        b'{"title": "A"}',
    )
    made = [bot.of(await execute(create_task, ctx, body=body), create_task) for body in bodies]
    assert made == [made[0]] * 3
    unused = await bot(create_task, title="A", idempotency_key="k-2")
    assert unused.id != made[0].id


@pytest.mark.parametrize("op", KEYED, ids=lambda op: op.name)
async def test_a_key_whose_only_answer_was_a_refusal_may_carry_a_corrected_request(
    workspace: World, op: Operation
) -> None:
    bot = await workspace.agent("bot")
    wrong: dict[str, object] = {"task_id": "T-99", "idempotency_key": "k-1"}
    refused = await bot.answer(complete_task, "wrong", **wrong)
    assert refused[0] == 404
    assert await bot.answer(complete_task, "again", **wrong) == (
        404,
        refused[1],
        {"idempotency-replayed": "true"},
    )
    fields = await fields_for(op, bot, idempotency_key="k-1")
    answers = await asyncio.gather(*(bot.answer(op, f"r{number}", **fields) for number in range(8)))
    assert {(status, body) for status, body, _ in answers} == {(200, answers[0][1])}
    after = await everything(workspace)
    assert [(row["key"], row["operation"], row["error"]) for row in after["keys"]] == [("k-1", op.name, None)]
    with pytest.raises(IdempotencyKeyReused):  # now it had an effect
        await bot(complete_task, **wrong)
    assert await everything(workspace) == after


async def test_a_create_refused_for_its_assignee_is_corrected_under_its_key(workspace: World) -> None:
    bot = await workspace.agent("bot")
    key = {"title": "A", "idempotency_key": "k-1"}
    for wrong in ("nobody", "00000000-0000-7000-8000-000000000001"):
        assert (await bot.answer(create_task, wrong, **key, assignee_agent_id=wrong))[0] == 404
    made = await bot(create_task, **key, assignee_agent_id=bot.id)
    assert (made.identifier, made.assignee_agent_id) == ("T-1", bot.id)
    assert await bot(create_task, **key, assignee_agent_id=bot.id) == made
    assert len(await bot(list_tasks)) == 1


async def test_a_correction_that_is_refused_as_well_is_the_answer_from_then_on(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, title="B")
    stale = {"task_id": task.id, "version": 1, "idempotency_key": "k-1"}
    for title in ("C", "D"):
        first = await bot.answer(update_task, title, **stale, title=title)
        assert first[0] == 409
        assert await bot.answer(update_task, "again", **stale, title=title) == (
            409,
            first[1],
            {"idempotency-replayed": "true"},
        )
        outcome = await bot(get_request_outcome, idempotency_key="k-1")
        assert (outcome.state, outcome.status, outcome.request_id) == ("done", 409, title)
    corrected = await bot(update_task, **{**stale, "version": 2}, title="D")
    assert (corrected.title, corrected.version) == ("D", 3)


async def test_a_refusal_that_came_after_execution_began_is_the_answer_for_good(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, title="B")
    fields = {"task_id": task.id, "version": 1, "title": "C", "idempotency_key": "k-1"}
    first = await bot.answer(update_task, "first", **fields)
    assert first[0] == 409
    await bot(update_task, task_id=task.id, version=2, title="D")
    assert await bot.answer(update_task, "second", **fields) == (
        409,
        first[1],
        {"idempotency-replayed": "true"},
    )
    missing = {"task_id": "T-99", "version": 1, "title": "C", "idempotency_key": "k-2"}
    unseen = await bot.answer(update_task, "first", **missing)
    assert unseen[0] == 404
    assert (await bot.answer(update_task, "second", **missing))[1] == unseen[1]


async def test_a_replayed_refusal_is_of_the_same_class(workspace: World) -> None:
    bot = await workspace.agent("bot")
    reader = await workspace.agent("reader", channels=[])
    channel = await workspace.channel("build", bot)
    await workspace.join("build", reader, role="reader")
    task = await bot(create_task, title="A", channel_id=channel)
    for _ in range(2):
        with pytest.raises(TaskReadOnly):
            await reader(complete_task, task_id=task.id, idempotency_key="k-1")


async def test_a_failed_validation_stores_nothing(workspace: World) -> None:
    bot = await workspace.agent("bot")
    for wrong in ({"title": ""}, {"title": "A", "assignee_agent_id": bot.id, "assignee_user_id": bot.id}):
        with pytest.raises(InvalidInput):
            await bot(create_task, **wrong, idempotency_key="k-1")
    assert (await bot(create_task, title="A", idempotency_key="k-1")).title == "A"


async def test_an_answer_without_an_effect_is_kept_too(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(complete_task, task_id=task.id)
    first = await bot.answer(complete_task, "first", task_id=task.id, idempotency_key="k-1")
    await bot(update_task, task_id=task.id, version=2, status="todo")
    again = await bot.answer(complete_task, "second", task_id=task.id, idempotency_key="k-1")
    assert again[1] == first[1]
    assert (await bot(get_task, task_id=task.id)).status == "todo", "the repetition did not complete it again"


async def test_a_comment_on_a_task_that_was_blocked_already_is_written_once(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(block_task, task_id=task.id, reason="One.")
    for _ in range(3):
        await bot(block_task, task_id=task.id, reason="Two.", idempotency_key="k-1")
    assert [c.body for c in await bot(list_comments, task_id=task.id)] == ["One.", "Two."]


async def test_a_merge_is_repeated_as_a_merge(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A")
    await bot(update_task, task_id=task.id, version=1, title="B")
    fields = {
        "task_id": task.id,
        "version": 1,
        "priority": "low",
        "on_conflict": "merge",
        "idempotency_key": "k-1",
    }
    first = await bot.answer(update_task, "first", **fields)
    assert first[2] == {"baton-merged-from": "1"}
    assert await bot.answer(update_task, "second", **fields) == (
        200,
        first[1],
        {"baton-merged-from": "1", "idempotency-replayed": "true"},
    )


async def test_moving_a_task_carries_its_key_through_the_transaction(workspace: World) -> None:
    bot = await workspace.agent("bot")
    parent, task = await bot(create_task, title="Parent"), await bot(create_task, title="A")
    fields = {"task_id": task.id, "version": 1, "parent_task_id": parent.id, "idempotency_key": "k-1"}
    answers = await asyncio.gather(*(bot.answer(update_task, f"r{n}", **fields) for n in range(5)))
    assert {(status, body) for status, body, _ in answers} == {(200, answers[0][1])}
    assert (await bot(get_task, task_id=task.id)).version == 2


async def test_a_mixed_crowd_of_keyed_and_plain_calls_shares_its_batches(workspace: World) -> None:
    bot = await workspace.agent("bot")
    tasks = [await bot(create_task, title=str(n)) for n in range(40)]
    await asyncio.gather(
        *(
            bot(complete_task, task_id=task.id, **({"idempotency_key": f"k-{n // 4}"} if n % 4 < 2 else {}))
            for n, task in enumerate(tasks)
            if n % 4 != 1
        )
    )
    done = await bot(list_tasks, status="done", limit=100)
    assert len(done) == 30
    assert len((await everything(workspace))["keys"]) == 10


# What became of it ---------------------------------------------------------------------------------------


async def test_the_outcome_of_a_call_is_its_whole_answer(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="A", idempotency_key="k-1")
    outcome = await bot(get_request_outcome, idempotency_key="k-1")
    assert (outcome.state, outcome.operation, outcome.status, outcome.error) == (
        "done",
        "create-task",
        200,
        None,
    )
    assert outcome.data["id"] == task.id
    assert outcome.request_id == "test-bot"


async def test_the_outcome_of_a_refusal_is_its_error(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await bot.answer(complete_task, "r", task_id="T-9", idempotency_key="k-1")
    outcome = await bot(get_request_outcome, idempotency_key="k-1")
    assert (outcome.state, outcome.status, outcome.data) == ("done", 404, None)
    assert outcome.error["code"] == "not_found"


async def test_a_call_that_never_arrived_is_unknown_and_asking_leaves_no_trace(workspace: World) -> None:
    bot = await workspace.agent("bot")
    for _ in range(2):
        assert (await bot(get_request_outcome, idempotency_key="k-1")).state == "unknown"
    assert (await bot(create_task, title="A", idempotency_key="k-1")).title == "A"


async def test_the_outcomes_of_others_are_unknown(workspace: World, other_workspace: World) -> None:
    bot, scout = await workspace.agent("bot"), await workspace.agent("scout")
    stranger = await other_workspace.agent("bot")
    await bot(create_task, title="A", idempotency_key="k-1")
    assert (await scout(get_request_outcome, idempotency_key="k-1")).state == "unknown"
    assert (await stranger(get_request_outcome, idempotency_key="k-1")).state == "unknown"


async def test_an_answer_is_shown_only_to_a_key_with_the_scope_it_needed(workspace: World) -> None:
    bot = await workspace.agent("bot")
    await bot(create_task, title="A", idempotency_key="k-1")
    actor = bot.context.actor
    lesser = Context(
        workspace.db,
        type(actor)(
            actor.workspace_id,
            actor.id,
            actor.kind,
            actor.handle,
            frozenset({"task-read"}),
            actor.key_id,
            actor.key_prefix,
        ),
        "r",
    )
    outcome = bot.of(
        await execute(get_request_outcome, lesser, body=b'{"idempotencyKey": "k-1"}'), get_request_outcome
    )
    assert (outcome.state, outcome.status, outcome.data) == ("done", 200, None)


# A comment waits for no lock, and a claim passes over what is locked.
WAITING = [op for op in KEYED if op not in (comment_on_task, claim_next_task)]


@pytest.mark.parametrize("op", WAITING, ids=lambda op: op.name)
async def test_a_call_under_way_is_in_progress_until_it_is_done(
    workspace: World, db: Database, op: Operation
) -> None:
    bot = await workspace.agent("bot")
    fields = await fields_for(op, bot, idempotency_key="k-1")
    async with db.transaction() as tx:
        await tx.one(HOLD, workspace_id=workspace.id)
        call = asyncio.create_task(bot(op, **fields))
        await workspace.seen_waiting()
        assert (await bot(get_request_outcome, idempotency_key="k-1")).state == "in_progress"
    await call
    assert (await bot(get_request_outcome, idempotency_key="k-1")).state == "done"


async def test_a_call_that_locks_before_it_writes_is_in_progress_too(workspace: World, db: Database) -> None:
    bot = await workspace.agent("bot")
    room = await workspace.channel("room", bot, await workspace.agent("scout"))
    async with db.transaction() as tx:
        await tx.one(HOLD_CHANNELS, workspace_id=workspace.id)
        call = asyncio.create_task(bot(leave_channel, channel_id=room, idempotency_key="k-1"))
        await workspace.seen_waiting()
        assert (await bot(get_request_outcome, idempotency_key="k-1")).state == "in_progress"
    await call
    assert (await bot(get_request_outcome, idempotency_key="k-1")).state == "done"


async def test_a_call_that_waits_for_its_turn_is_in_progress_too(workspace: World, db: Database) -> None:
    bot = await workspace.agent("bot")
    first, other = await bot(create_task, title="A"), await bot(create_task, title="B")
    calls: tuple[tuple[Turn, Operation, dict[str, object]], ...] = (
        ("link", link_tasks, {"task_id": first.id, "kind": "blocks", "other_task_id": other.id}),
        ("link", unlink_tasks, {"task_id": first.id, "kind": "blocks", "other_task_id": other.id}),
        ("move", update_task, {"task_id": first.id, "version": 1, "parent_task_id": other.id}),
    )
    for turn, op, fields in calls:
        key = f"k-{op.name}"
        async with db.transaction() as tx:
            await take_turn(tx, whose(bot.context.actor), None, turn)
            call = asyncio.create_task(bot(op, **fields, idempotency_key=key))
            await workspace.seen_waiting()
            assert (await bot(get_request_outcome, idempotency_key=key)).state == "in_progress"
        await call
        assert (await bot(get_request_outcome, idempotency_key=key)).state == "done"


async def test_a_call_that_is_done_within_a_moment_is_waited_for(workspace: World, db: Database) -> None:
    bot = await workspace.agent("bot")
    async with db.transaction() as tx:
        await tx.one(HOLD, workspace_id=workspace.id)
        call = asyncio.create_task(bot(create_task, title="A", idempotency_key="k-1"))
        await workspace.seen_waiting()
        asked = asyncio.create_task(bot(get_request_outcome, idempotency_key="k-1"))
    task = await call
    outcome = await asked
    assert (outcome.state, outcome.data["id"]) == ("done", task.id)


# What every writing statement of a workspace has to pass: its counter, its tasks, its participants.
HOLD = Query(
    One[bool],
    """
    WITH counter AS (SELECT FROM task_counters WHERE workspace_id = %(workspace_id)s FOR UPDATE),
         task AS (SELECT FROM tasks WHERE workspace_id = %(workspace_id)s FOR UPDATE)
    SELECT true FROM (SELECT count(*) FROM counter) c, (SELECT count(*) FROM task) t
    """,
)
HOLD_CHANNELS = Query(One[bool], "SELECT true FROM channels WHERE workspace_id = %(workspace_id)s FOR UPDATE")
HOLD_KEY = Query(
    One[bool],
    """
    SELECT true FROM (SELECT pg_advisory_xact_lock(hashtextextended(
               %(workspace_id)s::text || ' ' || %(identity_id)s::text || ' k-1', 0))) AS taken
    """,
)
CLAIM = Command(
    One[bool],
    """
    INSERT INTO idempotency_keys (workspace_id, identity_id, key, operation, fingerprint, status, answer, request_id,
                                  answered_at)
    VALUES (%(workspace_id)s, %(identity_id)s, 'k-1', 'x', sha256(''), 200, '{}', 'r', 't')
    RETURNING true
    """,
)


async def test_a_second_caller_waits_for_the_first_and_gets_its_turn_if_that_fails(
    workspace: World, db: Database
) -> None:
    bot = await workspace.agent("bot")

    class Failed(Exception):
        pass

    async def first_that_fails(claimed: asyncio.Event, fail: asyncio.Event) -> None:
        async with db.transaction() as tx:
            await tx.one(CLAIM, workspace_id=workspace.id, identity_id=bot.id)
            claimed.set()
            await fail.wait()
            raise Failed

    claimed, fail = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(first_that_fails(claimed, fail))
    await claimed.wait()
    second = asyncio.create_task(bot(create_task, title="A", idempotency_key="k-1"))
    await workspace.seen_waiting()
    fail.set()
    with pytest.raises(Failed):
        await first
    assert (await second).title == "A"


async def test_a_second_caller_waits_no_longer_than_a_statement_may_take(
    workspace: World, db: Database, dsn: str
) -> None:
    bot = await workspace.agent("bot")
    before = await everything(workspace)
    impatient = Database(dsn, connections_max=2, statement_timeout_seconds=1, pooler=False)
    await impatient.open()
    try:
        async with db.transaction() as first:
            await first.one(HOLD_KEY, workspace_id=workspace.id, identity_id=bot.id)
            ctx = Context(impatient, bot.context.actor, "r", idempotency_key="k-1")
            async with asyncio.timeout(8):
                with pytest.raises(TimedOut):
                    await execute(create_task, ctx, body=b'{"title": "A"}')
    finally:
        await impatient.close()
    assert await everything(workspace) == before
