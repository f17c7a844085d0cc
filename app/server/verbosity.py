"""How much the service logs: what LOG_LEVEL says, or an operator meanwhile, who tells it by `log-level`."""

import asyncio
import logging
from typing import Final

from app.db import Database
from app.db.announcement import TOLD, TOPIC
from app.errors import ApiError
from app.logs import LEVELS, RequestLog

LOOK_SECONDS: Final = 1.0

log = logging.getLogger("baton.log")


async def heed(db: Database, request_log: RequestLog, usual: str) -> None:
    """Log as much as is told, and as usual when nothing is. Runs until cancelled."""
    level = usual
    while True:
        try:
            told = [row.value for row in await db.all(TOLD, topic=TOPIC) if row.value < len(LEVELS)]
        except ApiError:
            told = [LEVELS.index(level)]  # nobody can tell anything now
        if (now := LEVELS[min(told)] if told else usual) != level:
            log.warning(
                "the log level is %s now, as %s", now, "LOG_LEVEL says" if not told else "an operator tells"
            )
            level = now
            request_log.level = now
            logging.getLogger().setLevel(now.upper())
        await asyncio.sleep(LOOK_SECONDS)
