"""Work that goes on beside the calls: each job is a `run_once`, and the loop around them exists once, here.

    async def run_once(db: Database, config: Config) -> int:
        \"\"\"Do one bounded portion of the work; say how much it was, 0 if there was none.\"\"\"

A portion is one statement that takes its rows with `FOR UPDATE SKIP LOCKED`: any number of processes run every
job, share the work instead of waiting for each other, and one that is killed leaves nothing half done. Time is
the database's `now()`. To add a job, write its module and put a line into `JOBS`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import msgspec

from app.config import Config
from app.db import Database
from app.errors import ApiError
from app.jobs import idempotency, leases, retention

BACK_OFF_SECONDS_MIN: Final = 1.0  # after the first failure; doubled with each further one
BACK_OFF_SECONDS_MAX: Final = 60.0  # a database that comes back is noticed within a minute
JITTER: Final = 0.2  # pauses differ by this share either way, so that processes started together drift apart

log = logging.getLogger("baton.jobs")


class Job(msgspec.Struct, frozen=True):
    """A `run_once` and how long to pause when there was nothing left to do."""

    name: str
    run_once: Callable[[Database, Config], Awaitable[int]]
    pause_seconds: float


JOBS: tuple[Job, ...] = (
    # A minute late is nothing to a day.
    Job("idempotency keys", idempotency.run_once, pause_seconds=60.0),
    # So long may a task lie idle after its holder is gone.
    Job("leases", leases.run_once, pause_seconds=1.0),
    # It counts in days.
    Job("retention", retention.run_once, pause_seconds=300.0),
)


async def run(db: Database, config: Config, jobs: tuple[Job, ...] = JOBS) -> None:
    """Run all jobs side by side until cancelled, which is safe at any moment."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(repeat(job, db, config), name=f"job {job.name}")


async def repeat(
    job: Job, db: Database, config: Config, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> NoReturn:
    """Run one job again and again: at once while it finds work, else after a pause, after a failure later and later."""
    failures = 0
    while True:
        began, done = time.perf_counter(), None
        try:
            done = await job.run_once(db, config)
        except ApiError as e:  # the database is away or slow: normal, and it passes
            failures += 1
            log.warning("job %s has to wait: %s", job.name, e.message)
        except Exception:  # a bug must not silence the job for ever, nor fill the disk with its traceback
            failures += 1
            log.exception("job %s failed", job.name)
        else:
            failures = 0
        if db.tally is not None:
            db.tally.job(job.name, time.perf_counter() - began, done)
        if done:
            await sleep(0)  # others first, then the next portion
            continue
        await sleep(pause_seconds(job, failures))


def pause_seconds(job: Job, failures: int) -> float:
    """How long to pause after this many failures in a row, 0 for none."""
    seconds = job.pause_seconds
    if failures:
        seconds = min(BACK_OFF_SECONDS_MIN * 2.0 ** min(failures - 1, 16), BACK_OFF_SECONDS_MAX)
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- nothing is guarded by it
