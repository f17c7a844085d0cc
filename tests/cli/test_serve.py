"""`serve`: the first start and the second, stopping without losing a call, and settings that cannot be."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.installation import Installation, eventually


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """Nothing yet but a name for the data directory."""
    installation = Installation(tmp_path / "data")
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that had its first start long ago."""
    installation = Installation(tmp_path_factory.mktemp("used") / "data")
    with installation.serving():
        pass
    yield installation
    installation.remove()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_first_start_prints_a_key_and_a_curl_that_works_and_the_second_finds_the_data(
    installation: Installation,
) -> None:
    with installation.serving() as server:
        [key] = set(re.findall(r"baton_sk_[\w-]+", server.output))
        if shutil.which("curl"):
            curl = server.output[server.output.index("curl ") :].split("\n\n")[0]
            done = subprocess.run(["sh", "-c", curl], capture_output=True, check=True, text=True)
            assert '"identifier":"T-1"' in done.stdout
        else:
            httpx.post(
                f"{server.url}/v1/agent/create-task", headers=bearer(key), json={"title": "My first task"}
            )
        assert key not in server.stderr()
        assert "My first task" not in server.stderr()

    with installation.serving() as server:
        assert "baton_sk_" not in server.output
        me = httpx.get(f"{server.url}/v1/agent/get-me", headers=bearer(key)).json()["data"]
        assert (me["workspaceSlug"], me["handle"], me["kind"]) == ("default", "agent", "agent")
        assert [(channel["name"], channel["role"]) for channel in me["channels"]] == [("general", "poster")]
        [task] = httpx.get(f"{server.url}/v1/agent/list-tasks", headers=bearer(key)).json()["data"]
        assert task["title"] == "My first task"
        info = httpx.get(f"{server.url}/v1/agent/get-workspace-info", headers=bearer(key)).json()["data"]
        assert (info["memberCount"], info["agentCount"], info["channelCount"]) == (1, 1, 1)


def test_a_database_that_an_operator_filled_gets_no_default_workspace(installation: Installation) -> None:
    installation.ask("workspace", "create", "acme")
    with installation.serving() as server:
        assert "baton_sk_" not in server.output
    assert "`workspace create default`" in installation.refusal("key", "list", "--workspace", "default")


def test_a_start_that_was_cut_short_before_it_made_the_workspace_is_made_up_for(
    installation: Installation,
) -> None:
    installation.ask("schema", "apply")
    with installation.serving() as server:
        assert "baton_sk_" in server.output


def test_a_key_made_while_the_server_runs_works_at_once_and_a_revoked_one_stops_within_a_second(
    used: Installation,
) -> None:
    with used.serving() as server, httpx.Client(base_url=f"{server.url}/v1/agent") as client:
        agent = used.ask("agent", "create", "spy", "--workspace", "default")
        second = used.ask("key", "create", "spy", "--workspace", "default")
        for key in (agent["apiKey"], second["apiKey"]):
            assert client.get("/get-me", headers=bearer(key)).json()["data"]["handle"] == "spy"
        used.ask("key", "revoke", agent["keyId"], "--workspace", "default")
        deadline = time.monotonic() + 1.0
        while (refused := client.get("/get-me", headers=bearer(agent["apiKey"]))).status_code == 200:
            assert time.monotonic() < deadline, "a revoked key still works after a second"
        assert refused.status_code == 401
        assert "API key has been revoked" in refused.json()["error"]["message"]
        assert client.get("/get-me", headers=bearer(second["apiKey"])).status_code == 200


def test_a_verify_token_made_on_the_command_line_verifies_the_connection(used: Installation) -> None:
    agent = used.ask("agent", "create", "tester", "--workspace", "default")
    token = used.ask("verify-token", "create", "tester", "--workspace", "default")["token"]
    with used.serving() as server:
        url = f"{server.url}/v1/agent/verify-connection"
        first = httpx.get(url, params={"token": token}, headers=bearer(agent["apiKey"])).json()["data"]
        second = httpx.get(url, params={"token": token}, headers=bearer(agent["apiKey"])).json()["data"]
    assert first["ok"] is True
    assert (second["ok"], second["reason"]) == (False, "already_used")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_lets_the_call_under_way_finish_and_stops_postgres(
    used: Installation, how: signal.Signals, workers: str
) -> None:
    agent = used.ask("agent", "create", f"drained-{how.name.lower()}-{workers}", "--workspace", "default")
    with (
        ThreadPoolExecutor() as pool,
        used.serving(WORKERS=workers) as server,
        httpx.Client(
            base_url=f"{server.url}/v1/agent", headers=bearer(agent["apiKey"]), timeout=30
        ) as client,
        psycopg.connect(used.borrow()) as holder,
    ):
        task = client.post("/create-task", json={"title": "Slow"}).json()["data"]
        holder.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        call = pool.submit(client.post, "/complete-task", json={"taskId": task["id"]})
        with psycopg.connect(used.borrow(), autocommit=True) as watcher:
            waiting = (
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%task_id%%'"
            )
            eventually(lambda: watcher.execute(waiting).fetchone())
        server.process.send_signal(how)
        eventually(lambda: refuses_connections(server.url))
        assert not call.done()
        holder.rollback()

        assert call.result().json()["data"]["status"] == "done"
        assert server.process.wait(30) == 0, server.stderr()
        assert used.processes() == []
        assert "shut down" in (used.data_dir / "postgres.log").read_text().splitlines()[-1]


def refuses_connections(url: str) -> bool:
    address = httpx.URL(url)
    with socket.socket() as client:
        return client.connect_ex((address.host, address.port or 80)) != 0


def test_a_stop_before_the_start_is_over_leaves_nothing_behind(installation: Installation) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        env={**os.environ, **installation.settings, "PORT": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually((installation.data_dir / "owner.lock").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert installation.processes() == []


def test_a_port_that_is_taken_is_refused_before_anything_is_made(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = Installation(installation.data_dir, PORT=port).refusal("serve")
    assert port in line
    assert not installation.data_dir.exists()


BAD_SETTINGS = {
    "PORT": "http",
    "WORKERS": "0",
    "DATABASE_POOLER": "perhaps",
    "DATABASE_CONNECTIONS": "1",
    "STATEMENT_TIMEOUT_SECONDS": "nan",
    "REQUEST_TIMEOUT_SECONDS": "inf",
    "LOG_LEVEL": "loud",
    "LOG_FORMAT": "xml",
    "DATABASE_URL": "nonsense",
    "POSTGRES_BIN": "/nowhere",
    "DATA_DIR": "/proc/nowhere",
    "HOST": "999.999.999.999",
    "METRICS_PORT": "none",
    "METRICS_HOST": "999.999.999.999",
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_bad_setting_is_named(installation: Installation, name: str) -> None:
    bad = Installation(installation.data_dir, **{"PORT": "0", "METRICS_PORT": "0", name: BAD_SETTINGS[name]})
    line = bad.refusal("serve")
    assert name in line
    assert "Traceback" not in line
