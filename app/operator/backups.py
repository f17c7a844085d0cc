"""Backups: the whole database in one file, made while the service runs, and put into an empty database again.

The file is a dump in the custom format of pg_dump, so any Postgres can read it without Baton. What makes it a backup is
that it was looked at: its rows are counted, table by table, and are as many as there were at the moment it shows.
"""

import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from app.config import Config, libpq
from app.database_url import borrowed
from app.db import schema
from app.db.address import without_password
from app.db.replaying import ReplayFailed, replay
from app.embedded import EmbeddedPostgres
from app.embedded.dumps import sync
from app.embedded.programs import Identity, Programs, find_binaries
from app.operator.names import Made

logger = logging.getLogger("baton.dump")

MARK: Final = "TABLE DATA public baton_schema "  # in the table of contents of every database of ours
TABLE: Final = re.compile(rb'dumping contents of table "(.+)"')
OWNERLESS: Final = ("--no-owner", "--no-privileges")


class BackupFailed(Exception):
    """No backup was made, or none was restored; the message says why."""


class Backup(Made):
    """A file that holds a whole database."""

    file: str
    bytes: int
    tables: int
    rows: int


class Restored(Made):
    """A database that was filled from a backup."""

    file: str
    tables: int
    rows: int
    schema_version: int
    next: str | None  # the command that a backup of an older release still needs


class Postgres(NamedTuple):
    """A database, and the programs that copy it."""

    dsn: str
    programs: Programs
    variables: Mapping[str, str]  # where no other user of the machine can read it: the password

    @property
    def address(self) -> str:
        """How the programs connect."""
        return f"--dbname={self.dsn}"


@contextmanager
def _postgres(config: Config, *, creates: bool = False) -> Generator[Postgres]:
    with borrowed(config, creates=creates) as found:
        if found.is_ours:
            programs = EmbeddedPostgres(config.data_dir, config.postgres_bin_dir).programs()
            yield Postgres(found.dsn, programs, {})
            return
        dsn, password = without_password(found.dsn)
        variables = libpq()
        if password:
            variables["PGPASSWORD"] = password
        programs = Programs(
            find_binaries(config.postgres_bin_dir), Identity(os.geteuid(), os.getegid()), Path.cwd()
        )
        yield Postgres(dsn, programs, variables)


def write(config: Config, file: Path) -> Backup:
    """Write the whole database to a file, while the service goes on, and see that the file can be read."""
    if file.exists():
        raise BackupFailed(f"There is a {file} already. Give the backup another name.")
    if not file.absolute().parent.is_dir():
        raise BackupFailed(f"There is no directory {file.parent}.")
    growing = file.with_name(f"{file.name}.new")
    with _postgres(config) as postgres:
        schema.plan(postgres.dsn)  # it has a schema of ours
        try:
            rows = _dump(postgres, growing)
            os.link(growing, file)  # which replaces nothing
        finally:
            growing.unlink(missing_ok=True)
    sync(file.absolute().parent)
    return Backup(file=str(file), bytes=file.stat().st_size, tables=len(rows), rows=sum(rows.values()))


def restore(config: Config, file: Path) -> Restored:
    """Fill an empty database from a backup: all of it or nothing. One that holds anything is left as it is."""
    with file.open("rb") as written, _postgres(config, creates=True) as postgres:
        if MARK not in _listed(postgres, written):
            raise BackupFailed(f"{file} is no backup of a Baton.")
        if not schema.is_empty(postgres.dsn):
            raise BackupFailed(
                "The database is not empty, and stays as it is. Set "
                + ("DATABASE_URL to an empty one." if config.database_url else "DATA_DIR to a new directory.")
            )
        wanted = _counted(postgres, written)
        _fill(postgres, written)
        if (found := schema.contents(postgres.dsn)[0]) != wanted:
            raise BackupFailed(
                f"What is in the database now is not what is in {file}: {_difference(wanted, found)}."
            )
        state = schema.settle(postgres.dsn)
    return Restored(
        file=str(file),
        tables=len(wanted),
        rows=sum(wanted.values()),
        schema_version=state.version,
        next=schema.APPLY if state.pending else None,
    )


def _dump(postgres: Postgres, file: Path) -> dict[str, int]:
    """Write what is there at one moment, see that the file has as many rows as that, and say how many."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b") as written:
        with schema.still(postgres.dsn) as seen:
            options = ("--format=custom", "--verbose", *OWNERLESS, f"--snapshot={seen.snapshot}")
            _run(postgres, "pg_dump", *options, postgres.address, into=written)
        written.flush()
        os.fsync(written.fileno())
        if (found := _counted(postgres, written)) != seen.rows:
            raise BackupFailed(f"The file is not what was in the database: {_difference(seen.rows, found)}.")
    return seen.rows


def _fill(postgres: Postgres, written: IO[bytes]) -> None:
    """Carry out what pg_restore makes of a file: to its good end, or not at all."""
    written.seek(0)
    options = ("--no-comments", *OWNERLESS, "--file=-")
    with _started(postgres, "pg_restore", *options, takes=written, gives=subprocess.PIPE) as process:

        def script() -> Generator[bytes]:
            assert process.stdout is not None
            assert process.stderr is not None
            yield from process.stdout
            said = process.stderr.read()
            if process.wait() != 0:
                raise BackupFailed(f"{written.name} is broken: {said.decode(errors='replace').strip()}.")

        try:
            replay(postgres.dsn, script(), lambda table: logger.info("restore: %s", table))
        except ReplayFailed as error:
            raise BackupFailed(f"The database refused what is in {written.name}: {error}") from None


def _run(
    postgres: Postgres,
    name: str,
    *arguments: str,
    into: IO[bytes],
) -> None:
    """Run one of the programs to its end, and tell which table it is at.

    It never has the file itself: pg_dump would go back in it to where the contents are listed, list them at the end
    instead, and nobody could see any more that a file was cut off.
    """
    said: list[str] = []

    def listen(spoken: IO[bytes]) -> None:
        for line in spoken:
            if (table := TABLE.search(line)) is not None:
                logger.info("%s: %s", name, table[1].decode(errors="replace"))
            elif b"error:" in line:
                said.append(line.decode(errors="replace").strip())

    with _started(postgres, name, *arguments, takes=subprocess.DEVNULL, gives=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        listener = threading.Thread(target=listen, args=(process.stderr,), daemon=True)
        listener.start()
        shutil.copyfileobj(process.stdout, into)
        listener.join()
    if process.returncode != 0:
        raise BackupFailed(
            f"{name} failed: {'; '.join(said) or f'status {process.returncode}'}.{_remedy(said)}"
        )


def _remedy(said: list[str]) -> str:
    if any("server version mismatch" in line for line in said):
        return " Set POSTGRES_BIN to the programs of the server's version, or a newer one."
    return ""


def _listed(postgres: Postgres, written: IO[bytes]) -> str:
    """The table of contents of a file."""
    with _started(postgres, "pg_restore", "--list", takes=written, gives=subprocess.PIPE) as process:
        listed, said = process.communicate()
    if process.returncode != 0:
        raise BackupFailed(f"{written.name} is no backup: {said.decode(errors='replace').strip()}.")
    return listed.decode(errors="replace")


def _counted(postgres: Postgres, written: IO[bytes]) -> dict[str, int]:
    """How many rows a file has of each table: all of it is read, so none of it is broken."""
    rows: dict[str, int] = {}
    table = ""
    written.seek(0)
    with _started(
        postgres, "pg_restore", "--data-only", "--file=-", takes=written, gives=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if table:
                if line == b"\\.\n":
                    table = ""
                else:
                    rows[table] += 1
            elif line.startswith(b"COPY "):
                table = line[5:].partition(b" (")[0].decode()
                rows[table] = 0
        said = process.stderr.read()
    if process.returncode != 0:
        raise BackupFailed(f"{written.name} is broken: {said.decode(errors='replace').strip()}.")
    return rows


@contextmanager
def _started(
    postgres: Postgres, name: str, *arguments: str, takes: IO[bytes] | int, gives: IO[bytes] | int
) -> Generator[subprocess.Popen[bytes]]:
    try:
        process = postgres.programs.pipe(name, *arguments, takes=takes, gives=gives, **postgres.variables)
    except OSError as error:
        raise BackupFailed(
            f"{name} does not run: {error}. Set POSTGRES_BIN to a directory that has it."
        ) from None
    with process:
        try:
            yield process
        except BaseException:
            process.kill()  # for whom leaving the block waits
            raise


def _difference(wanted: Mapping[str, int], found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{table} has {found.get(table, 0)} rows and not {wanted.get(table, 0)}"
        for table in sorted(wanted.keys() | found.keys())
        if found.get(table) != wanted.get(table)
    )
