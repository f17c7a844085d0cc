"""The agent of docs/runs.md and README.md, as it stands there, while it, the server and Postgres are killed."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.installation import WAIT_SECONDS, Installation, eventually

AGENTS = 4
TASKS = 80
LEASE_SECONDS = 2  # the page says 60; a test has less time

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "runs.md", ROOT / "README.md")

BEFORE = """
import os, time, uuid
from contextlib import suppress
import httpx

api = httpx.Client(base_url=os.environ["BATON"], headers={"Authorization": "Bearer " + os.environ["KEY"]}, timeout=60)

def work(task, heartbeat):
    for _ in range(3):
        time.sleep(0.02)
        heartbeat()
    return {"worker": os.getpid(), "task": task["identifier"]}

"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("loop") / "data")
    yield installation
    installation.remove()


def loop() -> str:
    blocks = [
        block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    [code] = {
        block for block in blocks if "claim-next-task" in block
    }  # where it stands twice, it is the same
    assert len([line for line in code.splitlines() if line]) == 10
    assert "leaseSeconds=60" in code
    return BEFORE + code.replace("leaseSeconds=60", f"leaseSeconds={LEASE_SECONDS}")


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def statuses(client: httpx.Client) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = client.post("/v1/agent/list-tasks", json={"limit": 100, "cursor": cursor}).json()
        found += [task["status"] for task in page["data"]]
        if (cursor := page["meta"]["pagination"]["cursor"]) is None:
            return found


def test_no_task_is_lost_or_done_twice_whoever_is_killed(installation: Installation) -> None:
    installation.ask("workspace", "create", "acme")
    key = installation.ask("agent", "create", "worker", "--workspace", "acme")["apiKey"]
    port = free_port()
    with ExitStack() as stack:
        client = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {key}"},
                timeout=WAIT_SECONDS,
            )
        )
        serving = ExitStack()
        server = serving.enter_context(installation.serving(PORT=port))
        rows = [{"title": str(n)} for n in range(TASKS // 2)]
        for _ in range(2):
            assert client.post("/v1/agent/create-tasks-bulk", json={"tasks": rows}).status_code == 200

        def agent() -> subprocess.Popen[bytes]:
            environ = {**os.environ, "BATON": server.url, "KEY": key}
            return stack.enter_context(subprocess.Popen([sys.executable, "-c", loop()], env=environ))

        def done() -> int:
            return statuses(client).count("done")

        agents = [agent() for _ in range(AGENTS)]
        try:
            eventually(lambda: done() >= 5)
            agents[0].kill()
            agents[0] = agent()

            eventually(lambda: done() >= 15)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            eventually(lambda: installation.processes() == [])
            serving.close()
            server = serving.enter_context(installation.serving(PORT=port))

            eventually(lambda: done() >= 25)
            agents[1].kill()
            killed = installation.postgres_pid()
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: installation.has_postgres_other_than(killed))
            eventually(lambda: client.get("/healthz").status_code == 200)
            agents[1] = agent()

            eventually(lambda: done() == TASKS)
            with (
                psycopg.connect(installation.borrow()) as connection,
                connection.cursor(row_factory=dict_row) as cursor,
            ):
                history = cursor.execute(
                    """SELECT t.number, r.end_reason, r.output, r.attempt
                         FROM tasks t JOIN runs r ON r.workspace_id = t.workspace_id AND r.work_item_id = t.id
                        ORDER BY t.number, r.id"""
                ).fetchall()
                [live] = cursor.execute("SELECT count(*) FROM tasks WHERE run_id IS NOT NULL").fetchall()
        finally:
            for process in agents:
                process.kill()
            serving.close()
    assert live["count"] == 0
    assert_each_was_done_once(history)


def assert_each_was_done_once(history: list[dict[str, Any]]) -> None:
    """Every task has one run that completed it, with the result of whoever did, and it is the last."""
    by_task: dict[int, list[dict[str, Any]]] = {}
    for run in history:
        by_task.setdefault(run["number"], []).append(run)
    assert len(by_task) == TASKS
    for number, runs in by_task.items():
        assert [run["attempt"] for run in runs] == list(range(1, len(runs) + 1))
        assert [run["end_reason"] for run in runs].count("completed") == 1
        assert runs[-1]["end_reason"] == "completed"
        assert runs[-1]["output"]["task"] == f"T-{number}"
        assert all(run["end_reason"] == "lease_expired" for run in runs[:-1])
    assert any(len(runs) > 1 for runs in by_task.values()), "nobody was killed in the middle of anything"
