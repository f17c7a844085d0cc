"""Data that an older major version of Postgres keeps is recognised, moved by one command, and kept until told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app import COMMAND
from app.embedded import EmbeddedPostgres, find_binaries
from tests.conftest import POSTGRES_BIN_DIR
from tests.installation import Installation
from tests.upgrade.releases import DIRECTORY
from tests.upgrade.test_release import PREVIOUS, SAID

OLD_BIN = Path("/usr/lib/postgresql/15/bin")

pytestmark = pytest.mark.skipif(
    not (OLD_BIN / "postgres").exists() or find_binaries(POSTGRES_BIN_DIR).samefile(OLD_BIN),
    reason="there is only one Postgres on this machine",
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A data directory of the last release and an older Postgres."""
    installation = Installation(tmp_path_factory.mktemp("majors") / "data")
    with EmbeddedPostgres(installation.data_dir, OLD_BIN).use() as dsn, psycopg.connect(dsn) as connection:
        connection.execute((DIRECTORY / f"{PREVIOUS}.sql").read_bytes())
        connection.execute("UPDATE public.task_events SET xid = pg_current_xact_id()")
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def moved(installation: Installation) -> dict[str, Any]:
    """What the command said that moved it. Tests of one file may run in several processes, each with its own."""
    return installation.ask("postgres", "upgrade")


def test_a_start_names_the_command_that_moves_it(installation: Installation) -> None:
    line = installation.refusal("serve")
    assert "was made by Postgres 15" in line
    assert f"`{COMMAND} postgres upgrade`" in line


def test_without_the_old_programs_it_says_whose_are_needed(
    installation: Installation, tmp_path: Path
) -> None:
    line = installation.refusal("postgres", "upgrade", "--old-bin", str(tmp_path))
    assert "made by Postgres 15" in line
    assert "--old-bin" in line


def test_one_command_moves_it_and_keeps_the_old(installation: Installation, moved: dict[str, Any]) -> None:
    assert (moved["upgraded"], moved["fromMajor"]) == (True, 15)
    assert (installation.data_dir / "postgres-15" / "PG_VERSION").read_text() == "15\n"
    assert Path(moved["dump"]).exists()
    with (
        EmbeddedPostgres(installation.data_dir, POSTGRES_BIN_DIR).use() as dsn,
        psycopg.connect(dsn) as connection,
    ):
        later = connection.execute("SELECT bool_and(xid < pg_current_xact_id()) FROM task_events").fetchone()
    assert later == (True,), "transactions count on from those of the old cluster"
    assert installation.ask("postgres", "upgrade")["upgraded"] is False


def test_a_move_that_was_cut_off_at_its_end_is_finished_and_never_begins_with_nothing(
    installation: Installation, moved: dict[str, Any]
) -> None:
    assert moved["upgraded"] is True
    data = installation.data_dir
    (data / "upgrade").mkdir()
    (data / "postgres").rename(data / "upgrade" / "postgres")
    (data / "upgrade" / "checked").write_text("15 18 some.dump")
    assert "was cut off at its end" in installation.refusal("serve")
    assert installation.ask("postgres", "upgrade")["upgraded"] is True
    assert not (data / "upgrade").exists()


def test_the_service_goes_on_with_it(installation: Installation, moved: dict[str, Any]) -> None:
    assert moved["upgraded"] is True
    with installation.serving() as server:
        headers = {"Authorization": f"Bearer {SAID['keys']['builder']}"}
        answer = httpx.post(
            f"{server.url}/v1/agent/get-task", json={"taskId": "T-1"}, headers=headers, timeout=30
        )
    assert answer.json()["data"]["title"] == "Fix the login page, please"


def test_the_old_goes_when_told(installation: Installation, moved: dict[str, Any]) -> None:
    assert moved["upgraded"] is True
    kept = installation.data_dir / "postgres-15"
    assert installation.ask("postgres", "discard-old", "--yes") == {"discarded": [str(kept)]}
    assert not kept.exists()
    assert installation.ask("postgres", "discard-old", "--yes") == {"discarded": []}


def test_there_is_nothing_to_move_on_a_postgres_of_ones_own() -> None:
    own = Installation(Path("/nowhere"), DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert "DATABASE_URL is set" in own.refusal("postgres", "upgrade")
