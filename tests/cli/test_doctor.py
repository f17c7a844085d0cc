"""`doctor` looks at a database that is sound, and at one that is ill in each of the ways it knows."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app.operator import doctor
from tests.conftest import drop_database, new_database
from tests.installation import Installation

NAME = f"baton_doctor_{os.getpid()}"


@pytest.fixture
def database(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A database of its own, which the settings lead to."""
    dsn = new_database(postgres, NAME, owner=None)
    monkeypatch.setenv("DATABASE_URL", dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection
    drop_database(postgres, NAME)


def found(check: str) -> list[doctor.Finding]:
    return [finding for finding in doctor.examine().findings if finding.check == check]


def test_of_a_sound_database_every_check_says_so(database: psycopg.Connection) -> None:
    entered(database)
    diagnosis = doctor.examine()
    assert [finding for finding in diagnosis.findings if finding.state != "ok"] == []
    assert diagnosis.healthy
    assert {finding.check for finding in diagnosis.findings} == {
        "settings",
        "database",
        "clock",
        "durability",
        "transactions",
        "vacuum",
        "indexes",
        "connections",
        "schema",
        "jobs",
        "keys",
    }


def half_an_index(database: psycopg.Connection) -> None:
    database.execute("INSERT INTO workspaces (id, slug, name) VALUES (gen_random_uuid(), 'a', 'x')")
    database.execute("INSERT INTO workspaces (id, slug, name) VALUES (gen_random_uuid(), 'b', 'x')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY half ON workspaces (name)")


def quick_commits(database: psycopg.Connection) -> None:
    database.execute(f"ALTER DATABASE {NAME} SET synchronous_commit = off".encode())


def another_schema(database: psycopg.Connection) -> None:
    database.execute("ALTER TABLE tasks DROP COLUMN due_at CASCADE")


def no_workspace(database: psycopg.Connection) -> None:
    database.execute("TRUNCATE workspaces CASCADE")


def no_key(database: psycopg.Connection) -> None:
    database.execute("INSERT INTO workspaces (id, slug, name) VALUES (gen_random_uuid(), 'closed', 'closed')")


def a_key_that_ends(database: psycopg.Connection) -> None:
    entered(database)
    database.execute("UPDATE api_keys SET expires_at = now() + interval '2 days'")


@pytest.mark.parametrize(
    "harm, check, state, said, remedy",
    [
        (half_an_index, "indexes", "problem", "Left half built: half.", "REINDEX INDEX CONCURRENTLY half"),
        (quick_commits, "durability", "problem", "synchronous_commit is off", "synchronous_commit = on"),
        (another_schema, "schema", "problem", "table tasks", "no server starts"),
        (no_workspace, "keys", "warning", "no workspace", "workspace create"),
        (no_key, "keys", "warning", "Nobody has a key to closed.", "key create HANDLE"),
        (a_key_that_ends, "keys", "warning", "within 7 days: acme (1)", "key list"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_ails_a_database_is_named_with_its_remedy(
    database: psycopg.Connection,
    harm: Callable[[psycopg.Connection], None],
    check: str,
    state: str,
    said: str,
    remedy: str,
) -> None:
    harm(database)
    [finding] = found(check)
    assert (finding.state, said in finding.found, remedy in str(finding.do)) == (state, True, True), finding


def test_a_transaction_that_stays_open_is_named(
    database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "TRANSACTION_SECONDS_MAX", -1)
    with psycopg.connect(make_conninfo(database.info.dsn)) as other:
        other.execute("SELECT 1")
        [finding] = found("transactions")
        assert f"session {other.info.backend_pid}" in finding.found
    assert finding.state == "warning"


def test_claims_that_no_job_has_looked_at_are_counted(database: psycopg.Connection) -> None:
    entered(database)
    database.execute("""
        WITH agent AS (SELECT * FROM identities), task AS (
            INSERT INTO tasks (workspace_id, id, number, title, created_by_id, created_by_kind)
            SELECT workspace_id, gen_random_uuid(), 1, 'x', id, kind FROM agent RETURNING workspace_id, id
        )
        INSERT INTO runs (workspace_id, id, status, work_item_id, author_id, author_kind, holder_id, holder_kind, attempt,
                          lease_seconds, lease_expires_at, lease_check_at)
        SELECT a.workspace_id, gen_random_uuid(), 'running', t.id, a.id, a.kind, a.id, a.kind, 1, 60, now() - interval '1 hour',
               now() - interval '1 hour'
          FROM agent a, task t
    """)
    [finding] = found("jobs")
    assert (finding.state, finding.found[:9]) == ("warning", "1 claims ")


def test_more_connections_than_the_database_allows_are_a_problem(
    database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "64")
    [finding] = found("connections")
    assert finding.state == "problem"
    assert "max_connections" in str(finding.do)


def test_behind_a_pooler_it_matters_whether_statements_are_compiled(
    database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_POOLER", "true")
    database.execute(f"ALTER DATABASE {NAME} SET jit = on".encode())
    [finding] = found("planning")
    assert (finding.state, "jit = off" in str(finding.do)) == ("problem", True)
    database.execute(f"ALTER DATABASE {NAME} SET jit = off".encode())
    assert [finding.state for finding in found("planning")] == ["ok"]


def test_a_bad_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "none")
    [finding] = doctor.examine().findings
    assert (finding.check, finding.state) == ("settings", "problem")
    assert "WORKERS" in finding.found


def test_the_command_makes_no_database_and_its_status_says_how_it_went(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "none")
    assert installation.run("doctor").returncode == 0
    assert installation.run("doctor", "--strict").returncode == 1
    assert not (tmp_path / "none").exists()
    away = Installation(tmp_path, DATABASE_URL="postgresql://127.0.0.1:1/none")
    done = away.run("doctor")
    assert done.returncode == 1
    assert "problem  database     The database cannot be reached." in done.stdout


def entered(database: psycopg.Connection) -> None:
    """A workspace, and somebody with a key to it."""
    database.execute("""
        WITH w AS (INSERT INTO workspaces (id, slug, name) VALUES (gen_random_uuid(), 'acme', 'Acme') RETURNING id),
        i AS (
            INSERT INTO identities (workspace_id, id, kind, handle, name)
            SELECT id, gen_random_uuid(), 'agent', 'ada', 'Ada' FROM w RETURNING workspace_id, id
        )
        INSERT INTO api_keys (workspace_id, id, identity_id, hash, prefix, scopes)
        SELECT workspace_id, gen_random_uuid(), id, '\\x00', 'baton_sk_a', '{}' FROM i
    """)
