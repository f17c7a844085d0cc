"""Which web pages may call, and under which names this server answers: the same on every path, in every answer."""

import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from app.config import Config
from app.operations import OPERATIONS
from app.transports.gate import EXPOSED, Names, Pages, host_name
from tests.conftest import Server, World

PAGE = "https://board.example"
OURS = ("http://localhost:6274", "http://127.0.0.1", "https://[::1]:3000", "http://app.localhost:5173", PAGE)
OTHERS = (
    "https://evil.example",
    "http://localhost.evil.example",
    "https://board.example.evil",
    "http://board.example",
    "https://board.example:8443",
    "http://[",
    "file://",
    "null",
    "",
)
PATHS = (
    "/",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/mcp",
    *sorted(op.path for op in OPERATIONS if op.method is None),
)
PATTERNS = sorted({re.sub(r"\{\w+\}", "x", op.path) for op in OPERATIONS if op.method is not None})
SENT = "authorization,content-type,idempotency-key,mcp-protocol-version,mcp-session-id,x-request-id"


@pytest.fixture(scope="module")
def server(dsn: str) -> Iterator[Server]:
    server = Server(
        dsn, WEB_ORIGINS=f"{PAGE}/ , https://other.example", ALLOWED_HOSTS="tasks.example, b.example"
    )
    yield server
    assert server.stop() == 0, server.stderr()
    server.log.close()


@pytest_asyncio.fixture(loop_scope="session")
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        yield client


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    """What a browser asks ahead of a call. It never sends a key along."""
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": SENT,
    }


def access(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", [*PATHS, *PATTERNS])
async def test_a_page_that_may_call_learns_it_without_a_key(http: httpx.AsyncClient, path: str) -> None:
    for origin in OURS:
        answer = await http.options(path, headers=preflight(origin))
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-headers"] == SENT
        assert answer.headers["access-control-allow-methods"] == answer.headers["allow"]
        assert "Origin" in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers, "there are no cookies"
    for origin in OTHERS:
        assert access(await http.options(path, headers=preflight(origin))) == {}


@pytest.mark.parametrize("path", [*PATHS, *PATTERNS, "/nowhere", "/v1/agent/nowhere"])
async def test_a_page_that_may_call_can_read_every_answer_errors_included(
    http: httpx.AsyncClient, workspace: World, path: str
) -> None:
    bot = await workspace.agent(scopes="all,operator")
    for origin in OURS:
        for method, headers in (("GET", {}), ("POST", {}), ("POST", bot.headers), ("TRACE", bot.headers)):
            sent = {**headers, "Origin": origin, "Content-Type": "application/json"}
            answer = await http.request(method, path, content=b'{"limit": "no"', headers=sent)
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-expose-headers"] == EXPOSED.decode()
            assert "Origin" in answer.headers["vary"]
    for origin in OTHERS:
        sent = {**bot.headers, "Origin": origin, "Content-Type": "application/json"}
        assert access(await http.post(path, content=b"{", headers=sent)) == {}
    for method in ("GET", "HEAD"):
        answer = await http.request(method, path, headers=bot.headers)
        assert access(answer) == {}
        assert "Origin" in answer.headers["vary"], "a cache must not give this to a page"


async def test_a_page_may_read_every_header_that_is_documented(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    documented = {
        name.lower()
        for path in document["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for name in answer.get("headers", {})
    }
    assert documented <= set(EXPOSED.decode().split(", "))


async def test_a_page_from_the_internet_may_call_into_a_private_network(http: httpx.AsyncClient) -> None:
    asked = {**preflight(PAGE), "Access-Control-Request-Private-Network": "true"}
    answer = await http.options("/mcp", headers=asked)
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "host, good",
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:1", True),
        ("[::1]:8000", True),
        ("192.168.1.7:8000", True),  # an address leads nowhere else
        ("baton", True),  # nobody can register a name without a dot
        ("host.docker.internal:8000", True),
        ("app.localhost", True),
        ("tasks.example", True),
        ("B.Example:443", True),
        ("evil.example", False),
        ("localhost.evil.example:8000", False),
        ("127.0.0.1.nip.io", False),
        ("tasks.example.evil", False),
        ("evil.example.", False),
    ],
)
async def test_on_this_machine_only_names_count_that_no_stranger_can_point_here(
    http: httpx.AsyncClient, workspace: World, host: str, good: bool
) -> None:
    bot = await workspace.agent()
    for method, path in (
        ("GET", "/"),
        ("GET", "/healthz"),
        ("POST", "/v1/agent/get-me"),
        ("OPTIONS", "/mcp"),
    ):
        answer = await http.request(method, path, headers={**bot.headers, "Host": host})
        assert (answer.status_code in {200, 204}) == good
        if not good:
            assert answer.status_code == 403
            assert "ALLOWED_HOSTS" in answer.json()["error"]["message"]


def test_who_listens_to_the_network_answers_to_any_name_unless_some_are_given() -> None:
    assert Names("0.0.0.0", []).allow(b"tasks.example")
    assert Names("::", []).allow(b"tasks.example")
    assert Names("127.0.0.1", ["*"]).allow(b"tasks.example")
    assert not Names("0.0.0.0", ["tasks.example"]).allow(b"evil.example")
    assert Names("0.0.0.0", ["tasks.example"]).allow(b"tasks.example:8000")
    assert not Names("::1", []).allow(b"evil.example")
    assert host_name(b"[::1]:8000") == "::1"


def test_the_older_setting_still_lets_pages_in() -> None:
    pages = Pages(Config(mcp_origins="https://a.example/", web_origins="https://B.example").allowed_origins)
    assert [pages.allow(origin) for origin in (b"https://a.example", b"https://b.example")] == [True, True]
    assert not pages.allow(b"https://c.example")
