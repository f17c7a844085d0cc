"""A workspace as a whole: list, export, delete. Nothing of it is forgotten, whatever tables there are."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from app.auth import Keys
from app.config import Config
from app.errors import AlreadyExists, KeyInvalid, NotFound
from app.operations import create_task, get_task, send_message
from app.operator import administration as admin
from app.operator import export
from app.operator.removal import PORTION_ROWS
from app.operator.tenants import TENANTS
from tests.conftest import Server, World
from tests.operator.everything import fill


def tables(connection: psycopg.Connection) -> list[str]:
    """Every table that has rows of workspaces, as the catalogue tells."""
    rows = connection.execute(
        """SELECT c.relname
             FROM pg_class c
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
            ORDER BY 1"""
    ).fetchall()
    return [name for (name,) in rows]


def counts(dsn: str, workspace_id: str) -> dict[str, int]:
    """How many rows of a workspace each table has."""
    with psycopg.connect(dsn) as connection:
        found: dict[str, int] = {}
        for name in tables(connection):
            query = SQL("SELECT count(*) FROM {} WHERE workspace_id = %s").format(Identifier(name))
            row = connection.execute(query, [workspace_id]).fetchone()
            assert row is not None
            found[name] = row[0]
        return found


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_every_table_of_the_catalogue_is_known(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        assert sorted(TENANTS) == tables(connection)


async def test_a_deleted_workspace_leaves_no_row_anywhere_and_no_other_is_touched(
    workspace: World, other_workspace: World, dsn: str
) -> None:
    await fill(workspace)
    await fill(other_workspace)
    before, others = counts(dsn, workspace.id), counts(dsn, other_workspace.id)
    assert [name for name, rows in before.items() if rows == 0] == []
    deleted = await admin.delete_workspace(workspace.db, workspace.info, settle_seconds=0)
    assert (deleted.workspace_slug, deleted.rows) == (workspace.slug, sum(before.values()) + 1)
    assert set(counts(dsn, workspace.id).values()) == {0}
    assert counts(dsn, other_workspace.id) == others
    with pytest.raises(NotFound):
        await admin.find_workspace(workspace.db, workspace.slug)


async def test_a_large_one_goes_in_portions_trees_included(workspace: World, dsn: str) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="root")
    await workspace.rows(
        """INSERT INTO tasks (workspace_id, id, number, title, created_by_id, created_by_kind, parent_task_id)
           SELECT t.workspace_id, ('01900000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, n, 'x', t.created_by_id, 'agent',
                  CASE n WHEN 2 THEN t.id ELSE ('01900000-0000-7000-8000-' || lpad((n - 1)::text, 12, '0'))::uuid END
             FROM tasks t CROSS JOIN generate_series(2, %(last)s) AS n
            WHERE t.workspace_id = %(workspace)s RETURNING id""",
        last=30,
    )
    await workspace.rows(
        """INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id)
           SELECT workspace_id, id, n, 'updated', created_by_id, 'agent', 'x'
             FROM tasks CROSS JOIN generate_series(2, %(last)s) AS n
            WHERE workspace_id = %(workspace)s AND number = 1 RETURNING task_id""",
        last=PORTION_ROWS * 2 + 5,
    )
    await admin.delete_workspace(workspace.db, workspace.info, settle_seconds=0)
    assert set(counts(dsn, workspace.id).values()) == {0}


async def test_deleting_goes_on_where_it_was_interrupted(workspace: World, dsn: str) -> None:
    await fill(workspace)
    for name in ("unread_mentions", "messages", "task_events"):
        await workspace.db.one(TENANTS[name].empty, workspace_id=workspace.info.id, limit=2)
    await admin.delete_workspace(workspace.db, workspace.info, settle_seconds=0)
    assert set(counts(dsn, workspace.id).values()) == {0}


async def test_what_is_written_behind_the_deletion_is_found_too(workspace: World, dsn: str) -> None:
    bot = await workspace.agent("late")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            """CREATE FUNCTION write_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   INSERT INTO verify_tokens VALUES (OLD.workspace_id, 'x', OLD.identity_id, now()); RETURN NULL; END $$"""
        )
        connection.execute(
            SQL(
                """CREATE TRIGGER late AFTER DELETE ON api_keys
                   FOR EACH ROW WHEN (OLD.identity_id = {}) EXECUTE FUNCTION write_late()"""
            ).format(Literal(bot.id))
        )
        try:
            await admin.delete_workspace(workspace.db, workspace.info, settle_seconds=0)
        finally:
            connection.execute("DROP FUNCTION write_late CASCADE")
    assert set(counts(dsn, workspace.id).values()) == {0}


async def test_a_running_server_lets_nobody_into_what_was_deleted_and_serves_the_others(
    workspace: World, other_workspace: World, server: Server
) -> None:
    bot, other = await workspace.agent(), await other_workspace.agent()
    async with httpx.AsyncClient(base_url=f"{server.url}/v1/agent", timeout=30) as http:

        async def create(headers: dict[str, str]) -> int:
            return (await http.post("/create-task", json={"title": "x"}, headers=headers)).status_code

        assert await create(bot.headers) == 200
        assert await create(other.headers) == 200
        await admin.delete_workspace(workspace.db, workspace.info)
        assert await create(bot.headers) == 401
        assert await create(other.headers) == 200
    with pytest.raises(KeyInvalid):
        await Keys(workspace.db).actor(bot.headers["Authorization"].encode())


async def test_an_export_has_every_row_of_every_table_or_a_reason(
    workspace: World, other_workspace: World, dsn: str, tmp_path: Path
) -> None:
    await fill(workspace)
    await fill(other_workspace)
    file = tmp_path / "acme.jsonl"
    made = export.write(Config(database_url=dsn), workspace.slug, file)
    head, first, *rows, last = lines(file)
    assert (head["workspace"], first["table"], first["row"]["slug"]) == (
        workspace.slug, "workspaces", workspace.slug,
    )  # fmt: skip
    assert last == {"end": True, "rows": made.rows}
    assert (made.rows, made.bytes) == (len(rows) + 1, file.stat().st_size)
    exported = {name: sum(row["table"] == name for row in rows) for name in TENANTS}
    there = counts(dsn, workspace.id)
    for name, tenant in TENANTS.items():
        assert there[name] > 0
        assert exported[name] == (0 if tenant.why_not else there[name]), name
    assert {row["row"]["workspace_id"] for row in rows} == {workspace.id}


async def test_an_export_lets_nobody_in(workspace: World, dsn: str, tmp_path: Path) -> None:
    secrets = await fill(workspace)
    file = tmp_path / "acme.jsonl"
    export.write(Config(database_url=dsn), workspace.slug, file)
    text = file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    for secret in secrets:
        assert secret not in text
        assert hashlib.sha256(secret.encode()).hexdigest() not in text
    assert '"prefix"' in text


async def test_an_export_is_of_one_moment_whatever_is_written_meanwhile(workspace: World, dsn: str) -> None:
    bot = await workspace.agent()
    channel = await workspace.channel("builds", bot)
    await bot(send_message, channel_id=channel, content="before")
    with export.snapshot(dsn) as seen:
        found = seen.one(export.EXPORT_WORKSPACE, slug=workspace.slug)
        assert found is not None
        await bot(create_task, title="after")
        tasks, messages = TENANTS["tasks"].rows, TENANTS["messages"].rows
        assert tasks is not None and messages is not None
        assert list(seen.each(tasks, workspace_id=found.id)) == []
        assert len(list(seen.each(messages, workspace_id=found.id))) == 1
    assert (await bot(get_task, task_id="T-1")).title == "after"


def test_an_export_replaces_nothing_and_leaves_nothing_half_done(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "acme.jsonl"
    file.write_text("mine")
    with pytest.raises(AlreadyExists):
        export.write(Config(database_url=dsn), "acme", file)
    with pytest.raises(NotFound):
        export.write(Config(database_url=dsn), "nowhere", tmp_path / "nowhere.jsonl")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("acme.jsonl", "mine")]


async def test_workspaces_are_listed_with_what_is_in_them(workspace: World) -> None:
    bot = await workspace.agent()
    await workspace.user("ada")
    await bot(create_task, title="x")
    await admin.set_history(workspace.db, workspace.info, 30)
    [listed] = [one for one in await admin.list_workspaces(workspace.db) if one.slug == workspace.slug]
    assert (listed.users, listed.agents, listed.tasks) == (1, 1, 1)
    assert (listed.history_days, listed.retention_days) == (30, None)
