"""A bridge for clients that speak the Model Context Protocol over stdio only: `python -m app mcp`.

It carries each message to the server's `/mcp` and each answer back, line by line, and understands as little as it
can: the few headers that the protocol wants beside a message, and what to say when the server cannot be reached.
The server keeps nothing between messages, so it may be restarted under a running bridge.

It goes through the proxies that the environment names, as every program does, but never to this machine itself. What
the environment makes impossible is said in one line that names the variable.
"""

import asyncio
import ipaddress
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn
from urllib.request import getproxies, proxy_bypass

import httpx2
import msgspec
from mcp.shared.inbound import NAME_BEARING_METHODS, encode_header_value
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp_types import INVALID_REQUEST, PARSE_ERROR, PROTOCOL_VERSION_META_KEY, ErrorData, RequestId
from msgspec import UNSET, UnsetType

from app.errors import InvalidInput
from app.transports.mcp import messages
from app.transports.mcp.messages import Message

REQUESTS_MAX: Final = 64  # under way at once; one model rarely has more than ten
CONNECT_SECONDS_MAX: Final = 10.0
SILENCE_SECONDS_MAX: Final = 90.0  # the server says something every few seconds while a call goes on
DRAIN_SECONDS_MAX: Final = 1.5  # after the client has closed; clients kill what is not gone after two
CHUNK_BYTES: Final = 64 * 1024  # of stdin at a time; what a pipe holds

PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
VARIABLES: Final = (*PROXIES, "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""What of the environment the HTTP client listens to, and can stumble over."""

UNREACHABLE: Final = -32000  # JSON-RPC leaves this range to implementations
ERROR_STATUS_MIN: Final = 400


class Answer(msgspec.Struct):
    """What the bridge looks at in something the server says."""

    jsonrpc: str
    id: RequestId | None = None
    method: str | UnsetType = UNSET
    result: dict[str, Any] | UnsetType = UNSET  # Any: each method has its own
    error: dict[str, Any] | UnsetType = UNSET  # Any: `data` is of any shape


class Bridge:
    """One client on stdio, one server on HTTP."""

    def __init__(
        self, url: str, key: str, say: Callable[[bytes], None], complain: Callable[[str], None]
    ) -> None:
        self._url = url
        self._say = say
        self._complain = complain
        self._agreed: dict[str, str] = {}  # the headers that a handshake agreed on
        self._requests: dict[RequestId, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(REQUESTS_MAX)
        self._http = client(url, key)
        proxy = proxy_for(httpx2.URL(url))
        self._through = "" if proxy is None else f", through the proxy that {proxy} names"

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Carry messages until the client closes, then finish what is under way."""
        async with self._http:
            async for line in lines:
                if line.strip():
                    await self._take(line)
            if tasks := [*self._requests.values(), *self._others]:
                _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX)
                for task in late:
                    task.cancel()

    async def _take(self, line: bytes) -> None:
        try:
            message = messages.decode(line)
        except msgspec.ValidationError as e:
            self._fail(None, f"This line is not one JSON-RPC message: {e}.", INVALID_REQUEST)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            self._fail(None, f"This line is not JSON: {e}.", PARSE_ERROR)
        else:
            if message.id is not UNSET and message.method is not UNSET:
                await self._free.acquire()
                task = asyncio.create_task(self._carry(message, line, message.id))
                self._requests[message.id] = task
                task.add_done_callback(lambda done, request_id=message.id: self._done(request_id, done))
            elif not self._hang_up(message):
                task = asyncio.create_task(self._carry(message, line, None))
                self._others.add(task)
                task.add_done_callback(self._others.discard)

    def _done(self, request_id: RequestId, task: asyncio.Task[None]) -> None:
        self._free.release()
        if self._requests.get(request_id) is task:
            del self._requests[request_id]

    def _hang_up(self, message: Message) -> bool:
        """Cancel a call by hanging up, as it is done since 2026-07-28; before, the server must be told."""
        if message.method != "notifications/cancelled" or self._agreed:
            return False
        request_id = cancelled_request_id_from_params(message.given)
        if request_id is not None and (task := self._requests.get(request_id)) is not None:
            task.cancel()
        return True

    async def _carry(self, message: Message, line: bytes, request_id: RequestId | None) -> None:
        headers = self._headers(message)
        try:
            async with self._http.stream("POST", self._url, content=line, headers=headers) as response:
                if message.method == "initialize" and (session := response.headers.get("mcp-session-id")):
                    self._agreed["mcp-session-id"] = session
                answered = await self._pass_on(response, message, request_id)
            if request_id is not None and not answered:
                self._fail(request_id, f"{self._url} ended its answer early. Read, then try again.")
        except httpx2.ConnectError as e:
            self._fail(
                request_id,
                f"Baton cannot be reached at {self._url}{self._through} ({e}). Is it running there? Check --url.",
            )
        except httpx2.ProxyError as e:
            self._fail(request_id, f"Baton cannot be reached at {self._url}{self._through} ({e}).")
        except Exception as e:  # noqa: BLE001 - whatever it is, the client waits for an answer
            what = f"The call to {self._url} broke off ({type(e).__name__})."
            self._fail(request_id, f"{what} A write may or may not have happened: read, then repeat it.")

    async def _pass_on(
        self, response: httpx2.Response, message: Message, request_id: RequestId | None
    ) -> bool:
        """Pass on what the server says; whether it answered the request."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream":
            answered = False
            async for line in response.aiter_lines():
                if line.startswith("data:") and (said := _answer(line[5:].encode())):
                    self._say(line[5:].strip().encode())
                    answered = answered or said.method is UNSET
            return answered
        content = await response.aread()
        said = _answer(content)
        if request_id is None:
            if response.status_code >= ERROR_STATUS_MIN:
                self._complain(f"{self._url} answered {response.status_code}: {content[:300]!r}")
        elif said is None:
            text = f"{self._url} answered {response.status_code}, but not as an MCP server does. Check --url."
            self._fail(request_id, text)
        elif said.error is not UNSET and said.id is None:  # refused at the door, before the message was read
            self._complain(str(said.error.get("message")))
            self._say(messages.encode({"jsonrpc": "2.0", "id": request_id, "error": said.error}))
        else:
            if message.method == "initialize" and said.result is not UNSET:
                self._agreed["mcp-protocol-version"] = str(said.result.get("protocolVersion"))
            self._say(content.replace(b"\n", b" "))
        return True

    def _headers(self, message: Message) -> dict[str, str]:
        """What the protocol wants beside a message: what a handshake agreed on, or what the message says itself."""
        version: object = message.meta.get(PROTOCOL_VERSION_META_KEY)
        if not isinstance(version, str) or message.method is UNSET:
            return self._agreed
        headers = {"mcp-protocol-version": version, "mcp-method": message.method}
        name: object = message.given.get(NAME_BEARING_METHODS.get(message.method, ""))
        return {**headers, "mcp-name": encode_header_value(name)} if isinstance(name, str) else headers

    def _fail(self, request_id: RequestId | None, text: str, code: int = UNREACHABLE) -> None:
        self._complain(text)
        self._say(messages.failure(request_id, ErrorData(code=code, message=text)))


def run(url: str, key: str) -> None:
    """Bridge this process's stdin and stdout to the server at `url`, until stdin ends."""
    address = endpoint(url)
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput(
            "The key holds characters that no key has. See --key and BATON_API_KEY.", field="key"
        )
    if sys.stdin is None or sys.stdout is None:
        raise InvalidInput("The bridge speaks over stdin and stdout, and one of them is closed.")

    def say(line: bytes) -> None:
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except OSError:
            _end(f"{address}: the client is gone.")

    def complain(text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # nobody reads it
            sys.stderr.write(f"baton: {' '.join(text.split())}\n")
            sys.stderr.flush()

    async def bridge() -> None:
        await Bridge(address, key, say, complain).run(_lines(sys.stdin.fileno()))

    with suppress(KeyboardInterrupt):
        asyncio.run(bridge())


def client(url: str, key: str) -> httpx2.AsyncClient:
    """What speaks to the server. An InvalidInput names the variable of the environment that makes it impossible."""
    try:
        return _client(httpx2.URL(url), key)
    except Exception as e:  # noqa: BLE001 - the environment can be wrong in more ways than there are classes for
        present = [name for name in VARIABLES if os.environ.get(name)]
        for names in [*([name] for name in present), present]:
            if _works_without(names, url, key):
                raise _of_no_use(names, e) from None
        raise InvalidInput(f"The HTTP client cannot be made: {e}.") from None


def _client(url: httpx2.URL, key: str) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=REQUESTS_MAX + 1, max_keepalive_connections=REQUESTS_MAX)
    direct = None
    if is_loopback(url):  # with a transport of its own it asks for no proxy; without TLS for no certificates
        direct = httpx2.AsyncHTTPTransport(verify=url.scheme == "https", limits=limits)
    return httpx2.AsyncClient(
        headers={
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        },
        timeout=httpx2.Timeout(SILENCE_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
        limits=limits,
        transport=direct,
    )


def is_loopback(url: httpx2.URL) -> bool:
    """Whether an address is this machine itself, whatever the environment says of proxies."""
    if url.host == "localhost" or url.host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def proxy_for(url: httpx2.URL) -> str | None:
    """The variable that names the proxy for an address, if calls to it go through one."""
    proxies = getproxies()
    if is_loopback(url) or proxy_bypass(url.host):
        return None
    scheme = next((scheme for scheme in (url.scheme, "all") if scheme in proxies), None)
    return next(
        (name for name in reversed(PROXIES) if name.lower() == f"{scheme}_proxy" and os.environ.get(name)),
        None,
    )


def _works_without(names: list[str], url: str, key: str) -> bool:
    try:
        with _without(names):
            _client(httpx2.URL(url), key)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


@contextmanager
def _without(names: list[str]) -> Generator[None]:
    """The environment without these variables, for as long as the block lasts."""
    taken = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(taken)


def _of_no_use(names: list[str], why: Exception) -> InvalidInput:
    are = "is" if len(names) == 1 else "are"
    text = (
        f"{' and '.join(names)} in the environment {are} of no use to the bridge: {why}. Correct or unset it."
    )
    return InvalidInput(text, field=names[0])


def _end(why: str) -> NoReturn:
    """End at once, and quietly: there is nobody to talk to any more."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"baton: {why}\n")
        sys.stderr.flush()
    os._exit(1)


def endpoint(url: str) -> str:
    """The address of `/mcp` on the server at `url`, which may name it already, with or without a choice of tools."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as e:
        raise InvalidInput(f"{url} is no address: {e}.", field="url") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidInput(
            f"{url} is no address of a server. Write it like http://127.0.0.1:8000.", field="url"
        )
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


def _answer(content: bytes) -> Answer | None:
    """What was said, if it is a message of the protocol."""
    try:
        return msgspec.json.decode(content, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
