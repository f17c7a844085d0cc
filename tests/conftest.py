"""What tests share: one Postgres for the whole run, and a workspace of its own for every test.

Isolation is tenancy: tests run against one database and never see each other, because nothing in one workspace
can be seen from another. `workspace` is such a world; the users and agents it makes are callers:

    async def test_a_new_task_is_todo(workspace):
        bot = await workspace.agent("bot")
        task = await bot(create_task, title="Write it down")
        assert task.status == "todo"

`server` is the real thing for tests that need HTTP: `python -m app serve` in a process of its own.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, LiteralString

import httpx
import msgspec
import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.auth import Keys
from app.db import Command, Database, schema
from app.embedded import ROLE, SUPERUSER, EmbeddedPostgres
from app.errors import ApiError, IdempotencyKeyReused, InvalidInput, ScopeMissing
from app.operations.tasks.around import AROUND_FIELDS, TaskInFull
from app.operations.tasks.task import Task
from app.operator import administration as admin
from app.rpc import RECORDS, SDK, Context, Operation, Page, Result, execute
from app.transports import envelope

START_SECONDS_MAX = 60  # of which a quiet machine needs three
POSTGRES_BIN_DIR = Path(value) if (value := os.environ.get("POSTGRES_BIN")) else None  # else the wheel's


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say that docs/examples.json is to be written anew."""
    parser.addoption(
        "--record", action="store_true", help="write docs/examples.json: see tests/http/test_story.py"
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A Postgres server of this run's own. Yields how its superuser connects to it."""
    with tempfile.TemporaryDirectory(prefix="baton-test-") as directory:
        embedded = EmbeddedPostgres(Path(directory), POSTGRES_BIN_DIR)
        yield make_conninfo(embedded.start(), user=SUPERUSER)
        embedded.stop()


@pytest.fixture(scope="session")
def dsn(postgres: str) -> Iterator[str]:
    """A fresh database with the schema."""
    name = f"baton_test_{os.getpid()}"
    yield new_database(postgres, name)
    drop_database(postgres, name)


def new_database(postgres: str, name: str, owner: str | None = ROLE) -> str:
    """Make a database with the schema, for tests that must not share one. It is served by an ordinary role, its owner."""
    drop_database(postgres, name)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        if owner is not None:
            connection.execute(
                SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(name), Identifier(owner))
            )
    dsn = make_conninfo(postgres, dbname=name, **({"user": owner} if owner is not None else {}))
    schema.apply(dsn)
    return dsn


def drop_database(postgres: str, name: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def db(dsn: str) -> AsyncIterator[Database]:
    """The database as operations see it."""
    db = Database(dsn, connections_max=20, statement_timeout_seconds=10, pooler=False)
    await db.open()
    yield db
    await db.close()


class Caller:
    """A user or agent of a test's workspace. Call it with an operation and the fields of its request.

    The answer is decoded with the documented type, which is closed: an extra or missing key fails the test. So
    does an error that the operation does not declare.
    """

    def __init__(self, db: Database, identity: admin.Identity, context: Context) -> None:
        self.id = str(identity.id)
        self.handle = identity.handle
        self.kind = identity.kind
        self.api_key = identity.api_key
        self.headers = {"Authorization": f"Bearer {identity.api_key}"}
        self.context = context
        self.aside: dict[str, str] = {}  # what the last answer said beside its data
        self.meta: dict[str, Any] = {}  # of the latest answer
        self._db = db

    async def __call__(self, op: Operation, /, **fields: object) -> Any:
        return await self.post(op, fields)

    async def answer(
        self, op: Operation, request_id: str, /, **fields: object
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers, as a door would send them: for tests that compare whole answers."""
        context = msgspec.structs.replace(self.context, request_id=request_id)
        body = json.dumps({spelled(op, name): value for name, value in fields.items()}).encode()
        try:
            said = await execute(op, context, body=body)
            status, sent = op.status, envelope.success(said, request_id, op.family)
        except ApiError as e:
            status, sent, said = e.status, envelope.failure(e, request_id, op.family), e
        return status, sent, {name.decode(): value.decode() for name, value in envelope.headers(said)}

    def decoded(self, error: ApiError) -> Any:
        """The details of an error, as documented."""
        sent = json.loads(envelope.failure(error, "test"))
        return msgspec.convert(sent["error"]["details"], envelope.ErrorDetails)

    async def post(self, op: Operation, body: dict[str, object] | bytes) -> Any:
        """Call with a whole body, in wire names."""
        raw = (
            body
            if isinstance(body, bytes)
            else json.dumps({spelled(op, k): v for k, v in body.items()}).encode()
        )
        try:
            result = await execute(op, self.context, body=raw)
        except ApiError as e:
            if not isinstance(e, (*op.errors, InvalidInput, ScopeMissing, IdempotencyKeyReused)):
                pytest.fail(f"{op.name} raised {type(e).__name__}, which it does not declare")
            raise
        self.aside = {name.decode(): value.decode() for name, value in envelope.headers(result)}
        sent = json.loads(envelope.success(result, "test", op.family))
        if op.family is RECORDS:
            return msgspec.convert(sent, op.result)
        self.meta = sent["meta"]
        if getattr(op.decoder.from_json(raw), "fields", None):
            return sent["data"]
        return self.of(result, op)

    def of(self, result: Result, op: Operation) -> Any:
        """A result, decoded with the documented type."""
        sent = json.loads(envelope.success(result, "test", op.family))
        kind: Any = op.result
        if kind is TaskInFull and AROUND_FIELDS.isdisjoint(sent["data"]):
            kind = Task  # nothing else was asked for, so that it can be compared with what others answer
        data: Any = msgspec.convert(sent["data"], kind)
        return PageOf(data, sent["meta"]["pagination"]) if isinstance(result, Page) else data


class PageOf(list[Any]):
    """A page of decoded items with its pagination."""

    def __init__(self, items: list[Any], pagination: dict[str, Any]) -> None:
        super().__init__(items)
        self.cursor = pagination["cursor"]
        self.has_more = pagination["hasMore"]
        self.total = pagination.get("total")


class Row(msgspec.Struct):
    """A row of any statement."""

    columns: dict[str, Any]


class World:
    """A workspace of its own."""

    def __init__(self, db: Database, info: admin.Workspace) -> None:
        self.db = db
        self.info = info
        self.id = str(info.id)
        self.slug = info.slug
        self._keys = Keys(db)

    async def agent(self, handle: str = "bot", **settings: Any) -> Caller:
        """A new agent; by default it joins #general and may do everything."""
        return await self._caller("agent", handle, settings)

    async def user(self, handle: str = "ada", **settings: Any) -> Caller:
        """A new human."""
        return await self._caller("user", handle, {"email": f"{handle}@example.test", **settings})

    async def channel(self, name: str, *members: Caller, role: str = "poster", **settings: Any) -> str:
        """A new channel with these members; answers with its id."""
        made = await admin.create_channel(self.db, self.info, name, **settings)
        for member in members:
            await self.join(name, member, role=role)
        return str(made.id)

    async def join(self, name: str, member: Caller, role: str = "poster") -> None:
        await admin.join_channel(self.db, self.info, name, member.handle, role=role)

    async def leave(self, channel_id: str, member: Caller) -> None:
        await self.rows(
            """DELETE FROM channel_members
                WHERE workspace_id = %(workspace)s AND channel_id = %(channel)s::uuid AND identity_id = %(member)s::uuid
            RETURNING role""",
            channel=channel_id,
            member=member.id,
        )

    async def events(self, task_id: str) -> list[dict[str, Any]]:
        """The log of a task: each change, and behind it what was said while it stood there."""
        return await self.rows(
            """SELECT * FROM task_events WHERE workspace_id = %(workspace)s AND task_id = %(task)s::uuid
                ORDER BY version, subject_id""",
            task=task_id,
        )

    async def rows(self, sql: LiteralString, **parameters: object) -> list[dict[str, Any]]:
        """What a statement of the test's own answers: to see what no operation shows, and arrange what none can."""
        query = Command(Row, f"WITH r AS ({sql}) SELECT to_jsonb(r) FROM r", everywhere=True)
        return [row.columns for row in await self.db.all(query, workspace=self.info.id, **parameters)]

    async def seen_waiting(self) -> None:
        """Return when some statement waits for a lock that another transaction holds."""
        deadline = time.monotonic() + START_SECONDS_MAX
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while not await self.rows(f"{waiting} AND %(workspace)s::uuid IS NOT NULL"):
            assert time.monotonic() < deadline, "nobody came to wait"

    async def _caller(self, kind: Any, handle: str, settings: dict[str, Any]) -> Caller:
        identity = await admin.create_identity(self.db, self.info, kind=kind, handle=handle, **settings)
        actor = await self._keys.actor(f"Bearer {identity.api_key}".encode())
        return Caller(self.db, identity, Context(self.db, actor, f"test-{handle}"))


_numbers = iter(range(1, 1_000_000))


@pytest_asyncio.fixture(loop_scope="session")
async def workspace(db: Database) -> World:
    """A fresh workspace with #general and nobody in it."""
    return World(db, await admin.create_workspace(db, f"w-{os.getpid()}-{next(_numbers)}"))


@pytest_asyncio.fixture(loop_scope="session")
async def other_workspace(db: Database) -> World:
    """A second one, to look over the fence from."""
    return World(db, await admin.create_workspace(db, f"o-{os.getpid()}-{next(_numbers)}"))


UNREACHED = {
    "RATE_LIMIT_KEY_PER_SECOND": "1000000",
    "RATE_LIMIT_WORKSPACE_PER_SECOND": "1000000",
}
"""Tests call faster than any agent. Those about limits give a key one of its own."""


class Server:
    """`python -m app serve` in a process of its own, of this checkout or another."""

    def __init__(self, dsn: str, checkout: Path | None = None, /, **settings: str) -> None:
        environ = {**os.environ, "DATABASE_URL": dsn, "PORT": "0", **UNREACHED, **settings}
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - the fixture closes it
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=checkout,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        self.output = ""
        too_late = threading.Timer(START_SECONDS_MAX, self.process.kill)  # which ends its output
        too_late.start()
        for line in self.process.stdout:
            self.output += line
            if match := re.search(r"listens on (http://\S+)", line):
                self.url = match[1]
                break
        else:
            self.process.wait(START_SECONDS_MAX)
            told = f"{self.output}{self.stderr()}"
            self.close()
            raise AssertionError(f"the server did not start:\n{told}")
        too_late.cancel()
        try:
            self.wait_until_healthy()
        except Exception:  # nobody will have it to stop it
            self.stop(signal.SIGKILL)
            self.close()
            raise

    def wait_until_healthy(self) -> None:
        """Return as soon as /healthz says so; the transport retries refused connections."""
        with httpx.Client(transport=httpx.HTTPTransport(retries=10), timeout=START_SECONDS_MAX) as client:
            assert client.get(f"{self.url}/healthz").status_code == 200

    def stderr(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        status = self.process.wait(START_SECONDS_MAX)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def close(self) -> None:
        """Let go of a server that has ended."""
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="session")
def server(dsn: str) -> Iterator[Server]:
    """The service over HTTP, on the same database as `db`."""
    server = Server(dsn)
    yield server
    assert server.stop() == 0, server.stderr()
    server.log.close()


def spelled(op: Operation, name: str) -> str:
    """A field as the family of the operation writes it."""
    return name if op.family is SDK else camel(name)


def camel(name: str) -> str:
    """snake_case as the wire has it."""
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)
