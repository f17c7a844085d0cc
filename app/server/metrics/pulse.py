"""What each process shows once a second: that it lives, how full it is, and what it has counted."""

import asyncio
from collections.abc import Callable
from typing import Final

from app.auth import Keys
from app.db import Database
from app.tally import Tally

PULSE_SECONDS: Final = 1.0


async def beat(tally: Tally, db: Database, keys: Keys, connections: Callable[[], int]) -> None:
    """Show it again and again until cancelled, and then once more."""
    try:
        while True:
            for name, value in db.levels().items():
                tally.level(name, value)
            tally.level("connections", connections())
            tally.level("waiting_calls", keys.staying)
            tally.show()
            await asyncio.sleep(PULSE_SECONDS)
    finally:
        tally.leave()
