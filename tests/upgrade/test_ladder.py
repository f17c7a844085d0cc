"""Migrations of a small world of their own: in which order they run, what others feel of it, and what is left when one fails."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.db import catalogue, migrating, schema
from app.db.ladder import Ladder, MalformedMigration
from tests.conftest import drop_database
from tests.installation import eventually

NAME = f"baton_ladder_{os.getpid()}"

FIRST = """
CREATE TABLE baton_schema (version integer NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
INSERT INTO baton_schema (version) VALUES (1);
CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO things SELECT n, 'thing ' || n FROM generate_series(1, 100) n;
"""
"""A database of the first release, which kept no books."""


class World:
    """A database and the migrations that a test gives it."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.directory = directory
        self.released = {1: "0.1.0"}

    def ladder(self, **files: str) -> Ladder:
        """The migrations, of the names and texts given here, besides those that are there already."""
        for name, text in files.items():
            stem, _, phase = name.rpartition("_")
            (self.directory / f"{stem[1:]}.{phase}.sql").write_text(text)
        return Ladder(self.directory, self.directory / "no-schema.sql", self.released)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def books(self) -> tuple[object, ...]:
        return self.ask("SELECT version, prepared FROM baton_schema")[0]


@pytest.fixture
def world(postgres: str, tmp_path: Path) -> Iterator[World]:
    """A database of the first release, and no migrations yet."""
    drop_database(postgres, NAME)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(NAME)))
    dsn = make_conninfo(postgres, dbname=NAME)
    with psycopg.connect(dsn) as connection:
        connection.execute(FIRST.encode())
    (tmp_path / "migrations").mkdir()
    yield World(dsn, tmp_path / "migrations")
    drop_database(postgres, NAME)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once where it would be minutes."""
    monkeypatch.setattr(migrating, "TRIES_MAX", 2)
    monkeypatch.setattr(migrating, "PAUSE_SECONDS_MAX", 0.01)
    monkeypatch.setattr(migrating, "LOCK_WAIT_SECONDS_MAX", 0.2)
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "10ms")


def files_of(state: schema.State) -> list[str]:
    return [migration.path.name for leg in state.done for migration in leg.migrations]


ADD_SIZE = "-- Say how large a thing is.\nALTER TABLE things ADD COLUMN size integer;"
ADD_COLOUR = "-- And its colour.\nALTER TABLE things ADD COLUMN colour text;"
NEED_SIZE = """-- Every thing has a size.
UPDATE things SET size = 1 WHERE size IS NULL;
ALTER TABLE things ALTER size SET NOT NULL;
"""


def test_all_that_only_adds_runs_before_all_that_does_not(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE, _0002_size_post=NEED_SIZE, _0003_colour_pre=ADD_COLOUR)
    assert files_of(schema.apply(world.dsn, ladder=ladder)) == [
        "0002_size.pre.sql",
        "0003_colour.pre.sql",
        "0002_size.post.sql",
    ]
    assert world.books() == (3, 3)
    again = schema.apply(world.dsn, ladder=ladder)
    assert (again.done, again.pending, world.books()) == ((), [], (3, 3))


def test_until_the_second_half_the_version_stays_that_of_the_release_before(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE, _0003_colour_pre=ADD_COLOUR)
    prepared = schema.apply(world.dsn, ["pre"], ladder=ladder)
    assert [(leg.phase, leg.to) for leg in prepared.pending] == [("post", 3)]
    assert world.books() == (1, 3)
    assert schema.apply(world.dsn, ["pre"], ladder=ladder).done == []
    assert files_of(schema.apply(world.dsn, ["post"], ladder=ladder)) == []
    assert world.books() == (3, 3)


def test_the_second_half_is_refused_before_the_first(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE, _0002_size_post=NEED_SIZE)
    with pytest.raises(schema.SchemaMismatch, match=r"schema apply --pre` first"):
        schema.apply(world.dsn, ["post"], ladder=ladder)
    assert "prepared" not in world.ask("SELECT to_jsonb(s) FROM baton_schema s")[0][0]


def test_a_release_is_finished_before_the_next_begins(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE, _0002_size_post=NEED_SIZE)
    schema.apply(world.dsn, ["pre"], ladder=ladder)
    world.released[2] = "0.2.0"
    next_one = world.ladder(_0003_colour_pre=ADD_COLOUR)
    with pytest.raises(
        schema.SchemaMismatch, match=r"schema apply --post` once no server of an older release"
    ):
        schema.apply(world.dsn, ["pre"], ladder=next_one)
    assert files_of(schema.apply(world.dsn, ladder=next_one)) == ["0002_size.post.sql", "0003_colour.pre.sql"]


def test_code_serves_its_own_schema_and_the_one_before_once_that_is_prepared(world: World) -> None:
    world.ladder(_0002_size_pre=ADD_SIZE)
    world.released[2] = "0.2.0"
    second, third = Ladder(world.directory, Path(), {1: "0.1.0"}), world.ladder(_0003_colour_pre=ADD_COLOUR)
    with pytest.raises(
        schema.SchemaMismatch, match=r"has schema version 1, and this Baton needs version 2.*--pre`"
    ):
        schema.check(world.dsn, second)
    schema.apply(world.dsn, ["pre"], ladder=second)
    schema.check(world.dsn, second)
    schema.apply(world.dsn, ["post"], ladder=second)
    schema.check(world.dsn, second)
    with pytest.raises(schema.SchemaMismatch, match="needs version 3"):
        schema.check(world.dsn, third)
    schema.apply(world.dsn, ["pre"], ladder=third)
    schema.check(world.dsn, second)  # the release before, while both work
    schema.check(world.dsn, third)
    schema.apply(world.dsn, ["post"], ladder=third)
    with pytest.raises(schema.SchemaMismatch, match="serves versions 1 to 2"):
        schema.check(world.dsn, second)


def test_a_file_that_fails_leaves_nothing_and_runs_again(world: World) -> None:
    broken = "-- Half of it works.\nALTER TABLE things ADD COLUMN size integer;\nALTER TABLE nothings ADD COLUMN size integer;"
    ladder = world.ladder(_0002_size_pre=broken)
    with pytest.raises(
        schema.MigrationFailed,
        match=r'0002_size\.pre\.sql failed, nothing of it is left: relation "nothings"',
    ):
        schema.apply(world.dsn, ladder=ladder)
    assert world.books() == (1, None)
    assert files_of(schema.apply(world.dsn, ladder=world.ladder(_0002_size_pre=ADD_SIZE))) == [
        "0002_size.pre.sql"
    ]


def test_what_already_ran_does_not_run_again_after_a_later_file_failed(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE, _0003_colour_pre="-- No.\nSELECT 1 / 0;")
    with pytest.raises(schema.MigrationFailed):
        schema.apply(world.dsn, ladder=ladder)
    assert world.books() == (1, 2)
    with pytest.raises(schema.SchemaMismatch, match="needs version 3"):
        schema.check(world.dsn, ladder)
    ladder = world.ladder(_0003_colour_pre=ADD_COLOUR)
    assert files_of(schema.apply(world.dsn, ladder=ladder)) == ["0003_colour.pre.sql"]


INDEX = """-- Find things by name.

-- step
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS things_name ON things (name);
"""


def test_an_index_is_built_beside_writers(world: World) -> None:
    schema.apply(world.dsn, ladder=world.ladder(_0002_name_pre=INDEX))
    assert world.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_name'::regclass") == [
        (True,)
    ]


def test_an_invalid_index_that_a_failed_try_left_is_made_anew(world: World) -> None:
    world.ask("UPDATE things SET name = 'thing 1' WHERE id = 2")
    ladder = world.ladder(_0002_name_pre=INDEX)
    with pytest.raises(schema.MigrationFailed, match="what its earlier steps did is kept"):
        schema.apply(world.dsn, ladder=ladder)
    assert world.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_name'::regclass") == [
        (False,)
    ]
    world.ask("UPDATE things SET name = 'thing 2' WHERE id = 2")
    schema.apply(world.dsn, ladder=ladder)
    assert world.ask("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_name'::regclass") == [
        (True,)
    ]


def test_an_index_that_waits_for_an_older_transaction_does_not_deadlock_with_those_who_wait_to_migrate(
    world: World,
) -> None:
    ladder = world.ladder(_0002_name_pre=INDEX)
    with psycopg.connect(world.dsn) as older, ThreadPoolExecutor(3) as others:
        older.execute("UPDATE things SET name = 'a thing' WHERE id = 1")
        migrating = [others.submit(schema.apply, world.dsn, ladder=ladder) for _ in range(3)]
        eventually(lambda: world.ask("SELECT 1 FROM pg_stat_progress_create_index"))
        older.rollback()
        done = [future.result() for future in migrating]
    assert sorted(files_of(state) for state in done) == [[], [], ["0002_name.pre.sql"]]


def test_a_file_whose_steps_were_cut_off_is_taken_up_again(world: World) -> None:
    with psycopg.connect(world.dsn) as connection:
        first = catalogue.fingerprints(connection)
    steps = (
        "-- Add and fill.\n\n-- step\nALTER TABLE things ADD COLUMN IF NOT EXISTS size integer;\n\n-- step\n"
    )
    ladder = world.ladder(_0002_size_pre=f"{steps}SELECT pg_terminate_backend(pg_backend_pid());")
    ladder.known["1"] = first
    with pytest.raises(schema.MigrationFailed, match="a second run does no harm"):
        schema.apply(world.dsn, ladder=ladder)
    schema.plan(world.dsn, ladder)
    ladder = world.ladder(_0002_size_pre=f"{steps}UPDATE things SET size = 1;")
    ladder.known["1"] = first
    assert files_of(schema.apply(world.dsn, ladder=ladder)) == ["0002_size.pre.sql"]
    assert world.books() == (2, 2)


BACKFILL = """-- Every thing gets a size.

-- step
ALTER TABLE things ADD COLUMN IF NOT EXISTS size integer;

-- step, repeated until it changes no row
UPDATE things SET size = pg_backend_pid() WHERE id IN (SELECT id FROM things WHERE size IS NULL LIMIT 30);

-- step
INSERT INTO things VALUES (0, 'the end') ON CONFLICT DO NOTHING;
"""


def test_a_backfill_goes_on_in_batches_until_nothing_is_left(world: World) -> None:
    schema.apply(world.dsn, ladder=world.ladder(_0002_size_pre=BACKFILL))
    assert world.ask("SELECT count(*), count(size), count(DISTINCT xmin::text) FROM things WHERE id > 0") == [
        (100, 100, 4)
    ]
    assert world.ask("SELECT name FROM things WHERE id = 0") == [("the end",)]


@pytest.mark.usefixtures("impatient")
def test_it_gives_way_to_a_long_transaction_and_says_who_it_is(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE)
    with psycopg.connect(world.dsn) as holder:
        holder.execute("SELECT * FROM things")
        with pytest.raises(
            schema.MigrationFailed, match=rf"gave up after 2 tries.* pid {holder.info.backend_pid}"
        ):
            schema.apply(world.dsn, ladder=ladder)
        assert len(holder.execute("SELECT * FROM things").fetchall()) == 100
    assert world.books() == (1, None)


def test_it_gets_through_once_those_in_its_way_are_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "10ms")
    ladder = world.ladder(_0002_size_pre=ADD_SIZE)
    refused = threading.Event()
    with psycopg.connect(world.dsn) as holder, ThreadPoolExecutor(1) as other:
        holder.execute("SELECT * FROM things")
        monkeypatch.setattr(
            migrating.logger, "info", lambda text, *_: refused.set() if "in the way" in text else None
        )
        state = other.submit(schema.apply, world.dsn, ladder=ladder)
        assert refused.wait(30)
        holder.rollback()
        assert files_of(state.result()) == ["0002_size.pre.sql"]


@pytest.mark.usefixtures("impatient")
def test_who_finds_another_migrating_says_so(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE)
    with (
        psycopg.connect(world.dsn, autocommit=True) as other,
        migrating.only_one(other),
        pytest.raises(schema.MigrationFailed, match="Another process is migrating"),
    ):
        schema.apply(world.dsn, ladder=ladder)
    assert files_of(schema.apply(world.dsn, ladder=ladder)) == ["0002_size.pre.sql"]


def test_a_role_whose_statements_are_short_can_migrate(world: World) -> None:
    world.dsn = make_conninfo(world.dsn, options="-c statement_timeout=40ms -c lock_timeout=40ms")
    slow = "-- Take a moment.\n\n-- step\nSELECT pg_sleep(0.05);\n"
    assert files_of(schema.apply(world.dsn, ladder=world.ladder(_0002_slow_pre=slow))) == [
        "0002_slow.pre.sql"
    ]


def test_what_has_data_is_dumped_before_anything_changes(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE)
    seen: list[Any] = []
    schema.apply(
        world.dsn,
        before=lambda: seen.append(world.ask("SELECT to_jsonb(s) FROM baton_schema s")[0][0]),
        ladder=ladder,
    )
    assert len(seen) == 1 and "prepared" not in seen[0]
    schema.apply(world.dsn, before=lambda: seen.append("again"), ladder=ladder)
    assert len(seen) == 1


def test_nothing_is_migrated_through_a_pooler(world: World) -> None:
    with pytest.raises(schema.Unsuitable, match="cannot pass a pooler"):
        schema.apply(world.dsn, pooler=True, ladder=world.ladder(_0002_size_pre=ADD_SIZE))


def test_a_migration_that_does_not_lead_to_what_is_known_is_not_finished(world: World) -> None:
    ladder = world.ladder(_0002_size_pre=ADD_SIZE)
    ladder.known["2"] = {"table things": "other", "index things_pkey": "other"}
    with pytest.raises(
        schema.MigrationFailed, match="table things, index things_pkey are not as they should be"
    ):
        schema.apply(world.dsn, ladder=ladder)
    assert world.books() == (1, 2)


@pytest.mark.parametrize(
    "names",
    [
        ("0003_gap.pre.sql",),
        ("0002_one.pre.sql", "0002_other.post.sql"),
        ("0002_none.sql",),
        ("2_short.pre.sql",),
    ],
    ids=" ".join,
)
def test_files_that_make_no_order_are_refused(world: World, names: tuple[str, ...]) -> None:
    for name in names:
        (world.directory / name).write_text("-- Nothing.\n")
    with pytest.raises(MalformedMigration):
        world.ladder()
