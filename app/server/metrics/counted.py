"""What all processes have counted, in one sum."""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from app import version
from app.db import schema
from app.server.metrics.text import Sample, histogram
from app.tally import Board, Shape
from app.tally.shape import ITEMS, LINES, MERGED, REPLAYED, SECONDS, STATEMENTS, Histogram

ALIVE_SECONDS_MAX: Final = 5.0
"""Since a process last showed itself. It does so every second; one that is gone has nothing open and nobody waiting."""


def counted(shape: Shape, board: Board) -> Iterator[Sample]:
    """Everything that stands on the board."""
    places = list(board)
    total = [sum(numbers) for numbers in zip(*places, strict=True)]
    alive_at, now = shape.levels["alive_at"], time.monotonic()
    alive = [numbers for numbers in places if 0 < now - numbers[alive_at] < ALIVE_SECONDS_MAX]
    yield Sample("baton_info", 1, (version(), str(schema.VERSION)))
    yield Sample("baton_workers", len(alive))
    yield from _calls(shape, total)
    yield from _database(shape, total)
    yield from _levels(shape, alive)
    yield from _jobs(shape, places, total)
    yield Sample("baton_claims_expired_total", total[shape.expired_claims])
    yield Sample("baton_tasks_parked_total", total[shape.parked_tasks])
    yield Sample("baton_worker_starts_total", total[shape.starts])


def _calls(shape: Shape, total: Sequence[float]) -> Iterator[Sample]:
    for operation in shape.operations:
        places = {door: of_door[operation] for door, of_door in shape.calls.items() if operation in of_door}
        for door, place in places.items():
            yield Sample("baton_calls_total", sum(total[b] for b in place.buckets), (door, operation))
        if any(total[b] for place in places.values() for b in place.buckets):
            yield from _summed("baton_call_seconds", operation, SECONDS, list(places.values()), total)
    for operation, reasons in shape.errors.items():
        for reason, place in reasons.items():
            if total[place]:  # most can never happen
                yield Sample("baton_errors_total", total[place], (operation, shape.codes[reason], reason))
    for name, aside in (("baton_merges_total", MERGED), ("baton_replays_total", REPLAYED)):
        for operation, place in shape.asides[aside].items():
            if total[place]:
                yield Sample(name, total[place], (operation,))


def _database(shape: Shape, total: Sequence[float]) -> Iterator[Sample]:
    for statements, place in shape.batches.items():
        yield from _summed("baton_batch_items", statements, ITEMS, [place], total)
    for line, place in shape.refusals.items():
        yield Sample("baton_line_refusals_total", total[place], (line,))
    for reason, place in shape.failures.items():
        yield Sample("baton_database_failures_total", total[place], (reason,))
    yield Sample("baton_database_connections_lost_total", total[shape.lost_connections])


def _levels(shape: Shape, alive: Sequence[Sequence[float]]) -> Iterator[Sample]:
    def level(name: str) -> float:
        return sum(numbers[shape.levels[name]] for numbers in alive)

    for line in LINES:
        for statements in STATEMENTS:
            yield Sample("baton_line_length", level(f"{line} {statements}"), (line, statements))
    for state in ("idle", "used"):
        yield Sample("baton_pool_connections", level(f"pool_{state}"), (state,))
    for name in ("pool_waiting", "connections", "waiting_calls"):
        yield Sample(f"baton_{name}", level(name))


def _jobs(shape: Shape, places: Sequence[Sequence[float]], total: Sequence[float]) -> Iterator[Sample]:
    for name, job in shape.jobs.items():
        for what in ("runs", "failures", "rows", "seconds"):
            yield Sample(f"baton_job_{what}_total", total[getattr(job, what)], (name,))
        latest = max(places, key=lambda numbers: numbers[job.last_success_at])
        if latest[job.last_success_at]:
            yield Sample("baton_job_last_success_timestamp_seconds", latest[job.last_success_at], (name,))
            yield Sample("baton_job_last_duration_seconds", latest[job.last_seconds], (name,))


def _summed(
    metric: str, label: str, bounds: Sequence[float], places: Sequence[Histogram], total: Sequence[float]
) -> list[Sample]:
    buckets = [sum(total[place.buckets[n]] for place in places) for n in range(len(bounds) + 1)]
    return histogram(metric, (label,), bounds, buckets, sum(total[place.sum] for place in places))
