"""Revoking a key bites within a second, in every process, while the key is remembered and busy."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest

from app.operations import create_task
from app.operator import administration as admin
from tests.conftest import Server, World

REVOKED_WITHIN_SECONDS = 1.0  # what we promise
WATCHED_SECONDS = 2.5  # after the revocation; long enough to see that no process forgets it
CALLERS = 4
CALLS_PER_CONNECTION = 5


@pytest.fixture(scope="module")
def two_workers(dsn: str) -> Iterator[Server]:
    server = Server(dsn, WORKERS="2")
    yield server
    assert server.stop() == 0, server.stderr()
    server.log.close()


class Busy:
    """Callers that use one key all the time."""

    def __init__(self, url: str, api_key: str) -> None:
        self.stopping = False
        self.answered = asyncio.Event()
        self.answers: list[tuple[float, int, str]] = []  # when it was asked, the status, the process
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"}

    async def call(self) -> None:
        while not self.stopping:  # connect anew now and then: the kernel may give one worker all connections
            async with httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=30) as client:
                for _ in range(CALLS_PER_CONNECTION):
                    asked_at = time.monotonic()
                    answer = await client.get("/v1/agent/get-me")
                    process = answer.headers["x-request-id"].partition("-")[0]
                    self.answers.append((asked_at, answer.status_code, process))
                    self.answered.set()

    def processes(self, status: int) -> set[str]:
        """Which processes have answered with this status."""
        return {process for _, answered, process in self.answers if answered == status}

    async def until_answered_by(self, processes: int) -> None:
        """Return when so many processes know the key."""
        deadline = time.monotonic() + 30
        while len(self.processes(200)) < processes:
            assert time.monotonic() < deadline, "not every worker was asked"
            await self.answered.wait()
            self.answered.clear()

    async def until(self, moment: float) -> None:
        """Return when a call was made after this moment of the monotonic clock."""
        while not self.answers or self.answers[-1][0] < moment:
            await self.answered.wait()
            self.answered.clear()


async def revoked_while_busy(server: Server, world: World, workers: int) -> None:
    bot = await world.agent()
    other = await admin.create_key(world.db, world.info, "bot")
    busy = Busy(server.url, bot.api_key)
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(busy.call())
        await busy.until_answered_by(workers)
        before = time.monotonic()
        await admin.revoke_key(world.db, world.info, str(bot.context.actor.key_id))
        revoked_at = time.monotonic()
        await busy.until(revoked_at + WATCHED_SECONDS)
        busy.stopping = True
    assert all(status == 200 for asked_at, status, _ in busy.answers if asked_at < before - 1)
    late = [answer for answer in busy.answers if answer[0] > revoked_at + REVOKED_WITHIN_SECONDS]
    assert {status for _, status, _ in late} == {401}
    assert len({process for _, _, process in late}) == workers
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/v1/agent/get-me", headers={"Authorization": f"Bearer {other.api_key}"})
        assert answer.status_code == 200, "the other key of the same agent goes on working"


async def test_a_revoked_key_is_refused_within_a_second(server: Server, workspace: World) -> None:
    await revoked_while_busy(server, workspace, workers=1)


async def test_a_revoked_key_is_refused_within_a_second_by_every_worker(
    two_workers: Server, workspace: World
) -> None:
    await revoked_while_busy(two_workers, workspace, workers=2)


async def test_the_answers_of_two_workers_are_the_same(two_workers: Server, workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="Seen by both")
    processes: set[str] = set()
    deadline = time.monotonic() + 30
    while len(processes) < 2:
        assert time.monotonic() < deadline, "not every worker was asked"
        async with httpx.AsyncClient(base_url=two_workers.url, headers=bot.headers) as client:
            answer = await client.get("/v1/agent/get-task", params={"taskId": "T-1"})
        assert answer.json()["data"]["id"] == task.id
        processes.add(answer.headers["x-request-id"].partition("-")[0])
