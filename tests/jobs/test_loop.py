"""The one loop that runs every job."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest

from app import jobs
from app.config import Config
from app.db import Database
from app.errors import DatabaseUnavailable
from app.jobs import BACK_OFF_SECONDS_MAX, JITTER, Job, pause_seconds, repeat

PAUSE_SECONDS = 30.0


class Over(Exception):
    """Ends a loop that has no end."""


def job(*outcomes: int | Exception) -> Job:
    """A job with these outcomes, one after the other."""
    script: Iterator[int | Exception] = iter(outcomes)

    async def run_once(db: Database, config: Config) -> int:
        outcome = next(script)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Job("test", run_once, PAUSE_SECONDS)


async def pauses(db: Database, a_job: Job, count: int) -> list[float]:
    """The first pauses that the loop takes."""
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)
        if len(taken) == count:
            raise Over

    with pytest.raises(Over):
        await repeat(a_job, db, Config(), sleep)
    return taken


def about(seconds: float) -> Callable[[float], bool]:
    return lambda taken: (1 - JITTER) * seconds <= taken <= (1 + JITTER) * seconds


async def test_a_job_with_work_left_goes_on_at_once(db: Database) -> None:
    assert await pauses(db, job(100, 7, 1), 3) == [0, 0, 0]


async def test_a_job_without_work_pauses(db: Database) -> None:
    first, second = await pauses(db, job(0, 0), 2)
    assert about(PAUSE_SECONDS)(first)
    assert about(PAUSE_SECONDS)(second)
    assert first != second, "the pauses have jitter"


async def test_a_job_that_fails_is_tried_again_later_and_later(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [RuntimeError("a bug")] * 2 + [DatabaseUnavailable()] * 8
    with caplog.at_level(logging.WARNING):
        taken = await pauses(db, job(*broken), 10)
    for failures, pause in enumerate(taken):
        assert about(min(2.0**failures, BACK_OFF_SECONDS_MAX))(pause)
    bugs = [record for record in caplog.records if record.exc_info]
    assert len(bugs) == 2, "a bug is logged with its traceback, a database that is away is not"
    assert len(caplog.records) == 10


async def test_one_success_forgets_the_failures(db: Database) -> None:
    taken = await pauses(db, job(DatabaseUnavailable(), DatabaseUnavailable(), 5, DatabaseUnavailable()), 4)
    assert [about(seconds)(pause) for seconds, pause in zip([1, 2, 0, 1], taken, strict=True)] == [True] * 4


def test_the_longest_back_off_stays_bounded() -> None:
    assert pause_seconds(job(), 1_000_000) <= BACK_OFF_SECONDS_MAX * (1 + JITTER)


async def test_all_jobs_run_side_by_side_and_stop_when_cancelled(db: Database) -> None:
    running: asyncio.Queue[str] = asyncio.Queue()
    stopped: list[str] = []

    def endless(name: str) -> Job:
        async def run_once(db: Database, config: Config) -> int:
            await running.put(name)
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(name)
            return 0

        return Job(name, run_once, PAUSE_SECONDS)

    work = asyncio.create_task(jobs.run(db, Config(), (endless("one"), endless("two"))))
    assert {await running.get(), await running.get()} == {"one", "two"}
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert sorted(stopped) == ["one", "two"]
