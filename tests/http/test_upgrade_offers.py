"""An offer to upgrade changes nothing, on any path of the real server: the body counts as it does without the offer."""

import json
import re
import socket
from contextlib import closing
from urllib.parse import urlsplit

import h11
import pytest

from app.operations import OPERATIONS
from tests.conftest import Server, World

BODY = b"[1]"  # no operation takes it, and none but those would say so if it were lost
FIRST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
OFFER = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
SECONDS_MAX = 30
PLACES = sorted(
    {
        *(("POST", path) for path in ("/", "/healthz", "/openapi.json", "/mcp", "/nowhere")),
        *((op.method or "POST", re.sub(r"\{\w+\}", "x", op.path)) for op in OPERATIONS),
    }
)


def framed(method: str, path: str, headers: str, framing: str) -> tuple[bytes, bytes]:
    """A request's head and its body."""
    length = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(BODY)}"
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}{length}\r\n\r\n"
    body = b"1\r\n[\r\n2\r\n1]\r\n0\r\n\r\n" if framing == "chunked" else BODY
    return head.encode(), body


class Wire:
    """One connection; says what each answer on it is."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._socket = socket.create_connection((where.hostname, where.port or 80), timeout=SECONDS_MAX)
        self._data = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, str]:
        """The next answer: its status, and its body but for what differs each time."""
        theirs = h11.Connection(h11.CLIENT)
        theirs.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        theirs.send(h11.EndOfMessage())
        if self._data:
            theirs.receive_data(self._data)
        status, body = 0, b""
        while True:
            event = theirs.next_event()
            if event is h11.NEED_DATA:
                data = self._socket.recv(65536)
                assert data, "closed before the answer was there"
                theirs.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        self._data = theirs.trailing_data[0]
        return status, re.sub(r'"(requestId|timestamp)":"[^"]*"', r'"\1":""', body.decode())

    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self._data == b"" and self._socket.recv(1) == b""

    def close(self) -> None:
        self._socket.close()


def said_of(together: Wire, apart: Wire, head: bytes, body: bytes) -> list[tuple[int, str]]:
    """The answers to a request between two others, which are the same whether its body comes with its head or later."""
    together.send(FIRST + head + body + LAST)
    apart.send(FIRST + head)
    said = [together.answer() for _ in range(3)]
    first = apart.answer()  # so the head has been read, and the body has not been sent
    apart.send(body + LAST)
    assert said == [first, apart.answer(), apart.answer()]
    assert together.is_over() and apart.is_over(), "a body was taken for a request"
    return said


@pytest.mark.parametrize("method, path", PLACES)
async def test_an_offer_to_upgrade_costs_no_path_its_body(
    server: Server, workspace: World, method: str, path: str
) -> None:
    key = f"Authorization: {(await workspace.agent(scopes='all,operator')).headers['Authorization']}\r\n"
    told: list[list[tuple[int, str]]] = []
    for headers in (key, key + OFFER, key + OFFER):  # a second time too, when the head is known
        for framing in ("length", "chunked"):
            head, body = framed(method, path, headers, framing)
            with closing(Wire(server.url)) as together, closing(Wire(server.url)) as apart:
                told.append(said_of(together, apart, head, body))
    assert all(said == told[0] for said in told)
    assert [status for status, _ in (told[0][0], told[0][2])] == [200, 404]
    if path.startswith("/v1/agent/") or path == "/mcp":
        assert told[0][1][0] == 400 and "error" in json.loads(told[0][1][1])
