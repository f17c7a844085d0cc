"""The operator's machine: its environment, its pipes, its disk, and what the operator is told when something is wrong."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from psycopg import pq

from app import COMMAND
from app.db import Database, Unreachable, schema
from tests.conftest import START_SECONDS_MAX
from tests.installation import Installation, eventually


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that has had its first start, and never heard of a call."""
    installation = Installation(tmp_path_factory.mktemp("machine") / "data")
    with installation.serving():
        pass
    yield installation
    installation.remove()


# --- the environment of libpq

WRONG = {
    "PGSERVICE": "staging",
    "PGHOSTADDR": "127.0.0.1",
    "PGHOST": "db.example.com",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATABASE": "nothing",
    "PGPASSWORD": "wrong",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGGSSENCMODE": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "SQL_ASCII",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGREQUIREPEER": "somebody",
    "PGMINPROTOCOLVERSION": "latest",
    "PGLOADBALANCEHOSTS": "random",
    "PGCONNECT_TIMEOUT": "not a number",
}
BESIDE = {  # read by libpq too, though no option of a connection has their names
    "PGSERVICEFILE": "/nonexistent",
    "PGSYSCONFDIR": "/nonexistent",
    "PGDATESTYLE": "SQL, DMY",
    "PGTZ": "Asia/Tokyo",
    "PGGEQO": "nonsense",
    "PGLOCALEDIR": "/nonexistent",
}
KNOWN = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}


def test_no_variable_of_libpq_reaches_the_embedded_database(used: Installation) -> None:
    everything = {**dict.fromkeys(KNOWN, "nonsense"), **WRONG, **BESIDE}
    assert set(WRONG) <= KNOWN
    hostile = Installation(used.data_dir, **everything)
    assert hostile.ask("schema", "check")["fits"] is True
    with hostile.serving(WORKERS="2") as server:
        key = hostile.ask("key", "create", "agent", "--workspace", "default")["apiKey"]
        with httpx.Client(
            base_url=f"{server.url}/v1/agent", headers={"Authorization": f"Bearer {key}"}
        ) as client:
            task = client.post("/create-task", json={"title": "Grüße"}).json()["data"]
            assert client.post("/get-task", json={"taskId": task["id"]}).json()["data"]["title"] == "Grüße"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_text_travels_as_utf_8_whatever_the_environment_says(dsn: str, encoding: str) -> None:
    installation = Installation(Path("/nowhere"), DATABASE_URL=dsn, PGCLIENTENCODING=encoding)
    slug = f"encoded-{encoding.lower().replace('_', '-')}"
    made = installation.ask("workspace", "create", slug, "--name", "Grüße ☃")
    assert made["name"] == "Grüße ☃"


# --- another program's URL, and a pooler

URLS = {
    "postgresql+psycopg://u:secret@h/d": "postgresql+psycopg://",
    "postgres+asyncpg://u:secret@h/d": "postgres+asyncpg://",
    "jdbc:postgresql://h/d?user=u&password=secret": "jdbc:postgresql://",
    "postgresql://u:secret@h/d?schema=public": "`schema`",
    "postgresql://u:secret@h/d?sslmode=require&pgbouncer=true": "DATABASE_POOLER=true",
    "postgresql://u:secret@h/d?connection_limit=5": "DATABASE_CONNECTIONS",
    "postgresql://u:secret@h/d?statement_cache_size=0": "DATABASE_POOLER=true",
    "postgresql://u:secret@h/d?nonsense=1": "`nonsense`",
    "postgresql://u:se@cret@h/d": "%40",
    "mysql://u:secret@h/d": "postgresql://",
    "host=h password=secret nonsense=1": "`nonsense`",
}


@pytest.mark.parametrize("url", URLS)
def test_the_url_of_another_program_gets_a_hint_and_its_password_is_not_repeated(url: str) -> None:
    with pytest.raises(Unreachable) as refused:
        schema.check(url)
    line = str(refused.value)
    assert "DATABASE_URL" in line
    assert URLS[url] in line
    assert "secret" not in line
    assert "se@cret" not in line


@pytest.mark.parametrize("command", [("serve",), ("schema", "check"), ("key", "list", "--workspace", "acme")])
def test_that_hint_is_one_line_of_every_command(command: tuple[str, ...]) -> None:
    url = "postgresql+psycopg://u:secret@h/d"
    line = Installation(Path("/nowhere"), DATABASE_URL=url, PORT="0").refusal(*command)
    assert URLS[url] in line
    assert "secret" not in line


async def test_a_pooler_that_was_not_said_to_be_one_is_recognised_and_the_setting_named() -> None:
    """Where no PgBouncer is: a socket that answers as it does to a connection that brings settings."""
    refusal = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
    answer = b"E" + (len(refusal) + 4).to_bytes(4, "big") + refusal

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        await writer.drain()
        writer.close()

    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        async with await asyncio.start_unix_server(refuse, f"{directory}/.s.PGSQL.5432"):
            url = f"host={directory} user=baton dbname=baton"
            db = Database(url, connections_max=2, statement_timeout_seconds=1, pooler=False)
            with pytest.raises(Unreachable, match=r"unsupported startup parameter.*DATABASE_POOLER=true"):
                await db.open()


# --- pipes


def test_it_comes_up_and_serves_when_the_reader_of_its_output_goes_away(used: Installation) -> None:
    """As `serve 2>&1 | head -1` does it: nobody reads any of what comes after the first line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    read, write = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        env={**os.environ, **used.settings, "PORT": str(port)},
        stdout=write,
        stderr=write,
    )
    os.close(write)
    try:
        with os.fdopen(read, "rb") as output:
            assert output.readline()
        eventually(lambda: healthy(port))
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/v1/agent/get-me").status_code == 401
        assert healthy(port)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(START_SECONDS_MAX) == 0


def test_it_serves_without_standard_streams(used: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["sh", "-c", f'exec "{sys.executable}" -m app serve <&- >&- 2>&-'],
        env={**os.environ, **used.settings, "PORT": str(port)},
    )
    try:
        eventually(lambda: healthy(port))
        assert httpx.get(f"http://127.0.0.1:{port}/v1/agent/get-me").status_code == 401
        opened = [Path(f"/proc/{server.pid}/fd/{number}").readlink() for number in (0, 1, 2)]
        assert opened == [Path(os.devnull)] * 3
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(START_SECONDS_MAX) == 0


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


# --- the first key


def test_while_no_key_was_ever_used_a_start_says_how_to_get_one_and_later_it_does_not(
    tmp_path: Path,
) -> None:
    installation = Installation(tmp_path / "data")
    command = f"{COMMAND} key create agent --workspace default"
    with installation.serving() as server:  # and its output was never seen
        assert command in server.output
    with installation.serving() as server:
        assert command in server.output
        made = installation.ask(*command.split()[3:])
        headers = {"Authorization": f"Bearer {made['apiKey']}"}
        assert httpx.get(f"{server.url}/v1/agent/get-me", headers=headers).status_code == 200
    with installation.serving() as server:
        assert "key create" not in server.output
    installation.remove()


# --- what is in the way


def test_a_home_that_does_not_exist_is_one_line() -> None:
    for command in (("serve",), ("key", "list", "--workspace", "default")):
        assert "DATA_DIR" in Installation(Path("~nosuchuser/x"), PORT="0").refusal(*command)


def test_a_damaged_database_is_named_and_no_url_is_blamed(used: Installation, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(used.data_dir, data_dir, symlinks=True)
    [version] = [
        path for path in data_dir.glob("postgres/base/*/PG_VERSION") if path.parent.name not in {"1", "4"}
    ]
    (version.parent / "pg_filenode.map").write_bytes(b"")
    for command in (("serve",), ("schema", "check")):
        done = Installation(data_dir, PORT="0").run(*command)
        assert done.returncode == 1
        line = done.stderr.splitlines()[-1]  # behind what a server logs
        assert "pg_filenode.map" in line
        assert "restore a backup" in line
        assert "DATABASE_URL" not in line
    shutil.rmtree(data_dir)
