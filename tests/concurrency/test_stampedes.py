"""Many callers at once on the same thing: one winner, no gap, nothing twice, and nobody stuck.

The callers are spread over several ways to the database, as over several server processes: otherwise the service
would gather them into one statement, and there would be no race.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import pytest_asyncio

from app.db import Database
from app.errors import (
    ApiError,
    LeaseLost,
    NotAssigned,
    NotAssignee,
    NotClaimable,
    ParentCycle,
    RunEnded,
    VersionConflict,
)
from app.operations import (
    archive_channel,
    block_task,
    cancel_task,
    claim_task,
    comment_on_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    force_release_run,
    get_task,
    list_comments,
    release_task,
    rename_channel,
    set_channel_member_role,
    update_task,
)
from app.operator import administration as admin
from tests.concurrency.history import whole_history
from tests.conftest import Caller, Server, World, drop_database, new_database

CALLERS = 64
ROUNDS = 200
SEED = 20_260_101  # the same choices in every run; what happens at the same time differs anyway


@asynccontextmanager
async def ways_to(dsn: str) -> AsyncGenerator[list[Database]]:
    """Two that gather calls into batches, and one that sends each by itself."""
    async with AsyncExitStack() as stack:
        databases: list[Database] = []
        for pooler in (False, False, True):
            db = Database(dsn, connections_max=8, statement_timeout_seconds=10, pooler=pooler)
            await db.open()
            stack.push_async_callback(db.close)
            databases.append(db)
        yield databases


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def databases(dsn: str) -> AsyncGenerator[list[Database]]:
    async with ways_to(dsn) as databases:
        yield databases


async def crowd(workspace: World, size: int, databases: Sequence[Database]) -> tuple[list[Caller], str]:
    """Agents who share a channel, each with one of the ways to the database; and the channel."""
    callers = [await workspace.agent(f"agent-{n}") for n in range(size)]
    channel = await workspace.channel("arena", *callers)
    for n, caller in enumerate(callers):
        way = 2 if n % 8 == 7 else n % 2  # few go singly: each of them waits for the row by itself
        caller.context = msgspec.structs.replace(caller.context, db=databases[way])
    return callers, channel


async def outcomes(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What each call answered, or the refusal it got; anything but a refusal fails the test."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ApiError):
            raise answer
    return answers


async def test_of_64_callers_with_one_version_exactly_one_wins_in_each_of_200_rounds(
    workspace: World, databases: list[Database]
) -> None:
    callers, channel = await crowd(workspace, CALLERS, databases)
    task = await callers[0](create_task, title="Mine", channel_id=channel)
    for version in range(1, ROUNDS + 1):
        # Each way to the database is at the head of some rounds; which is faster is the machine's business.
        callers = [*callers[1:], callers[0]]
        update = {"task_id": task.id, "version": version}
        answers = await outcomes([c(update_task, **update, title=f"{c.handle}, {version}") for c in callers])
        [winner] = [n for n, answer in enumerate(answers) if not isinstance(answer, ApiError)]
        assert answers[winner].version == version + 1
        for loser in answers[:winner] + answers[winner + 1 :]:
            assert isinstance(loser, VersionConflict)
            assert loser.details is not None
            assert loser.details["currentVersion"] == version + 1
    assert len(await whole_history(workspace, task.id)) == ROUNDS + 1


async def test_over_http_one_of_64_callers_wins_and_the_others_hear_what_the_winner_wrote(
    workspace: World, server: Server
) -> None:
    bot = await workspace.agent("bot")
    limits = httpx.Limits(max_connections=CALLERS)
    url = f"{server.url}/v1/agent"
    async with httpx.AsyncClient(base_url=url, headers=bot.headers, limits=limits, timeout=30) as client:

        async def update(task_id: str, version: int, title: str) -> httpx.Response:
            change = {"taskId": task_id, "version": version, "title": title}
            return await client.post("/update-task", json=change)

        created = await client.post("/create-task", json={"title": "Round 0"})
        task_id = created.json()["data"]["id"]
        for version in range(1, 11):
            answers = await asyncio.gather(
                *(update(task_id, version, f"{n}, {version}") for n in range(CALLERS))
            )
            [won] = [answer.json()["data"] for answer in answers if answer.status_code == 200]
            lost = [answer.json()["error"] for answer in answers if answer.status_code == 409]
            assert len(lost) == CALLERS - 1
            assert all(error["details"]["current"] == won for error in lost)
            assert not any(error["retryable"] for error in lost)
    assert len(await whole_history(workspace, task_id)) == 11


async def test_of_64_agents_who_claim_a_task_exactly_one_gets_it(
    workspace: World, databases: list[Database]
) -> None:
    callers, channel = await crowd(workspace, CALLERS, databases)
    for _ in range(10):
        task = await callers[0](create_task, title="Claim me", channel_id=channel)
        claim = {"task_id": task.id, "version": 1}
        answers = await outcomes([c(update_task, **claim, assignee_agent_id=c.id) for c in callers])
        [winner] = [n for n, answer in enumerate(answers) if not isinstance(answer, ApiError)]
        assert (await callers[0](get_task, task_id=task.id)).assignee_agent_id == callers[winner].id


async def test_of_callers_who_retry_after_each_conflict_none_loses_what_it_wrote(
    workspace: World, databases: list[Database]
) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    callers, channel = await crowd(workspace, len(letters), databases)
    task = await callers[0](create_task, title="Alphabet", description="-", channel_id=channel)

    async def append(caller: Caller, letter: str) -> None:
        written = False
        while not written:
            current = await caller(get_task, task_id=task.id)
            longer = current.description + letter
            with suppress(VersionConflict):
                await caller(update_task, task_id=task.id, version=current.version, description=longer)
                written = True

    await asyncio.gather(*(append(caller, letter) for caller, letter in zip(callers, letters, strict=True)))
    assert sorted((await callers[0](get_task, task_id=task.id)).description) == list("-" + letters)


async def test_racing_lifecycle_calls_leave_a_history_that_tells_one_story(
    workspace: World, databases: list[Database]
) -> None:
    callers, channel = await crowd(workspace, 16, databases)
    for _ in range(10):
        assigned = {"channel_id": channel, "assignee_agent_id": callers[1].id}
        task = await callers[0](create_task, title="Hot", **assigned)
        calls = [
            call
            for caller in callers
            for call in (
                caller(complete_task, task_id=task.id),
                caller(block_task, task_id=task.id, reason=f"Stuck, says {caller.handle}"),
                caller(cancel_task, task_id=task.id, reason=f"Never mind, says {caller.handle}"),
                caller(release_task, task_id=task.id),
            )
        ]
        refused = [answer for answer in await outcomes(calls) if isinstance(answer, ApiError)]
        assert all(isinstance(refusal, (NotAssignee, NotAssigned)) for refusal in refused)
        assert len(refused) == len(callers) - 1, "the assignee alone releases, once"
        events = await whole_history(workspace, task.id)
        assert Counter(event["kind"] for event in events)["released"] == 1
        for before, after in pairwise(e for e in events if "status" in e["changes"]):
            assert before["kind"] != after["kind"], "a status was set that the task had already"
        assert len(await callers[0](list_comments, task_id=task.id, limit=100)) == 2 * len(callers)


async def test_racing_creations_never_share_a_number_and_a_batch_stays_together(
    workspace: World, databases: list[Database]
) -> None:
    callers, _ = await crowd(workspace, 8, databases)
    chosen = random.Random(SEED)
    sizes = [chosen.choice([1, 2, 7, 50]) for _ in range(80)]

    async def create(caller: Caller, size: int) -> list[int]:
        if size == 1:
            return [number(await caller(create_task, title="Single"))]
        return [number(task) for task in await caller(create_tasks_bulk, tasks=[{"title": "Row"}] * size)]

    batches = await asyncio.gather(*(create(callers[n % len(callers)], size) for n, size in enumerate(sizes)))
    for batch in batches:
        assert batch == list(range(batch[0], batch[0] + len(batch)))
    assert sorted(number for batch in batches for number in batch) == list(range(1, sum(sizes) + 1))


async def test_a_refused_batch_among_racing_ones_takes_no_number(
    workspace: World, databases: list[Database]
) -> None:
    callers, _ = await crowd(workspace, 6, databases)
    good, bad = [{"title": "Row"}] * 5, [{"title": "Row"}, {"title": "Orphan", "parentTaskId": "T-999999"}]
    calls = [callers[n % 6](create_tasks_bulk, tasks=bad if n % 4 == 0 else good) for n in range(60)]
    created = [
        number(task)
        for answer in await outcomes(calls)
        if not isinstance(answer, ApiError)
        for task in answer
    ]
    assert sorted(created) == list(range(1, 45 * 5 + 1))


def number(task: Any) -> int:
    return int(task.identifier.removeprefix("T-"))


async def test_racing_moves_never_make_a_circle(workspace: World, databases: list[Database]) -> None:
    callers, channel = await crowd(workspace, 6, databases)
    tasks = [await callers[0](create_task, title=f"Node {n}", channel_id=channel) for n in range(6)]
    chosen = random.Random(SEED)

    async def move(caller: Caller) -> bool:
        child, parent = chosen.sample(tasks, 2)
        current = await caller(get_task, task_id=child.id)
        await caller(update_task, task_id=child.id, version=current.version, parent_task_id=parent.id)
        return True

    moved = 0
    for _ in range(25):
        answers = await outcomes([move(chosen.choice(callers)) for _ in range(12)])
        assert all(answer is True or isinstance(answer, (VersionConflict, ParentCycle)) for answer in answers)
        moved += answers.count(True)
        parents = {t.id: (await callers[0](get_task, task_id=t.id)).parent_task_id for t in tasks}
        for task in tasks:
            seen, above = set[str](), task.id
            while above is not None:
                assert above not in seen, "a task stands above itself"
                seen.add(above)
                above = parents[above]
    assert moved > 0


@pytest.fixture
def own_dsn(postgres: str) -> Iterator[str]:
    """A database of its own: the deadlocks it counts are this test's."""
    name = f"baton_deadlocks_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


async def test_callers_who_name_and_assign_the_same_people_in_any_order_never_lock_each_other_out(
    own_dsn: str,
) -> None:
    async with ways_to(own_dsn) as databases:
        workspace = World(databases[0], await admin.create_workspace(databases[0], "crowd"))
        people, channel = await crowd(workspace, 9, databases)
        tasks = [await people[0](create_task, title=f"Task {n}", channel_id=channel) for n in range(4)]
        chosen = random.Random(SEED)
        for _ in range(20):
            answers = await outcomes([meddle(chosen, people, tasks) for _ in range(48)])
            assert not [answer for answer in answers if isinstance(answer, ApiError)]
        for task in tasks:
            await whole_history(workspace, task.id)
    assert deadlocks(own_dsn) == 0


async def meddle(chosen: random.Random, people: Sequence[Caller], tasks: Sequence[Any]) -> None:
    """One of the calls that write who takes part in what."""
    caller, task = chosen.choice(people), chosen.choice(tasks)
    everyone = " ".join(f"@{person.handle}" for person in chosen.sample(people, len(people)))
    match chosen.randrange(5):
        case 0:
            await caller(comment_on_task, task_id=task.id, body=f"Look here: {everyone}")
        case 1:
            await caller(block_task, task_id=task.id, reason=f"Waiting for {everyone}")
        case 2:
            await caller(complete_task, task_id=task.id)
        case 3:
            parts = [{"title": "Part", "parentTaskId": task.id, "assigneeAgentId": p.id} for p in people]
            await caller(create_tasks_bulk, tasks=parts)
        case _:
            current, to = await caller(get_task, task_id=task.id), chosen.choice(people).id
            with suppress(VersionConflict):  # somebody else was first, as meant
                await caller(update_task, task_id=task.id, version=current.version, assignee_agent_id=to)


async def test_those_who_change_channels_under_claims_and_those_who_take_the_claims_never_lock_each_other_out(
    own_dsn: str,
) -> None:
    async with ways_to(own_dsn) as databases:
        workspace = World(databases[0], await admin.create_workspace(databases[0], "crowd"))
        people = [await workspace.user(f"user-{n}", scopes="all,operator") for n in range(6)]
        for n, person in enumerate(people):
            person.context = msgspec.structs.replace(person.context, db=databases[n % 3])
        channels = [await workspace.channel(f"room-{n}", *people, role="admin") for n in range(2)]
        tasks = [
            await people[0](create_task, title=f"Task {n}", channel_id=channels[n % 2]) for n in range(6)
        ]
        claims = [await p(claim_task, task_id=t.id) for p, t in zip(people, tasks, strict=True)]
        chosen, numbers = random.Random(SEED), iter(range(10_000))
        lost = renamed = 0
        for _ in range(20):
            answers = await outcomes(
                [rearrange(chosen, people, tasks, claims, channels, next(numbers)) for _ in range(24)]
            )
            assert {type(answer) for answer in answers if isinstance(answer, ApiError)} <= {LeaseLost}
            lost += sum(isinstance(answer, LeaseLost) for answer in answers)
            renamed += answers.count("renamed")
        assert lost and renamed, "there was no race"
    assert deadlocks(own_dsn) == 0


async def rearrange(
    chosen: random.Random,
    people: Sequence[Caller],
    tasks: Sequence[Any],
    claims: list[Any],
    channels: Sequence[str],
    number: int,
) -> str:
    """One of the calls that lock a task, a channel, or first one and then the other."""
    n, channel = chosen.randrange(len(people)), chosen.choice(channels)
    holder, run_id = people[n], claims[n].run.id
    match chosen.randrange(5):
        case 0:
            await holder(rename_channel, channel_id=channel, name=f"room-x{number}", run_id=run_id)
            return "renamed"
        case 1:
            await holder(archive_channel, channel_id=channel, archived=False, run_id=run_id)
        case 2:
            other = chosen.choice(people)
            await holder(
                set_channel_member_role, channel_id=channel, member_id=other.id, role="admin", run_id=run_id
            )
        case 3:  # says so in the task's channel
            now, status = await holder(get_task, task_id=tasks[n].id), chosen.choice(["in_review", "blocked"])
            with suppress(VersionConflict):
                await holder(update_task, task_id=now.id, version=now.version, status=status)
        case _:
            with suppress(RunEnded):
                await chosen.choice(people)(force_release_run, run_id=run_id)
            with suppress(NotClaimable):
                claims[n] = await holder(claim_task, task_id=tasks[n].id)
    return ""


def deadlocks(dsn: str) -> int:
    """How often Postgres had to break a deadlock in this database: it knows once all others have left it."""
    left = """SELECT count(*) = 0 FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(left).fetchone() != (True,):
            pass
        counted = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert counted is not None
    return counted[0]
