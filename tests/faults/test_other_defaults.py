"""A Postgres that somebody else has set up means other things by the same words. Each session asks for what ours mean."""

import os
from collections.abc import Iterator
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from app.db import BatchQuery, Database, One, Query
from app.db.database import OURS
from app.operations import (
    claim_next_task,
    comment_on_task,
    complete_task,
    create_task,
    heartbeat_run,
    list_tasks,
    search_tasks,
    update_task,
)
from app.operator import administration as admin
from tests.conftest import World, drop_database, new_database

NAME = f"baton_other_{os.getpid()}"
THEIRS = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "jit": "on",
    "max_parallel_workers_per_gather": "8",
    # What no session has to care about:
    "jit_above_cost": "0",
    "bytea_output": "escape",
    "default_text_search_config": "pg_catalog.german",
    "client_min_messages": "debug1",
    "synchronous_commit": "remote_apply",
}


class Setting(msgspec.Struct):
    """A setting, as one of a batch."""

    ord: int
    value: str


@pytest.fixture
def odd(postgres: str) -> Iterator[str]:
    """A database with other defaults in everything."""
    dsn = new_database(postgres, NAME)
    with psycopg.connect(postgres, autocommit=True) as connection:
        for name, value in THEIRS.items():
            connection.execute(
                SQL("ALTER DATABASE {} SET {} = {}").format(
                    Identifier(NAME), Identifier(name), Literal(value)
                )
            )
    yield dsn
    drop_database(postgres, NAME)


async def test_the_daily_loop_goes_as_ever_on_a_database_with_other_defaults(odd: str) -> None:
    async with Database(odd, connections_max=4, statement_timeout_seconds=10, pooler=False) as db:
        world = World(db, await admin.create_workspace(db, "odd"))
        bot, other = await world.agent("bot"), await world.agent("other")
        channel = await world.channel("work", bot, other)
        made = await bot(
            create_task, title="It's a \\ backslash", channel_id=channel, due_at="2026-12-01T09:00:00Z"
        )
        assert (made.title, made.due_at) == ("It's a \\ backslash", "2026-12-01T09:00:00.000Z")
        [claim] = await bot(claim_next_task)
        assert (await bot(heartbeat_run, run_id=claim.run.id, progress=0.3)).lease_expires_at
        changed = await bot(update_task, task_id="T-1", version=2, priority="high")
        await other(comment_on_task, task_id="T-1", body="@bot look")
        assert [task.version for task in await other(list_tasks)] == [changed.version]
        assert [hit.task.title for hit in (await other(search_tasks, query="backslash")).tasks] == [
            made.title
        ]
        assert (await bot(complete_task, task_id="T-1")).status == "done"


@pytest.mark.parametrize("name", [setting.partition("=")[0] for setting in OURS.split("-c ")[1:]])
async def test_each_way_to_the_database_asks_for_what_the_statements_mean(odd: str, name: str) -> None:
    async with Database(odd, connections_max=4, statement_timeout_seconds=10, pooler=False) as db:
        alone = Query(One[str], "SELECT current_setting(%(name)s)", everywhere=True)
        shared = Query(One[str], "SELECT current_setting(%(name)s)", pipelined=True, everywhere=True)
        batch = BatchQuery(
            Setting, "SELECT 1, current_setting(i->>'name') FROM jsonb_array_elements(%(items)s::jsonb) i"
        )
        found = (
            await db.one(alone, name=name),
            await db.one(shared, name=name),
            await db.ask(batch, {"workspace_id": uuid4(), "name": name}),
        )
        assert [row is None or row.value == THEIRS[name] for row in found] == [False, False, False]
