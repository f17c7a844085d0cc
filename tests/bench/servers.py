"""What is measured: Baton, and the same calls as users of other stacks would write them (peers/).

Each is a program of its own on a free port of the loopback interface, with one process unless its name says
otherwise, and is stopped by its own process id. All of them use the same Postgres server, reached through the same Unix
socket, the same tables, indexes and rows; Baton and the peers each in a database of their own.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from psycopg.conninfo import conninfo_to_dict

from tests.bench import processes
from tests.bench.load import Failed
from tests.bench.world import WARM

REPOSITORY: Final = Path(__file__).parent.parent.parent
PEERS: Final = Path(__file__).parent / "peers"
INSTALLED: Final = REPOSITORY / ".cache" / "bench"
PEER_PYTHON: Final = INSTALLED / "venv" / "bin" / "python"
NODE_MODULES: Final = INSTALLED / "node_modules"

START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 15.0
POLL_SECONDS: Final = 0.002

UPDATE_TASK: Final = "/v1/agent/update-task"
GET_TASK: Final = "/v1/agent/get-task"


UNREACHED: Final = {
    "RATE_LIMIT_KEY_PER_SECOND": "1000000",
    "RATE_LIMIT_KEY_BURST": "1000000",
    "RATE_LIMIT_WORKSPACE_PER_SECOND": "1000000",
    "RATE_LIMIT_WORKSPACE_BURST": "1000000",
}
"""Limits that cost what limits cost, and that nobody meets: all the load comes from one workspace."""


class Stack(NamedTuple):
    """A program to measure: how it is started, and what it is called in the results."""

    name: str
    label: str
    command: Sequence[str | Path]
    settings: Mapping[str, str]
    database: str = "peers"  # which of the two databases it works on
    missing: str | None = None  # what must be installed first


def baton(workers: int = 1, *, counts: bool = False) -> Stack:
    """Baton as it is run in production, log line and all; one that `counts` also has a metrics port."""
    name = "baton" if workers == 1 else f"baton, {workers} workers"
    if counts:
        name += ", metrics"
    return Stack(
        name,
        name.capitalize(),
        [sys.executable, "-m", "app", "serve"],
        {"WORKERS": str(workers), **UNREACHED, **({"METRICS_PORT": "0"} if counts else {})},
        database="baton",
    )


def fastapi(workers: int = 1) -> Stack:
    """FastAPI with SQLAlchemy's async ORM."""
    name = "fastapi" if workers == 1 else f"fastapi, {workers} workers"
    return Stack(
        name,
        "FastAPI + SQLAlchemy",
        [
            PEER_PYTHON,
            "-m",
            "uvicorn",
            "fastapi_sqlalchemy:app",
            "--no-access-log",
            "--workers",
            str(workers),
        ],
        {},
        missing=None
        if PEER_PYTHON.exists()
        else "the Python peers are not installed: run `make bench-setup`",
    )


def django() -> Stack:
    """Django REST framework under gunicorn with threads."""
    return Stack(
        "django",
        "Django REST framework",
        [
            PEER_PYTHON,
            "-m",
            "gunicorn",
            "django_rest:application",
            "-k",
            "gthread",
            "--threads",
            "16",
            "--keep-alive",
            "60",
        ],
        {},
        missing=None
        if PEER_PYTHON.exists()
        else "the Python peers are not installed: run `make bench-setup`",
    )


def fastify(style: str) -> Stack:
    """Fastify with pg; `transaction` as usually written, `statement` with everything in one."""
    missing = None
    if shutil.which("node") is None:
        missing = "there is no `node`: install Node.js 20 or newer (Debian: apt-get install nodejs npm)"
    elif not NODE_MODULES.exists():
        missing = "the Node peers are not installed: install npm, then run `make bench-setup`"
    return Stack(
        f"fastify, {style}",
        f"Fastify + pg, {style}",
        [shutil.which("node") or "node", PEERS / "fastify_pg.js"],
        {"STYLE": style, "NODE_PATH": str(NODE_MODULES), "NODE_ENV": "production"},
        missing=missing,
    )


class Server:
    """A running stack."""

    def __init__(self, stack: Stack, dsn: str, directory: Path) -> None:
        self.stack = stack
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"{stack.name.replace(', ', '-').replace(' ', '-')}.log"
        self._output = self.log.open("ab")
        self.process = subprocess.Popen(
            stack.command, cwd=REPOSITORY if stack.name.startswith("baton") else PEERS, env=self._environment(dsn),
            stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output, start_new_session=True,
        )  # fmt: skip

    def _environment(self, dsn: str) -> dict[str, str]:
        """What the program is told: where to listen, and the database in the words its users would use."""
        told = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        told |= {"HOST": "127.0.0.1", "PORT": str(self.port), "UVICORN_PORT": str(self.port)}
        told["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{self.port} --log-level warning"
        if self.stack.name.startswith("baton"):
            told["DATABASE_URL"] = dsn
        else:
            words = conninfo_to_dict(dsn)
            told |= {f"PG{name.upper()}": str(words[name]) for name in ("host", "port", "user")}
            told["PGDATABASE"] = str(words["dbname"])
        return told | dict(self.stack.settings)

    def wait_until_it_answers(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Its first answer to a call, as soon as it gives one; the answer must be a success."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                status, answer = call(self.port, path, body)
            except (OSError, http.client.HTTPException):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    message = (
                        f"{self.stack.name} did not start; {self.log} says:\n{self.log.read_text()[-2000:]}"
                    )
                    raise Failed(message) from None
                time.sleep(POLL_SECONDS)
                continue
            if status != http.HTTPStatus.OK:
                message = (
                    f"{self.stack.name} answered {status} to {path}: {answer}\n{self.log.read_text()[-2000:]}"
                )
                raise Failed(message)
            return answer

    def start_working(self) -> dict[str, Any]:
        """Wait until it has updated a task, and answer with the task as it says it."""
        k = WARM.first  # its owner is caller 0
        body = {
            "taskId": f"00000000-0000-7000-8000-{k:012}",
            "version": 1,
            "status": "in_review",
            "priority": "high",
        }
        return self.wait_until_it_answers(UPDATE_TASK, body)["data"]

    def cpu_seconds(self) -> float:
        """CPU used so far by it and its children."""
        return processes.cpu_seconds(self.process.pid)

    def memory_megabytes(self) -> float:
        """Memory it holds now, with its children."""
        return processes.memory_megabytes(self.process.pid)

    def forget_log(self) -> None:
        """Empty its log: a line per call adds up. It is written by appending, so the file just starts again."""
        os.truncate(self.log, 0)

    def stop(self) -> None:
        """End it, gently at first."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # the session that it leads is its own
            self.process.wait()
        self._output.close()


def call(port: int, path: str, body: Mapping[str, object], *, caller: int = 0) -> tuple[int, dict[str, Any]]:
    """One call on a connection of its own: status and decoded answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS_MAX)
    try:
        headers = {"Authorization": f"Bearer baton_sk_bench_{caller:04}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
