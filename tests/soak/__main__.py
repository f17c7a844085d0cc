"""`python -m tests.soak --minutes 10 --seed 7`: round after round, each with the next seed, until the time is over.

Uses TEST_DATABASE_URL if it is set, else a Postgres of its own, from the binaries in POSTGRES_BIN if that is set. The
last line sums up what docs/guarantees.md quotes. The status is 1 if the judge had a complaint.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from app.embedded import ROLE, SUPERUSER, EmbeddedPostgres
from tests.conftest import drop_database, new_database
from tests.soak.run import run_round, told


def main() -> int:
    """Run, and print a line for each round."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--round-seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    if url := os.environ.get("TEST_DATABASE_URL"):
        return _run(url, None, arguments)
    bin_dir = os.environ.get("POSTGRES_BIN")
    with (
        tempfile.TemporaryDirectory(prefix="baton-soak-") as directory,
        EmbeddedPostgres(Path(directory), Path(bin_dir) if bin_dir else None).use() as url,
    ):
        return _run(make_conninfo(url, user=SUPERUSER), ROLE, arguments)


def _run(url: str, owner: str | None, arguments: argparse.Namespace) -> int:
    name = f"baton_soak_{os.getpid()}"
    dsn = new_database(url, name, owner)
    began = time.monotonic()
    seed, complaints = arguments.seed, 0
    counts: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    while time.monotonic() < began + arguments.minutes * 60:
        result = asyncio.run(run_round(dsn, seed, callers=arguments.callers, seconds=arguments.round_seconds))
        print(result, *result.complaints, sep="\n  ", flush=True)
        counts += result.counts
        answers += result.answers
        faults += result.faults
        complaints += len(result.complaints)
        seed += 1
    minutes = (time.monotonic() - began) / 60
    with psycopg.connect(url) as connection:
        version = connection.info.parameter_status("server_version")
    drop_database(url, name)
    print(
        f"PostgreSQL {version}, {minutes:.1f} minutes, seeds {arguments.seed} to {seed - 1}, {arguments.callers} callers: "
        f"{told(counts, answers, faults)}; {complaints} complaints"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
