"""What an operator does to a service that runs: drain it, and have it say more."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import Server
from tests.installation import Installation, eventually


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("used") / "data")
    with installation.serving():
        pass
    yield installation
    installation.remove()


def status(server: Server, path: str) -> int:
    return httpx.get(server.url + path).status_code


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_drains_is_not_ready_and_serves_until_a_second_signal_or_its_time(
    used: Installation, workers: str
) -> None:
    with used.serving(WORKERS=workers, DRAIN_SECONDS="600") as server:
        assert httpx.get(f"{server.url}/readyz").json() == {"ready": True}
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: {status(server, "/readyz") for _ in range(8)} == {503})
        refused = httpx.get(f"{server.url}/readyz")
        assert "about to stop" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert (status(server, "/healthz"), status(server, "/")) == (200, 200)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0, server.stderr()


def test_a_service_whose_database_another_release_has_taken_over_is_not_ready(used: Installation) -> None:
    with used.serving(DRAIN_SECONDS="0.3") as server:
        with psycopg.connect(used.borrow(), autocommit=True) as connection:
            connection.execute("UPDATE baton_schema SET version = version + 1000")
            refused = httpx.get(f"{server.url}/readyz")
            connection.execute("UPDATE baton_schema SET version = version - 1000")
        assert (refused.status_code, status(server, "/readyz")) == (503, 200)
        assert "schema of another release" in refused.json()["error"]["message"]
        assert server.stop() == 0, "it drains for as long as it is told, and ends"


@contextmanager
def log_level(used: Installation, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """The command, which goes on until it is told to end, and at the end of the block at the latest."""
    with subprocess.Popen(
        [sys.executable, "-m", "app", "log-level", *arguments],
        env={**os.environ, **used.settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        try:
            yield command
        finally:
            command.kill()


def lines_of_calls(server: Server) -> int:
    return sum('"path":"/healthz"' in line for line in server.stderr().splitlines())


def test_the_log_level_changes_while_a_command_says_so_in_every_process(used: Installation) -> None:
    with used.serving(LOG_LEVEL="warning", WORKERS="2") as server:
        httpx.get(f"{server.url}/healthz")
        with log_level(used, "debug", "--json") as command:
            assert command.stdout is not None
            assert json.loads(command.stdout.readline()) == {"level": "debug", "minutes": 60}
            eventually(lambda: server.stderr().count("the log level is debug now") == 2)
            assert lines_of_calls(server) == 0
            assert status(server, "/healthz") == 200
            eventually(lambda: lines_of_calls(server) == 1)
            command.send_signal(
                signal.SIGTERM
            )  # SIGINT may be ignored, in whoever was started in the background
            assert command.wait(30) == 0
        eventually(lambda: server.stderr().count("the log level is warning now") == 2)
        assert status(server, "/healthz") == 200
        assert server.stop() == 0
        assert lines_of_calls(server) == 1


def test_a_log_level_is_told_to_servers_and_not_kept_for_later(used: Installation) -> None:
    assert "No server runs" in used.refusal("log-level", "debug")
    assert "no log level 'loud'" in used.refusal("log-level", "loud")
    with used.serving() as server, log_level(used, "error") as command:
        assert command.stdout is not None
        assert "log at error" in command.stdout.readline()
        assert server.stop() == 0, "whoever tells it holds nobody up"
        assert command.wait(30) == 0


def test_a_postgres_of_ones_own_needs_a_server_no_less(used: Installation, tmp_path: Path) -> None:
    elsewhere = Installation(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere")
    assert "127.0.0.1" in elsewhere.refusal("log-level", "debug")
