"""Calls that wait for work end together: when their time is over, or something becomes ready. None hears of the crowd."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from app.db import Database
from app.db.batcher import TENANT_ITEMS_MAX
from app.operations import claim_next_task, create_task
from app.operations.runs.bell import bell_of
from app.operator import administration as admin
from tests.conftest import START_SECONDS_MAX, Caller, World, drop_database, new_database

PORTION = 1000  # that come at once
CROWD = 3000  # that wait at once: more than one workspace may have in the line of a statement
assert CROWD > TENANT_ITEMS_MAX > PORTION


@pytest.fixture
def own_dsn(postgres: str) -> Iterator[str]:
    """A database where nobody else makes work."""
    name = f"baton_crowd_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@pytest_asyncio.fixture(loop_scope="session")
async def world(own_dsn: str) -> AsyncIterator[World]:
    db = Database(own_dsn, connections_max=4, statement_timeout_seconds=20, pooler=False)
    await db.open()
    yield World(db, await admin.create_workspace(db, "crowd"))
    await db.close()


async def crowd(bot: Caller, db: Database) -> list["asyncio.Task[Any]"]:
    """So many that all wait."""
    waits: list[asyncio.Task[Any]] = []
    bell = bell_of(db)
    while len(waits) < CROWD:
        waits += [asyncio.create_task(claim_patiently(bot)) for _ in range(PORTION)]
        async with asyncio.timeout(START_SECONDS_MAX):
            while len(bell._waiters) < len(waits):  # noqa: ASYNC110 - nobody rings when somebody begins to wait
                await asyncio.sleep(0.01)
    return waits


async def claim_patiently(bot: Caller) -> Any:
    return await bot(claim_next_task, wait_seconds=30)


def ended(results: list[Any]) -> Counter[str]:
    """How calls ended: with so many claims, or with which error."""
    return Counter(
        repr(result) if isinstance(result, BaseException) else f"{len(result)} claims" for result in results
    )


async def test_thousands_of_waits_that_end_at_once_all_end_with_nothing(world: World) -> None:
    bot = await world.agent()
    waits = await crowd(bot, world.db)
    bell_of(world.db).close()  # as when the service stops, which sends all of them home
    assert ended(await asyncio.gather(*waits, return_exceptions=True)) == {"0 claims": CROWD}


async def test_of_thousands_who_wait_for_one_task_one_gets_it_and_the_rest_end_with_nothing(
    world: World,
) -> None:
    bot = await world.agent()
    waits = await crowd(bot, world.db)
    await bot(create_task, title="For one of you")
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    bell_of(world.db).close()
    assert ended(await asyncio.gather(*waits, return_exceptions=True)) == {
        "1 claims": 1,
        "0 claims": CROWD - 1,
    }
