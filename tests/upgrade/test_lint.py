"""What `make check` finds in a migration before anybody runs it."""

from pathlib import Path

import pytest

from app.db import schema
from app.db.ladder import Ladder
from tests.upgrade.lint import complaints

NAME = "0002_bad"


def complaints_about(directory: Path, phase: str, text: str) -> str:
    (directory / f"{NAME}.{phase}.sql").write_text(text)
    return "\n".join(complaints(Ladder(directory, Path(), {1: "0.1.0"})))


def test_our_migrations_are_in_order() -> None:
    assert list(complaints(schema.LADDER)) == []


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("ALTER TABLE tasks ADD COLUMN a text;", "first line"),
        ("-- Add a.\nALTER TABLE tasks ADD COLUMN a text NOT NULL;", "adding-required-field"),
        ("-- Add a.\nCREATE INDEX a ON tasks (id);", "require-concurrent-index-creation"),
        (
            "-- Add a.\nALTER TABLE tasks ADD CONSTRAINT a CHECK (id IS NOT NULL);",
            "constraint-missing-not-valid",
        ),
        ("-- Add a.\nCREATE INDEX CONCURRENTLY a ON tasks (id);", "step of its own"),
        ("-- Add a.\n\n-- step\nCREATE INDEX CONCURRENTLY a ON tasks (id);", "prefer-robust-stmts"),
        (
            "-- Add a.\n\n-- step\nSELECT 1; CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON tasks (id);",
            "one statement",
        ),
        (
            "-- Fill a.\n\n-- step, repeated until it changes no row\nUPDATE tasks SET a = 1 WHERE a IS NULL;",
            "LIMIT",
        ),
        ("-- Fill a.\nBEGIN; SELECT 1; COMMIT;", "runner's business"),
        ("-- Fill a.\nUPDATE baton_schema SET version = 7;", "the runner keeps the books"),
        ("-- Drop a.\nALTER TABLE tasks DROP COLUMN a;", r"DROP COLUMN would be felt"),
        ("-- Rename a.\nALTER TABLE tasks RENAME a TO b;", "RENAME would be felt"),
        ("-- Need a.\nALTER TABLE tasks ALTER a SET NOT NULL;", "SET NOT NULL would be felt"),
    ],
    ids=lambda value: value if len(value) < 50 else "",
)
def test_a_first_half_that_would_be_felt_is_found(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaint in complaints_about(tmp_path, "pre", text)


@pytest.mark.parametrize(
    "phase, text",
    [
        ("pre", "-- Add a.\nALTER TABLE tasks ADD COLUMN a text, ADD COLUMN b integer NOT NULL DEFAULT 0;"),
        (
            "pre",
            "-- Add a table.\nCREATE TABLE a (id uuid PRIMARY KEY, n integer);\nCREATE INDEX a_n ON a (n);",
        ),
        ("pre", "-- Add a.\n\n-- step\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a ON tasks (id);"),
        ("post", "-- Drop a and b.\nALTER TABLE tasks DROP COLUMN a;\nDROP TABLE b;"),
    ],
)
def test_what_is_in_order_gives_no_complaint(tmp_path: Path, phase: str, text: str) -> None:
    assert complaints_about(tmp_path, phase, text) == ""
