"""Why calls heard 503: what the database or its driver said, in the log for whoever operates it.

Callers hear only what they can act on. When a database goes away hundreds of calls fail for one reason in a second: each
reason is written once, then again a second later with how often it came meanwhile.
"""

import logging
import time
from typing import Final

from app.tally import Tally

AGAIN_SECONDS: Final = 1.0
CAUSES_MAX: Final = 100  # remembered; texts may hold numbers that differ each time

log = logging.getLogger("baton.db")


class Causes:
    """What was said lately, and how often since it was written."""

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally
        self._written_at: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def refused(self, line: str, error: Exception) -> None:
        """Note that a call was sent away from a line, for this reason."""
        if self._tally is not None:
            self._tally.refused(line)
        self._write(error)

    def failed(self, reason: str, error: BaseException) -> None:
        """Note that the database could not serve a call: one of the FAILURES of app/tally/shape.py, and what was said."""
        if self._tally is not None:
            self._tally.failed(reason)
        self._write(error)

    def _write(self, error: BaseException) -> None:
        """Write why a call could not be answered, unless that was written a moment ago."""
        said = " ".join(str(error).split()) or type(error).__name__
        now = time.monotonic()
        self._since[said] = self._since.get(said, 0) + 1
        if now - self._written_at.get(said, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        count = self._since.pop(said)
        times = f" ({count} times)" if count > 1 else ""
        log.error("the database could not serve a call%s: %s: %s", times, type(error).__name__, said)
        if len(self._written_at) >= CAUSES_MAX:
            self._written_at.clear()
            self._since.clear()
        self._written_at[said] = now
