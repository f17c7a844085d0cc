"""`make bench`: Baton against pgbench and against the peers, every variant once per round, and what else was promised."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from tests.bench import race
from tests.bench.figures import Measurement
from tests.bench.laboratory import Laboratory, laboratory
from tests.bench.load import Kind
from tests.bench.machine import machine
from tests.bench.servers import Stack, baton, django, fastapi, fastify
from tests.bench.world import RACED, World

ROWS: Final = 100_000
KINDS: Final[tuple[Kind, ...]] = ("update", "complete", "block", "comment", "get", "list")  # also in pgbench
OTHERS: Final[tuple[Kind, ...]] = (
    "bound",
    "keyed",
    "priority",
    "claim",
    "heartbeat",
    "mcp",
)  # held against our own update-task
STRICT_RACE_ROUNDS: Final = 100
STARTS: Final = 5
ONCE_SECONDS_MAX: Final = 4  # tasks can be completed or claimed once, and there are only so many


class Run(msgspec.Struct):
    """A run, whole: what docs/performance.md quotes and the chart is drawn from."""

    started: str
    rounds: int
    seconds: int
    minutes: int
    machine: dict[str, str]
    left_out: dict[str, str]
    measurements: list[Measurement]


def run(*, rounds: int, seconds: int, minutes: int) -> Run:
    """Measure everything."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    about = machine()
    ours, two_of_ours, counting = baton(), baton(workers=2), baton(counts=True)
    peers = [fastapi(), fastapi(workers=2), fastify("transaction"), fastify("statement"), django()]
    left_out = {peer.name: peer.missing for peer in peers if peer.missing is not None}
    for name, why in left_out.items():
        print(f"LEFT OUT: {name}: {why}")
    peers = [peer for peer in peers if peer.missing is None]
    with laboratory() as lab:
        mine, theirs = lab.world("baton", ROWS), lab.world("peers", ROWS)
        for round in range(rounds):
            _ours(lab, round, ours, mine, seconds)
            with lab.running(counting, mine) as server:
                for kind in ("update", "get"):
                    lab.measure(round, server, mine, kind, seconds=seconds)
            with lab.running(two_of_ours, mine) as server:
                for kind in ("update", "get"):
                    lab.measure(round, server, mine, kind, seconds=seconds)
            _theirs(lab, round, peers, theirs, seconds)
        if minutes:
            lab.measure_memory(ours, mine, minutes)
        lab.measure_start(ours, STARTS)
        return Run(started, rounds, seconds, minutes, about, left_out, lab.measurements)


def _ours(lab: Laboratory, round: int, ours: Stack, world: World, seconds: int) -> None:
    """Baton and, just before each kind of call, pgbench with its statement."""
    with lab.running(ours, world) as server:
        for kind in KINDS:
            once = min(seconds, ONCE_SECONDS_MAX) if kind in ("complete", "block") else seconds
            lab.measure_pgbench(round, world, kind, seconds=once)
            lab.measure(round, server, world, kind, seconds=once)
        for kind in OTHERS:
            lab.measure(round, server, world, kind, seconds=min(seconds, ONCE_SECONDS_MAX))
        for connections in (1, 16, 64):
            lab.measure(round, server, world, "update", connections=connections, seconds=seconds)
        lab.measure_flood(round, server, world, seconds=seconds)
        lab.measure(round, server, world, "race", seconds=seconds)
        world.reset()
        race.winners(server.port, RACED.first + RACED.size - 1, STRICT_RACE_ROUNDS)
        lab.say(f"round {round + 1}  {STRICT_RACE_ROUNDS} races of {race.RACERS} callers: one winner each")


def _theirs(lab: Laboratory, round: int, peers: Sequence[Stack], world: World, seconds: int) -> None:
    for peer in peers:
        with lab.running(peer, world) as server:
            lab.measure(round, server, world, "update", seconds=seconds)
            if peer.name == "fastapi":
                lab.measure(round, server, world, "update", connections=1, seconds=seconds)


def dump_run(run: Run) -> bytes:
    """A run as JSON that reads well in a diff."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"
