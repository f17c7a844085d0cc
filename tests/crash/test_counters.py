"""A worker that is killed leaves what it has counted to the one that takes its place."""

import os
import signal
from pathlib import Path

import httpx

from tests.conftest import Server, World
from tests.installation import eventually
from tests.metrics.scrape import scrape

CALLS = 10


def workers_of(pid: int) -> set[int]:
    """The worker processes of a server, as Linux tells."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}


async def test_counters_survive_a_killed_worker_and_count_nothing_twice(dsn: str, workspace: World) -> None:
    bot = await workspace.agent("bot")
    server = Server(dsn, METRICS_PORT="0", WORKERS="2")

    def call() -> None:
        for _ in range(CALLS):
            httpx.get(f"{server.url}/v1/agent/get-me", headers=bot.headers).raise_for_status()

    def counted() -> float:
        return scrape(server)("baton_calls_total", door="http", operation="get-me")

    try:
        eventually(lambda: scrape(server)("baton_workers") == 2)
        call()
        eventually(lambda: counted() == CALLS)
        for killed in workers_of(server.process.pid):
            os.kill(killed, signal.SIGKILL)
        eventually(lambda: scrape(server)("baton_worker_starts_total") >= 4)
        eventually(lambda: scrape(server)("baton_workers") == 2)
        assert counted() == CALLS
        call()
        eventually(lambda: counted() == 2 * CALLS)
    finally:
        assert server.stop() == 0, server.stderr()
        server.close()
