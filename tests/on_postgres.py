"""Run the tests on another Postgres: `python -m tests.on_postgres BIN_DIR [pytest's arguments]`.

Makes a throw-away cluster with the binaries in BIN_DIR, hands it to the tests as TEST_DATABASE_URL, and removes
it. Tests that embed a Postgres take the same binaries.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from app.embedded import EmbeddedPostgres


def main(bin_dir: str, *arguments: str) -> int:
    """Run pytest and answer with its status."""
    with (
        tempfile.TemporaryDirectory(prefix="baton-ci-") as directory,
        EmbeddedPostgres(Path(directory), Path(bin_dir)).use() as dsn,
    ):
        environ = {**os.environ, "TEST_DATABASE_URL": dsn, "POSTGRES_BIN": bin_dir}
        return subprocess.run(
            [sys.executable, "-m", "pytest", *arguments], env=environ, check=False
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
