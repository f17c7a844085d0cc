"""Waiting until something may have come for somebody, without asking the database once per waiter.

All that makes a task ready writes an event: it was created, changed, given back, or what it waited for was finished. And
what addresses somebody has a number, too. So one look at both counters says whether anything can have happened, in any
process, and one poll per process serves everyone who waits there; while nobody waits there is none. When one has moved
all waiters ask again, together, in one statement.

A counter moves before its event is committed. So the bell goes on ringing for a while after the last movement, and
now and then without one.

When the service stops nobody waits any longer: `close` sends all of them home with what there is.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Final
from weakref import WeakKeyDictionary

from app.db import Database, One, Query
from app.errors import ApiError

POLL_INTERVAL_SECONDS: Final = (
    0.25  # on average half of this between a task's being ready and its being claimed
)
SETTLE_SECONDS: Final = 1.0  # longer than a statement takes from drawing its number to its commit
# Of all who wake at once, so many ask the database at a time: enough to fill its batches, and too few to fill the line of a
# statement, which would refuse the rest.
TURNS_MAX: Final = 512
RING_INTERVAL_SECONDS: Final = 5.0  # at least so often, whatever the counter says

log = logging.getLogger("baton.bell")


COUNTER = Query(
    One[int],
    "SELECT e.last_value + m.last_value FROM task_events_seq_seq e CROSS JOIN unread_mentions_seq m",
    pipelined=True,
    everywhere=True,
)


class Bell:
    """Wakes those who wait for work or news on one database."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._poll: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.turns = asyncio.Semaphore(TURNS_MAX)
        self.closed = False

    def close(self) -> None:
        """End all waiting, from now on."""
        self.closed = True
        self._ring()

    async def wait(self, db: Database, seconds: float) -> None:
        """Return when something may have come, when the bell is closed, or after so many seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._watch(db))
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        finally:
            self._waiters.discard(waiter)

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Do something that nobody waits for any more."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _watch(self, db: Database) -> None:
        """Look at the counter until nobody waits."""
        now = asyncio.get_running_loop().time
        counter, moved_at, rung_at = None, now(), now()
        while self._waiters:
            try:
                row = await db.one(COUNTER)
            except ApiError as e:  # the database is away for a moment; waiters find out when they ask again
                log.warning("cannot look whether work is ready: %s", e.message)
            else:
                if row is not None and row.value != counter:
                    counter, moved_at = row.value, now()
            if now() - moved_at < SETTLE_SECONDS or now() - rung_at > RING_INTERVAL_SECONDS:
                rung_at = now()
                self._ring()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def _ring(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


_BELLS: Final[WeakKeyDictionary[Database, Bell]] = WeakKeyDictionary()


def bell_of(db: Database) -> Bell:
    """The bell of a database: one for everyone in this process who uses it."""
    if (bell := _BELLS.get(db)) is None:
        bell = _BELLS[db] = Bell()
    return bell
