"""A server with a Postgres of its own, for tests that take the database away."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app import administration as admin
from app.db import Database, schema
from app.embedded import EmbeddedPostgres
from tests.conftest import Server

NOTICE_SECONDS_MAX = (
    20  # how long a server may take to notice that its database went or came, on a busy machine
)


class Apart:
    """The server, its database, and the API key of an agent."""

    def __init__(self, postgres: EmbeddedPostgres, server: Server, api_key: str) -> None:
        self.postgres = postgres
        self.server = server
        self.api_key = api_key
        self.headers = {"Authorization": f"Bearer {api_key}"}

    def stop_database(self) -> httpx.Response:
        """Take the database away; the answer of /healthz that says so."""
        self.postgres.stop()
        return self.healthz_becomes(503)

    def start_database(self) -> httpx.Response:
        """Bring it back; the answer of /healthz that says so."""
        self.postgres.start()
        return self.healthz_becomes(200)

    def healthz_becomes(self, status: int) -> httpx.Response:
        """Ask until the status is this one."""
        deadline = time.monotonic() + NOTICE_SECONDS_MAX
        while (answer := httpx.get(f"{self.server.url}/healthz", timeout=30)).status_code != status:
            assert time.monotonic() < deadline, f"/healthz still says {answer.status_code}: {answer.text}"
        return answer


@contextmanager
def served_apart(directory: Path, **settings: str) -> Iterator[Apart]:
    """Start all of it, and stop it in the end."""
    postgres = EmbeddedPostgres(directory)
    dsn = postgres.start()
    try:
        schema.apply(dsn)
        agent = asyncio.run(_agent(dsn))
        server = Server(dsn, **settings)
        try:
            yield Apart(postgres, server, agent.api_key)
        finally:
            server.stop()
            server.log.close()
    finally:
        postgres.stop()


async def _agent(dsn: str) -> admin.Identity:
    db = Database(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False)
    await db.open()
    try:
        workspace = await admin.create_workspace(db, "apart")
        return await admin.create_identity(db, workspace, kind="agent", handle="bot")
    finally:
        await db.close()
