"""Locks between the processes of one data directory, which end with whoever holds them."""

import fcntl
import io
import os
import time
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.01  # a look at a lock or at postmaster.pid costs microseconds


def lock(path: Path, kind: int, deadline: float = 0.0) -> io.BufferedWriter | None:
    """Take a lock, trying at least once and until the deadline; closing the file gives it back.

    Python opens files so that no other program inherits them, or Postgres would keep our lock after us.
    """
    file = open_private(path)
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                return None
            time.sleep(POLL_SECONDS)
        else:
            return file


def open_private(path: Path) -> io.BufferedWriter:
    """Open for appending, for us alone, and never through a link that somebody else may have put there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")
