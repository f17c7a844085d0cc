"""One line per request, in a form that machines read, and nothing in it that is nobody's business."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.auth import KEY_VISIBLE_CHARACTERS
from tests.conftest import Caller, Server, World
from tests.installation import eventually

MARKER = "marker-4f1d"  # stands in every text that a log must not hold
LINE_ENDS = "/nowhere/%22quoted%22%5C%0A%0D%E2%80%A8%C3%A9%20request=forged%00"  # a path that would like to be two lines

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACES: dict[str, bool] = {  # what is sent, and whether it counts
    f"00-{TRACE}-{SPAN}-01": True,
    f"cc-{TRACE}-{SPAN}-01-what-the-future-holds": True,
    f"00-{TRACE}-{SPAN}-01-more": False,
    f"cc-{TRACE}-{SPAN}-01.more": False,
    f"ff-{TRACE}-{SPAN}-01": False,
    f"00-{TRACE.upper()}-{SPAN}-01": False,
    f"00-{'0' * 32}-{SPAN}-01": False,
    f"00-{TRACE}-{'0' * 16}-01": False,
    f"00-{TRACE}-{SPAN}": False,
    f"00-{MARKER}": False,
    "nonsense": False,
}

JSON_KEYS = {"time", "status", "method", "path", "ms", "bytes", "actor", "key", "request"}
TEXT_LINE = re.compile(
    r'(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z) (?P<status>\d{3}) (?P<method>[A-Z]+) (?P<path>[^ ]+|".*") (?P<ms>[\d.]+)ms '
    r"(?P<bytes>\d+)B by=(?P<actor>[^ ]+) key=(?P<key>[^ ]+) request=(?P<request>[^ ]+)( error=(?P<error>[^ ]+))?"
    r"( trace=(?P<trace>[^ ]+) span=(?P<span>[^ ]+))?"
)


@dataclass
class Logged:
    """What was asked and answered, and what was logged meanwhile."""

    caller: Caller
    asked: list[tuple[str, int]] = field(default_factory=list)  # request id and status
    bytes: list[int] = field(default_factory=list)  # the size of each answer
    log: str = ""

    @property
    def lines(self) -> list[str]:
        return self.log.removesuffix("\n").split("\n") if self.log else []

    @property
    def secrets(self) -> list[str]:
        """What of the things that were sent stands in the log, but should not."""
        key = self.caller.api_key
        return [secret for secret in (MARKER, key, key[9:], key[-8:]) if secret in self.log]


def visible(caller: Caller) -> str:
    """What `key list` shows of a key, and what an operator searches the log for."""
    return caller.api_key[:KEY_VISIBLE_CHARACTERS]


async def logged(dsn: str, workspace: World, **settings: str) -> Logged:
    """Ask a server with these settings all sorts of things."""
    seen = Logged(await workspace.agent("bot"))
    server = Server(dsn, **settings)
    try:
        await ask_all_sorts_of_things(server.url, seen)
    finally:
        status = server.stop()
        seen.log = server.stderr()
        server.log.close()
    assert status == 0
    return seen


async def ask_all_sorts_of_things(url: str, seen: Logged) -> None:
    async with httpx.AsyncClient(base_url=url) as client:

        async def ask(verb: str, path: str, headers: dict[str, str], **what: Any) -> None:
            id = f"request-{len(seen.asked)}"
            answer = await client.request(verb, path, headers={**headers, "X-Request-Id": id}, **what)
            seen.asked.append((id, answer.status_code))
            seen.bytes.append(int(answer.headers["content-length"]))

        create, key = "/v1/agent/create-task", seen.caller.headers
        await ask("POST", create, key, json={"title": MARKER, "description": MARKER})
        await ask("POST", create, key, json={"title": MARKER, "status": MARKER})
        await ask("POST", create, key, json={"title": MARKER, "assigneeUserId": MARKER})
        await ask("POST", create, key, content=f'{{"{MARKER}": '.encode())
        await ask("POST", create, {"Authorization": f"Bearer {MARKER}"}, json={"title": MARKER})
        await ask("POST", "/v1/agent/comment-on-task", key, json={"taskId": "T-1", "body": MARKER})
        await ask("GET", "/v1/agent/get-task", key, params={"taskId": MARKER})
        await ask("GET", "/v1/agent/list-tasks", key, params={"query": MARKER})
        await ask("DELETE", "/v1/agent/get-task", key)
        await ask("GET", LINE_ENDS, key)
        await ask("GET", "/v1/agent/" + "x" * 1000, key)
        await ask("GET", "/healthz", {})
        await ask("GET", "/openapi.json", {})
        await ask("PUT", "/healthz", {})


async def test_every_request_is_one_line_of_json(dsn: str, workspace: World) -> None:
    seen = await logged(dsn, workspace, LOG_FORMAT="json")
    lines = [line for each in seen.lines if "request" in (line := json.loads(each))]
    ours = [line for line in lines if line["request"].startswith("request-")]
    assert [(line["request"], line["status"]) for line in ours] == seen.asked
    for line in ours:
        assert set(line) == JSON_KEYS | ({"error"} if line["status"] != 200 else set())
        assert line["ms"] > 0
        assert len(line["path"]) <= 200
    assert (ours[0]["method"], ours[0]["path"], ours[0]["actor"]) == ("POST", "/v1/agent/create-task", "bot")
    assert (ours[4]["actor"], ours[4]["key"], ours[4]["error"]) == (None, None, "AUTH_INVALID_API_KEY")
    assert [line["bytes"] for line in ours] == seen.bytes
    assert ours[0]["key"] == visible(seen.caller)
    assert seen.secrets == []


async def test_every_request_is_one_line_of_text(dsn: str, workspace: World) -> None:
    seen = await logged(dsn, workspace, LOG_FORMAT="text")
    lines = [match for line in seen.lines if (match := TEXT_LINE.fullmatch(line))]
    ours = [match for match in lines if match["request"].startswith("request-")]
    assert [(match["request"], int(match["status"])) for match in ours] == seen.asked
    assert (ours[0]["method"], ours[0]["path"], ours[0]["actor"]) == ("POST", "/v1/agent/create-task", "bot")
    assert (ours[4]["actor"], ours[4]["key"], ours[4]["error"]) == ("-", "-", "AUTH_INVALID_API_KEY")
    assert [int(line["bytes"]) for line in ours] == seen.bytes
    assert ours[0]["key"] == visible(seen.caller)
    assert seen.secrets == []


async def test_with_log_level_warning_a_server_without_trouble_says_nothing(
    dsn: str, workspace: World
) -> None:
    assert (await logged(dsn, workspace, LOG_LEVEL="warning")).lines == []


async def test_a_valid_traceparent_stands_in_the_line_and_any_other_is_no_trace(
    server: Server, workspace: World
) -> None:
    bot = await workspace.agent("bot")
    expected: dict[str, str | None] = {}

    def ask(sent: str, expects: str | None, **what: Any) -> None:
        id = f"trace-{workspace.slug}-{len(expected)}"
        expected[id] = expects
        headers = {**bot.headers, "X-Request-Id": id, **({"traceparent": sent} if sent else {})}
        httpx.post(headers=headers, **what)

    get_me, mcp = f"{server.url}/v1/agent/get-me", f"{server.url}/mcp"
    for sent, counts in TRACES.items():
        ask(sent, TRACE if counts else None, url=get_me, json={})
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    valid = next(iter(TRACES))
    ask(valid, TRACE, url=mcp, json=message)
    ask("", TRACE, url=mcp, json={**message, "params": {"_meta": {"traceparent": valid}}})
    ask("", None, url=mcp, json={**message, "params": {"_meta": {"traceparent": 7}}})

    def lines() -> dict[str, dict[str, Any]]:
        whole = server.stderr().split("\n")[:-1]
        return {line["request"]: line for line in map(json.loads, whole) if line.get("request") in expected}

    eventually(lambda: len(lines()) == len(expected))
    assert {id: line.get("trace") for id, line in lines().items()} == expected
    assert {line["span"] for line in lines().values() if "span" in line} == {SPAN}
