"""New ids: UUIDv7, in order of creation.

A process makes the second half, which is random, and for rows that nobody reads in order the first half too. Where the
order of ids is the order of a list, the database writes the first half: from its own clock, once it holds the lock that
whoever adds to the list holds to the commit. So the order is that of the commits, whatever the clocks of the processes
say. The first half counts ticks, of which a millisecond has 4096.
"""

from typing import Final, LiteralString
from uuid import UUID

import msgspec
import uuid_utils.compat

FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"  # where a walk in the order of ids begins
LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"  # and where one from the newest to the oldest does


TICK_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 4096000)::bigint"
"""SQL: the moment at which it is looked at, not that at which the transaction began."""


def new_id() -> UUID:
    """A new UUIDv7. For lists in the order of their ids it is only half of one: see `id_at`."""
    return uuid_utils.compat.uuid7()


def id_at(tick: LiteralString, id: LiteralString) -> LiteralString:
    """SQL: an id with its first half made anew."""
    return f"""(SELECT (lpad(to_hex(c.tick >> 12), 12, '0') || '7' || lpad(to_hex(c.tick & 4095), 3, '0')
                       || right(({id})::text, 18))::uuid
                  FROM (SELECT {tick} AS tick OFFSET 0) c)"""


def tick_of(id: LiteralString) -> LiteralString:
    """SQL: the tick that an id says."""
    return (
        f"""('x' || left(replace({id}::text, '-', ''), 12) || substr({id}::text, 16, 3))::bit(60)::bigint"""
    )


def uuid_or_none(sent: str) -> UUID | None:
    """The UUID a caller sent, or None where it is not one: then no such thing can exist."""
    try:
        return msgspec.convert(sent, UUID)  # a third of what UUID() takes
    except msgspec.ValidationError:
        return None
