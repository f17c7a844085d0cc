"""A server with a Postgres of its own, for tests that take the database away."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from app.db import Database, schema
from app.embedded import EmbeddedPostgres
from app.operator import administration as admin
from tests.conftest import POSTGRES_BIN_DIR, Server

NOTICE_SECONDS_MAX = (
    30  # how long a server may take to notice that its database went or came, on a busy machine
)


class Apart:
    """The server, its database, and the API key of an agent."""

    def __init__(self, postgres: EmbeddedPostgres, server: Server, api_key: str) -> None:
        self.server = server
        self.api_key = api_key
        self.headers = {"Authorization": f"Bearer {api_key}"}
        self._postgres = postgres

    async def stop_database(self) -> httpx.Response:
        """Take the database away; the answer of /healthz that says so."""
        await asyncio.to_thread(self._postgres.stop)
        return await self._healthz_becomes(503)

    async def start_database(self) -> httpx.Response:
        """Bring it back; the answer of /healthz that says so."""
        await asyncio.to_thread(self._postgres.start)
        return await self._healthz_becomes(200)

    async def _healthz_becomes(self, status: int) -> httpx.Response:
        deadline = time.monotonic() + NOTICE_SECONDS_MAX
        async with httpx.AsyncClient(timeout=30) as client:
            while (answer := await client.get(f"{self.server.url}/healthz")).status_code != status:
                assert time.monotonic() < deadline, f"still {answer.status_code}: {answer.text}"
        return answer


@asynccontextmanager
async def served_apart(directory: Path) -> AsyncGenerator[Apart]:
    """Start all of it, and stop it in the end."""
    postgres = EmbeddedPostgres(directory, POSTGRES_BIN_DIR)
    dsn = await asyncio.to_thread(postgres.start)
    try:
        schema.apply(dsn)
        api_key = await new_agent(dsn)
        server = await asyncio.to_thread(Server, dsn)
        try:
            yield Apart(postgres, server, api_key)
        finally:
            await asyncio.to_thread(server.stop)
            server.log.close()
    finally:
        await asyncio.to_thread(postgres.stop)


async def new_agent(dsn: str) -> str:
    """Make a workspace and an agent in a database; the agent's API key."""
    db = Database(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False)
    await db.open()
    try:
        workspace = await admin.create_workspace(db, "apart")
        return (await admin.create_identity(db, workspace, kind="agent", handle="bot")).api_key
    finally:
        await db.close()
