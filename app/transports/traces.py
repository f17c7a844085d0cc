"""Of which trace a call is part: the header `traceparent`, as the W3C's Trace Context has it.

It is written into the log beside the call, so that whoever has traces finds the line. What is not valid is no trace, and the
call goes on without.
"""

import re
from typing import Final, NamedTuple

_VALID: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_MORE: Final = b"-"  # behind this, versions after the first may say more


class Trace(NamedTuple):
    """A place in a trace."""

    id: str
    span: str
    """Whoever called."""


def traced(sent: bytes) -> Trace | None:
    """What a `traceparent` says; None if it says nothing that counts."""
    found = _VALID.match(sent)
    if found is None:
        return None
    rest = sent[found.end() :]
    if rest and (sent.startswith(b"00") or not rest.startswith(_MORE)):
        return None
    return Trace(found[1].decode(), found[2].decode())
