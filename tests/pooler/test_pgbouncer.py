"""Behind PgBouncer in transaction mode, where every statement may run on another connection.

Only where this machine has PgBouncer (Debian and Ubuntu: apt-get install pgbouncer).
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.embedded import EmbeddedPostgres
from app.embedded.programs import in_child
from tests.conftest import POSTGRES_BIN_DIR
from tests.installation import Installation, eventually

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
SERVER_CONNECTIONS = 4
CALLERS = 32
ROUNDS = 5

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer on this machine")

CONFIGURATION = """
[databases]
* = host={cluster} port=5432 user=baton

[pgbouncer]
pool_mode = transaction
default_pool_size = {server_connections}
unix_socket_dir = {directory}
listen_port = 6432
auth_type = any
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A Postgres of our own, in a directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="baton-pooler-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "data", POSTGRES_BIN_DIR)
        postgres.start()
        yield postgres
        postgres.stop()


@pytest.fixture(scope="module")
def installation(postgres: EmbeddedPostgres) -> Iterator[Installation]:
    """A Baton that knows the database only through the pooler."""
    directory = postgres.data_dir / "pooler"
    directory.mkdir()
    postgres._programs.give(directory)
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(
            cluster=postgres.cluster, directory=directory, server_connections=SERVER_CONNECTIONS
        )
    )
    assert PGBOUNCER is not None
    process = subprocess.Popen(
        [PGBOUNCER, "--quiet", configuration],
        # It refuses to run as root, as Postgres does.
        preexec_fn=in_child(postgres._programs.identity, directory),  # noqa: PLW1509 - and in the same way
        stderr=subprocess.DEVNULL,
    )
    eventually((directory / ".s.PGSQL.6432").exists)
    yield Installation(
        directory / "unused",
        DATABASE_URL=f"host={directory} port=6432 dbname=postgres user=baton",
        DATABASE_POOLER="true",
    )
    process.kill()  # politer signals may be ignored, as of whoever was started in the background of a shell
    process.wait()


class Agent:
    """A client of the service."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}"}

    async def __call__(self, operation: str, expected: int = 200, **body: object) -> Any:
        answer = await self._client.post(f"/v1/agent/{operation}", json=body, headers=self._headers)
        assert answer.status_code == expected, answer.text
        return answer.json()["data" if expected == 200 else "error"]


async def test_the_service_works_and_keeps_its_promises_behind_a_pooler_in_transaction_mode(
    installation: Installation, postgres: EmbeddedPostgres
) -> None:
    assert installation.ask("schema", "apply")["applied"] is True
    installation.ask("workspace", "create", "acme")
    keys = [
        installation.ask("agent", "create", handle, "--workspace", "acme") for handle in ("ada", "bob", "cyd")
    ]
    token = installation.ask("verify-token", "create", "ada", "--workspace", "acme")["token"]
    limits = httpx.Limits(max_connections=CALLERS)
    with installation.serving() as server:
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=30) as client:
            ada, bob, cyd = (Agent(client, key["apiKey"]) for key in keys)
            general = (await ada("get-me"))["channels"][0]["id"]
            task = await ada("create-task", title="Shared", channelId=general)
            parts = await bob("create-tasks-bulk", tasks=[{"title": "Part", "channelId": general}] * 50)
            assert [part["identifier"] for part in parts] == [f"T-{n}" for n in range(2, 52)]
            moved = await bob("update-task", taskId=parts[0]["id"], version=1, parentTaskId=task["id"])
            await ada("update-task", expected=409, taskId=task["id"], version=1, parentTaskId=moved["id"])
            await cyd("comment-on-task", taskId="T-1", body="Look, @ada and @bob")
            await cyd("block-task", taskId=parts[1]["id"], reason="Waiting for @ada")
            assert len(await ada("list-tasks", query="part", limit=100)) == 50
            assert (await ada("verify-connection", token=token))["ok"] is True

            async def race(n: int, version: int) -> int:
                agent = (ada, bob, cyd)[n % 3]
                change = {"taskId": task["id"], "version": version, "title": f"{n}, {version}"}
                answer = await client.post("/v1/agent/update-task", json=change, headers=agent._headers)
                return answer.status_code

            for version in range(1, ROUNDS + 1):
                statuses = await asyncio.gather(*(race(n, version) for n in range(CALLERS)))
                assert sorted(statuses) == [200] + [409] * (CALLERS - 1)
            assert (await ada("get-task", taskId="T-1"))["version"] == ROUNDS + 1

            installation.ask("key", "revoke", keys[2]["keyId"], "--workspace", "acme")
            async with asyncio.timeout(1):
                while (await client.get("/v1/agent/get-me", headers=cyd._headers)).status_code == 200:
                    pass

        with psycopg.connect(f"host={postgres.cluster} user=baton dbname=postgres") as direct:
            counted = direct.execute(
                """SELECT count(*) FROM pg_stat_activity
                    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""
            ).fetchone()
            events = direct.execute(
                "SELECT version FROM task_events WHERE task_id = %s AND kind = 'updated' ORDER BY version",
                [task["id"]],
            ).fetchall()
        assert counted is not None
        assert 0 < counted[0] <= SERVER_CONNECTIONS, "the calls did not share the pooler's connections"
        assert events == [(version,) for version in range(2, ROUNDS + 2)]
