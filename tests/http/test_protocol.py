"""HTTP/1.1 as it comes from the socket: our own short way through uvicorn must answer like the long one."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.conftest import Server, World

SECONDS_MAX = 10


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=SECONDS_MAX) as connection:
        yield connection


def said(connection: socket.socket) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, headers and body of the next answer, byte by byte: what is behind it stays."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection was closed after {head!r}"
        head += byte
    status, *lines = head.decode().splitlines()[:-1]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(headers) == len(lines), "no header comes twice"
    body = connection.recv(int(headers["content-length"]), socket.MSG_WAITALL)
    return status.encode(), {n.encode(): v.encode() for n, v in headers.items()}, body


def get_me(key: str, more: str = "", version: str = "1.1") -> bytes:
    return f"POST /v1/agent/get-me HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{more}\r\n".encode()


async def test_requests_sent_in_one_go_are_answered_in_order(
    workspace: World, connection: socket.socket
) -> None:
    bot = await workspace.agent()
    key = bot.headers["Authorization"].removeprefix("Bearer ")
    names = [f"call-{n}" for n in range(10)]
    connection.sendall(
        b"".join(get_me(key, f"X-Request-Id: {name}\r\nContent-Length: 0\r\n") for name in names)
    )
    for name in names:
        status, headers, body = said(connection)
        assert (status, headers[b"x-request-id"]) == (b"HTTP/1.1 200 OK", name.encode())
        assert msgspec.json.decode(body)["meta"]["requestId"] == name


async def test_a_body_in_pieces_is_read_whole(workspace: World, connection: socket.socket) -> None:
    bot = await workspace.agent()
    head = (
        "POST /v1/agent/create-task?x=%20 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {bot.headers['Authorization']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    connection.sendall(head.encode() + b'd\r\n{"title": "in')
    connection.sendall(b'\r\na\r\n pieces"} \r\n0\r\n\r\n')
    status, _, body = said(connection)
    assert (status, msgspec.json.decode(body)["data"]["title"]) == (b"HTTP/1.1 200 OK", "in pieces")


async def test_head_has_the_length_and_no_body(connection: socket.socket) -> None:
    connection.sendall(b"HEAD /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]) > 1000
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said(connection)[2] == b'{"ok":true}', "what follows is the next answer"


@pytest.mark.parametrize("version, more", [("1.0", ""), ("1.1", "Connection: close\r\n")])
async def test_whoever_wants_the_connection_closed_finds_it_closed(
    version: str, more: str, connection: socket.socket
) -> None:
    connection.sendall(get_me("nobody", f"{more}Content-Length: 0\r\n", version))
    status, headers, _ = said(connection)
    assert status == b"HTTP/1.1 401 Unauthorized"
    assert headers[b"connection"] == b"close"
    assert connection.recv(1) == b""


async def test_whoever_asks_before_sending_a_body_is_told_to_go_on(
    workspace: World, connection: socket.socket
) -> None:
    bot = await workspace.agent()
    key = bot.headers["Authorization"].removeprefix("Bearer ")
    connection.sendall(get_me(key, "Expect: 100-continue\r\nContent-Length: 2\r\n"))
    assert connection.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"{}")
    assert said(connection)[0] == b"HTTP/1.1 200 OK"


async def test_what_is_not_http_is_refused(connection: socket.socket) -> None:
    connection.sendall(b"hello there\r\n\r\n")
    assert said(connection)[0] == b"HTTP/1.1 400 Bad Request"


async def test_an_offer_to_talk_otherwise_is_ignored(workspace: World, connection: socket.socket) -> None:
    bot = await workspace.agent()
    key = bot.headers["Authorization"].removeprefix("Bearer ")
    connection.sendall(get_me(key, "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"))
    assert said(connection)[0] == b"HTTP/1.1 200 OK"
