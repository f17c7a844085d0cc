"""Answers that are ready at the same time leave together.

The rows of one statement answer a dozen callers at once. Sent between one caller's work and the next one's, each answer
wakes a client that sleeps again a moment later, on a processor that Postgres and we could use. So what is written in
a turn of the event loop is gathered, and sent at its end.
"""

import asyncio
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

GATHERED_BYTES_MAX: Final = 64 * 1024  # of one connection; more is not held back

Data: TypeAlias = bytes | bytearray | memoryview


class Outbox:
    """The connections of an event loop that have something to send."""

    def __init__(self) -> None:
        self._outlets: list[Outlet] = []

    def add(self, outlet: "Outlet") -> None:
        """Send what this one has when the turn ends."""
        if not self._outlets:
            asyncio.get_running_loop().call_soon(self._empty)
        self._outlets.append(outlet)

    def _empty(self) -> None:
        outlets, self._outlets = self._outlets, []
        for outlet in outlets:
            outlet.flush()


_OUTBOXES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox]] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The outbox of an event loop: one for all of its connections."""
    if (outbox := _OUTBOXES.get(loop)) is None:
        outbox = _OUTBOXES[loop] = Outbox()
    return outbox


class Outlet(asyncio.Transport):
    """A connection's transport, whose writes go through the outbox, in their order."""

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        super().__init__()
        self._transport = transport
        self._outbox = outbox
        self._gathered = b""
        self.is_closing = transport.is_closing  # asked with every answer
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info
        self.abort = transport.abort

    def write(self, data: Data) -> None:
        """Send this, soon."""
        if not self._gathered:
            self._outbox.add(self)
            self._gathered = bytes(data)
            return
        self._gathered += data
        if len(self._gathered) > GATHERED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered, unless nobody is there to hear it."""
        gathered, self._gathered = self._gathered, b""
        if gathered and not self.is_closing():
            self._transport.write(gathered)

    def close(self) -> None:
        """Close the connection when everything is sent."""
        self.flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Say, when everything is sent, that this was all."""
        self.flush()
        if not self.is_closing():
            self._transport.write_eof()
