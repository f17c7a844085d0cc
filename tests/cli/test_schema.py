"""`schema apply` and `schema check`, and what serves refuses: a database is empty, ours, or left alone."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app import COMMAND
from app.db import schema
from tests.conftest import drop_database
from tests.installation import Installation

VERSION = schema.VERSION
NAME = f"baton_schema_{os.getpid()}"
ANY_COMMAND = ("workspace", "create", "acme")


@pytest.fixture
def empty(postgres: str) -> Iterator[Installation]:
    """An installation on a database of its own, in which there is nothing yet."""
    yield from created(postgres, "ENCODING 'UTF8' TEMPLATE template0")


@pytest.fixture
def latin(postgres: str) -> Iterator[Installation]:
    """The same on a database that cannot hold every letter."""
    yield from created(
        postgres, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
    )


def created(postgres: str, options: str) -> Iterator[Installation]:
    drop_database(postgres, NAME)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} ").format(Identifier(NAME)) + SQL(options))  # pyright: ignore[reportArgumentType] -- one of the two above
    yield Installation(Path("/nowhere"), DATABASE_URL=make_conninfo(postgres, dbname=NAME), PORT="0")
    drop_database(postgres, NAME)


def execute(installation: Installation, statement: str) -> None:
    with psycopg.connect(installation.settings["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(statement.encode())


def test_check_says_that_an_empty_database_has_no_schema_and_how_to_get_it(empty: Installation) -> None:
    assert f"`{COMMAND} schema apply`" in empty.refusal("schema", "check")


def test_apply_fills_an_empty_database_once(empty: Installation) -> None:
    whole = {"version": VERSION, "prepared": VERSION, "target": VERSION, "fits": True, "pending": []}
    assert empty.ask("schema", "apply") == {**whole, "applied": True, "files": []}
    assert empty.ask("schema", "apply") == {**whole, "applied": False, "files": []}
    assert empty.ask("schema", "plan") == empty.ask("schema", "check") == whole


def test_for_people_it_says_in_words_how_the_database_stands(empty: Installation) -> None:
    fits = f"The database has schema version {VERSION} and fits this Baton.\n"
    created = f"The database was empty and has schema version {VERSION} now.\n"
    assert empty.run("schema", "apply").stdout == created + fits
    assert empty.run("schema", "apply").stdout == fits
    assert empty.run("schema", "check").stdout == fits
    assert empty.run("schema", "plan").stdout.endswith("there is nothing to do.\n")


def test_the_version_is_that_of_the_document(empty: Installation) -> None:
    published = json.loads((Path(schema.FILE).parent / "docs" / "openapi.json").read_text())["info"][
        "version"
    ]
    assert empty.run("--version").stdout == f"baton {published}, schema version {VERSION}\n"


def test_the_first_command_on_an_empty_database_applies_the_schema(empty: Installation) -> None:
    empty.ask(*ANY_COMMAND)
    assert empty.ask("schema", "check")["version"] == VERSION


@pytest.mark.parametrize(
    "command", [("schema", "check"), ("schema", "apply"), ("serve",), ANY_COMMAND], ids=" ".join
)
def test_a_database_from_the_future_is_left_alone(empty: Installation, command: tuple[str, ...]) -> None:
    empty.ask("schema", "apply")
    execute(empty, "UPDATE baton_schema SET version = 99")
    line = empty.refusal(*command)
    assert "schema version 99" in line
    assert re.search(rf"serves versions? (\d+ to )?{VERSION}\.", line)


def test_a_database_that_belongs_to_something_else_is_left_alone(empty: Installation) -> None:
    execute(empty, "CREATE TABLE tasks (mine text)")
    assert "a database of its own" in empty.refusal("schema", "apply")
    execute(empty, "SELECT mine FROM tasks")


def test_a_database_that_cannot_hold_every_letter_is_refused(latin: Installation) -> None:
    assert "ENCODING 'UTF8'" in latin.refusal("schema", "apply")


def test_a_server_that_is_not_there_is_named_by_its_setting() -> None:
    nobody = Installation(Path("/nowhere"), DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing", PORT="0")
    for command in (("serve",), ("schema", "check"), ANY_COMMAND):
        assert "DATABASE_URL" in nobody.refusal(*command)
