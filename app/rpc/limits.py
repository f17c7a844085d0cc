"""How much a caller may ask for: a bucket for each key and each workspace, and a count of the calls that wait.

A bucket holds what may be asked for at once, and fills again with time. A call takes out what it is worth. All that is
kept of a bucket is when it will be full again (the generic cell rate algorithm).

Each process counts by itself: what a limit protects is a process, and several of them can do more.

A call that asks for too much is refused after a pause. So whoever sends it again at once, and again, is slowed down by
their own connections, and takes next to nothing from others. What keeps or ends a claim is never refused, for a limit must
not cost a lease: it only pauses as well.
"""

import asyncio
import time
from collections import Counter
from typing import Final, NamedTuple, NoReturn
from uuid import UUID
from weakref import WeakValueDictionary

from app.errors import ApiError, CallsLimited, WaitsLimited

FORGET_FROM: Final = 1024  # buckets; of fewer none is looked for that is full again
PAUSE_SECONDS: Final = 0.25  # of a call that is refused: short beside the second that it is told to wait
SPARED_PAUSE_SECONDS: Final = 0.1  # of one that is not: short beside any lease
PAUSE_SECONDS_MAX: Final = 5.0  # well inside the time that callers have for an answer
PAUSING_MAX: Final = 1000  # of the calls of one key at a time: a tenth of the connections
REFUSALS_PER_SECOND: Final = 500  # of one key, however many connections it has: the pauses grow


class Rate(NamedTuple):
    """What may be asked for: so much a second, and so much at once. Nothing a second is no limit."""

    per_second: float
    burst: int


UNLIMITED: Final = Rate(per_second=0, burst=0)


class Bucket:
    """What a key or a workspace may still ask for."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.full_at = 0.0  # by time.monotonic()
        self.pausing = 0  # calls that are refused in a moment
        self.seconds_each = 1 / rate.per_second if rate.per_second else 0.0
        self.seconds_in_all = rate.burst * self.seconds_each

    def refusal(self, policy: str, cost: int) -> CallsLimited:
        """That it does not hold what a call is worth."""
        rate, used = self.rate, max(self.full_at - time.monotonic(), 0) * self.rate.per_second
        return CallsLimited(policy, per_second=rate.per_second, burst=rate.burst, used=used, cost=cost)


def pause_seconds(pausing: int) -> float:
    """How long one of so many calls of a key that are about to be refused waits for that."""
    return min(max(PAUSE_SECONDS, pausing / REFUSALS_PER_SECOND), PAUSE_SECONDS_MAX)


class Allowance:
    """What a caller may ask for, by its key and by its workspace."""

    __slots__ = ("_key", "_workspace")

    def __init__(self, key: Bucket, workspace: Bucket) -> None:
        self._key = key
        self._workspace = workspace

    def refusal(self, cost: int) -> CallsLimited | None:
        """Take what a call is worth. If there is not as much, take nothing and say so: what costs more than all needs all."""
        key, workspace, now = self._key, self._workspace, time.monotonic()
        key_at, workspace_at = key.full_at, workspace.full_at
        if key_at > now:
            key_at += cost * key.seconds_each
            if key_at - now > key.seconds_in_all:
                return key.refusal("key", cost)
        else:
            key_at = now + cost * key.seconds_each
        if workspace_at > now:
            workspace_at += cost * workspace.seconds_each
            if workspace_at - now > workspace.seconds_in_all:
                return workspace.refusal("workspace", cost)
        else:
            workspace_at = now + cost * workspace.seconds_each
        key.full_at, workspace.full_at = key_at, workspace_at
        return None

    async def pay(self, cost: int, *, spared: bool = False, pause: float = SPARED_PAUSE_SECONDS) -> None:
        """The same at once: where there is not as much, raise it after a pause, unless this is to be spared: then just pause."""
        if (refused := self.refusal(cost)) is not None:
            if not spared:
                await self.refuse(refused)
            await asyncio.sleep(pause)

    async def refuse(self, refused: ApiError) -> NoReturn:
        """Raise a refusal, after a pause. Who has very many calls pausing gets no more of the connections that way."""
        if self._key.pausing >= PAUSING_MAX:
            raise refused
        self._key.pausing += 1
        try:
            await asyncio.sleep(pause_seconds(self._key.pausing))
        finally:
            self._key.pausing -= 1
        raise refused


class Waits:
    """The calls that wait, counted by key and in all."""

    def __init__(self, key_max: int, all_max: int) -> None:
        self._key_max = key_max
        self._all_max = all_max
        self._by_key: Counter[UUID] = Counter()
        self._all = 0

    def enter(self, key_id: UUID) -> None:
        """Count one more call. Raises WaitsLimited if that would be too many."""
        if self._by_key[key_id] >= self._key_max:
            raise WaitsLimited("waiting-key", most=self._key_max)
        if self._all >= self._all_max:
            raise WaitsLimited("waiting", most=self._all_max)
        self._by_key[key_id] += 1
        self._all += 1

    def leave(self, key_id: UUID) -> None:
        """One of them waits no longer."""
        self._all -= 1
        self._by_key[key_id] -= 1
        if not self._by_key[key_id]:
            del self._by_key[key_id]


class Buckets:
    """The buckets of keys, or of workspaces.

    One that somebody holds stays the same for whoever asks for it. One that nobody holds is kept until it is full again.
    """

    def __init__(self) -> None:
        self._held: WeakValueDictionary[UUID, Bucket] = WeakValueDictionary()
        self._kept: dict[UUID, Bucket] = {}
        self._forget_at = FORGET_FROM

    def __len__(self) -> int:
        """How many there are."""
        return len(self._held)

    def of(self, id: UUID, rate: Rate) -> Bucket:
        """The bucket of one. With another rate it is a new one."""
        bucket = self._held.get(id)
        if bucket is None or bucket.rate != rate:
            bucket = self._held[id] = Bucket(rate)
        self._kept[id] = bucket
        if len(self._kept) > self._forget_at:
            now = time.monotonic()
            self._kept = {id: bucket for id, bucket in self._kept.items() if bucket.full_at > now}
            self._forget_at = max(FORGET_FROM, 2 * len(self._kept))
        return bucket


class Limits:
    """What callers may ask of this process."""

    def __init__(
        self, key: Rate = UNLIMITED, workspace: Rate = UNLIMITED, waits: Waits | None = None
    ) -> None:
        self.waits = waits
        self.keys = Buckets()
        self.workspaces = Buckets()
        self._key = key
        self._workspace = workspace

    def allowance(self, workspace_id: UUID, key_id: UUID, own: Rate | None = None) -> Allowance:
        """What a key may ask for, which may have a rate of its own."""
        return Allowance(
            self.keys.of(key_id, own or self._key), self.workspaces.of(workspace_id, self._workspace)
        )
