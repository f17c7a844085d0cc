"""Ending a task that runs for as long as the service does."""

import asyncio
from typing import Final

ASK_AGAIN_SECONDS: Final = 0.1


async def end(task: "asyncio.Task[None]") -> None:
    """Cancel a task until it is over; what it raised is raised here.

    Asking once is not enough. `asyncio.wait_for` of Python 3.11, with which psycopg waits, forgets that it was
    cancelled if what it waits for comes in the same moment, and the task goes on as if nothing had been said.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=ASK_AGAIN_SECONDS)
    if not task.cancelled():
        task.result()
