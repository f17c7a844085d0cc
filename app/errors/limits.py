"""The caller asks for more than their share: 429."""

from __future__ import annotations

import math
from typing import Final

from app.errors.kinds import RateLimited

RETRY_SECONDS_MAX: Final = 30  # clients that are told to wait for longer do not wait at all

_WHO: Final = {"key": "This key has", "workspace": "All keys of this workspace together have"}


class CallsLimited(RateLimited):
    """The key, or all keys of its workspace together, ask for too much. Nothing was done; wait as told, then send it again."""

    def __init__(self, policy: str, *, per_second: float, burst: int, used: float, cost: int) -> None:
        missing = used if cost > burst else used + cost - burst  # what costs more than all needs all
        seconds = min(max(math.ceil(missing / per_second), 1), RETRY_SECONDS_MAX)
        super().__init__(
            f"{_WHO[policy]} used up what may be asked for at once: calls worth {burst}, and {per_second:g} more each "
            f"second. This one is worth {cost}. Nothing was done. Wait {_seconds(seconds)}, then send the same again.",
            policy=policy,
            quota=burst,
            window_seconds=math.ceil(burst / per_second),
            left=max(math.floor(burst - used), 0),
            retry_after_seconds=seconds,
            cost=cost,
        )


class WaitsLimited(RateLimited):
    """As many calls wait as may, of this key or in all, and there was nothing to answer at once. Nothing was done."""

    def __init__(self, policy: str, *, most: int) -> None:
        seconds = 5
        who = "with this key" if policy == "waiting-key" else "on this server"
        super().__init__(
            f"{most} calls wait {who}, and no more may. There is nothing for this one yet, and nothing was done. "
            f"Wait {_seconds(seconds)}, or until another of yours is answered, then send the same again.",
            policy=policy,
            quota=most,
            window_seconds=None,
            left=0,
            retry_after_seconds=seconds,
        )


def _seconds(seconds: int) -> str:
    return "a second" if seconds == 1 else f"{seconds} seconds"
