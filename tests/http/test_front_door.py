"""Connections: whatever comes, in whatever pieces, gets the answers that were due, and nobody can have more than their share."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import h11
import pytest
import uvicorn
import uvloop
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from app.server.crowd import Limits
from app.server.http1 import HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX
from app.server.outbox import GATHERED_BYTES_MAX
from app.server.protocol import UNREAD_BYTES_MAX, Connection, Door

SECONDS_MAX = 20
SOON = 0.05
MUCH = 64 * 1024 * 1024  # more than any socket holds
PATIENT = Limits()._replace(look_seconds=SOON / 5)

heard: list[str] = []  # what the application saw besides requests
connected: list[set[Any]] = []  # of each door in its turn, the connections there are now


async def app(scope: Any, receive: Any, send: Any) -> None:  # Any: as ASGI has it
    """Says what it was asked. Its paths say how: `/early` does not read the body, `/waits` not before the caller is gone."""
    path = scope["path"]
    if path == "/slow":
        for _ in range(4):
            await asyncio.sleep(0)
    body, more = b"", path != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            heard.append("gone before the body was there")
            return
        body += message["body"]
        more = message["more_body"]
    if path == "/waits":
        heard.append("waits")
        assert (await receive())["type"] == "http.disconnect"
        heard.append("gone while waiting")
        return
    said = {key: scope[key] for key in ("method", "path", "query_string", "http_version", "headers")}
    scope["headers"].append((b"x-mine", b"and not the next request's"))
    answer = json.dumps({**said, "body": body}, default=lambda value: value.decode("latin-1")).encode()
    if path == "/much":
        answer += b" " * MUCH
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": answer, "more_body": True})
        await send({"type": "http.response.body"})
        return
    if path == "/broken":
        raise RuntimeError("this is only a test")
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def door(limits: Limits = PATIENT) -> AsyncGenerator[tuple[str, int]]:
    """A door, and behind it the application. Yields its address."""
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(app, http=Door(limits), ws="none", lifespan="off", log_config=None)  # pyright: ignore[reportArgumentType] -- as in app/server/serve.py
    config.load()
    state = ServerState()
    connected.append(state.connections)

    def connection() -> Connection:
        return config.http_protocol_class(config=config, server_state=state, app_state={}, _loop=loop)  # pyright: ignore[reportCallIssue, reportReturnType] -- as uvicorn calls it

    async with asyncio.timeout(SECONDS_MAX), await loop.create_server(connection, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()


async def until(come: Callable[[], bool]) -> None:
    """Return when something has happened in this process; the door's time limit ends a vain wait."""
    while not come():  # noqa: ASYNC110 - what happens inside the server sets no event
        await asyncio.sleep(SOON / 5)


class Piece(NamedTuple):
    """Some bytes, and how many turns of the event loop pass before more come."""

    data: bytes
    turns: int = 0


async def talk(address: tuple[str, int], sent: Sequence[Piece]) -> bytes:
    """What is answered to these bytes until the connection is closed."""
    reader, writer = await asyncio.open_connection(*address)
    reading = asyncio.create_task(reader.read())
    try:
        for piece in sent:
            writer.write(piece.data)
            for _ in range(piece.turns):
                await asyncio.sleep(0)
        return await reading
    finally:
        writer.close()


def answers_to(*sent: bytes, limits: Limits = PATIENT) -> list["Answer"]:
    """The answers to some bytes, which end the connection."""

    async def run() -> bytes:
        async with door(limits) as address:
            return await talk(address, [Piece(data, 8) for data in sent])

    return answers(uvloop.run(run()))


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def answers(data: bytes, *methods: str) -> list[Answer]:
    """The answers in some bytes, as h11 understands them. Nothing may be left over."""
    found: list[Answer] = []
    while data:
        theirs = h11.Connection(h11.CLIENT)
        method = methods[len(found)] if len(methods) > len(found) else "GET"
        theirs.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        theirs.send(h11.EndOfMessage())
        theirs.receive_data(data)
        theirs.receive_data(b"")
        body = b""
        head: h11.Response | None = None
        while not isinstance(event := theirs.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.InformationalResponse), event
        assert head is not None
        found.append(Answer(head.status_code, dict(head.headers), body))
        data = theirs.trailing_data[0]
    return found


def post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(path: str, body: bytes, more: str = "") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:3], body[3:]) if part)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Transfer-Encoding: chunked\r\n\r\n".encode()
    return head + chunks + b"0\r\n\r\n"


ONE = post("/echo", b"one")
REQUESTS = (
    ONE,
    post("/echo", b"two"),  # with the same head
    post("/slow", b"one"),
    post("/stream", b"one"),
    post("/echo", b""),
    post("/echo", ONE),  # a request that is only a body
    post("/early", ONE),  # the same, and when it comes, its answer is out
    post("/echo", b"one", f"X-Long: {'x' * 2048}\r\n"),
    post("/echo", b"one", "Connection: keep-alive\r\n"),
    post("/echo", b"one", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    chunked("/echo", b"chunks", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    chunked("/echo", b"chunks"),
    b"GET /echo%20this?x=%20 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
)
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
JUNK = b"what is this\r\n\r\n"


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Some requests, mostly each in one piece."""
    several = draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8))
    sent = [*several, draw(st.sampled_from((LAST, LAST, JUNK)))]
    found: list[Piece] = []
    glued = b""
    for request in sent:
        data, turns = glued + request, draw(st.integers(0, 8))
        match draw(st.sampled_from(("whole", "whole", "cut", "glued"))):
            case "cut":
                at = draw(st.integers(1, len(data) - 1))
                found += [Piece(data[:at], turns), Piece(data[at:], draw(st.integers(0, 8)))]
                glued = b""
            case "glued":
                glued = data
            case _:
                found.append(Piece(data, turns))
                glued = b""
    return [*found, Piece(glued)]


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(pieces())
@example([Piece(ONE, 8)] * 3 + [Piece(ONE + ONE, 8), Piece(ONE[:-1], 8), Piece(ONE[-1:] + LAST)])
@example([Piece(post("/early", ONE)[: -len(ONE)], 8), Piece(ONE, 8), Piece(LAST)])
@example([Piece(post("/slow", b"one")), Piece(ONE), Piece(ONE + LAST)])
@example([Piece(ONE, 8), Piece(ONE + JUNK)])
@example([Piece(post("/echo", b"x" * 3 * GATHERED_BYTES_MAX)), Piece(ONE + LAST)])
@example([Piece(post("/slow", b"x" * 3 * UNREAD_BYTES_MAX) + ONE * 9), Piece(ONE * 999 + LAST)])
def test_each_request_gets_its_answer_in_whatever_pieces_it_comes(sent: list[Piece]) -> None:
    async def both() -> tuple[bytes, bytes]:
        async with door() as address:
            whole = Piece(b"".join(piece.data for piece in sent))
            return await talk(address, sent), await talk(address, [whole])

    in_pieces, at_once = map(answers, uvloop.run(both()))
    # A request id is fresh in each refusal, and with it the answer's length may differ.
    assert [plain(answer) for answer in in_pieces] == [plain(answer) for answer in at_once]
    assert in_pieces[-1].headers[b"connection"] == b"close"


def plain(answer: Answer) -> tuple[int, Any]:
    return answer.status, answer.body if answer.status == 200 else answer.json()["error"]["message"]


UPGRADES = ("h2c", "websocket", "TLS/1.2", "foo", "h2c, websocket", "")


@pytest.mark.parametrize("offer", UPGRADES)
@pytest.mark.parametrize("framed", [post, chunked])
def test_an_offer_to_upgrade_changes_nothing(offer: str, framed: Any) -> None:
    more = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {offer}\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    bodies = [b"body", post("/smuggled", b"x"), b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"]
    for body in bodies:
        request = framed("/echo", body, more)
        cut = request.index(b"\r\n\r\n") + 4
        for sent in (
            [request + LAST],
            [request[:cut], request[cut:], LAST],
            [request, request, LAST],
            [request * 3 + LAST],
        ):
            *said, last = answers_to(*sent)
            assert [answer.json()["body"] for answer in said] == [body.decode()] * b"".join(sent).count(
                request
            )
            assert last.json()["path"] == "/last"


@pytest.mark.parametrize(
    "status, sent",
    [
        (400, JUNK),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: x\nX"),
        (400, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        (400, post("/v1/agent/get-me", b"", "Authorization: a\r\nAuthorization: b\r\n")),
        (414, b"GET /" + b"a" * REQUEST_LINE_BYTES_MAX),
        (431, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * HEAD_BYTES_MAX),
        (501, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ],
)
def test_who_cannot_be_understood_is_told_and_let_go(status: int, sent: bytes) -> None:
    *_, answer = answers_to(ONE, sent)
    assert (answer.status, answer.headers[b"connection"]) == (status, b"close")
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.json()["meta"]["requestId"] == answer.headers[b"x-request-id"].decode()


@pytest.mark.parametrize(
    "path, key",
    [("/v1/agent/get-me", "success"), ("/v1/sdk/post", "success"), ("/v1/tasks/x", "code"), ("/", "success")],
)
def test_a_refusal_is_in_the_words_of_the_family(path: str, key: str) -> None:
    [answer] = answers_to(post(path, b"", "If-Match: 1\r\nIf-Match: 2\r\n"))
    assert answer.status == 400
    assert key in answer.json()
    assert "If-Match".lower() in str(answer.json())


def test_what_goes_wrong_unsaid_is_said() -> None:
    assert [answer.status for answer in answers_to(ONE, post("/broken", b""))] == [200, 500]


# Time ------------------------------------------------------------------------------------------------------


def impatient(**what: float) -> Limits:
    return PATIENT._replace(**what)


@pytest.mark.parametrize(
    "limits, sent, statuses",
    [
        (impatient(first_byte_seconds=SOON), b"", []),
        (impatient(first_byte_seconds=SOON), b"\r\n\r\n", []),
        (impatient(head_seconds=SOON), b"G", [408]),
        (impatient(head_seconds=SOON), ONE.partition(b"Content")[0], [408]),
        (impatient(head_seconds=SOON), ONE + b"GET /", [200, 408]),
        (impatient(keep_alive_seconds=SOON), ONE, [200]),
        (impatient(body_seconds=SOON), ONE[:-1], [408]),
        (impatient(body_seconds=SOON), chunked("/echo", b"chunks")[:-1], [408]),
        (impatient(body_seconds=SOON), post("/early", b"one")[:-1], [200]),
    ],
    ids=str,
)
def test_whoever_stops_halfway_is_let_go(limits: Limits, sent: bytes, statuses: list[int]) -> None:
    heard.clear()
    assert [answer.status for answer in answers_to(sent, limits=limits)] == statuses
    assert heard in ([], ["gone before the body was there"])


async def test_a_head_has_its_time_however_it_dribbles() -> None:
    async with door(impatient(head_seconds=4 * SOON)) as address:
        reader, writer = await asyncio.open_connection(*address)
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(b"G")
            await asyncio.wait({reading}, timeout=SOON / 5)
        writer.close()
    [answer] = answers(reading.result())
    assert answer.status == 408


async def test_a_body_has_its_time_unless_enough_of_it_comes() -> None:
    for rate, whole in ((1e9, False), (1.0, True)):
        async with door(impatient(body_seconds=4 * SOON, body_bytes_per_second=rate)) as address:
            reader, writer = await asyncio.open_connection(*address)
            reading = asyncio.create_task(reader.read())
            writer.write(post("/echo", b"x" * 99, "Connection: close\r\n")[:-99])
            left = 99
            while not reading.done() and left:
                writer.write(b"x")
                left -= 1
                await asyncio.wait({reading}, timeout=SOON / 5)
            [answer] = answers(await reading)
            writer.close()
        assert answer.status == (200 if whole else 408)


def test_a_connection_is_not_quiet_while_a_request_is_answered() -> None:
    limits = impatient(keep_alive_seconds=SOON, head_seconds=SOON, body_seconds=SOON, first_byte_seconds=SOON)

    async def run() -> bytes:
        async with door(limits) as address:
            reader, writer = await asyncio.open_connection(*address)
            heard.clear()
            writer.write(post("/waits", b"one"))
            await until(lambda: "waits" in heard)
            quiet = asyncio.create_task(reader.read())
            await asyncio.wait({quiet}, timeout=4 * SOON)
            assert not quiet.done()
            writer.close()
            await until(lambda: "gone while waiting" in heard)
            return await quiet

    assert uvloop.run(run()) == b""


async def test_whoever_takes_no_answer_is_let_go() -> None:
    async with door(impatient(answer_seconds=SOON)) as address:
        with socket.create_connection(address) as connection:
            connection.sendall(post("/much", b""))
            reader, writer = await asyncio.open_connection(*address)
            writer.write(ONE)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n", "others are served"
            await until(lambda: len(connected[-1]) == 1)
            connection.settimeout(SECONDS_MAX)
            got = 0
            while more := await asyncio.to_thread(connection.recv, 1 << 20):
                got += len(more)
            assert got < MUCH, "the rest of the answer is not kept for somebody who may never take it"
            writer.close()


# Number ----------------------------------------------------------------------------------------------------


async def test_the_oldest_who_says_nothing_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with door(PATIENT._replace(connections_max=3)) as address:
        good = await asyncio.open_connection(*address)
        good[1].write(ONE)
        assert await good[0].readline() == b"HTTP/1.1 200 OK\r\n"
        silent = [await asyncio.open_connection(*address) for _ in range(20)]
        assert [await reader.read() for reader, _ in silent[:18]] == [b""] * 18
        good[1].write(LAST)
        assert b"/last" in await good[0].read(), "who has been answered stays before who has said nothing"
        assert not any(reader.at_eof() for reader, _ in silent[18:])
        for _, writer in (good, *silent):
            writer.close()
    said = [record for record in caplog.records if record.name == "baton.connections"]
    assert len(said) == 1, "one line, not one for each"


async def test_who_is_being_answered_is_not_dropped() -> None:
    heard.clear()
    async with door(PATIENT._replace(connections_max=2)) as address:
        busy = [await asyncio.open_connection(*address) for _ in range(2)]
        for _, writer in busy:
            writer.write(post("/waits", b""))
        await until(lambda: heard.count("waits") == len(busy))
        reader, writer = await asyncio.open_connection(*address)
        [answer] = answers(await reader.read())
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
        assert not any(reader.at_eof() for reader, _ in busy)
        for _, waiting in (*busy, (reader, writer)):
            waiting.close()


@pytest.mark.parametrize("framed", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
async def test_an_endless_body_is_not_read_for_ever(framed: str) -> None:
    limits = PATIENT._replace(left_over_bytes_max=1024 * 1024)
    async with door(limits) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"POST /early HTTP/1.1\r\nHost: x\r\n{framed}\r\n\r\n".encode())
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * limits.left_over_bytes_max:
                writer.write(b"10000\r\n%b\r\n" % (b"x" * 0x10000))
                sent += 0x10000
                await writer.drain()
        assert sent < 64 * limits.left_over_bytes_max, "what the sockets hold comes on top"
        writer.close()


# Coming and going ------------------------------------------------------------------------------------------


async def test_who_sends_and_closes_its_side_at_once_is_answered() -> None:
    async with door() as address:
        with socket.create_connection(address) as connection:
            connection.sendall(ONE)
            connection.shutdown(socket.SHUT_WR)
            reader, writer = await asyncio.open_connection(sock=connection)
            [answer] = answers(await reader.read())
            writer.close()
    assert answer.json()["body"] == "one"


@pytest.mark.parametrize("sent", [ONE[:-1], ONE[:-3], chunked("/echo", b"chunks")[:-2]])
async def test_who_leaves_before_the_body_is_there_has_asked_for_nothing(sent: bytes) -> None:
    heard.clear()
    async with door() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == b""
        await until(lambda: bool(heard))
        writer.close()
    assert heard == ["gone before the body was there"]


async def test_who_asks_before_sending_a_body_is_told_to_go_on_or_to_go() -> None:
    for path, says in (("/echo", b"HTTP/1.1 100 Continue\r\n"), ("/early", b"HTTP/1.1 200 OK\r\n")):
        async with door() as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(post(path, b"one", "Expect: 100-continue\r\n")[:-3])
            first = await reader.readline()
            assert first == says
            if path == "/echo":
                await reader.readline()
                writer.write(b"one" + LAST)
            [*_, answer] = answers((b"" if path == "/echo" else first) + await reader.read())
            assert answer.headers[b"connection"] == b"close"
            writer.close()


def test_head_has_the_length_and_no_body() -> None:
    async def run() -> bytes:
        async with door() as address:
            return await talk(address, [Piece(ONE.replace(b"POST", b"HEAD") + LAST)])

    head, last = answers(uvloop.run(run()), "HEAD")
    assert (head.body, int(head.headers[b"content-length"]) > 10, last.json()["path"]) == (b"", True, "/last")


@pytest.mark.parametrize("path", ["/echo", "/stream"])
def test_http_1_0_is_answered_and_closed(path: str) -> None:
    [answer] = answers_to(f"POST {path} HTTP/1.0\r\nContent-Length: 3\r\n\r\none".encode())
    assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
    assert b"transfer-encoding" not in answer.headers
    assert b'"body": "one"' in answer.body
