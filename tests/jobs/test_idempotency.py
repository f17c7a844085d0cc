"""The job that forgets idempotency keys."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio

from app.config import Config
from app.db import Command, Database, Query
from app.jobs.idempotency import KEYS_MAX, run_once
from app.operations import create_task, get_request_outcome
from app.operator import administration as admin
from tests.conftest import World, drop_database, new_database


class Count(msgspec.Struct):
    count: int


AGE = Command(
    Count,
    """
    WITH aged AS (
        UPDATE idempotency_keys
           SET created_at = now() - make_interval(hours => %(hours)s::int) - interval '1 second'
         WHERE key = ANY(%(keys)s::text[])
        RETURNING 1
    )
    SELECT count(*) FROM aged
    """,
    everywhere=True,
)

FILL = Command(
    Count,
    """
    WITH filled AS (
        INSERT INTO idempotency_keys (workspace_id, identity_id, key, operation, fingerprint, status, answer, request_id,
                                      answered_at, created_at)
        SELECT gen_random_uuid(), gen_random_uuid(), 'k', 'x', sha256(''), 200, '{}', 'r', 't', now() - interval '30 days'
          FROM generate_series(1, %(count)s::int)
        RETURNING 1
    )
    SELECT count(*) FROM filled
    """,
    everywhere=True,
)

KEYS = Query(Count, "SELECT count(*) FROM idempotency_keys", everywhere=True)


@pytest_asyncio.fixture(loop_scope="session")
async def own_db(postgres: str) -> AsyncIterator[Database]:
    """A database that nobody else uses, because a job looks across workspaces."""
    db = Database(
        new_database(postgres, "baton_test_jobs"),
        connections_max=5,
        statement_timeout_seconds=10,
        pooler=False,
    )
    await db.open()
    yield db
    await db.close()
    drop_database(postgres, "baton_test_jobs")


async def test_a_key_lives_as_long_as_the_setting_says(own_db: Database) -> None:
    world = World(own_db, await admin.create_workspace(own_db, "jobs"))
    bot = await world.agent("bot")
    for key in ("old", "younger", "new"):
        await bot(create_task, title="A", idempotency_key=key)
    await own_db.one(AGE, hours=48, keys=["old"])
    await own_db.one(AGE, hours=24, keys=["younger"])
    assert await run_once(own_db, Config(idempotency_hours=48)) == 1
    states = [
        (await bot(get_request_outcome, idempotency_key=key)).state for key in ("old", "younger", "new")
    ]
    assert states == ["unknown", "done", "done"]
    assert await run_once(own_db, Config(idempotency_hours=48)) == 0
    assert await run_once(own_db, Config()) == 1


async def test_many_old_keys_go_in_bounded_portions_shared_by_all_processes(own_db: Database) -> None:
    await own_db.one(FILL, count=2 * KEYS_MAX + 5)
    portions = await asyncio.gather(*(run_once(own_db, Config()) for _ in range(4)))
    assert max(portions) <= KEYS_MAX
    while await run_once(own_db, Config()):
        pass
    left = await own_db.one(KEYS)
    assert left is not None and left.count == 0
