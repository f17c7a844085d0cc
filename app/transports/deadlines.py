"""How long a call may take, for many short calls at little cost.

`asyncio.timeout` sets a timer for each call and takes it back, which is a tenth of what a short call costs. Here the
calls under way stand in a dictionary, and one timer looks through it while there are any. So a call may have a little
longer than it was told, never less.
"""

import asyncio
import time
from types import TracebackType
from typing import Any, Final, Self

from app.errors import TimedOut

SWEEP_INTERVAL_SECONDS: Final = 0.1  # how much longer than told


class Deadline:
    """The time of one call, a context manager: when it has passed, what is inside is cancelled and TimedOut raised."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "at", "passed")

    def __init__(self, deadlines: "Deadlines", seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.at = time.monotonic() + seconds
        self.passed = False
        self._deadlines = deadlines
        task = asyncio.current_task(loop)
        assert task is not None, "calls are answered in tasks"
        self._task: asyncio.Task[Any] = task  # Any: of whatever the task ends with
        self._cancelling = task.cancelling()

    def extend(self, seconds: float) -> None:
        """Give the call this much more."""
        self.at += seconds

    def cancel(self) -> None:
        """End what is inside."""
        self.passed = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self._deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        # Somebody else may have cancelled the task as well, who then wants to see it cancelled.
        if self.passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimedOut from None


class Deadlines:
    """The calls under way, each with its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None  # asked for once: that is a call into the kernel
        self._under_way: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def within(self, more_seconds: float = 0) -> Deadline:
        """The usual time for a call that starts now, or more."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return Deadline(self, self._seconds + more_seconds, self._loop)

    def add(self, deadline: Deadline) -> None:
        """Watch over a call."""
        self._under_way[deadline] = None
        if self._timer is None:
            self._watch()

    def discard(self, deadline: Deadline) -> None:
        """The call has ended."""
        self._under_way.pop(deadline, None)

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_INTERVAL_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Cancel the calls whose time is over, and come back if any are left."""
        self._timer = None
        now = time.monotonic()
        for deadline in [deadline for deadline in self._under_way if deadline.at <= now]:
            self.discard(deadline)
            deadline.cancel()
        if self._under_way:
            self._watch()
