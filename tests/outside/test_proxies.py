"""The configurations in docs/proxies.md, run as they stand there: calls, waits and streams under a path prefix."""

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.operations import create_task
from app.operations.runs.claim import WAIT_SECONDS_MAX
from tests.conftest import Server, World

DOCUMENT = (Path(__file__).parents[2] / "docs" / "proxies.md").read_text()
SECONDS_MAX = 30
NAME = "tasks.example"

FILES = {
    "nginx": "daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
    "http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;"
    " uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e; gzip on; gzip_min_length 1; gzip_proxied any;"
    " gzip_types application/json;\n{told}\n}}",
    "haproxy": "{told}\n",
    "caddy": "{{\n admin off\n auto_https off\n}}\n{told}\n",
}
LANGUAGES = {"nginx": "nginx", "haproxy": "haproxy", "caddy": "caddyfile"}
COMMANDS = {
    "nginx": ["-c", "{file}", "-e", "stderr"],
    "haproxy": ["-db", "-f", "{file}"],
    "caddy": ["run", "--adapter", "caddyfile", "--config", "{file}"],
}


def program(name: str) -> str | None:
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")


@pytest.fixture(scope="module")
def server(dsn: str) -> Iterator[Server]:
    server = Server(dsn, ALLOWED_HOSTS=NAME)
    yield server
    assert server.stop() == 0, server.stderr()
    server.log.close()


def needed(name: str) -> pytest.MarkDecorator:
    missing = (
        f"There is no {name}, so its configuration is not tried. Debian and Ubuntu: apt-get install {name}"
    )
    return pytest.mark.skipif(program(name) is None, reason=missing)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=needed(name)) for name in FILES])
def proxy(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A proxy in front of the server. Yields the URL of its prefix."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = re.search(rf"^```{LANGUAGES[name]}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/proxies.md says nothing of {name}"
    told = found[1].replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    told = told.replace("listen 8080", f"listen 127.0.0.1:{port}").replace(
        "bind :8080", f"bind 127.0.0.1:{port}"
    )
    file = folder / "config"
    file.write_text(FILES[name].format(folder=folder, told=told.replace("http://:8080", f"http://:{port}")))
    command = [program(name) or "", *(part.format(file=file) for part in COMMANDS[name])]
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        )
        try:
            url = f"http://127.0.0.1:{port}/baton"
            with httpx.Client(transport=httpx.HTTPTransport(retries=10), timeout=SECONDS_MAX) as client:
                answer = client.get(f"{url}/healthz", headers={"Host": NAME})
            assert answer.json() == {"ok": True}, (folder / "log").read_text()
            yield url
        finally:
            running.terminate()
            running.wait(SECONDS_MAX)


async def test_calls_waits_and_streams_pass(proxy: str, workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    headers = {**bot.headers, "Host": NAME, "X-Request-Id": "mine"}
    async with httpx.AsyncClient(base_url=proxy, headers=headers, timeout=SECONDS_MAX) as http:
        assert "paths" in (await http.get("/openapi.json")).json()
        upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
        created = await http.post("/v1/agent/create-task", json={"title": "a"}, headers=upgrade)
        assert (created.status_code, created.headers["x-request-id"]) == (200, "mine")
        stale = await http.post("/v1/agent/update-task", json={"taskId": "T-1", "version": 9, "title": "b"})
        assert stale.status_code in {400, 409}
        await http.post("/v1/agent/complete-task", json={"taskId": "T-1"})

        waiting = asyncio.create_task(http.post("/v1/agent/claim-next-task", json={"waitSeconds": 30}))
        task = await other(create_task, title="to wait for", assignee_agent_id=bot.id)
        [claim] = (await waiting).json()["data"]
        assert claim["task"]["id"] == task.id

        progress = await streamed(http, other, bot.id)
        assert progress, "it came while the call was under way"


async def streamed(http: httpx.AsyncClient, other: Any, assignee: str) -> list[str]:  # Any: a caller
    """What a call over MCP said while it waited: its task is made only when it has said something."""
    arguments = {"name": "claim-next-task", "arguments": {"waitSeconds": 30}, "_meta": {"progressToken": 1}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments}
    said: list[str] = []
    accept = {"Accept": "application/json, text/event-stream"}
    async with http.stream("POST", "/mcp", json=message, headers=accept) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        async for line in answer.aiter_lines():
            if "notifications/progress" in line:
                if not said:
                    await other(create_task, title="at last", assignee_agent_id=assignee)
                said.append(line)
            elif line.startswith("data:"):
                assert "at last" in line
                return said
    raise AssertionError("there was no result")


async def test_conditions_hold_behind_a_proxy_that_compresses(proxy: str, workspace: World) -> None:
    bot = await workspace.agent()
    headers = {**bot.headers, "Host": NAME, "Accept-Encoding": "gzip"}
    async with httpx.AsyncClient(base_url=proxy, headers=headers, timeout=SECONDS_MAX) as http:
        made = await http.post("/v1/tasks", json={"kind": "x"})
        shown = await http.get(f"/v1/tasks/{made.json()['id']}")
        url = f"/v1/tasks/{made.json()['id']}"
        first = await http.put(url, json={"title": "a"}, headers={"If-Match": shown.headers["etag"]})
        late = await http.put(url, json={"title": "b"}, headers={"If-Match": shown.headers["etag"]})
        assert (first.status_code, late.status_code) == (200, 409)
        document = await http.get("/openapi.json")
        again = await http.get("/openapi.json", headers={"If-None-Match": document.headers["etag"]})
        assert (document.headers["content-encoding"], again.status_code) == ("gzip", 304)


def test_timeouts_are_longer_than_the_longest_wait() -> None:
    told = "".join(re.findall(r"```\w+\n(.*?)```", DOCUMENT, re.DOTALL))
    timeouts = re.findall(r"(?:proxy_read_timeout|timeout (?:server|client)) (\d+)s", told)
    assert len(timeouts) == 3
    assert min(map(int, timeouts)) > WAIT_SECONDS_MAX
