"""`python -m tests.soak.upgrade --minutes 4`: a rolling upgrade from the last release, while callers work and things get lost.

Each round has a database that the release makes itself. Its two servers run the release's code, out of git. Then, as an operator
would: `schema apply --pre`, one server after the other replaced by this checkout, `schema apply --post`. All the while proxies
lose requests and answers, servers are killed, and connections are ended, those of the migrations included: a command that fails
is run again. The judge is that of `python -m tests.soak`; a call that was safe to send again and never got an answer is a
complaint, too.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.db import schema
from app.embedded import ROLE, SUPERUSER, EmbeddedPostgres
from tests.conftest import drop_database
from tests.soak.run import SERVERS, People, Round, Stage, run_round, told
from tests.upgrade.releases import COMMITS, checked_out

COMMAND_SECONDS_MAX = 300
COMMAND_TRIES_MAX = 30
RELEASE = schema.LADDER.released[schema.LADDER.previous]


def main() -> int:
    """Run, and print a line for each round."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.upgrade", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--round-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    bin_dir = os.environ.get("POSTGRES_BIN")
    with (
        checked_out(COMMITS[RELEASE]) as release,
        tempfile.TemporaryDirectory(prefix="baton-soak-") as directory,
        EmbeddedPostgres(Path(directory), Path(bin_dir) if bin_dir else None).use() as url,
    ):
        return _run(make_conninfo(url, user=SUPERUSER), release, arguments)


def _run(url: str, release: Path, arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    seed, complaints = arguments.seed, 0
    counts: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    while time.monotonic() < began + arguments.minutes * 60:
        result = _round(url, release, seed, arguments)
        print(result, *result.complaints, sep="\n  ", flush=True)
        counts, answers, faults = counts + result.counts, answers + result.answers, faults + result.faults
        complaints += len(result.complaints)
        seed += 1
    print(
        f"From {RELEASE} (schema version {schema.LADDER.previous}) to version {schema.VERSION}, "
        f"{(time.monotonic() - began) / 60:.1f} minutes, seeds {arguments.seed} to {seed - 1}, {arguments.callers} callers: "
        f"{told(counts, answers, faults)}; {complaints} complaints"
    )
    return 1 if complaints else 0


def _round(url: str, release: Path, seed: int, arguments: argparse.Namespace) -> Round:
    name = f"baton_upgrade_{os.getpid()}"
    drop_database(url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(ROLE)))
    dsn = make_conninfo(url, dbname=name, user=ROLE)
    people = _people(release, dsn, arguments.callers)
    tries: Counter[str] = Counter()

    async def upgrade(stage: Stage) -> None:
        pause = arguments.round_seconds / (SERVERS + 3)
        await asyncio.sleep(pause)
        await asyncio.to_thread(_apply, dsn, "--pre", tries)
        for index in range(SERVERS):
            await asyncio.sleep(pause)
            await stage.replace(index, None)
        await asyncio.sleep(pause)
        await asyncio.to_thread(_apply, dsn, "--post", tries)

    seconds = arguments.round_seconds
    result = asyncio.run(
        run_round(
            dsn,
            seed,
            callers=arguments.callers,
            seconds=seconds,
            people=people,
            code=release,
            meanwhile=upgrade,
        )
    )
    result.faults.update(tries)
    state = schema.check(dsn)
    if (state.version, list(state.pending)) != (schema.VERSION, []):
        result.complaints.append(f"the database is not upgraded: {state}")
    drop_database(url, name)
    return result


def _people(release: Path, dsn: str, callers: int) -> People:
    """A workspace as the release makes it; its first command makes the schema, too."""

    def command(*arguments: str) -> Any:
        done = _command(dsn, release, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    command("workspace", "create", "soak")
    talk = command("channel", "create", "talk", "--workspace", "soak")
    made = [
        command("agent", "create", f"caller-{number}", "--workspace", "soak", "--channel", "talk")
        for number in range(callers)
    ]
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT id FROM channels WHERE name = 'general'").fetchone()
    assert row is not None
    return People([(agent["id"], agent["apiKey"]) for agent in made], str(row[0]), talk["id"])


def _apply(dsn: str, half: str, tries: Counter[str]) -> None:
    """Run a half of the migrations as an operator does: again, if it failed."""
    while (done := _command(dsn, None, "schema", "apply", half)).returncode != 0:
        tries[f"failed runs of {half}"] += 1
        print(done.stderr.splitlines()[-1], flush=True)
        assert tries[f"failed runs of {half}"] < COMMAND_TRIES_MAX, done.stderr


def _command(dsn: str, code: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments, "--json"],
        cwd=code,
        env={**os.environ, "DATABASE_URL": dsn},
        capture_output=True,
        check=False,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )


if __name__ == "__main__":
    raise SystemExit(main())
