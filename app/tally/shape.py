"""Which number stands where: a place for each that can ever be counted, known before anything is."""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from app.errors import ApiError

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The bounds of how long a call takes. Calls take a few milliseconds; a wait on purpose takes up to 30 seconds."""
ITEMS: Final = (1, 2, 4, 8, 16, 32, 64)
"""The bounds of how many calls share a statement; see BATCH_ITEMS_MAX in app/db/batcher.py."""

DOORS: Final = ("http", "mcp", "page")
"""Where a call came in. `page` are /healthz and the like, and whatever leads nowhere."""
OTHER: Final = "other"
"""What no operation was asked for, such as /healthz or a list of tools; and an error that is none of ours."""
CANCELLED: Final = "cancelled"
PROTOCOL: Final = "protocol"
"""Errors at /mcp that are none of ours: the caller took the call back, or it is not what the protocol says."""

MERGED: Final = "merged"
REPLAYED: Final = "replayed"
ASIDES: Final = (MERGED, REPLAYED)
"""What an operation may have done besides: merged a change into what others had done, or given the first answer again."""

BATCH: Final = "batch"
TURN: Final = "turn"
LINES: Final = (BATCH, TURN)
"""Where a call waits for the database, and may be refused: for its place in a batch, or for a turn on the pool."""
STATEMENTS: Final = ("read", "write")
FAILURES: Final = ("statement_timeout", "disk_full", "no_connection", "unreachable")
"""Why the database could not serve a call."""
LEVELS: Final = (
    "alive_at",
    "connections",
    "waiting_calls",
    "batch read",
    "batch write",
    "turn read",
    "turn write",
    "pool_idle",
    "pool_used",
    "pool_waiting",
)
"""What goes up and down, written once a second by each process."""


class Histogram(NamedTuple):
    """Where a distribution stands: the sum, and behind it a number for each bucket, the last without a bound."""

    sum: int
    bounds: tuple[float, ...]

    @property
    def buckets(self) -> range:
        """The places of the buckets."""
        return range(self.sum + 1, self.sum + 2 + len(self.bounds))

    def add(self, cells: list[float], value: float) -> None:
        """Count a value."""
        cells[self.sum] += value
        cells[self.sum + 1 + bisect_left(self.bounds, value)] += 1

    def add_all(self, cells: list[float], values: list[float]) -> None:
        """Count as many values as there are, and leave them sorted: each bucket is then looked up once."""
        cells[self.sum] += sum(values)
        values.sort()
        before = 0
        for place, bound in zip(self.buckets, (*self.bounds, math.inf), strict=True):
            until = bisect_right(values, bound)
            cells[place] += until - before
            before = until


class Job(NamedTuple):
    """Where the numbers of a job stand."""

    runs: int
    failures: int
    rows: int
    seconds: int
    last_success_at: int
    last_seconds: int


def reasons(kind: type[ApiError] = ApiError) -> Iterator[tuple[str, str]]:
    """Every way to fail, as a word of its own, and the code that callers hear for it."""
    if hasattr(kind, "code"):
        yield reason_of(kind), kind.code
    for below in kind.__subclasses__():
        yield from reasons(below)


def reason_of(kind: type[ApiError]) -> str:
    """The name of an error as a word: `LeaseLost` is `lease_lost`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()


class Shape:
    """A place for each number."""

    def __init__(self, operations: Iterable[str], jobs: Iterable[str]) -> None:
        self._size = 0
        self.operations = (*operations, OTHER)
        self.calls: dict[str, dict[str, Histogram]] = {
            door: {
                name: self._histogram(SECONDS) for name in (self.operations if door != "page" else (OTHER,))
            }
            for door in DOORS
        }
        self.codes = {**dict(reasons()), CANCELLED: CANCELLED, PROTOCOL: PROTOCOL, OTHER: OTHER}
        """The code of each reason."""
        self.errors = {name: self._named(self.codes) for name in self.operations}
        self.asides = {aside: self._named(self.operations) for aside in ASIDES}
        self.batches = {kind: self._histogram(ITEMS) for kind in STATEMENTS}
        self.refusals = self._named(LINES)
        self.failures = self._named(FAILURES)
        self.lost_connections = self._one()
        self.expired_claims = self._one()
        self.parked_tasks = self._one()
        self.starts = self._one()
        self.jobs = {name: Job(*(self._one() for _ in Job._fields)) for name in jobs}
        self.levels = self._named(LEVELS)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self._size

    def _one(self) -> int:
        self._size += 1
        return self._size - 1

    def _named(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self._one() for name in names}

    def _histogram(self, bounds: Sequence[float]) -> Histogram:
        place = Histogram(self._one(), tuple(bounds))
        for _ in place.buckets:
            self._one()
        return place
