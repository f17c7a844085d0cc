"""A proxy that loses requests and answers on purpose, on a connection of its choice, at a moment of its choice."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

Fault = Literal["lose request", "lose answer", "lose both", "cut answer", "kill"]

FAULTS: tuple[Fault, ...] = ("lose request", "lose answer", "lose both", "cut answer", "kill")
WEIGHTS = (4, 8, 4, 4, 2)  # a killed server takes a second to come back
CHUNK_BYTES = 65_536


class Proxy:
    """Stands before one server. With `rate` 0.05, one exchange in twenty goes wrong.

    lose request   the connection ends before the server hears of it
    lose answer    the server answers, the caller never hears it
    lose both      the connection ends right after the request was passed on; whether the server heard it is open
    cut answer     the caller gets half of the answer
    kill           the server has answered: its effect is committed. It is killed with -9 before the caller hears it
    """

    def __init__(self, seed: int, rate: float, kill: Callable[[], None]) -> None:
        self._random = random.Random(seed)
        self._kill = kill
        self._server: asyncio.Server | None = None
        self.url = ""  # from start on
        self.rate = rate
        self.upstream_port = 0
        self.faults: Counter[Fault] = Counter()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:  # the server is being restarted
            writer.close()
            return
        try:
            with suppress(ConnectionError, EOFError):
                while request := await _message(reader):
                    fault = self._choose()
                    if fault == "lose request":
                        break
                    up_writer.write(request)
                    await up_writer.drain()
                    if fault == "lose both":
                        break
                    answer = await _message(up_reader)
                    if fault == "kill":
                        self._kill()
                    if fault == "cut answer":
                        writer.write(answer[: len(answer) // 2])
                        await writer.drain()
                    if fault is not None or not answer:
                        break
                    writer.write(answer)
                    await writer.drain()
        finally:
            up_writer.close()
            writer.close()

    def _choose(self) -> Fault | None:
        if self._random.random() >= self.rate:
            return None
        [fault] = self._random.choices(FAULTS, WEIGHTS)
        self.faults[fault] += 1
        return fault


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with a Content-Length, whole; empty if the other side is gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    return head + await reader.readexactly(length)
