"""`serve` where few files may be open at once: silent connections make room, and whoever asks is answered."""

import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
from urllib.parse import urlsplit

import httpx

SOFT, HARD = 128, 300
SILENT = 280  # more than may be
START = f'ulimit -Sn {SOFT} && ulimit -Hn {HARD} && exec "$0" -m app serve'
SECONDS_MAX = 30


def hung_up(connection: socket.socket) -> bool:
    """Whether the other side has closed it; waits for that."""
    connection.settimeout(SECONDS_MAX)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def still_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return connection.recv(1) != b""
    return True


def test_silent_connections_never_take_the_files_that_others_need(dsn: str) -> None:
    ours, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if ours < 2 * SILENT:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * SILENT, most))  # for this end of the connections
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        server = stack.enter_context(
            subprocess.Popen(
                ["sh", "-c", START, sys.executable],
                env={**os.environ, "DATABASE_URL": dsn, "PORT": "0"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        )
        stack.callback(server.terminate)
        assert server.stdout is not None
        found = next(filter(None, (re.search(r"listens on (http://\S+)", line) for line in server.stdout)))
        where = urlsplit(found[1])
        assert httpx.get(f"{found[1]}/healthz", timeout=SECONDS_MAX).status_code == 200
        silent = [
            stack.enter_context(socket.create_connection((where.hostname, where.port or 80), SECONDS_MAX))
            for _ in range(SILENT)
        ]
        assert httpx.get(f"{found[1]}/healthz", timeout=SECONDS_MAX).status_code == 200
        assert hung_up(silent[0]), "the oldest goes first"
        assert still_open(silent[-1]), "the newest does not"
        server.terminate()
        assert server.wait(SECONDS_MAX) == 0
        log.seek(0)
        said = log.read().decode()
    assert said.count(f"the limit of open files is raised from {SOFT} to {HARD}") == 1
    [most_told] = re.findall(r"there are (\d+) connections, as many as may be", said)
    assert HARD // 4 <= int(most_told) < HARD, "one line says it, however many were dropped"
    assert "Too many open files" not in said
