"""32 claimers over many tasks, with everything that goes wrong: crashes, late completions, lost answers, expiries.

What happened is read from the log of events, whose versions are the order in which it happened. It has to say that
no task was ever held twice at once, that each was done exactly once or parked with its reason, and that nothing was
written under a claim that was over. `CLAIMED_TASKS=2000 make test` is the whole of it; less is enough for every day.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from app.config import Config
from app.db import Database
from app.errors import Contended, LeaseLost
from app.ids import new_id
from app.jobs import leases
from app.operations import (
    append_run_log,
    claim_next_task,
    comment_on_task,
    complete_run,
    create_tasks_bulk,
    fail_run,
    heartbeat_run,
    release_run,
)
from app.operator import administration as admin
from tests.conftest import Caller, World, drop_database, new_database
from tests.operations.claims import expire

CLAIMERS = 32
TASKS = int(os.environ.get("CLAIMED_TASKS", "400"))
SECONDS_MAX = 60 + TASKS / 10


@pytest.fixture
def own_dsn(postgres: str) -> Iterator[str]:
    """A database of its own, for the job deals with all there is."""
    name = f"baton_claims_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@pytest_asyncio.fixture(loop_scope="session")
async def world(own_dsn: str) -> AsyncIterator[World]:
    db = Database(own_dsn, connections_max=8, statement_timeout_seconds=20, pooler=False)
    await db.open()
    yield World(db, await admin.create_workspace(db, "stampede"))
    await db.close()


class Told:
    """What claimers were told by the service."""

    def __init__(self) -> None:
        self.completed: Counter[str] = Counter()  # task ids
        self.written: set[str] = set()  # comments that were acknowledged
        self.refused: set[str] = set()  # comments that were not
        self.fates: Counter[str] = Counter()
        self.works: list[asyncio.Task[None]] = []  # begun; whoever is told to stop finishes the one it is at


async def claimer(bot: Caller, world: World, told: Told, chance: random.Random) -> None:
    """Claim and work until it is stopped, with one mishap or another on the way."""
    while True:
        key = str(new_id()) if chance.random() < 0.3 else None
        claims = await bot(claim_next_task, limit=chance.choice([1, 1, 1, 3]), claim_key=key, wait_seconds=5)
        if key and claims and chance.random() < 0.5:  # the answer was lost
            again = await bot(claim_next_task, limit=3, claim_key=key)
            assert [claim.run.id for claim in again] == [claim.run.id for claim in claims]
            told.fates["lost answer"] += 1
        for claim in claims:
            fate = chance.choices(["done", "crash", "late", "fail", "release"], weights=[60, 12, 12, 8, 8])[0]
            told.fates[fate] += 1
            told.works.append(asyncio.create_task(work(bot, world, told, claim, fate)))
            await asyncio.shield(told.works[-1])


async def work(bot: Caller, world: World, told: Told, claim: Any, fate: str) -> None:
    run_id, task_id = claim.run.id, claim.task.id
    if fate in {"crash", "late"}:
        await expire(world, run_id)
    if fate == "crash":
        return
    text = f"{run_id} {fate}"
    try:
        await bot(heartbeat_run, run_id=run_id, progress=0.5)
        await bot(comment_on_task, task_id=task_id, body=text, run_id=run_id)
        told.written.add(text)
        await bot(append_run_log, run_id=run_id, steps=[{"text": text}])
        if fate == "done":
            await bot(complete_run, run_id=run_id, complete_task=True)
            told.completed[task_id] += 1
        elif fate == "fail":
            await bot(fail_run, run_id=run_id, errors=[{"code": "x", "message": text}])
        elif fate == "release":
            await bot(release_run, run_id=run_id, handoff=text)
        assert fate != "late", "a lease that had run out still let its holder write"
    except LeaseLost:
        assert fate == "late"
        for late in (comment_on_task, complete_run):
            fields = (
                {"task_id": task_id, "body": text} if late is comment_on_task else {"complete_task": True}
            )
            with pytest.raises(LeaseLost):
                await bot(late, run_id=run_id, **fields)
        told.refused.add(text)
    except Contended:
        told.fates["contended"] += 1


async def sweep(world: World) -> None:
    """The job, as two processes run it."""
    while True:
        await asyncio.gather(*[leases.run_once(world.db, Config()) for _ in range(2)])
        await asyncio.sleep(0.02)


async def test_no_task_is_held_twice_and_each_is_done_once_or_parked(world: World) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    bots = [await world.agent(f"bot-{n}") for n in range(CLAIMERS)]
    channel = await world.channel("work", *bots)
    for start in range(0, TASKS, 50):
        rows = [{"title": str(n), "channelId": channel} for n in range(start, min(start + 50, TASKS))]
        await bots[0](create_tasks_bulk, tasks=rows)
    told = Told()
    workers = [
        asyncio.create_task(claimer(bot, world, told, random.Random(seed + n))) for n, bot in enumerate(bots)
    ]
    sweeper = asyncio.create_task(sweep(world))
    async with asyncio.timeout(SECONDS_MAX):
        while await open_tasks(world):
            failed = [task for task in (*workers, sweeper) if task.done()]
            assert not failed, failed[0].exception()
            await asyncio.sleep(0.05)
    for task in (*workers, sweeper):
        task.cancel()
    await asyncio.gather(*workers, sweeper, return_exceptions=True)
    await asyncio.gather(*told.works)
    await history_is_sound(world, told)


async def open_tasks(world: World) -> int:
    [row] = await world.rows(
        "SELECT count(*) AS open FROM tasks WHERE workspace_id = %(workspace)s AND status NOT IN ('done', 'blocked')"
    )
    return row["open"]


async def history_is_sound(world: World, told: Told) -> None:
    """Read the log, task by task, in the order in which things happened."""
    tasks = {
        row["id"]: row
        for row in await world.rows("SELECT id, status, run_id FROM tasks WHERE workspace_id = %(workspace)s")
    }
    comments = {
        row["id"]: row["body"]
        for row in await world.rows("SELECT id, body FROM task_comments WHERE workspace_id = %(workspace)s")
    }
    log: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in await world.rows(
        "SELECT * FROM task_events WHERE workspace_id = %(workspace)s ORDER BY task_id, version, subject_id"
    ):
        log[event["task_id"]].append(event)
    assert len(tasks) == len(log) == TASKS
    for task_id, events in log.items():
        holder: str | None = None
        done = 0
        for event in events:
            was, becomes = event["changes"].get("runId", (None, None))
            if event["kind"] == "claimed":
                assert (was, holder) == (None, None), f"{task_id} was held twice"
                holder = becomes
            elif event["kind"].startswith("run_"):
                assert (was, becomes) == (holder, None)
                holder = None
                done += event["changes"].get("status", [None, None])[1] == "done"
            elif event["kind"] == "commented":
                body = comments[event["subject_id"]]
                assert body.startswith("Parked") or body.split()[0] == holder, (
                    "written under a claim that was over"
                )
        status = tasks[task_id]["status"]
        assert (done, holder, tasks[task_id]["run_id"]) == (int(status == "done"), None, None)
        if status == "blocked":
            assert any(
                comments[e["subject_id"]].startswith("Parked") for e in events if e["kind"] == "commented"
            )
    assert all(times == 1 for times in told.completed.values())
    assert set(told.completed) == {id for id, task in tasks.items() if task["status"] == "done"}
    assert told.written <= set(comments.values())
    assert told.refused.isdisjoint(comments.values())
    print(dict(told.fates), Counter(task["status"] for task in tasks.values()))
