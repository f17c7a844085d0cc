"""Calls that wait for work end together: when their time is over, or something becomes ready. None hears of the crowd."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app import administration as admin
from app.db import Database
from app.operations import claim_next_task, create_task
from tests.conftest import World, drop_database, new_database

CROWD = 2500  # more than one workspace may have in the line of a statement
WAIT_SECONDS = 0.5


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


async def test_thousands_of_waits_that_end_at_once_all_end_with_nothing(world: World) -> None:
    bot = await world.agent()
    waits = (bot(claim_next_task, wait_seconds=WAIT_SECONDS) for _ in range(CROWD))
    assert Counter(map(str, await asyncio.gather(*waits, return_exceptions=True))) == {"[]": CROWD}


async def test_when_one_task_becomes_ready_for_thousands_one_gets_it_and_the_rest_end_with_nothing(
    world: World,
) -> None:
    bot = await world.agent()
    waits = [asyncio.ensure_future(bot(claim_next_task, wait_seconds=WAIT_SECONDS * 4)) for _ in range(CROWD)]
    made = await bot(create_task, title="For one of you")
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert [error for error in ended if isinstance(error, BaseException)] == []
    assert [claim.task.id for claims in ended if isinstance(claims, list) for claim in claims] == [made.id]
