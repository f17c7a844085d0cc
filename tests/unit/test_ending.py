"""Ending tasks that would not end when asked once."""

import asyncio

import pytest

from app.db.pipeline import PipelineConnection
from app.ending import end


async def test_a_task_that_forgets_its_cancellation_is_ended() -> None:
    async def forgetful() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(task)
    assert task.cancelled()


async def test_what_a_task_raised_is_raised() -> None:
    async def failing() -> None:
        raise ValueError("so it was")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="so it was"):
        await end(task)


@pytest.mark.parametrize("steps", range(6))
async def test_a_connection_that_breaks_while_it_is_closed_is_closed(dsn: str, steps: int) -> None:
    connection = PipelineConnection(dsn, settings="", statement_timeout_seconds=5, on_up=lambda: None)
    await connection.open()
    await asyncio.sleep(0)
    connection._lose("for a test")
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await connection.close()
    assert not connection.up
