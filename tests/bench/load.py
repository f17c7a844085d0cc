"""Load over HTTP: wrk with load.lua, and what it says of a run."""

import json
import resource
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from tests.bench.world import WORKERS, Pool

SCRIPT: Final = Path(__file__).parent / "load.lua"
ANSWER_SECONDS_MAX: Final = 10  # a call that takes longer counts as broken

Kind = Literal[
    "update", "bound", "keyed", "priority", "complete", "block", "comment", "get", "list", "visible", "search", "race", "claim",
    "heartbeat", "mcp",
]  # fmt: skip


class Failed(Exception):
    """A measurement is worth nothing: answers were refused, calls got lost, or the database says something else."""


class Load(NamedTuple):
    """What one run of the load saw."""

    calls: int
    calls_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float  # of the generator itself
    refused: int  # answers with an error status
    broken: int  # connections refused or reset, and time-outs
    wins: int  # race only: 200s
    double_wins: int  # race only: 200s for a version that another call had won before
    conflicts: int  # race only: 409s
    others: int  # race only: neither


def wrk(
    url: str, path: str, kind: Kind, pool: Pool, *, connections: int, seconds: int, callers: Pool = WORKERS
) -> Load:
    """Run the load for some seconds. Raises Failed if an answer was not what it should be."""
    with running(url, path, kind, pool, connections=connections, seconds=seconds, callers=callers) as process:
        return finished(process, kind)


@contextmanager
def running(
    url: str, path: str, kind: Kind, pool: Pool, *, connections: int, seconds: int, callers: Pool = WORKERS
) -> Generator[subprocess.Popen[str]]:
    """The load as a running process, which does not outlive the block."""
    program = shutil.which("wrk")
    assert program is not None, "checked before anything starts"
    command = [
        program, "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={ANSWER_SECONDS_MAX}s", f"-s{SCRIPT}", url + path,
        "--", kind, *(str(n) for n in (pool.first, pool.size, 1, *callers)),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str], kind: Kind) -> Load:
    """Wait for the load's end; what it saw. Raises Failed if an answer was not what it should be."""
    before = cpu_seconds_of_children()
    output, _ = process.communicate()
    seen = parse(output, cpu_seconds=cpu_seconds_of_children() - before)
    check(seen, kind)
    return seen


def parse(output: str, *, cpu_seconds: float) -> Load:
    """The line in which load.lua says what it saw."""
    for line in output.splitlines():
        if line.startswith("RESULT "):
            raw: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return Load(
                calls=raw["calls"],
                calls_per_second=raw["calls"] / (raw["microseconds"] / 1e6),
                p50_ms=raw["p50_us"] / 1e3,
                p99_ms=raw["p99_us"] / 1e3,
                cpu_seconds=cpu_seconds,
                **{
                    name: raw[name]
                    for name in ("refused", "broken", "wins", "double_wins", "conflicts", "others")
                },
            )
    message = f"wrk ended without a result:\n{output}"
    raise Failed(message)


def check(seen: Load, kind: Kind) -> None:
    """Refuse a run in which any answer was not what it should be."""
    expected_refusals = seen.conflicts if kind == "race" else 0
    if seen.broken or seen.others or seen.refused > expected_refusals or not seen.calls:
        message = f"{kind}: {seen.refused} answers were refused and {seen.broken} calls broken, of {seen.calls}: {seen}"
        raise Failed(message)
    if kind == "race" and (seen.double_wins or not seen.wins or not seen.conflicts):
        message = (
            f"race: {seen.double_wins} versions were won twice, {seen.wins} wins, {seen.conflicts} conflicts"
        )
        raise Failed(message)


def cpu_seconds_of_children() -> float:
    """CPU used by the programs that we started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
