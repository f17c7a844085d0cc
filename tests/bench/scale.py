"""`make bench-scale`: the same calls on the same tasks, with ever more other tasks around them."""

from collections.abc import Sequence
from typing import Final

import msgspec

from tests.bench.figures import Figure, Measurement, Result, middle, results
from tests.bench.laboratory import laboratory
from tests.bench.load import Kind
from tests.bench.machine import machine
from tests.bench.servers import baton
from tests.bench.table import number, ratio

ROWS: Final = (100_000, 1_000_000)
ROWS_MIN: Final = 100_000  # the tasks on which measuring is done

# What is called, over how many connections, and which value says how fast it was.
CALLS: Final[tuple[tuple[str, Kind, int, str], ...]] = (
    ("update-task, calls/s", "update", 32, "per_second"),
    ("get-task, calls/s", "get", 32, "per_second"),
    ("claim-next-task by 32 claimers, calls/s", "claim", 32, "per_second"),
    ("heartbeat-run, calls/s", "heartbeat", 32, "per_second"),
    ("list-my-tasks (50 rows), calls/s", "list", 32, "per_second"),
    ("list-tasks by a caller who sees 50, p50 ms", "visible", 1, "p50_ms"),
    ("list-tasks with a word to search, p50 ms", "search", 1, "p50_ms"),
)


class Growth(msgspec.Struct):
    """A run over several sizes."""

    machine: dict[str, str]
    rounds: int
    seconds: int
    sizes: list[int]
    megabytes: list[int]  # of the database, by size
    measurements: list[Measurement]


def run(sizes: Sequence[int] | None, *, rounds: int, seconds: int) -> Growth:
    """Measure at every size, once per round."""
    sizes = sorted(set(sizes or ROWS))
    if sizes[0] < ROWS_MIN:
        message = f"ROWS starts at {ROWS_MIN:,}"
        raise SystemExit(message)
    about, stack = machine(), baton()
    with laboratory() as lab:
        worlds = {size: lab.world(f"tasks_{size}", size) for size in sizes}
        megabytes = [world.megabytes() for world in worlds.values()]
        for round in range(rounds):
            for size, world in worlds.items():
                with lab.running(stack, world) as server:
                    for _, kind, connections, _ in CALLS:
                        name = f"{kind} at {size}"
                        lab.measure(
                            round, server, world, kind, connections=connections, seconds=seconds, name=name
                        )
        return Growth(about, rounds, seconds, sizes, megabytes, lab.measurements)


def rows(growth: Growth) -> list[list[str]]:
    """The table of growth: medians at each size, and the largest against the smallest."""
    smallest, largest = growth.sizes[0], growth.sizes[-1]
    table = [["", *(f"{size:,} tasks" for size in growth.sizes), f"{largest:,} ÷ {smallest:,}"]]
    for label, kind, _, value in CALLS:
        values = [number(middle(growth.measurements, f"{kind} at {size}", value)) for size in growth.sizes]
        found = _growth(growth, kind, value)
        table.append([label, *values, ratio(found.median) if found is not None else "-"])
    table.append(["database, MB", *(number(size) for size in growth.megabytes), ""])
    return table


def _growth(growth: Growth, kind: Kind, value: str) -> Result | None:
    over, under = f"{kind} at {growth.sizes[-1]}", f"{kind} at {growth.sizes[0]}"
    found = results(
        growth.measurements, [Figure(kind, over, under, "p50_ms" if value == "p50_ms" else "per_second")]
    )
    return found[0] if found else None


def dump_growth(growth: Growth) -> bytes:
    """A run as JSON that reads well in a diff."""
    return msgspec.json.format(msgspec.json.encode(growth), indent=1) + b"\n"
