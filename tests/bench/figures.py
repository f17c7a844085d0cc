"""From measurements to figures: what is divided by what, and what has to come out.

A ratio is taken within a round, where both sides ran minutes apart at most, and the figure is the median of the rounds.
Targets are those of the project: what a release must reach, and what it aims at.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

Value = Literal["per_second", "p50_ms", "p99_ms", "cpu_us", "service_us", "megabytes", "seconds"]
Verdict = Literal["goal", "must", "missed", ""]


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of one variant in one round showed. CPU is per call, in microseconds."""

    round: int
    name: str
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    service_us: float | None = None
    postgres_us: float | None = None
    load_us: float | None = None
    others: float | None = None  # share of the machine's processors that programs not ours had meanwhile
    megabytes: float | None = None
    seconds: float | None = None

    @property
    def cpu_us(self) -> float | None:
        """All CPU of a call: service, Postgres and generator."""
        if self.postgres_us is None or self.load_us is None:
            return None
        return (self.service_us or 0) + self.postgres_us + self.load_us


class Figure(NamedTuple):
    """One line of the table: a ratio of two measurements, or with no `under` a plain value."""

    name: str
    over: str
    under: str | None
    value: Value = "per_second"
    must: float | None = None
    goal: float | None = None
    less_is_better: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as it came out."""

    name: str
    median: float
    low: float
    high: float
    over: float
    under: float | None
    unit: str
    must: float | None
    goal: float | None
    less_is_better: bool
    verdict: Verdict


DISTURBANCE_MAX: Final = (
    0.05  # of the processors; beyond that, ratios say more of other programs than of ours
)

UNITS: Final[dict[Value, str]] = {
    "per_second": "/s",
    "p50_ms": " ms",
    "p99_ms": " ms",
    "cpu_us": " µs",
    "service_us": " µs",
    "megabytes": " MB",
    "seconds": " s",
}

FIGURES: Final[tuple[Figure, ...]] = (
    Figure("update-task ÷ pgbench, same SQL", "baton update", "pgbench update", must=0.60, goal=0.85),
    Figure("complete-task ÷ pgbench, same SQL", "baton complete", "pgbench complete", must=0.50, goal=0.75),
    Figure("block-task ÷ pgbench, same SQL", "baton block", "pgbench block", must=0.50, goal=0.75),
    Figure("comment-on-task ÷ pgbench, same SQL", "baton comment", "pgbench comment", must=0.50, goal=0.75),
    Figure("get-task ÷ pgbench, same SQL", "baton get", "pgbench get", must=0.60, goal=0.85),
    Figure("get-task with 2 workers ÷ pgbench, same SQL", "baton, 2 workers get", "pgbench get"),
    Figure("list-my-tasks (50 rows) ÷ pgbench, same SQL", "baton list", "pgbench list", must=0.70, goal=0.95),
    Figure("update-task in a channel, with cards ÷ without", "baton bound", "baton update", must=0.8, goal=0.9),
    Figure("update-task with an idempotency key ÷ without", "baton keyed", "baton update", must=1 / 1.5, goal=0.85),
    Figure("update-task with a new priority each time ÷ without", "baton priority", "baton update"),
    Figure("claim-next-task by 32 claimers ÷ update-task", "baton claim", "baton update", must=0.30, goal=0.70),
    Figure("heartbeat-run ÷ update-task", "baton heartbeat", "baton update"),
    Figure("update-task over MCP ÷ over plain HTTP", "baton mcp", "baton update", must=1 / 3, goal=0.5),
    Figure("update-task ÷ FastAPI + SQLAlchemy", "baton update", "fastapi update", must=15, goal=30),
    Figure("update-task ÷ Fastify + pg, transaction", "baton update", "fastify, transaction update", must=3, goal=5),
    Figure("update-task ÷ Fastify + pg, one statement", "baton update", "fastify, statement update", must=1.5, goal=2.5),
    Figure("update-task ÷ Django REST framework", "baton update", "django update"),
    Figure("the same, two workers each: ÷ FastAPI", "baton, 2 workers update", "fastapi, 2 workers update"),
    Figure("p99 ÷ FastAPI's p99", "baton update", "fastapi update", "p99_ms", 1 / 15, 1 / 60, less_is_better=True),
    Figure(
        "single caller: p50 ÷ FastAPI's p50", "baton update 1", "fastapi update 1", "p50_ms", 0.35, 0.20, less_is_better=True
    ),
    Figure("all CPU of a call ÷ pgbench's", "baton update", "pgbench update", "cpu_us", less_is_better=True),
    Figure("all CPU of a call ÷ FastAPI's", "baton update", "fastapi update", "cpu_us", less_is_better=True),
    Figure(
        "CPU of the service, update-task with metrics ÷ without", "baton, metrics update", "baton update", "service_us",
        1.03, 1.01, less_is_better=True,
    ),
    Figure(
        "CPU of the service, get-task with metrics ÷ without", "baton, metrics get", "baton get", "service_us", 1.03, 1.01,
        less_is_better=True,
    ),
    Figure("32 racers for one version ÷ uncontended", "baton race", "baton update", must=0.5, goal=0.8),
    Figure(
        "p99 while a key of another workspace floods ÷ while none does", "baton flooded", "baton quiet", "p99_ms", 3, 1.5,
        less_is_better=True,
    ),
    Figure("1 connection ÷ 32", "baton update 1", "baton update"),
    Figure("16 connections ÷ 32", "baton update 16", "baton update"),
    Figure("64 connections ÷ 32", "baton update 64", "baton update"),
    Figure("2 workers ÷ 1", "baton, 2 workers update", "baton update"),
    Figure(
        "memory after the last minute of load ÷ after the first", "memory last", "memory first", "megabytes", 1.1, 1.02,
        less_is_better=True,
    ),
    Figure("start to first answer, data present", "start", None, "seconds", 1.5, 0.7, less_is_better=True),
)  # fmt: skip


def results(measurements: Sequence[Measurement], figures: Iterable[Figure] = FIGURES) -> list[Result]:
    """The figures for which there are measurements."""
    return [result for figure in figures if (result := _result(figure, measurements)) is not None]


def middle(measurements: Iterable[Measurement], name: str, value: Value) -> float | None:
    """The median of a value of a variant over all rounds."""
    values = _by_round(measurements, name, value).values()
    return statistics.median(values) if values else None


def disturbance(measurements: Iterable[Measurement]) -> float:
    """The share of the processors that other programs had, in the median of all measurements."""
    return statistics.median([m.others for m in measurements if m.others is not None] or [0.0])


def verdict(median: float, must: float | None, goal: float | None, *, less_is_better: bool) -> Verdict:
    """How a figure stands against its targets."""
    if must is None or goal is None:
        return ""
    sign = -1 if less_is_better else 1
    if sign * median >= sign * goal:
        return "goal"
    return "must" if sign * median >= sign * must else "missed"


def _result(figure: Figure, measurements: Sequence[Measurement]) -> Result | None:
    over = _by_round(measurements, figure.over, figure.value)
    if figure.under is None:
        under: dict[int, float] = {}
        ratios = list(over.values())
    else:
        under = _by_round(measurements, figure.under, figure.value)
        ratios = [over[round] / under[round] for round in over.keys() & under.keys()]
    if not ratios:
        return None
    median = statistics.median(ratios)
    return Result(
        name=figure.name,
        median=median,
        low=min(ratios),
        high=max(ratios),
        over=statistics.median(over.values()),
        under=statistics.median(under.values()) if under else None,
        unit=UNITS[figure.value],
        must=figure.must,
        goal=figure.goal,
        less_is_better=figure.less_is_better,
        verdict=verdict(median, figure.must, figure.goal, less_is_better=figure.less_is_better),
    )


def _by_round(measurements: Iterable[Measurement], name: str, value: Value) -> dict[int, float]:
    return {
        m.round: number for m in measurements if m.name == name and (number := getattr(m, value)) is not None
    }
