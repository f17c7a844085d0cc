"""A backup is made while agents work, holds all of a moment, and what it is restored into keeps every promise."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app.db import schema
from app.embedded import EmbeddedPostgres, find_binaries
from tests.conftest import POSTGRES_BIN_DIR, Server
from tests.installation import Installation, eventually

OLD_BIN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a workspace, which others restore elsewhere."""
    installation = Installation(tmp_path_factory.mktemp("used") / "data")
    installation.ask("workspace", "create", "acme")
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def key(used: Installation) -> str:
    return used.ask("agent", "create", "builder", "--workspace", "acme")["apiKey"]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "other")
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def file(used: Installation, key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert key
    file = tmp_path_factory.mktemp("backup") / "baton.dump"
    used.ask("backup", str(file))
    return file


def call(server: Server, key: str, operation: str, **body: Any) -> Any:
    """What an operation answers, which must be a success."""
    idempotency = {"Idempotency-Key": body.pop("idempotency_key")} if "idempotency_key" in body else {}
    answer = httpx.post(
        f"{server.url}/v1/agent/{operation}",
        headers={"Authorization": f"Bearer {key}", **idempotency},
        json=body,
        timeout=30,
    )
    assert answer.is_success, answer.text
    return answer.json()["data"]


def test_what_was_backed_up_among_writers_keeps_every_promise_elsewhere(
    used: Installation, key: str, other: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "baton.dump"
    with used.serving() as server:
        keyed = call(server, key, "create-task", title="Once", idempotency_key="one")
        held = call(server, key, "claim-task", taskId=keyed["id"], leaseSeconds=1)
        ended = threading.Event()
        made: list[str] = []

        def write() -> None:
            while not ended.is_set():
                made.append(call(server, key, "create-task", title="Busy")["identifier"])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            eventually(lambda: len(made) > 10)
            before = len(made)
            told = used.ask("backup", str(file))
            after = len(made)
        finally:
            ended.set()
            writer.join()
    assert told["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("baton.dump*")) == [file]

    restored = other.ask("restore", str(file))
    assert (restored["rows"], restored["tables"]) == (told["rows"], told["tables"])
    with other.serving() as server:
        again = call(server, key, "create-task", title="Once", idempotency_key="one")
        assert again["id"] == keyed["id"]  # the key's answer came along
        kept = call(server, key, "list-tasks", query="Busy", limit=1, includeTotal=True)
        newest = call(server, key, "create-task", title="Next")["identifier"]
        moment = (
            int(newest.removeprefix("T-")) - 2
        )  # of those made by the writer: without the first and the newest
        assert before <= moment <= after + 1
        assert kept
        eventually(lambda: call(server, key, "get-task", taskId=keyed["id"])["status"] == "todo")
        assert call(server, key, "claim-task", taskId=keyed["id"])["run"]["id"] != held["run"]["id"]


def test_a_backup_writes_over_nothing(used: Installation, file: Path) -> None:
    before = file.read_bytes()
    assert f"There is a {file} already." in used.refusal("backup", str(file))
    assert file.read_bytes() == before


def test_a_backup_that_fails_leaves_nothing_behind(used: Installation, tmp_path: Path) -> None:
    assert "There is no directory" in used.refusal("backup", str(tmp_path / "nowhere" / "baton.dump"))
    other = Installation(used.data_dir, POSTGRES_BIN=str(tmp_path))
    assert "There is no Postgres in" in other.refusal("backup", str(tmp_path / "baton.dump"))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_database_has_nothing_to_back_up_and_gets_none(
    other: Installation, tmp_path: Path
) -> None:
    for command in (("backup", str(tmp_path / "baton.dump")), ("key", "list", "--workspace", "default")):
        assert "There is no database in" in other.refusal(*command)
    assert not other.data_dir.exists()
    assert not (tmp_path / "baton.dump").exists()


def test_a_database_that_holds_anything_is_left_as_it_is(used: Installation, file: Path) -> None:
    line = used.refusal("restore", str(file))
    assert "The database is not empty, and stays as it is. Set DATA_DIR to a new directory." in line


def test_what_is_no_backup_is_named_and_fills_nothing(
    file: Path, other: Installation, tmp_path: Path
) -> None:
    whole = file.read_bytes()
    wrong = tmp_path / "wrong.dump"
    for content in (b"", b"nothing of the kind", whole[:3000], whole[: len(whole) // 2], whole[:-1]):
        wrong.write_bytes(content)
        line = other.refusal("restore", str(wrong))
        assert "is no backup" in line or "is broken" in line, line
    wrong.unlink()
    assert "No such file" in other.refusal("restore", str(wrong))
    assert other.ask("restore", str(file))["schemaVersion"] == schema.VERSION  # still empty after all of that


def test_ones_own_postgres_is_backed_up_and_restored_alike(
    postgres: str, tmp_path: Path, key: str, file: Path
) -> None:
    assert key
    names = ("baton_backed_up", "baton_restored")
    with psycopg.connect(postgres, autocommit=True) as administrator:
        try:
            for name in names:
                administrator.execute(f"DROP DATABASE IF EXISTS {name}".encode())
                administrator.execute(f"CREATE DATABASE {name}".encode())
            urls = [make_conninfo(postgres, dbname=name) for name in names]
            first, second = (Installation(tmp_path / "nowhere", DATABASE_URL=url) for url in urls)
            first.ask("restore", str(file))
            told = first.ask("backup", str(tmp_path / "own.dump"))
            assert "Set DATABASE_URL to an empty one." in first.refusal("restore", str(file))
            assert second.ask("restore", str(tmp_path / "own.dump"))["rows"] == told["rows"]
            assert second.ask("schema", "check")["fits"] is True
            assert schema.contents(urls[0]) == schema.contents(urls[1])
        finally:
            for name in names:
                administrator.execute(f"DROP DATABASE IF EXISTS {name}".encode())


@pytest.mark.skipif(
    not (OLD_BIN / "postgres").exists() or find_binaries(POSTGRES_BIN_DIR).samefile(OLD_BIN),
    reason="there is only one Postgres on this machine",
)
def test_newer_programs_restore_into_an_older_postgres(file: Path, tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "old", OLD_BIN).use() as dsn:
        older = Installation(tmp_path / "nowhere", DATABASE_URL=dsn)
        restored = older.ask("restore", str(file))
        assert restored["rows"] == older.ask("backup", str(tmp_path / "again.dump"))["rows"]
        assert older.ask("schema", "check")["fits"] is True
