"""Our protocol and uvicorn's own are sent the same bytes, in the same pieces, and must answer with the same bytes."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import uvicorn
import uvloop
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app import protocol
from app.outbox import GATHERED_BYTES_MAX
from app.protocol import HEAD_BYTES_REMEMBERED_MAX, HEADS_REMEMBERED_MAX, HttpProtocol

SECONDS_MAX = 10
PATIENCE_SECONDS = 0.1  # with a quiet connection


async def app(scope: Any, receive: Any, send: Any) -> None:  # Any: as ASGI has it
    """Says what it was asked; `/slow` takes a few turns, `/early` does not read the body, `/stream` answers in pieces."""
    path = scope["path"]
    if path == "/slow":
        for _ in range(4):
            await asyncio.sleep(0)
    body, more = b"", path != "/early"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if body == b"take your time":
        await asyncio.sleep(3 * PATIENCE_SECONDS)
    said = {
        key: scope[key] for key in ("method", "path", "query_string", "http_version", "scheme", "root_path")
    }
    said |= {"raw_path": scope["raw_path"], "headers": scope["headers"], "body": body}
    scope["headers"].append((b"x-mine", b"and not the next request's"))
    answer = json.dumps(said, default=lambda value: value.decode("latin-1")).encode()
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": answer, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


ONE = post("/echo", b"one")
CHUNKED = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
CHUNKED_BODY = CHUNKED.index(b"3\r\none")
UPGRADE = b"GET /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
REQUESTS = (
    ONE,
    post("/echo", b"two"),  # with the same head
    post("/slow", b"one"),
    post("/stream", b"one"),
    post("/echo", b""),
    post("/echo", ONE),  # a request that is only a body
    post("/early", ONE),  # the same, and when it comes, its answer is out
    post("/echo", b"one", f"X-Long: {'x' * HEAD_BYTES_REMEMBERED_MAX}\r\n"),
    post("/echo", b"one", "Expect: 100-continue\r\n"),
    post("/early", b"one", "Expect: 100-continue\r\n"),
    post("/echo", b"one", "Connection: keep-alive\r\n"),
    CHUNKED,
    b"GET /echo%20this?x=%20 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n",
)
LAST = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"


class Piece(NamedTuple):
    """Some bytes, and how many turns of the event loop pass before more come."""

    data: bytes
    turns: int


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Some requests, mostly each in one piece."""
    found: list[Piece] = []
    glued = b""
    for request in draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=12)):
        data, turns = glued + request, draw(st.integers(0, 8))
        match draw(st.sampled_from(("whole", "whole", "cut", "glued"))):
            case "whole":
                found.append(Piece(data, turns))
                glued = b""
            case "cut":
                at = draw(st.integers(1, len(data) - 1))
                found += [Piece(data[:at], turns), Piece(data[at:], draw(st.integers(0, 8)))]
                glued = b""
            case _:
                glued = data
    return [*found, Piece(glued + LAST, 0)]


async def talk(
    kind: type[HttpToolsProtocol],
    sent: Sequence[Piece],
    *,
    first: bytes = b"",
    keep_alive_seconds: float = SECONDS_MAX,
) -> bytes:
    """What a server answers to these bytes until it closes the connection.

    `first` is sent before the server looks, and if it is all, the client says so.
    """
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        app, http=kind, ws="none", lifespan="off", log_config=None, server_header=False, date_header=False
    )
    config.load()
    config.timeout_keep_alive = keep_alive_seconds  # pyright: ignore[reportAttributeAccessIssue] -- whole seconds would take long
    state, heard, gone = ServerState(), asyncio.Event(), asyncio.Event()

    class Overheard(kind):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            heard.set()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.set()
            heard.set()

    server = await loop.create_server(
        lambda: Overheard(config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
    )
    async with asyncio.timeout(SECONDS_MAX), server:
        connection = socket.create_connection(server.sockets[0].getsockname())
        connection.sendall(first)
        if not sent:
            connection.shutdown(socket.SHUT_WR)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            for piece in sent:
                heard.clear()
                if not gone.is_set():
                    writer.write(piece.data)
                    await heard.wait()
                for _ in range(piece.turns):
                    await asyncio.sleep(0)
            answers = await reader.read()
        finally:
            writer.close()
    return answers


@settings(max_examples=150, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(pieces())
@example([Piece(CHUNKED[:CHUNKED_BODY], 8), Piece(CHUNKED[CHUNKED_BODY:], 8)] * 2 + [Piece(LAST, 0)])
@example([Piece(ONE + REQUESTS[-2], 8), Piece(ONE + LAST, 0)])
@example([Piece(post("/echo", b""), 8), Piece(b"\r\n\r\n", 8), Piece(b"\r\n\r\n", 8), Piece(LAST, 0)])
@example([Piece(UPGRADE, 8)] * 3 + [Piece(LAST, 0)])
@example([Piece(ONE, 8)] * 3 + [Piece(ONE + ONE, 8), Piece(ONE[:-1], 8), Piece(ONE[-1:] + LAST, 0)])
@example([Piece(ONE, 8)] * 2 + [Piece(post("/early", ONE)[: -len(ONE)], 8), Piece(ONE, 8), Piece(LAST, 0)])
@example([Piece(post("/slow", b"one"), 0), Piece(ONE, 0), Piece(REQUESTS[-1], 0), Piece(ONE + LAST, 0)])
@example([Piece(ONE, 8), Piece(b"what is this\r\n\r\n", 8)])
@example([Piece(ONE, 8), Piece(ONE + b"what is this\r\n\r\n", 8)])
@example([Piece(post("/echo", b"x" * 3 * GATHERED_BYTES_MAX), 0), Piece(ONE + LAST, 0)])
def test_the_same_bytes_get_the_same_answers(sent: list[Piece]) -> None:
    protocol._heads.clear()
    ours, theirs = (uvloop.run(talk(kind, sent)) for kind in (HttpProtocol, HttpToolsProtocol))
    assert ours == theirs
    assert ours


def test_the_short_way_is_taken() -> None:
    """Or the test above would compare nothing."""
    protocol._heads.clear()
    uvloop.run(talk(HttpProtocol, [Piece(ONE, 8), Piece(LAST, 0)]))
    assert {head.partition(b" HTTP")[0] for head in protocol._heads} == {b"POST /echo", b"GET /last"}


def test_a_connection_is_not_quiet_while_a_request_that_looks_like_another_is_answered() -> None:
    quick, slow = post("/echo", b"make it short!"), post("/echo", b"take your time")
    sent = [Piece(quick, 8), Piece(slow, 0), Piece(LAST, 0)]
    answers = uvloop.run(talk(HttpProtocol, sent, keep_alive_seconds=PATIENCE_SECONDS))
    assert answers.count(b"HTTP/1.1 200 OK") == len(sent)


def test_who_sends_and_closes_its_side_at_once_is_answered() -> None:
    ours, theirs = (uvloop.run(talk(kind, [], first=ONE)) for kind in (HttpProtocol, HttpToolsProtocol))
    assert ours == theirs
    assert ours


def test_no_more_heads_are_remembered_than_there_is_room_for() -> None:
    protocol._heads.clear()
    for number in range(HEADS_REMEMBERED_MAX - 1):
        protocol._heads[b"%d" % number] = protocol._Head({}, True, 0)  # pyright: ignore[reportArgumentType] -- only their number counts
    requests = [Piece(post(f"/{number}", b""), 8) for number in range(3)]
    uvloop.run(talk(HttpProtocol, [*requests, Piece(LAST, 0)]))
    assert len(protocol._heads) <= 4
