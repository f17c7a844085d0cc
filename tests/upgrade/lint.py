"""`python -m tests.upgrade.lint` reads the migrations before anybody runs them: squawk's rules, and those that only we know.

A passing lint is no proof. It finds what would lock a large table, and what the release before could not bear.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from app.db import schema
from app.db.ladder import REMARK, Ladder, Migration

OLDEST_POSTGRES: Final = "15.0"

EVERYWHERE: Final = (
    "require-lock-timeout",  # the runner sets both
    "require-statement-timeout",
    "prefer-bigint-over-int",  # a version, a number within a task: nothing of that counts to two thousand million
)
"""Rules of squawk that do not fit here, and why."""

AFTERWARDS: Final = (
    "ban-drop-column",
    "ban-drop-function",
    "ban-drop-table",
    "ban-drop-constraint",
    "ban-drop-not-null",
    "renaming-column",
    "renaming-table",
)
"""What `post` is for: nobody uses it any more."""

NOT_BEFORE: Final = re.compile(
    r"\bDROP\s+(?:TABLE|COLUMN|VIEW|FUNCTION|TRIGGER|SEQUENCE|TYPE)\b|\bRENAME\b|\bTRUNCATE\b|\bSET\s+NOT\s+NULL\b|\bVALIDATE\b"
    r"|\bDELETE\s+FROM\b",
    re.IGNORECASE,
)
BODY: Final = re.compile(r"\$\$.*?\$\$", re.DOTALL)
"""What a function does is felt by whoever calls it: not the release before, to which it is new."""
BOUNDED: Final = re.compile(r"\bLIMIT\b|\bBETWEEN\b", re.IGNORECASE)


def complaints(ladder: Ladder) -> Iterator[str]:
    """What is wrong with the migrations."""
    for migration in ladder.migrations:
        yield from (f"{migration.path.name}: {complaint}" for complaint in _ours(migration))
    for in_steps in (False, True):
        for phase in ("pre", "post"):
            files = [m.path for m in ladder.migrations if m.phase == phase and bool(m.steps) == in_steps]
            yield from _squawk(
                files, in_steps=in_steps, exclude=[*EVERYWHERE, *(AFTERWARDS if phase == "post" else ())]
            )


def _ours(migration: Migration) -> Iterator[str]:
    said = REMARK.sub("", migration.text)
    if not migration.text.startswith("-- ") or len(migration.summary) < len("Add x."):
        yield "its first line should say in words what it does"
    if migration.phase == "pre" and (found := NOT_BEFORE.search(BODY.sub("", said))):
        yield f"{found[0]} would be felt by the release before: that belongs into a .post.sql"
    if re.search(r"\b(?:BEGIN|COMMIT|ROLLBACK)\s*;", said, re.IGNORECASE):
        yield "transactions are the runner's business"
    if re.search(r"\bbaton_schema\b", said):
        yield "the runner keeps the books in baton_schema"
    for step in migration.steps:
        text = REMARK.sub("", step.text)
        if step.repeated and not BOUNDED.search(text):
            yield "a repeated step should say how many rows it takes at once (LIMIT)"
        if (step.repeated or step.is_concurrent) and text.strip().rstrip(";").count(";"):
            yield "a step that is repeated, or says CONCURRENTLY, is one statement"
    if not migration.steps and re.search(r"\bCONCURRENTLY\b", said, re.IGNORECASE):
        yield "CONCURRENTLY needs a step of its own, under the heading `-- step`"


def _squawk(files: Sequence[Path], *, in_steps: bool, exclude: Sequence[str]) -> Iterator[str]:
    if not files:
        return
    program = shutil.which("squawk", path=str(Path(sys.executable).parent)) or "squawk"
    transaction = [] if in_steps else ["--assume-in-transaction"]
    done = subprocess.run(
        [
            program,
            "--reporter=gcc",
            f"--pg-version={OLDEST_POSTGRES}",
            f"--exclude={','.join(exclude)}",
            *transaction,
            *files,
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        yield from (done.stdout or done.stderr).splitlines()


def main() -> int:
    """Print what is wrong; the status is 1 if anything is."""
    found = list(complaints(schema.LADDER))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
