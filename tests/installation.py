"""A Baton as an operator has it: a data directory, commands, and a server that comes and goes.

installation = Installation(tmp_path / "data")
acme = installation.ask("workspace", "create", "acme")
with installation.serving() as server:
    ...
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.embedded import EmbeddedPostgres
from tests.conftest import POSTGRES_BIN_DIR, Server

WAIT_SECONDS = 30.0  # for what takes milliseconds; a busy machine needs some patience


class Installation:
    """One data directory and the settings that go with it. With DATABASE_URL set, the directory stays empty."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.settings = {"DATABASE_URL": "", "DATA_DIR": str(data_dir), **settings}

    def run(self, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            env={**os.environ, **self.settings},
            capture_output=True,
            check=False,
            text=True,
            timeout=WAIT_SECONDS * 2,
        )

    def ask(self, *arguments: str) -> Any:
        """Run a command with --json, which must go well, and answer with what it printed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refusal(self, *arguments: str | bytes) -> str:
        """Run a command that must be refused: exit status 1 and one line on stderr, which is the answer."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (1, ""), done
        [line] = done.stderr.splitlines()
        assert line.startswith("baton: ")
        return line

    @contextmanager
    def serving(self, **settings: str) -> Generator[Server]:
        """The server, running; whatever the test did to it, at the end it is gone."""
        server = Server(self.settings["DATABASE_URL"], **{**self.settings, **settings})
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
            if server.process.stdout is not None:
                server.process.stdout.close()
            server.log.close()

    def borrow(self) -> str:
        """The DSN of the embedded Postgres while a server runs it."""
        with EmbeddedPostgres(self.data_dir, POSTGRES_BIN_DIR).use() as dsn:
            return dsn

    def postgres_pid(self) -> int:
        """The postmaster of the embedded Postgres."""
        return int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])

    def has_postgres_other_than(self, pid: int) -> bool:
        """Whether another postmaster has taken the place of that one."""
        try:
            return self.postgres_pid() != pid
        except (FileNotFoundError, IndexError):  # between the two
            return False

    def processes(self) -> list[int]:
        """Every process that works on the embedded cluster, as Linux tells."""
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                here = (entry / "cwd").readlink()
            except OSError:  # gone, or not ours to look at
                continue
            if here == self.data_dir.resolve() / "postgres":
                found.append(int(entry.name))
        return found

    def remove(self) -> None:
        """Delete the data: pytest would keep 40 MB for each of the last runs."""
        shutil.rmtree(self.data_dir, ignore_errors=True)


def eventually(look: Callable[[], object]) -> None:
    """Look again and again until there is something true to see."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
