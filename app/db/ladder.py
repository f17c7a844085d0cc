"""The migrations as files: what they are called, in which order they run, and how far a database has come.

`migrations/README.md` says how to add one. A release may have several; each has a number and up to two files:

    NNNN_name.pre.sql     only adds, so the code of the previous release goes on working; runs before the new code
    NNNN_name.post.sql    what the previous release could not bear; runs when its last process is gone

A file is one transaction. One that cannot be is divided by headings into steps, each of which is sent by itself:

    -- step
    -- step, repeated until it changes no row
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

Phase = Literal["pre", "post"]

NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.(pre|post)\.sql")
STEP: Final = re.compile(r"^-- step(, repeated until it changes no row)?$", re.MULTILINE)
CONCURRENT_INDEX: Final = re.compile(
    r"^\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)",
    re.IGNORECASE | re.MULTILINE,
)
CONCURRENTLY: Final = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
REMARK: Final = re.compile(r"--.*")


class MalformedMigration(Exception):
    """The migrations of this checkout make no sense; the message says which."""


class Step(NamedTuple):
    """A piece of a file that is sent by itself."""

    text: str
    repeated: bool  # until it changes no row

    @property
    def is_concurrent(self) -> bool:
        """Whether it builds or drops an index beside running writers, which no transaction may."""
        return CONCURRENTLY.search(REMARK.sub("", self.text)) is not None

    @property
    def indexes(self) -> list[str]:
        """The indexes it builds in that way."""
        return CONCURRENT_INDEX.findall(self.text)


class Migration(NamedTuple):
    """One file."""

    number: int
    name: str
    phase: Phase
    path: Path

    @property
    def text(self) -> str:
        """What it says."""
        return self.path.read_text()

    @property
    def summary(self) -> str:
        """Its first line, which says in words what it does."""
        return self.text.splitlines()[0].removeprefix("--").strip()

    @property
    def steps(self) -> list[Step]:
        """The steps of a file that is not one transaction; none if it is one."""
        _, *pieces = STEP.split(self.text)
        return [
            Step(text, repeated=bool(repeated))
            for repeated, text in zip(pieces[::2], pieces[1::2], strict=True)
        ]


class Progress(NamedTuple):
    """How far a database has come: what baton_schema says."""

    version: int  # everything is done up to here: no release before this number's can be served
    prepared: int  # what only adds is done up to here
    fingerprint: str | None  # of what was there then

    @property
    def name(self) -> str:
        """How fingerprints.json calls this."""
        return str(self.version) if self.version == self.prepared else f"{self.version}-{self.prepared}"


class Leg(NamedTuple):
    """The files of one phase of one release."""

    phase: Phase
    to: int  # the number the database has afterwards
    migrations: tuple[Migration, ...]


class Ladder:
    """All migrations there are, and the releases between them."""

    def __init__(self, directory: Path, schema_file: Path, released: Mapping[int, str]) -> None:
        self.schema_file = schema_file
        self.released = dict(released)
        self.migrations = sorted(_read(directory), key=lambda m: (m.number, m.phase == "post"))
        self.version = max((m.number for m in self.migrations), default=min(released))
        """The schema that this code is made for."""
        self.previous = max((number for number in released if number < self.version), default=self.version)
        """The schema of the release before it, which it can serve as well, once that is prepared."""
        known = directory / "fingerprints.json"
        self.known: dict[str, dict[str, str]] = json.loads(known.read_text()) if known.exists() else {}
        """The objects of the databases that this code may meet, each with its hash."""
        self._check()

    def pending(self, progress: Progress) -> Iterator[Leg]:
        """What there is still to do, in order: a release is finished before the next begins."""
        below = 0
        for to in sorted({*self.released, self.version}):
            here = [m for m in self.migrations if below < m.number <= to]
            if progress.prepared < to:
                yield Leg(
                    "pre", to, tuple(m for m in here if m.phase == "pre" and m.number > progress.prepared)
                )
            if progress.version < to:
                yield Leg(
                    "post", to, tuple(m for m in here if m.phase == "post" and m.number > progress.version)
                )
            below = to

    def _check(self) -> None:
        first = min(self.released)
        numbers = sorted({m.number for m in self.migrations})
        names = {(m.number, m.name) for m in self.migrations}
        if numbers != list(range(first + 1, first + 1 + len(numbers))) or len(names) != len(numbers):
            told = ", ".join(m.path.name for m in self.migrations)
            raise MalformedMigration(f"Migrations count on from {first + 1}, one name to a number: {told}")


def _read(directory: Path) -> Iterator[Migration]:
    for path in directory.glob("*.sql"):
        if (found := NAME.fullmatch(path.name)) is None:
            raise MalformedMigration(f"{path.name} is not called NNNN_name.pre.sql or NNNN_name.post.sql.")
        yield Migration(int(found[1]), found[2], "pre" if found[3] == "pre" else "post", path)
