"""A database of the last release gets to the schema of this checkout, step by step, and is the same as a new one then."""

import os
from collections.abc import Iterator

import psycopg
import pytest

from app.db import catalogue, schema
from tests.conftest import drop_database, new_database
from tests.upgrade import fingerprints
from tests.upgrade.releases import database_of

PREVIOUS = schema.LADDER.released[schema.LADDER.previous]


@pytest.fixture
def released(postgres: str) -> Iterator[str]:
    """A database as the last release left it."""
    with database_of(PREVIOUS, postgres) as dsn:
        yield dsn


@pytest.fixture
def fresh(postgres: str) -> Iterator[str]:
    """A new one."""
    name = f"baton_fresh_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


def catalogue_of(dsn: str) -> list[catalogue.Line]:
    with psycopg.connect(dsn) as connection:
        return catalogue.lines(connection)


def test_a_migrated_database_is_the_same_as_a_new_one(released: str, fresh: str) -> None:
    for leg in schema.plan(released).pending:
        done = schema.apply(released, [leg.phase]).done
        assert [(one.phase, one.to) for one in done] == [(leg.phase, leg.to)]
    assert schema.plan(released).pending == []
    schema.apply(released)
    if schema.LADDER.previous == schema.VERSION:  # nothing was to be done, and so the books are not kept yet
        with psycopg.connect(released) as connection:
            connection.execute(schema.BOOKS)
    assert catalogue_of(released) == catalogue_of(fresh)


def test_a_release_is_recognised_though_it_left_no_fingerprint(released: str) -> None:
    assert schema.plan(released).version == schema.LADDER.previous


def test_what_is_known_of_databases_is_written_down(postgres: str) -> None:
    written = dict(schema.LADDER.known)
    assert fingerprints.fingerprints(postgres) == written, "run `python -m tests.upgrade.fingerprints`"


def test_what_is_known_of_the_last_release_is_what_it_left(released: str) -> None:
    assert schema.LADDER.known[str(schema.LADDER.previous)] == fingerprints.look(released)


SMALL = "\N{GREEK SMALL LETTER SIGMA}"
DECOMPOSED = "Cafe\u0301 \N{GREEK CAPITAL LETTER SIGMA}"
COMPOSED = f"caf\u00e9 {SMALL}"


def test_words_of_the_release_are_found_in_either_normal_form(released: str) -> None:
    with psycopg.connect(
        released
    ) as connection:  # as the release wrote them: in lower case, and else as they came
        task = connection.execute(
            """UPDATE task_search SET words = lower(%s) WHERE task_id = (SELECT min(task_id::text)::uuid FROM task_search)
               RETURNING task_id""",
            [DECOMPOSED],
        ).fetchone()
        message = connection.execute(
            """WITH m AS (UPDATE messages SET content = %(text)s
                           WHERE id = (SELECT min(message_id::text)::uuid FROM message_search) RETURNING id)
               UPDATE message_search s SET terms = to_tsvector('simple', %(text)s) FROM m WHERE s.message_id = m.id
               RETURNING s.message_id""",
            {"text": DECOMPOSED},
        ).fetchone()
    assert task is not None and message is not None
    schema.apply(released)
    with psycopg.connect(released) as connection:
        words = connection.execute("SELECT words FROM task_search WHERE task_id = %s", task).fetchone()
        found = connection.execute(
            """SELECT terms @@ (to_tsquery('simple', %s) && to_tsquery('simple', %s))
                 FROM message_search WHERE message_id = %s""",
            [*COMPOSED.split(), *message],
        ).fetchone()
    assert (words, found) == ((COMPOSED,), (True,))
