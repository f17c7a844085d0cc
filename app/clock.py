"""The current moment as answers and log lines write it."""

import time

_second: tuple[int, bytes] = (0, b"")


def timestamp() -> bytes:
    """Now, as RFC 3339 in UTC with milliseconds; the part down to the second is made once a second."""
    global _second  # noqa: PLW0603 - the one thing this module remembers, for one thread
    now = time.time()
    whole = int(now)
    if whole != _second[0]:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)).encode())
    return b"%b.%03dZ" % (_second[1], (now - whole) * 1000)
