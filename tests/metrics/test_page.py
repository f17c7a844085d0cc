"""/metrics of a service with two workers: one answer for both, and its counters are what callers did."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.operations import OPERATIONS
from app.server.metrics.catalogue import COUNTED, METRICS
from tests.conftest import Caller, Server, World
from tests.installation import eventually
from tests.metrics.scrape import address, read, scrape

WORKERS = 2
CONNECTIONS = 12  # so many that both workers get some


@pytest.fixture(scope="module")
def counting(dsn: str) -> Iterator[Server]:
    """A server that counts, on the database of all tests."""
    server = Server(dsn, METRICS_PORT="0", WORKERS=str(WORKERS))
    eventually(lambda: scrape(server)("baton_workers") == WORKERS)
    eventually(lambda: scrape(server)("baton_gauge_read_timestamp_seconds", gauges="keys"))
    eventually(lambda: scrape(server)("baton_job_runs_total") and scrape(server)("baton_call_seconds_count"))
    yield server
    assert server.stop() == 0, server.stderr()
    server.close()


class Counted:
    """What counters have gained since this was made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = scrape(server)

    def __call__(self, name: str, **labels: str) -> float:
        return scrape(self._server)(name, **labels) - self._before(name, **labels)

    def becomes(self, count: float, name: str, **labels: str) -> None:
        """Wait until as many were counted: processes show theirs once a second."""
        eventually(lambda: self(name, **labels) >= count)
        assert self(name, **labels) == count


def post(server: Server, caller: Caller, path: str, body: Any, **headers: str) -> httpx.Response:
    """One call on a connection of its own."""
    return httpx.post(server.url + path, json=body, headers={**caller.headers, **headers})


def get(server: Server, caller: Caller, path: str) -> httpx.Response:
    """The same for what is read."""
    return httpx.get(server.url + path, headers=caller.headers)


def tool(server: Server, caller: Caller, name: str, **arguments: object) -> dict[str, Any]:
    """The result of a tool."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }
    return post(server, caller, "/mcp", message).json()["result"]


def test_everything_that_is_served_stands_in_the_catalogue_as_it_is(counting: Server) -> None:
    seen = scrape(counting)
    families = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert seen.kinds == {name: families[name].kind for name in seen.kinds}
    for name, has in seen.values:
        family = families[re.sub("_(total|bucket|sum|count)$", "", name)]
        assert {label for label, _ in has} - {"le"} == set(family.labels)
    # What has not happened yet is missing where there is one series for each thing that could.
    rare = {"baton_errors", "baton_merges", "baton_replays"}
    assert set(families) - rare <= set(seen.kinds)


def test_no_label_names_a_task_or_an_agent_and_operations_are_those_there_are(counting: Server) -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    assert labels <= {
        "version", "schema", "door", "operation", "code", "reason", "statements", "line", "state", "job",
        "workspace", "assigned", "table", "gauges",
    }  # fmt: skip
    known = {operation.name for operation in OPERATIONS} | {"other"}
    assert scrape(counting).labels("baton_calls_total", "operation") == known


async def test_calls_are_counted_by_door_and_operation_whichever_worker_answered(
    counting: Server, workspace: World
) -> None:
    bot = await workspace.agent("bot")
    counted = Counted(counting)
    for n in range(CONNECTIONS):
        post(counting, bot, "/v1/agent/create-task", {"title": str(n)})
        tool(counting, bot, "create-task", title=str(n))
    get(counting, bot, "/v1/agent/get-task?taskId=T-1")
    get(counting, bot, f"/v1/states/{uuid.uuid4()}")
    counted.becomes(CONNECTIONS, "baton_calls_total", door="http", operation="create-task")
    counted.becomes(CONNECTIONS, "baton_calls_total", door="mcp", operation="create-task")
    counted.becomes(2 * CONNECTIONS, "baton_call_seconds_count", operation="create-task")
    counted.becomes(1, "baton_calls_total", door="http", operation="get-task")
    counted.becomes(1, "baton_errors_total", operation="getState", code="not_found", reason="state_not_found")
    assert 0 < counted("baton_call_seconds_sum", operation="create-task") < 60


async def test_errors_merges_and_replays_are_counted_at_both_doors(
    counting: Server, workspace: World
) -> None:
    bot = await workspace.agent("bot")
    counted = Counted(counting)
    for door in ("http", "mcp"):

        def call(operation: str, door: str = door, **fields: object) -> Any:
            if door == "mcp":
                return tool(counting, bot, operation, **fields)["structuredContent"]
            return post(counting, bot, f"/v1/agent/{operation}", fields).json()["data"]

        key = f"key-{door}"
        task = call("create-task", title="A", idempotencyKey=key)["identifier"]
        call("create-task", title="A", idempotencyKey=key)
        call("update-task", taskId=task, version=1, title="B")
        call("update-task", taskId=task, version=1, priority="high", onConflict="merge")
    post(counting, bot, "/v1/agent/update-task", {"taskId": "T-1", "version": 1, "title": "C"})
    tool(counting, bot, "update-task", taskId="T-1", version=1, title="C")
    counted.becomes(2, "baton_replays_total", operation="create-task")
    counted.becomes(2, "baton_merges_total", operation="update-task")
    counted.becomes(
        2, "baton_errors_total", operation="update-task", code="conflict", reason="version_conflict"
    )
    # Other servers work on the same database, but whatever is counted here came in here.
    counted.becomes(6, "baton_batch_items_sum", statements="write")


async def test_what_is_no_operation_is_counted_as_other(counting: Server, workspace: World) -> None:
    bot = await workspace.agent("bot")
    counted = Counted(counting)
    get(counting, bot, "/nowhere")
    post(counting, bot, "/v1/agent/get-me", {}, Authorization="Bearer nobody")
    post(counting, bot, "/v1/agent/no-such-operation", {})
    post(counting, bot, "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    post(
        counting, bot, "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "none"}}
    )
    post(counting, bot, "/mcp", {"jsonrpc": "2.0", "id": 1, "method": 7})
    counted.becomes(1, "baton_calls_total", door="page")
    counted.becomes(2, "baton_calls_total", door="http", operation="other")
    counted.becomes(3, "baton_calls_total", door="mcp", operation="other")
    counted.becomes(
        1, "baton_errors_total", operation="other", reason="key_invalid", code="AUTH_INVALID_API_KEY"
    )
    counted.becomes(2, "baton_errors_total", operation="other", reason="unknown_path")
    counted.becomes(2, "baton_errors_total", operation="other", reason="protocol")


async def test_each_message_of_a_batch_is_a_call_and_the_batch_is_none(
    counting: Server, workspace: World
) -> None:
    bot = await workspace.agent("bot")
    counted = Counted(counting)

    def call(id: int, name: str, **arguments: object) -> dict[str, object]:
        return {
            "jsonrpc": "2.0",
            "id": id,
            "method": "tools/call",
            "params": {"name": name, "arguments": arguments},
        }

    batch = [
        call(1, "create-task", title="A"),
        call(2, "get-task", taskId="T-9"),
        call(3, "get-task", taskId="T-1"),
    ]
    assert len(post(counting, bot, "/mcp", batch, **{"MCP-Protocol-Version": "2025-03-26"}).json()) == 3
    counted.becomes(1, "baton_calls_total", door="mcp", operation="create-task")
    counted.becomes(2, "baton_calls_total", door="mcp", operation="get-task")
    counted.becomes(1, "baton_errors_total", operation="get-task", reason="task_not_found")
    counted.becomes(3, "baton_calls_total", door="mcp")


def test_workers_and_their_connections_stand_in_one_answer(counting: Server) -> None:
    with httpx.Client() as client:
        client.get(f"{counting.url}/healthz")
        eventually(lambda: scrape(counting)("baton_connections") >= 1)
    seen = scrape(counting)
    assert (seen("baton_workers"), seen("baton_worker_starts_total")) == (WORKERS, WORKERS)
    assert seen("baton_pool_connections", state="idle") >= WORKERS
    for job in seen.labels("baton_job_runs_total", "job"):
        assert seen("baton_job_runs_total", job=job) >= WORKERS
        assert seen("baton_job_last_success_timestamp_seconds", job=job) > 0
    assert seen("baton_database_up") == 1


def test_the_page_answers_in_gzip_and_says_what_else_it_is_not(counting: Server) -> None:
    url = address(counting)
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    packed = httpx.get(url, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert read(plain.text).kinds == read(packed.text).kinds
    assert httpx.head(url).text == ""
    assert httpx.post(url).status_code == 405
    assert httpx.get(url.replace("/metrics", "/")).status_code == 404
    assert httpx.get(url, headers={"Host": "rebound.example.com"}).status_code == 403
    assert httpx.get(f"{counting.url}/metrics").status_code == 404  # it is on no port but its own


def listening(pid: int) -> list[str]:
    """The TCP sockets on which a process takes connections, as Linux tells."""
    own: set[str] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(str(entry.readlink()))
        except OSError:  # closed meanwhile
            continue
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]


def test_unless_it_is_set_there_is_no_port_and_nothing_is_counted(server: Server, counting: Server) -> None:
    assert "Metrics" not in server.output
    assert len(listening(server.process.pid)) == 1
    assert len(listening(counting.process.pid)) == 2


@pytest.mark.parametrize("metric", [metric.name for metric in COUNTED])
def test_names_are_as_prometheus_wants_them(metric: str) -> None:
    kinds = {m.name: m.kind for m in METRICS}
    assert metric.startswith("baton_")
    assert metric.endswith("_total") == (kinds[metric] == "counter")
