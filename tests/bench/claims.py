"""`make bench-claims`: claims and heartbeats against update-task, with ever more other tasks around them.

Every worker claims from its own queue, as fast as all of them together can; nothing is given back in between.
"""

from collections.abc import Sequence
from typing import Final

from tests.bench.figures import Figure, Measurement
from tests.bench.laboratory import laboratory
from tests.bench.load import Kind
from tests.bench.servers import baton

ROWS: Final = (100_000, 1_000_000)
CALLS: Final[tuple[Kind, ...]] = ("update", "claim", "heartbeat")


def figures(sizes: Sequence[int]) -> list[Figure]:
    """What is divided by what, at each size, and the largest size by the smallest."""
    found: list[Figure] = []
    for size in sizes:
        update = f"update at {size}"
        found += [
            Figure(
                f"claim-next-task ÷ update-task, {size:,} tasks",
                f"claim at {size}",
                update,
                must=0.3,
                goal=0.7,
            ),
            Figure(
                f"heartbeat-run ÷ update-task, {size:,} tasks",
                f"heartbeat at {size}",
                update,
                must=0.9,
                goal=1,
            ),
        ]
    if len(sizes) > 1:
        found += [
            Figure(
                f"{kind}, {sizes[-1]:,} tasks ÷ {sizes[0]:,}",
                f"{kind} at {sizes[-1]}",
                f"{kind} at {sizes[0]}",
            )
            for kind in CALLS
        ]
    return found  # fmt: skip


def run(sizes: Sequence[int] | None, *, rounds: int, seconds: int) -> tuple[list[Figure], list[Measurement]]:
    """Measure at every size, once per round."""
    sizes = sorted(set(sizes or ROWS))
    with laboratory() as lab:
        worlds = {size: lab.world(f"tasks_{size}", size) for size in sizes}
        for round in range(rounds):
            for size, world in worlds.items():
                with lab.running(baton(), world) as server:
                    for kind in CALLS:
                        lab.measure(round, server, world, kind, seconds=seconds, name=f"{kind} at {size}")
        return figures(sizes), lab.measurements
