"""A bridge for clients that speak the Model Context Protocol over stdio only: `python -m app mcp`.

It carries each message to the server's `/mcp` and each answer back, line by line, and understands as little as it
can: the few headers that the protocol wants beside a message, and what to say when the server cannot be reached.
The server keeps nothing between messages, so it may be restarted under a running bridge.
"""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import httpx2
import msgspec
from mcp.shared.inbound import NAME_BEARING_METHODS, encode_header_value
from mcp_types import PROTOCOL_VERSION_META_KEY

from app.errors import InvalidInput

Json: TypeAlias = dict[str, Any]  # Any: a JSON object of any shape

REQUESTS_MAX: Final = 64  # under way at once; one model rarely has more than ten
CONNECT_SECONDS_MAX: Final = 10.0
SILENCE_SECONDS_MAX: Final = 90.0  # the server says something every few seconds while a call goes on
DRAIN_SECONDS_MAX: Final = 1.5  # after the client has closed; clients kill what is not gone after two seconds
CHUNK_BYTES: Final = 64 * 1024  # of stdin at a time; what a pipe holds

UNREACHABLE: Final = -32000  # JSON-RPC leaves this range to implementations


class Bridge:
    """One client on stdio, one server on HTTP."""

    def __init__(self, url: str, key: str, answer: Callable[[bytes], None], complain: Callable[[str], None]) -> None:
        self._url = url
        self._answer = answer
        self._complain = complain
        self._learned: dict[str, str] = {}  # headers that the handshake agreed on
        self._requests: dict[str | int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(REQUESTS_MAX)
        self._http = httpx2.AsyncClient(
            headers={
                "authorization": f"Bearer {key}",
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
            },
            timeout=httpx2.Timeout(SILENCE_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            limits=httpx2.Limits(max_connections=REQUESTS_MAX + 1, max_keepalive_connections=REQUESTS_MAX),
        )

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Carry messages until the client closes, then finish what is under way."""
        async with self._http:
            async for line in lines:
                if line.strip():
                    await self._take(line)
            tasks = [*self._requests.values(), *self._others]
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX)
                for task in late:
                    task.cancel()

    async def _take(self, line: bytes) -> None:
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            self._say_error(None, -32700, f"This line is not JSON: {e}.")
            return
        if not isinstance(message, dict):
            self._say_error(None, -32600, "Send one JSON-RPC message a line, not a batch.")
            return
        request_id = message.get("id")
        if "method" not in message or not isinstance(request_id, str | int):
            if not self._cancelled_here(message):
                task = asyncio.create_task(self._carry(message, line, None))
                self._others.add(task)
                task.add_done_callback(self._others.discard)
            return
        await self._free.acquire()
        task = asyncio.create_task(self._carry(message, line, request_id))
        self._requests[request_id] = task
        task.add_done_callback(lambda done: self._request_done(request_id, done))

    def _request_done(self, request_id: str | int, task: asyncio.Task[None]) -> None:
        self._free.release()
        if self._requests.get(request_id) is task:
            del self._requests[request_id]

    def _cancelled_here(self, message: Json) -> bool:
        """Since 2026-07-28 a call is cancelled by hanging up; before, the server must be told."""
        if message.get("method") != "notifications/cancelled" or self._learned:
            return False
        params = message.get("params")
        task = self._requests.get(params.get("requestId", "")) if isinstance(params, dict) else None
        if task is not None:
            task.cancel()
        return True

    async def _carry(self, message: Json, line: bytes, request_id: str | int | None) -> None:
        try:
            async with self._http.stream("POST", self._url, content=line, headers=self._headers(message)) as response:
                if message.get("method") == "initialize" and (session := response.headers.get("mcp-session-id")):
                    self._learned["mcp-session-id"] = session
                answered = await self._pass_on(response, message, request_id)
            if request_id is not None and not answered:
                self._say_error(request_id, UNREACHABLE, f"{self._url} ended its answer early. Read, then try again.")
        except httpx2.ConnectError as e:
            text = f"Baton cannot be reached at {self._url} ({e}). Is it running there? Check --url."
            self._say_error(request_id, UNREACHABLE, text)
        except httpx2.HTTPError as e:
            text = f"The call to {self._url} broke off ({type(e).__name__}). A write may have happened: read, then repeat it."
            self._say_error(request_id, UNREACHABLE, text)

    async def _pass_on(self, response: httpx2.Response, message: Json, request_id: str | int | None) -> bool:
        """Pass on what the server says; whether a request was answered by it."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream":
            answered = False
            async for line in response.aiter_lines():
                if line.startswith("data:") and (data := line[5:].strip()):
                    said = msgspec.json.decode(data)
                    self._answer(data.encode())
                    answered = answered or "method" not in said
            return answered
        body = await response.aread()
        if request_id is None:
            if response.status_code >= httpx2.codes.BAD_REQUEST:
                self._complain(f"{self._url} answered {response.status_code}: {body[:300].decode(errors='replace')}")
            return True
        said = _json_rpc(body)
        if said is None:
            text = f"{self._url} answered {response.status_code}, but not as an MCP server does. Check --url."
            self._say_error(request_id, UNREACHABLE, text)
        elif said.get("id") is None:  # refused at the door, before the message was read
            self._complain(said["error"]["message"])
            self._answer(msgspec.json.encode({**said, "id": request_id}))
        else:
            if message["method"] == "initialize" and "result" in said:
                self._learned["mcp-protocol-version"] = said["result"]["protocolVersion"]
            self._answer(body.replace(b"\n", b" "))
        return True

    def _headers(self, message: Json) -> dict[str, str]:
        """What the protocol wants beside this message: what the handshake agreed on, or what the message itself says."""
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        version = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None
        if not isinstance(version, str):
            return self._learned
        method = str(message.get("method"))
        headers = {"mcp-protocol-version": version, "mcp-method": method}
        name = params.get(NAME_BEARING_METHODS.get(method, ""))
        return {**headers, "mcp-name": encode_header_value(name)} if isinstance(name, str) else headers

    def _say_error(self, request_id: str | int | None, code: int, text: str) -> None:
        self._complain(text)
        self._answer(msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}))


def run(url: str, key: str) -> None:
    """Bridge this process's stdin and stdout to the server at `url`, until stdin ends."""

    def answer(line: bytes) -> None:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    def complain(text: str) -> None:
        print(f"baton: {text}", file=sys.stderr, flush=True)

    async def bridge() -> None:
        await Bridge(endpoint(url), key, answer, complain).run(_lines(sys.stdin.fileno()))

    asyncio.run(bridge())


def endpoint(url: str) -> str:
    """The address of `/mcp` on the server at `url`, which may name it already, with or without a choice of tools."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as e:
        raise InvalidInput(f"{url} is no address: {e}.", field="url") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidInput(f"{url} is no address of a server. Write it like http://127.0.0.1:8000.", field="url")
    return str(parsed if parsed.path.strip("/") else parsed.copy_with(path="/mcp"))


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """The lines of a stream that can only block: a thread reads it, and ends with the process."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def read() -> None:
        # Not through sys.stdin, whose lock a thread that blocks in it would still hold when the process ends.
        rest = b""
        with suppress(RuntimeError):  # the loop has closed
            while chunk := os.read(descriptor, CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, rest)
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line


def _json_rpc(body: bytes) -> Json | None:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return said if isinstance(said, dict) and said.get("jsonrpc") == "2.0" and "method" not in said else None
