"""Whose turn it is on the connections of the pool.

The pool serves whoever comes first, so one key that sends many slow calls at once would make everybody wait. Here a
statement takes a turn before it takes a connection. There are fewer turns than connections, and of those no workspace
and no caller in it may hold all. Who waits is served in turn: one of each workspace, and within that one of each caller.

What has no turn to take never waits behind those who do: keys and health, which travel on other connections, signs of
life and all that goes in batches, and what the service does on its own account. For them a few connections are left.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID

from app.errors import Overloaded
from app.tally import Tally
from app.tally.shape import TURN

WAIT_SECONDS_MAX: Final = 5.0  # for a turn; then the caller hears 503 and knows that nothing was sent
CALLER_WAITING_MAX: Final = 256  # statements of one caller in line; more could not be served in that time
CONNECTIONS_LEFT: Final = 2  # of the pool, for what takes no turn


class Whose(NamedTuple):
    """For whom a statement runs."""

    workspace_id: UUID
    caller_id: UUID | None = None  # None: for the workspace as such


class Turns:
    """A number of turns, handed round."""

    def __init__(self, turns: int, tally: Tally | None = None) -> None:
        self._tally = tally
        self._free = turns
        self._workspace_max = max(1, turns - 1)  # one is left for whoever else comes
        self._caller_max = max(1, turns // 2)
        self._workspaces_under_way: Counter[UUID] = Counter()
        self._callers_under_way: Counter[Whose] = Counter()
        self._waiting: OrderedDict[UUID, OrderedDict[Whose, deque[asyncio.Future[None]]]] = OrderedDict()

    @asynccontextmanager
    async def taken(self, whose: Whose | None) -> AsyncGenerator[None]:
        """Wait for a turn, and hold it for the block. Raises Overloaded if there is none in time. Nobody's work needs none."""
        if whose is None:
            yield
            return
        if self._may(whose):
            self._give(whose)
        else:
            await self._wait(whose)
        try:
            yield
        finally:
            self._take_back(whose)

    @property
    def waiting(self) -> int:
        """How many statements are in line."""
        return sum(len(line) for callers in self._waiting.values() for line in callers.values())

    def _may(self, whose: Whose) -> bool:
        return (
            self._free > 0
            and self._workspaces_under_way[whose.workspace_id] < self._workspace_max
            and self._callers_under_way[whose] < self._caller_max
        )

    def _give(self, whose: Whose) -> None:
        self._free -= 1
        self._workspaces_under_way[whose.workspace_id] += 1
        self._callers_under_way[whose] += 1

    def _take_back(self, whose: Whose) -> None:
        self._free += 1
        self._workspaces_under_way[whose.workspace_id] -= 1
        self._callers_under_way[whose] -= 1
        if not self._workspaces_under_way[whose.workspace_id]:
            del self._workspaces_under_way[whose.workspace_id]
        if not self._callers_under_way[whose]:
            del self._callers_under_way[whose]
        self._next()

    async def _wait(self, whose: Whose) -> None:
        line = self._waiting.setdefault(whose.workspace_id, OrderedDict()).setdefault(whose, deque())
        if len(line) >= CALLER_WAITING_MAX:
            raise self._refusal()
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(called)
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await called
        except BaseException as e:  # it is nobody's turn now: somebody else's
            if called.done() and not called.cancelled():
                self._take_back(whose)
            else:
                self._leave(whose, called)
            if isinstance(e, TimeoutError):
                raise self._refusal() from None
            raise

    def _refusal(self) -> Overloaded:
        if self._tally is not None:
            self._tally.refused(TURN)
        return Overloaded()

    def _leave(self, whose: Whose, called: "asyncio.Future[None]") -> None:
        callers = self._waiting.get(whose.workspace_id, OrderedDict())
        if called in (line := callers.get(whose, deque())):
            line.remove(called)
        if not line:
            callers.pop(whose, None)
        if not callers:
            self._waiting.pop(whose.workspace_id, None)

    def _next(self) -> None:
        """Call those whose turn it is, until there are no more turns or nobody may take one."""
        for workspace_id in list(self._waiting):
            if not self._free:
                return
            callers = self._waiting[workspace_id]
            for whose, line in list(callers.items()):
                while line and line[0].done():  # its caller has gone away
                    line.popleft()
                called = line.popleft() if line and self._may(whose) else None
                if line:
                    if called:
                        callers.move_to_end(whose)
                else:
                    del callers[whose]
                if called:
                    self._give(whose)
                    called.set_result(None)
                    break
            if callers:
                self._waiting.move_to_end(workspace_id)
            else:
                del self._waiting[workspace_id]
