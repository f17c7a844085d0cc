"""Data that an older major version of Postgres keeps is recognised, moved by one command, and kept until told."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

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


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A data directory of the last release and an older Postgres."""
    installation = Installation(tmp_path / "data")
    with EmbeddedPostgres(installation.data_dir, OLD_BIN).use() as dsn, psycopg.connect(dsn) as connection:
        connection.execute((DIRECTORY / f"{PREVIOUS}.sql").read_bytes())
        connection.execute("UPDATE public.task_events SET xid = pg_current_xact_id()")
    yield installation
    installation.remove()


def titles(installation: Installation) -> list[str]:
    """Of the tasks, as the service shows them."""
    with installation.serving() as server:
        headers = {"Authorization": f"Bearer {SAID['keys']['builder']}"}
        answer = httpx.post(
            f"{server.url}/v1/agent/list-tasks", json={"limit": 100}, headers=headers, timeout=30
        )
    return sorted(task["title"] for task in answer.json()["data"])


def test_the_data_is_moved_and_the_old_is_kept_until_told(installation: Installation) -> None:
    data = installation.data_dir
    assert "`python -m app postgres upgrade`" in installation.refusal("serve")
    moved = installation.ask("postgres", "upgrade")
    assert (moved["upgraded"], moved["fromMajor"]) == (True, 15)
    assert (data / "postgres-15" / "PG_VERSION").read_text() == "15\n"
    assert Path(moved["dump"]).exists()
    assert "Fix the login page, please" in titles(installation)
    with EmbeddedPostgres(data, POSTGRES_BIN_DIR).use() as dsn, psycopg.connect(dsn) as connection:
        later = connection.execute("SELECT bool_and(xid < pg_current_xact_id()) FROM task_events").fetchone()
    assert later == (True,)

    assert installation.ask("postgres", "upgrade")["upgraded"] is False
    assert installation.ask("postgres", "discard-old", "--yes") == {"discarded": [str(data / "postgres-15")]}
    assert not (data / "postgres-15").exists()
    assert installation.ask("postgres", "discard-old", "--yes") == {"discarded": []}


def test_a_move_that_was_cut_off_at_its_end_is_finished_and_never_begins_with_nothing(
    installation: Installation,
) -> None:
    data = installation.data_dir
    installation.ask("postgres", "upgrade")
    (data / "upgrade").mkdir()
    (data / "postgres").rename(data / "upgrade" / "postgres")
    (data / "upgrade" / "checked").write_text("15 18 some.dump")
    assert "was cut off at its end" in installation.refusal("serve")
    assert installation.ask("postgres", "upgrade")["upgraded"] is True
    assert "Fix the login page, please" in titles(installation)
    assert not (data / "upgrade").exists()


def test_without_the_old_programs_it_says_whose_are_needed(
    installation: Installation, tmp_path: Path
) -> None:
    assert "Postgres 15" in installation.refusal("postgres", "upgrade", "--old-bin", str(tmp_path))
    assert "--old-bin" in installation.refusal("postgres", "upgrade", "--old-bin", str(tmp_path))


def test_there_is_nothing_to_move_on_a_postgres_of_ones_own() -> None:
    own = Installation(Path("/nowhere"), DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert "DATABASE_URL is set" in own.refusal("postgres", "upgrade")
