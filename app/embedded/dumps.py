"""Dumps that are written before something changes the data for good: beside the cluster, and only the newest few."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.embedded.programs import EmbeddedPostgresError, Programs
from app.embedded.role import SUPERUSER

KEPT: Final = 3  # dumps; whoever wants more copies them away
SECONDS_MAX: Final = 24 * 3600.0  # a dump takes as long as it takes; this ends one that hangs


def write_dump(directory: Path, programs: Programs, dsn: str) -> Path:
    """Write the whole database to a file, see that it is readable, and only then forget the oldest."""
    deadline = time.monotonic() + SECONDS_MAX
    directory.mkdir(mode=0o700, exist_ok=True)
    programs.give(directory)
    for leftover in directory.glob("*.dump.new"):
        leftover.unlink()
    written = directory / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.dump"
    growing = written.with_suffix(".dump.new")
    for program in ("pg_dump", "pg_restore"):
        if not (programs.bin_dir / program).exists():
            raise EmbeddedPostgresError(
                f"There is no {program} in {programs.bin_dir}, and without a dump nothing is changed. "
                "Set POSTGRES_BIN to a directory that has it."
            )
    programs.run(
        deadline, "pg_dump", "--format=custom", f"--file={growing}", f"--dbname={dsn} user={SUPERUSER}"
    )
    programs.run(deadline, "pg_restore", "--list", str(growing))
    sync(growing)
    growing.rename(written)
    sync(directory)
    for old in sorted(directory.glob("*.dump"))[:-KEPT]:
        old.unlink()
    return written


def sync(path: Path) -> None:
    """See that a file or directory is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
