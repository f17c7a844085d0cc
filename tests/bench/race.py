"""The race, strictly: 32 callers send the same version at once, all are answered, then the next version.

The load's own race (load.lua) measures speed and lets every connection go on as soon as it is answered. Here nobody
starts before all have finished, so each round has 32 callers for one version: one must win, 31 must hear 409.
"""

import asyncio
import json
from typing import Final

from tests.bench.load import Failed
from tests.bench.servers import UPDATE_TASK

RACERS: Final = 32
SECONDS_MAX: Final = 30


def winners(port: int, task: int, rounds: int) -> None:
    """Run the race. Raises Failed unless every round has one winner and its version follows the one before."""
    asyncio.run(asyncio.wait_for(_race(port, task, rounds), SECONDS_MAX))


async def _race(port: int, task: int, rounds: int) -> None:
    racers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(RACERS)]
    try:
        for version in range(1, rounds + 1):
            answers = await asyncio.gather(
                *(_send(reader, writer, n, task, version) for n, (reader, writer) in enumerate(racers))
            )
            won = [answer for status, answer in answers if status == 200]
            lost = [answer for status, answer in answers if status == 409]
            if len(won) != 1 or len(lost) != RACERS - 1 or won[0]["data"]["version"] != version + 1:
                message = f"race for version {version}: {len(won)} winners, {len(lost)} conflicts: {answers}"
                raise Failed(message)
    finally:
        for _, writer in racers:
            writer.close()


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, racer: int, task: int, version: int
) -> tuple[int, dict[str, dict[str, object]]]:
    status = "in_review" if version % 2 == 0 else "in_progress"
    body = json.dumps(
        {"taskId": f"00000000-0000-7000-8000-{task:012}", "version": version, "status": status}
    ).encode()
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer baton_sk_bench_%04d\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (UPDATE_TASK.encode(), racer, len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head.split(b" ", 2)[1]), json.loads(await reader.readexactly(length))
