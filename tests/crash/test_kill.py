"""kill -9 in the middle of a write load: of the server, of Postgres, and of both one after the other.

Whatever was acknowledged is there afterwards, exactly once. What was not acknowledged is there once or not at all.
"""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from tests.installation import WAIT_SECONDS, Installation, eventually

WRITERS = 16
WRITES_BEFORE = 200  # acknowledged before the kill: enough for batches to be under way
WRITES_AFTER = 100  # and after it, where the service goes on


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all these tests: it must survive every one of them."""
    installation = Installation(tmp_path_factory.mktemp("crash") / "data")
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def key(installation: Installation) -> str:
    installation.ask("workspace", "create", "acme")
    return installation.ask("agent", "create", "writer", "--workspace", "acme")["apiKey"]


class Load:
    """Writers who create, update, comment and complete as fast as they can, and what they were told."""

    def __init__(self, url: str, key: str, name: str) -> None:
        self.created = set[str]()  # titles
        self.commented = set[str]()  # bodies
        self.versions: dict[str, int] = {}  # the last one acknowledged, by task id
        self.completed = set[str]()  # task ids
        self.acknowledged = 0
        self.refused: list[httpx.Response] = []
        self._goal = 0
        self._reached = asyncio.Event()
        self._name = name
        self._client = httpx.AsyncClient(
            base_url=f"{url}/v1/agent",
            headers={"Authorization": f"Bearer {key}"},
            limits=httpx.Limits(max_connections=WRITERS),
            timeout=WAIT_SECONDS,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Write for as long as the block lasts, or until nobody answers any more."""
        writers = [asyncio.create_task(self._write(f"{self._name}-{n}")) for n in range(WRITERS)]
        try:
            yield
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            await self._client.aclose()

    async def reaches(self, acknowledged: int) -> None:
        """Wait until so many writes have been acknowledged."""
        self._goal = acknowledged
        self._reached.clear()
        await asyncio.wait_for(self._reached.wait(), WAIT_SECONDS)

    async def _write(self, name: str) -> None:
        for n in range(100_000):
            title = f"{name}-{n}"
            task = await self._post("create-task", title=title)
            if task is None:
                continue
            self.created.add(title)
            self.versions[task["id"]] = 1
            if await self._post("comment-on-task", taskId=task["id"], body=title):
                self.commented.add(title)
            rows = [{"title": f"{title}-{part}"} for part in range(3)]
            if await self._post("create-tasks-bulk", tasks=rows):
                self.created.update(row["title"] for row in rows)
            if await self._post("update-task", taskId=task["id"], version=1, description="More"):
                self.versions[task["id"]] = 2
            if done := await self._post("complete-task", taskId=task["id"]):
                self.completed.add(task["id"])
                self.versions[task["id"]] = done["version"]

    async def _post(self, operation: str, **body: object) -> Any:
        answer = await self._client.post(f"/{operation}", json=body)
        if answer.status_code == 200:
            self.acknowledged += 1
            if self.acknowledged >= self._goal:
                self._reached.set()
            return answer.json()["data"]
        self.refused.append(answer)
        return None


def assert_all_is_there(installation: Installation, loads: list[Load]) -> None:
    """Compare what writers were told with what the database holds."""
    with psycopg.connect(installation.borrow()) as connection:
        titles = Counter(row[0] for row in connection.execute("SELECT title FROM tasks"))
        bodies = Counter(row[0] for row in connection.execute("SELECT body FROM task_comments"))
        tasks = {
            str(id): (version, status)
            for id, version, status in connection.execute("SELECT id, version, status FROM tasks")
        }
        numbers = [row[0] for row in connection.execute("SELECT number FROM tasks ORDER BY number")]
        half_told = connection.execute(
            """
            SELECT t.id FROM tasks t
              LEFT JOIN task_events e ON e.workspace_id = t.workspace_id AND e.task_id = t.id AND e.kind <> 'commented'
             GROUP BY t.workspace_id, t.id HAVING count(e) <> t.version
            """
        ).fetchall()
    assert not [title for title, times in titles.items() if times > 1]
    assert not [body for body, times in bodies.items() if times > 1]
    assert numbers == list(range(1, len(numbers) + 1))
    assert half_told == [], "every version of a task has its one event"
    for load in loads:
        assert load.created <= titles.keys()
        assert load.commented <= bodies.keys()
        for id, version in load.versions.items():
            assert tasks[id][0] >= version
        assert all(tasks[id][1] == "done" for id in load.completed)
    bulks = Counter(re.sub(r"-\d+$", "", title) for title in titles if title.count("-") == 3)
    assert set(bulks.values()) <= {3}, "a batch is there whole or not at all"


async def test_after_kill_9_of_the_server_every_acknowledged_write_is_there_once_and_no_postgres_is_left(
    installation: Installation, key: str
) -> None:
    loads: list[Load] = []
    for round_ in range(3):
        with installation.serving() as server:
            load = Load(server.url, key, f"r{round_}")
            loads.append(load)
            async with load.running():
                await load.reaches(WRITES_BEFORE)
                server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        eventually(lambda: installation.processes() == [])
        assert load.refused == []
    with installation.serving():
        assert_all_is_there(installation, loads)


async def test_after_kill_9_of_a_server_with_workers_neither_they_nor_postgres_are_left(
    installation: Installation, key: str
) -> None:
    with installation.serving(WORKERS="2") as server:
        load = Load(server.url, key, "workers")
        async with load.running():
            await load.reaches(WRITES_BEFORE)
            server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    eventually(lambda: installation.processes() == [])
    with installation.serving():
        assert_all_is_there(installation, [load])


async def test_after_kill_9_of_postgres_the_service_recovers_by_itself_and_nothing_acknowledged_is_lost(
    installation: Installation, key: str
) -> None:
    with installation.serving() as server:
        load = Load(server.url, key, "load")
        async with load.running():
            for kills in range(1, 3):
                await load.reaches(kills * WRITES_BEFORE)
                killed = installation.postgres_pid()
                os.kill(killed, signal.SIGKILL)
                eventually(partial(installation.has_postgres_other_than, killed))
                await load.reaches(load.acknowledged + WRITES_AFTER)
        assert server.process.poll() is None
        assert load.refused, "nobody noticed"
        for answer in load.refused:
            assert answer.status_code == 503
            error = answer.json()["error"]
            assert (error["code"], error["retryable"]) == ("upstream_unavailable", True)
            assert "retry-after" in answer.headers
        assert_all_is_there(installation, [load])
    assert installation.processes() == []


def test_a_call_that_finds_postgres_gone_hears_so_at_once_and_the_next_finds_it_back(
    installation: Installation, key: str
) -> None:
    with (
        installation.serving() as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=10) as client,
    ):
        os.kill(installation.postgres_pid(), signal.SIGSTOP)  # so that it cannot take new connections
        for process in installation.processes():
            os.kill(process, signal.SIGKILL)
        assert client.get("/healthz").status_code == 503
        eventually(lambda: client.get("/healthz").status_code == 200)
        assert client.get("/v1/agent/get-me").status_code == 200


def test_a_postgres_that_says_nothing_is_reported_and_used_again_when_it_speaks(
    installation: Installation, key: str
) -> None:
    with (
        installation.serving(STATEMENT_TIMEOUT_SECONDS="1", REQUEST_TIMEOUT_SECONDS="3") as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=10) as client,
    ):
        paused = installation.processes()
        for process in paused:
            os.kill(process, signal.SIGSTOP)
        answer = client.post("/v1/agent/create-task", json={"title": "Anyone there?"})
        assert (answer.status_code, answer.json()["error"]["retryable"]) == (503, True)
        assert client.get("/healthz").status_code == 503
        for process in paused:
            os.kill(process, signal.SIGCONT)
        eventually(lambda: client.get("/healthz").status_code == 200)
        assert client.get("/v1/agent/get-me").status_code == 200
