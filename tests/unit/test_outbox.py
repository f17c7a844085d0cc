"""What is written in one turn of the event loop leaves together, in order, and whole."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from app.server.outbox import GATHERED_BYTES_MAX, Data, Outlet, outbox_of

SECONDS_MAX = 10


class Wire:
    """A connection: our end is an outlet, the other end reads."""

    def __init__(self, outlet: Outlet, transport: asyncio.Transport, reader: asyncio.StreamReader) -> None:
        self.outlet = outlet
        self.reader = reader
        self.writes: list[bytes] = []
        write = transport.write

        def watched(data: Data) -> None:
            self.writes.append(bytes(data))
            write(data)

        transport.write = watched  # to see when, and how much at once


@asynccontextmanager
async def wire() -> AsyncGenerator[Wire]:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Here(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            made.set_result(transport)

    async with asyncio.timeout(SECONDS_MAX), await loop.create_server(Here, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), limit=4 * GATHERED_BYTES_MAX
        )
        transport = await made
        try:
            yield Wire(Outlet(transport, outbox_of(loop)), transport, reader)
        finally:
            transport.abort()
            writer.close()


async def test_what_is_written_in_one_turn_is_one_write() -> None:
    async with wire() as a, wire() as b:
        for n in range(3):
            a.outlet.write(b"a%d" % n)
            b.outlet.write(bytearray(b"b%d" % n))
        assert a.writes == b.writes == []
        assert await a.reader.readexactly(6) == b"a0a1a2"
        assert await b.reader.readexactly(6) == b"b0b1b2"
        assert (a.writes, b.writes) == ([b"a0a1a2"], [b"b0b1b2"])
        a.outlet.write(b"more")
        assert await a.reader.readexactly(4) == b"more"


async def test_a_connection_is_closed_when_everything_is_sent() -> None:
    async with wire() as a:
        a.outlet.write(b"the last word")
        a.outlet.close()
        assert a.outlet.is_closing()
        assert await a.reader.read() == b"the last word"


async def test_a_connection_that_is_gone_does_not_keep_the_others_from_theirs() -> None:
    async with wire() as a, wire() as b:
        a.outlet.write(b"nobody hears this")
        b.outlet.write(b"somebody hears this")
        a.outlet._transport.abort()
        assert await b.reader.readexactly(19) == b"somebody hears this"
        assert a.writes == []


@pytest.mark.parametrize("pieces", [1, 5])
async def test_much_does_not_wait(pieces: int) -> None:
    piece = b"x" * (GATHERED_BYTES_MAX // pieces + 1)
    async with wire() as a:
        for _ in range(pieces):
            a.outlet.write(piece)
        a.outlet.write(b"!")
        assert sum(map(len, a.writes)) > GATHERED_BYTES_MAX
        assert (await a.reader.readuntil(b"!")).count(b"x") == len(piece) * pieces
