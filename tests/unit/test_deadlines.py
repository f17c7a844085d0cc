"""One timer for all calls: each still gets its time, and not much more."""

import asyncio
import time

import pytest

from app.errors import TimedOut
from app.transports.deadlines import SWEEP_INTERVAL_SECONDS, Deadlines

LATE_SECONDS_MAX = SWEEP_INTERVAL_SECONDS + 2  # this machine may be busy


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_call_is_given_up_after_its_time_and_not_before() -> None:
    deadlines = Deadlines(0.3)
    began = time.monotonic()
    with pytest.raises(TimedOut), deadlines.within():
        await forever()
    assert 0.3 <= time.monotonic() - began < 0.3 + LATE_SECONDS_MAX
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "the task itself goes on"
    await asyncio.sleep(0)


async def test_each_of_many_calls_has_its_own_time() -> None:
    deadlines = Deadlines(0.1)

    async def call(more_seconds: float) -> float:
        began = time.monotonic()
        with pytest.raises(TimedOut), deadlines.within(more_seconds):
            await forever()
        return time.monotonic() - began

    told = [0.6, 0.0, 0.3]
    for took, more_seconds in zip(await asyncio.gather(*map(call, told)), told, strict=True):
        assert 0.1 + more_seconds <= took < 0.1 + more_seconds + LATE_SECONDS_MAX


async def test_time_can_be_added_while_a_call_is_under_way() -> None:
    deadlines = Deadlines(0.1)
    with deadlines.within() as deadline:
        deadline.extend(30)
        await asyncio.sleep(0.1 + 3 * SWEEP_INTERVAL_SECONDS)


async def test_a_call_that_ends_in_time_hears_nothing() -> None:
    deadlines = Deadlines(0.1)
    with deadlines.within():
        await asyncio.sleep(0)
    await asyncio.sleep(0.1 + 3 * SWEEP_INTERVAL_SECONDS)
    with pytest.raises(ZeroDivisionError), deadlines.within():
        raise ZeroDivisionError


async def test_whoever_is_cancelled_from_outside_is_cancelled_not_timed_out() -> None:
    deadlines = Deadlines(30)

    async def call() -> None:
        with deadlines.within():
            await forever()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
