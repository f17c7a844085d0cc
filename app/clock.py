"""The current moment as answers and log lines write it."""

import time

_latest: tuple[int, bytes] = (0, b"")


def timestamp() -> bytes:
    """Now, as RFC 3339 in UTC with milliseconds; made once a millisecond."""
    global _latest  # noqa: PLW0603 - the one thing this module remembers, for one thread
    now_ms = time.time_ns() // 1_000_000
    if now_ms != _latest[0]:
        second, ms = divmod(now_ms, 1000)
        _latest = (
            now_ms,
            b"%b.%03dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode(), ms),
        )
    return _latest[1]
