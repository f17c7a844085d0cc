"""What a workspace no longer keeps, and that whatever reads the log afterwards says what it does not know."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from app.auth import Keys
from app.config import Config
from app.db import Database
from app.errors import CursorExpired, KeyInvalid, RunNotFound, VersionConflict, VersionNotFound
from app.jobs import retention
from app.operations import (
    append_run_log,
    claim_task,
    comment_on_task,
    complete_run,
    complete_task,
    create_task,
    create_task_record,
    get_inbox,
    get_request_outcome,
    get_run,
    get_task,
    get_unread_mentions,
    list_comments,
    list_my_activity,
    list_run_log,
    list_task_history,
    release_run,
    update_task,
    verify_connection,
)
from app.operator import administration as admin
from tests.conftest import Caller, World, drop_database, new_database

DAYS = 30


@pytest.fixture(scope="module")
def own_dsn(postgres: str) -> Iterator[str]:
    """A database of its own: the job deals with all workspaces of one."""
    name = f"baton_retention_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_db(own_dsn: str) -> AsyncIterator[Database]:
    db = Database(own_dsn, connections_max=5, statement_timeout_seconds=10, pooler=False)
    await db.open()
    yield db
    await db.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world(own_db: Database, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    slug = f"r-{abs(hash(request.node.name)) % 10**9}"
    world = World(own_db, await admin.create_workspace(own_db, slug))
    await admin.set_retention(own_db, world.info, DAYS)
    yield world
    await admin.set_retention(own_db, world.info, None)


async def sweep(world: World) -> int:
    done = 0
    while portion := await retention.run_once(world.db, Config()):
        done += portion
    return done


async def pass_days(world: World, days: int) -> None:
    """Let everything in a workspace be so many days older."""
    for statement in (
        """UPDATE task_events SET created_at = created_at - make_interval(days => %(days)s::int)
            WHERE workspace_id = %(workspace)s RETURNING 1""",
        """UPDATE task_comments SET created_at = created_at - make_interval(days => %(days)s::int)
            WHERE workspace_id = %(workspace)s RETURNING 1""",
        """UPDATE tasks SET completed_at = completed_at - make_interval(days => %(days)s::int),
                            cancelled_at = cancelled_at - make_interval(days => %(days)s::int),
                            updated_at = updated_at - make_interval(days => %(days)s::int)
            WHERE workspace_id = %(workspace)s RETURNING 1""",
        """UPDATE runs SET ended_at = ended_at - make_interval(days => %(days)s::int)
            WHERE workspace_id = %(workspace)s RETURNING 1""",
        """UPDATE api_keys SET revoked_at = revoked_at - make_interval(days => %(days)s::int),
                               expires_at = expires_at - make_interval(days => %(days)s::int),
                               created_at = created_at - make_interval(days => %(days)s::int)
            WHERE workspace_id = %(workspace)s RETURNING 1""",
        """UPDATE verify_tokens SET expires_at = expires_at - make_interval(days => %(days)s::int)
            WHERE workspace_id = %(workspace)s RETURNING 1""",
    ):
        await world.rows(statement, days=days)


async def closed(bot: Caller, changes: int = 3, **fields: Any) -> Any:
    """A task of `changes + 2` versions, closed."""
    task = await bot(create_task, title="v1", **fields)
    for version in range(1, changes + 1):
        await bot(update_task, task_id=task.id, version=version, title=f"v{version + 1}")
    await bot(complete_task, task_id=task.id)
    return task


async def kinds(bot: Caller, task_id: str) -> list[tuple[str, int]]:
    return [(e.kind, e.version) for e in await bot(list_task_history, task_id=task_id, order="oldest")]


async def test_a_workspace_keeps_everything_by_default(own_db: Database) -> None:
    world = World(own_db, await admin.create_workspace(own_db, "keeps-all"))
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, 3650)
    await sweep(world)
    assert len(await kinds(bot, task.id)) == 5


async def test_in_a_cluster_that_counts_from_further_back_it_begins_anew(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, DAYS + 1)
    await world.rows(
        """UPDATE workspaces SET swept_xid = (pg_current_xact_id()::text::bigint + 1000000)::text::xid8, swept_seq = 1
            WHERE id = %(workspace)s RETURNING 1"""
    )
    await sweep(world)
    assert await kinds(bot, task.id) == [("created", 1), ("removed", 4), ("completed", 5)]


async def test_a_run_that_ended_lately_stays_whenever_its_task_was_closed(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="old")
    runs: list[str] = []
    for _ in range(2):
        runs.append((await bot(claim_task, task_id=task.id)).run.id)
        await bot(release_run, run_id=runs[-1])
    await bot(complete_task, task_id=task.id)
    await pass_days(world, DAYS + 1)
    await world.rows("UPDATE runs SET ended_at = now() WHERE workspace_id = %(workspace)s RETURNING 1")
    await sweep(world)
    assert [(await bot(get_run, run_id=run)).id for run in runs] == runs


async def test_of_what_was_closed_long_ago_the_creation_and_the_current_version_stay(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await bot(comment_on_task, task_id=task.id, body="well done")
    await pass_days(world, DAYS + 1)
    before = await bot(get_task, task_id=task.id)
    await sweep(world)
    assert await kinds(bot, task.id) == [
        ("created", 1), ("removed", 4), ("completed", 5), ("commented", 5),
    ]  # fmt: skip
    assert await bot(get_task, task_id=task.id) == before
    assert await bot(get_task, task_id=task.id, at_version=5) == before
    assert len(await bot(list_comments, task_id=task.id)) == 1
    [_, _, removed, _] = await bot(list_task_history, task_id=task.id)
    assert (removed.by.kind, removed.by.handle, removed.request_id, removed.changes) == (
        "system", "baton", "job-retention", [],
    )  # fmt: skip
    assert await sweep(world) == 0


@pytest.mark.parametrize("days", [DAYS - 1, DAYS + 1])
async def test_what_is_open_or_closed_of_late_keeps_its_history(world: World, days: int) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="v1")
    await bot(update_task, task_id=task.id, version=1, title="v2")
    await bot(update_task, task_id=task.id, version=2, title="v3")
    other = await closed(bot)
    await pass_days(world, days)
    await sweep(world)
    assert await kinds(bot, task.id) == [("created", 1), ("updated", 2), ("updated", 3)]
    assert (len(await kinds(bot, other.id)) == 5) == (days < DAYS)
    await bot(complete_task, task_id=task.id)  # not yet closed for so long, though what happened is old
    await sweep(world)
    assert len(await kinds(bot, task.id)) == 4
    await pass_days(world, DAYS + 1)
    await sweep(world)
    assert await kinds(bot, task.id) == [("created", 1), ("removed", 3), ("completed", 4)]


async def test_a_task_that_is_opened_again_goes_on_and_loses_more_when_it_is_closed_again(
    world: World,
) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    await bot(update_task, task_id=task.id, version=5, status="todo")
    await bot(update_task, task_id=task.id, version=6, title="again")
    await pass_days(world, DAYS + 1)
    await sweep(world)
    assert await kinds(bot, task.id) == [
        ("created", 1), ("removed", 4), ("completed", 5), ("updated", 6), ("updated", 7),
    ]  # fmt: skip
    await bot(complete_task, task_id=task.id)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    assert await kinds(bot, task.id) == [("created", 1), ("removed", 7), ("completed", 8)]


async def test_a_page_that_ends_beside_what_was_removed_goes_on_behind_it(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    for order in ("newest", "oldest"):
        seen, cursor = [], None
        while True:
            page = await bot(list_task_history, task_id=task.id, order=order, limit=1, cursor=cursor)
            seen += [entry.kind for entry in page]
            if (cursor := page.cursor) is None:
                break
        assert sorted(seen) == ["completed", "created", "removed"]


async def test_a_version_of_which_nothing_is_known_is_not_made_up(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    for version in (1, 2, 3, 4):
        with pytest.raises(VersionNotFound, match="no longer known") as unknown:
            await bot(get_task, task_id=task.id, at_version=version)
        assert bot.decoded(unknown.value).removed_to == 4
    with pytest.raises(VersionNotFound, match="it is at version 5"):
        await bot(get_task, task_id=task.id, at_version=6)


async def test_a_conflict_over_what_was_removed_says_so_and_names_no_fields(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    for version, wanted in ((1, {"title": "mine"}), (3, {"priority": "high"})):
        for on_conflict in ("reject", "merge"):
            with pytest.raises(VersionConflict, match="up to version 4 is no longer known") as passed:
                await bot(update_task, task_id=task.id, version=version, on_conflict=on_conflict, **wanted)
            details = bot.decoded(passed.value)
            assert (details.removed_to, details.mergeable) == (4, False)
            assert (details.changed, details.overlapping) == ([], [])
            assert (details.current.title, details.current_version) == ("v4", 5)
    with pytest.raises(VersionConflict) as known:  # what happened since version 4 is all there
        await bot(update_task, task_id=task.id, version=4, status="todo")
    assert [change.field for change in bot.decoded(known.value).changed] == ["completedAt", "status"]
    merged = await bot(update_task, task_id=task.id, version=4, on_conflict="merge", priority="high")
    assert (merged.version, merged.priority) == (6, "high")


async def test_a_cursor_from_before_what_was_removed_is_refused_and_a_later_one_is_not(world: World) -> None:
    bot, other = await world.agent(), await world.agent("other")
    channel = await world.channel("builds", bot, other)
    start = (await other(get_inbox)).cursor
    task = await closed(bot, channel_id=channel)
    behind = (await other(get_inbox, cursor=start)).cursor
    assert behind != start
    await pass_days(world, DAYS + 1)
    await bot(create_task, title="new", channel_id=channel)
    await sweep(world)
    for more in ({}, {"wait_seconds": 20}):
        with pytest.raises(CursorExpired, match="Call get-inbox without `cursor`") as refused:
            await other(get_inbox, cursor=start, **more)
        assert other.decoded(refused.value).reason == "cursor_expired"
    assert [change.title for change in (await other(get_inbox, cursor=behind)).changes] == ["new"]
    fresh = await other(get_inbox)
    assert {change.kind for change in fresh.changes} == {"created", "completed"}
    assert (await other(get_inbox, cursor=fresh.cursor)).changes == []
    assert task.id


async def test_a_cursor_that_expires_between_the_look_and_the_reading_is_refused_too(world: World) -> None:
    bot, other = await world.agent(), await world.agent("other")
    channel = await world.channel("builds", bot, other)
    start = (await other(get_inbox)).cursor
    await closed(bot, channel_id=channel)
    await pass_days(world, DAYS + 1)

    async def read() -> str:
        try:
            found = await other(get_inbox, cursor=start)
        except CursorExpired:
            return "expired"
        return f"{len(found.changes)} changes"

    said = await asyncio.gather(*[read() for _ in range(20)], sweep(world), *[read() for _ in range(20)])
    assert {one for one in said if isinstance(one, str)} <= {"expired", "5 changes"}
    assert await read() == "expired"


async def test_an_answered_mention_does_not_come_back_when_what_answered_it_is_gone(world: World) -> None:
    ada, bot = await world.user("ada"), await world.agent()
    channel = await world.channel("builds", ada, bot)
    task = await ada(create_task, title="v1", channel_id=channel)
    await ada(comment_on_task, task_id=task.id, body="@bot, rename it")
    await bot(update_task, task_id=task.id, version=1, title="v2")  # which answers it
    await ada(complete_task, task_id=task.id)
    await ada(update_task, task_id=task.id, version=3, title="v4")
    await ada(comment_on_task, task_id=task.id, body="@bot, thanks?")  # which nobody has answered
    assert (await bot(get_unread_mentions)).count == 1
    rows = "SELECT id FROM unread_mentions WHERE workspace_id = %(workspace)s"
    assert len(await world.rows(rows)) == 2
    await pass_days(world, DAYS + 1)
    await sweep(world)
    assert (await bot(get_unread_mentions)).count == 1
    assert len(await world.rows(rows)) == 1


async def test_steps_and_runs_go_and_the_last_claim_stays(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="x")
    runs = []
    for n in range(3):
        claim = await bot(claim_task, task_id=task.id)
        runs.append(claim.run.id)
        await bot(append_run_log, run_id=claim.run.id, steps=[{"text": f"step {step}"} for step in range(3)])
        if n < 2:
            await bot(release_run, run_id=claim.run.id, handoff=f"after {n}")
        else:
            await bot(complete_run, run_id=claim.run.id, complete_task=True)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    for run_id in runs[:2]:
        with pytest.raises(RunNotFound):
            await bot(get_run, run_id=run_id)
    [step] = await bot(list_run_log, run_id=runs[2])
    assert (step.number, step.kind) == (3, "removed")
    assert "were removed" in step.text
    left = await world.rows("SELECT run_id FROM run_log WHERE workspace_id = %(workspace)s")
    assert [row["run_id"] for row in left] == [runs[2]]
    current = await bot(get_task, task_id=task.id)
    await bot(update_task, task_id=task.id, version=current.version, status="todo")
    assert (await bot(claim_task, task_id=task.id)).run.attempt == 4


async def test_runs_that_others_hang_under_or_that_have_a_state_stay(world: World) -> None:
    bot = await world.agent()
    task = await bot(create_task, title="x")
    ended = {
        "kind": "build",
        "status": "completed",
        "work_item_id": task.id,
        "ended_at": "2026-01-01T00:00:00Z",
    }
    stateful = await bot(create_task_record, **ended, stateful=True)
    whole = await bot(create_task_record, **ended)
    await bot(create_task_record, **ended, parent_id=whole.id)
    held = await bot(create_task_record, **ended)
    alive = await bot(
        create_task_record, kind="build", status="running", work_item_id=task.id, parent_id=held.id
    )
    await bot(complete_task, task_id=task.id)
    await pass_days(world, DAYS + 1)
    await sweep(world)
    left = await world.rows("SELECT id FROM runs WHERE workspace_id = %(workspace)s ORDER BY id")
    assert [row["id"] for row in left] == [stateful.id, held.id, alive.id]


async def test_keys_and_tokens_that_let_nobody_in_go_but_for_the_newest_of_everybody(world: World) -> None:
    bot = await world.agent()
    await world.agent("gone", scopes="read-only")
    first = (await admin.list_keys(world.db, world.info, "bot"))[0]
    second = await admin.create_key(world.db, world.info, "bot")
    await admin.revoke_key(world.db, world.info, first.prefix)
    await admin.deactivate(world.db, world.info, "agent", "gone", settle_seconds=0)
    token = await admin.create_verify_token(world.db, world.info, "bot")
    await sweep(world)
    assert len(await admin.list_keys(world.db, world.info)) == 3
    await pass_days(world, DAYS + 1)
    await sweep(world)
    keys = await admin.list_keys(world.db, world.info)
    assert {(key.handle, key.state) for key in keys} == {("bot", "active"), ("gone", "revoked")}
    assert keys[-1].prefix == second.prefix
    with pytest.raises(KeyInvalid):
        await Keys(world.db).actor(bot.headers["Authorization"].encode())
    assert (await bot(verify_connection, token=token.token)).reason == "invalid_token"
    await admin.reactivate(world.db, world.info, "agent", "gone")
    assert (await admin.create_key(world.db, world.info, "gone")).scopes == ["channel-read", "task-read"]


async def test_first_answers_and_what_one_did_oneself_stay_true(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot, idempotency_key="k")
    await pass_days(world, DAYS + 1)
    await sweep(world)
    outcome = await bot(get_request_outcome, idempotency_key="k")
    assert (outcome.state, outcome.data["id"]) == ("done", task.id)
    again = await bot(create_task, title="v1", idempotency_key="k")
    assert (again.id, again.version) == (task.id, 1)
    assert [e.kind for e in await bot(list_my_activity)] == ["completed", "created"]


async def test_much_goes_in_portions_shared_by_all_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ENTRIES_READ_MAX", 7)
    monkeypatch.setattr(retention, "ROWS_MAX", 4)
    bot = await world.agent()
    tasks = [await closed(bot, changes=n) for n in range(6)]
    for task in tasks:
        await bot(comment_on_task, task_id=task.id, body="said at the end")
    open_ = await bot(create_task, title="open")
    await pass_days(world, DAYS + 1)
    counts = await asyncio.gather(*[sweep(world) for _ in range(4)])
    assert sum(counts) > 0
    assert await sweep(world) == 0
    for n, task in enumerate(tasks):
        gap = [("removed", n + 1)] if n else []
        assert await kinds(bot, task.id) == [
            ("created", 1), *gap, ("completed", n + 2), ("commented", n + 2),
        ]  # fmt: skip
    assert await kinds(bot, open_.id) == [("created", 1)]


async def test_nobody_waits_for_the_job_and_it_waits_for_nobody(world: World) -> None:
    bot = await world.agent()
    task = await closed(bot)
    await pass_days(world, DAYS + 1)
    portions = await asyncio.gather(
        sweep(world), *[bot(comment_on_task, task_id=task.id, body=f"{n}") for n in range(20)]
    )
    assert portions
    history = await kinds(bot, task.id)
    assert history[:3] == [("created", 1), ("removed", 4), ("completed", 5)]
    assert len(history) == 23
