"""Everybody who is connected: how many may be, who goes when more come, and whose time is over."""

import asyncio
import logging
import math
from typing import Final, NamedTuple, Protocol

CROWD_LOG_INTERVAL_SECONDS: Final = 60.0  # one line says it for all who came in that time

log = logging.getLogger("baton.connections")


class Limits(NamedTuple):
    """What a connection may do. Its caller may be anybody."""

    connections_max: int = 10_000
    """About 100 MB. Of more, the oldest that says nothing is dropped for each that comes."""
    first_byte_seconds: float = 20.0
    """Some pools and browsers connect ahead of their first request."""
    head_seconds: float = 10.0
    """From its first byte to its last. It is one packet, or a few on a bad line."""
    body_seconds: float = 20.0
    """A body may take this long,"""
    body_bytes_per_second: float = 500.0
    """and longer if at least so much comes, as Apache has it."""
    keep_alive_seconds: float = 75.0
    """Pools of proxies and clients keep connections for up to 60 seconds. Whoever closes first must not be us."""
    answer_seconds: float = 60.0
    """How long an answer may wait for somebody to take any of it."""
    leave_seconds: float = 5.0
    """How long the other side may go on sending when we have closed ours, so that it hears the answer."""
    left_over_bytes_max: int = 16 * 1024 * 1024
    """Of a body that nobody needs any more; it is read so that its sender hears the answer."""
    look_seconds: float = 1.0
    """How often is looked whose time is over: they may have this much longer."""


class Caller(Protocol):
    """What is asked of a connection here."""

    deadline: float
    """When, by the loop's clock, it has taken too long."""

    def too_late(self) -> None:
        """Its time is over."""

    def abort(self) -> None:
        """Drop it, whatever is under way."""


class Crowd:
    """All connections of a process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._callers: dict[Caller, None] = {}
        self._strangers: dict[Caller, None] = {}  # of these, who has sent no whole request; oldest first
        self._silent: dict[Caller, None] = {}  # and who has been answered and says nothing; oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._crowd_logged_at = -math.inf

    def __len__(self) -> int:
        return len(self._callers)

    def admit(self, caller: Caller) -> bool:
        """Let somebody in, if need be in place of the oldest who says nothing; whether that was possible."""
        self._callers[caller] = self._strangers[caller] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.look_seconds, self._look)
        if len(self._callers) <= self.limits.connections_max:
            return True
        self._log_crowd()
        stranger = next(iter(self._strangers))
        oldest = stranger if stranger is not caller else next(iter(self._silent), None)
        if oldest is None:
            return False
        self.forget(oldest)
        oldest.abort()
        return True

    def is_heard(self, caller: Caller) -> None:
        """A whole request came from there."""
        self._strangers.pop(caller, None)
        self._silent.pop(caller, None)

    def is_silent(self, caller: Caller) -> None:
        """Nothing is to be done there until something comes."""
        self._strangers.pop(caller, None)
        self._silent.pop(caller, None)  # to stand at the end
        if caller in self._callers:
            self._silent[caller] = None

    def forget(self, caller: Caller) -> None:
        """It is gone."""
        self._callers.pop(caller, None)
        self.is_heard(caller)

    def _look(self) -> None:
        """End what has taken too long, and come back if anybody is left."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for caller in [c for c in self._callers if c.deadline <= now]:
            caller.too_late()
        if self._callers:
            self._timer = loop.call_later(self.limits.look_seconds, self._look)

    def _log_crowd(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._crowd_logged_at >= CROWD_LOG_INTERVAL_SECONDS:
            self._crowd_logged_at = now
            log.warning(
                "there are %d connections, as many as may be: for each that comes, the oldest that says nothing is dropped",
                self.limits.connections_max,
            )
