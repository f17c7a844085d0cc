"""Bodies that are no JSON, no UTF-8, or hold what few can read: each call hears the same, with a key and without one."""

import json
from itertools import count
from typing import Any, Final

import httpx
import pytest

from app.operations import OPERATIONS
from app.rpc import Operation
from tests.conftest import Server
from tests.http.conftest import Home

TAKING_A_BODY: Final = [op for op in OPERATIONS if op.method in {None, "POST", "PUT", "PATCH"}]

every_operation = pytest.mark.parametrize("op", TAKING_A_BODY, ids=lambda op: op.name)

DIGITS: Final = b"9" * 5000
NO_JSON: Final = [
    b"1e999",
    b"-1e999",
    DIGITS,
    b"[" + DIGITS + b"]",
    b'{"deeper": ' + DIGITS + b"}",
    b"0." + DIGITS + b"e400",
    b"NaN",
    b"Infinity",
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'{"\xff": 1}',
    b'"\\ud800"',
    b'"\x01"',
    b"[" * 100_000,
    b"[" * 3000 + b"]" * 3000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
]
"""What stands for a value and is none that can be read."""

READABLE: Final = [
    b"1e308",
    b"1e-999",
    b"9" * 4000,
    b'"\\u0000"',
    b'"\xf0\x9f\x90\x9d"',
    *(b"[" * depth + b"]" * depth for depth in (100, 300, 500, 700, 800, 900, 950, 1000, 1200)),
]
"""What can be read, or is nested so deeply that it depends."""

KEYS: Final = (f"nasty-{number}" for number in count())


def with_unknown(request: dict[str, Any], value: bytes) -> bytes:
    """A request with one more field, which no operation knows."""
    return b"%b%b}" % (
        json.dumps(request).encode()[:-1],
        (b", " if request else b"") + b'"aFieldThatNobodyKnows": ' + value,
    )


async def sent(
    http: httpx.AsyncClient, op: Operation, home: Home, body: bytes, **headers: str
) -> httpx.Response:
    method, path = op.method or "POST", op.path
    for field, value in home.request(op).items():
        path = path.replace(f"{{{field}}}", str(value))
    return await http.request(
        method,
        path,
        content=body,
        headers={"Content-Type": "application/json", **home.caller(op).headers, **headers},
    )


def said(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body.get("error", body).get("message")


@every_operation
async def test_what_is_no_json_or_no_utf8_is_a_400_with_a_key_and_without(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    for value in NO_JSON:
        body = with_unknown(home.request(op), value)
        plain = said(await sent(http, op, home, body))
        assert plain[0] == 400, (value[:40], plain)
        assert said(await sent(http, op, home, body, **{"Idempotency-Key": next(KEYS)})) == plain, value[:40]


@every_operation
async def test_what_can_be_read_is_no_failure_with_a_key_and_without(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    for value in READABLE:
        body = with_unknown(home.request(op), value)
        plain = await sent(http, op, home, body)
        keyed = await sent(http, op, home, body, **{"Idempotency-Key": next(KEYS)})
        assert (plain.status_code < 500, keyed.status_code < 500) == (True, True), (value[:40], keyed.text)
        if 400 in {plain.status_code, keyed.status_code}:
            assert said(plain) == said(keyed), value[:40]


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.family.tools], ids=lambda op: op.name)
async def test_no_body_upsets_the_tools(op: Operation, server: Server, home: Home) -> None:
    headers = {
        **home.caller(op).headers,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    arguments = {**home.request(op), "limit": "no number"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30) as client:
        for value in NO_JSON + READABLE:
            body = (
                b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "%b", "arguments": %b}}'
                % (
                    op.name.encode(),
                    with_unknown(arguments, value),
                )
            )
            answer = await client.post("/mcp?tools=all", content=body)
            assert answer.status_code in {200, 400}, (value[:40], answer.text)
            assert "internal" not in answer.text.lower(), (value[:40], answer.text)


ANYTHING: Final = {
    "send-message": "metadata",
    "post-message": "metadata",
    "complete-run": "output",
    "createTask": "input",
    "updateTask": "params",
}


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op.name in ANYTHING], ids=lambda op: op.name)
async def test_a_value_of_any_shape_is_kept_or_refused_at_any_depth(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    for depth in (50, 100, 200, 400, 800, 1000, 1200):
        request = home.request(op)
        body = with_unknown({k: v for k, v in request.items() if k != ANYTHING[op.name]}, b"1")
        body = body[:-1] + b', "%b": {"a": %b%b}}' % (
            ANYTHING[op.name].encode(),
            b"[" * depth,
            b"]" * depth,
        )
        plain = await sent(http, op, home, body)
        keyed = await sent(http, op, home, body, **{"Idempotency-Key": next(KEYS)})
        assert (plain.status_code < 500, keyed.status_code < 500) == (True, True), (
            depth,
            plain.text,
            keyed.text,
        )
