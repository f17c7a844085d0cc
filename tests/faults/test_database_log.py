"""What callers bring about stands in no log of the database, which lies on the database's disk."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.db import schema
from app.embedded import DEFAULT_SETTINGS, EmbeddedPostgres, server
from tests.apart import new_agent, served_apart
from tests.conftest import POSTGRES_BIN_DIR, Server
from tests.installation import eventually

CALLS_AT_ONCE = 8
ROUNDS = 4
WRITES = {
    "create-task": {"title": "x"},
    "comment-on-task": {"taskId": "T-1", "body": "x"},
    "update-task": {"taskId": "T-1", "version": 1, "title": "y"},
    "complete-task": {"taskId": "T-1"},
    "link-tasks": {"taskId": "T-1", "kind": "related", "otherTaskId": "T-2"},
    "claim-task": {"taskId": "T-2"},
    "create-channel": {"name": "news", "type": "public"},
}


async def at_once(clients: list[httpx.AsyncClient]) -> None:
    """Send every call with the same key many times at once, to each server in turn; each gets one answer for all."""
    for client in clients:
        await client.post("/v1/agent/create-task", json={"title": "first"})
    for number in range(ROUNDS):
        for operation, fields in WRITES.items():
            answers = await asyncio.gather(
                *(
                    clients[place % len(clients)].post(
                        f"/v1/agent/{operation}",
                        json=fields,
                        headers={"Idempotency-Key": f"secret-{operation}-{number}"},
                    )
                    for place in range(CALLS_AT_ONCE)
                )
            )
            said = {
                (answer.status_code, str(answer.json().get("data", answer.json().get("error"))))
                for answer in answers
            }
            assert len(said) == 1, (operation, said)
            assert all(answer.status_code < 500 for answer in answers), answers[0].text


async def test_equal_keys_at_once_raise_nothing_in_the_database(tmp_path: Path) -> None:
    """Of a database that logs every error, as most do, and with two server processes."""
    settings = {**DEFAULT_SETTINGS, "log_min_messages": "warning", "log_min_error_statement": "error"}
    postgres = EmbeddedPostgres(tmp_path, POSTGRES_BIN_DIR, settings)
    dsn = await asyncio.to_thread(postgres.start)
    with ExitStack() as stack:
        stack.callback(postgres.stop)
        schema.apply(dsn)
        headers = {"Authorization": f"Bearer {await new_agent(dsn)}"}
        clients: list[httpx.AsyncClient] = []
        for _ in range(2):
            one = await asyncio.to_thread(Server, dsn)
            stack.callback(one.close)
            stack.callback(one.stop)
            clients.append(httpx.AsyncClient(base_url=one.url, headers=headers, timeout=60))
        await at_once(clients)
        for client in clients:
            await client.aclose()
        log = (tmp_path / "postgres.log").read_text()  # before a stop cancels what a job is at
    assert "ready to accept connections" in log
    assert [line for line in log.splitlines() if "ERROR" in line or "secret" in line] == []


async def test_the_embedded_database_logs_no_error_that_a_caller_brings_about(tmp_path: Path) -> None:
    async with (
        served_apart(tmp_path) as apart,
        httpx.AsyncClient(base_url=apart.server.url, headers=apart.headers, timeout=60) as client,
    ):
        before = (tmp_path / "postgres.log").read_text()
        await at_once([client])
        assert (tmp_path / "postgres.log").read_text() == before


def test_a_log_that_grows_too_long_is_put_aside_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOG_BYTES_MAX", 100)
    monkeypatch.setattr(server, "LOG_LOOK_SECONDS", 0.01)
    postgres = EmbeddedPostgres(tmp_path / "data", POSTGRES_BIN_DIR)
    postgres.start()
    try:
        aside = tmp_path / "data" / "postgres.log.1"
        eventually(lambda: aside.exists() and "ready to accept connections" in aside.read_text())
        eventually(lambda: postgres.log.stat().st_size <= server.LOG_BYTES_MAX)
    finally:
        postgres.stop()
    assert "shut down" in postgres.log.read_text() + aside.read_text()
