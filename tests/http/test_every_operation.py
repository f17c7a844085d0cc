"""What holds for every operation over HTTP, whatever it does. The client judges each answer besides (judge.py)."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import get_args

import httpx
import msgspec
import pytest

from app.errors import ApiError, InvalidInput, MethodNotAllowed, ScopeMissing
from app.operations import OPERATIONS
from app.operator import administration as admin
from app.rpc import SDK, Operation
from app.transports.bodies import BODY_BYTES_MAX
from app.transports.envelope import code_of
from app.types import Scope
from tests.conftest import Server, World
from tests.http.conftest import Home

ENVELOPED = [op for op in OPERATIONS if op.method is None]
"""All but those on records, which have verbs and errors of their own: see test_records.py."""

BOMB = gzip.compress(b" " * 20 * BODY_BYTES_MAX, compresslevel=1)
"""A small body that is a large one."""

every_operation = pytest.mark.parametrize("op", ENVELOPED, ids=lambda op: op.name)
every_scoped_operation = pytest.mark.parametrize(
    "op", [op for op in ENVELOPED if op.scope], ids=lambda op: op.name
)
every_reading_operation = pytest.mark.parametrize(
    "op", [op for op in ENVELOPED if op.read_only], ids=lambda op: op.name
)


def code(response: httpx.Response) -> tuple[int, str]:
    """The status and code of an error."""
    return response.status_code, response.json()["error"]["code"]


def expected(error: type[ApiError], op: Operation) -> tuple[int, str]:
    """The same of a class of errors, as the operation's family spells it."""
    return error.status, code_of(error, op.family)


def in_utf8(headers: dict[str, str]) -> httpx.Headers:
    """Headers that hold more than ASCII."""
    return httpx.Headers(headers, encoding="utf-8")


@every_operation
async def test_it_answers_as_documented(op: Operation, http: httpx.AsyncClient, home: Home) -> None:
    headers = {**home.caller(op).headers, "X-Request-Id": "mine"}
    answer = await http.post(op.path, json=home.request(op), headers=headers)
    assert answer.status_code == op.status, answer.text
    if "idempotency-replayed" not in answer.headers:
        assert answer.headers["x-request-id"] == answer.json()["meta"]["requestId"] == "mine"


@every_operation
async def test_what_it_answers_has_no_stray_blanks(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    answer = await http.post(op.path, json=home.request(op), headers=home.caller(op).headers)
    assert without_free_form(answer.content) == without_free_form(
        msgspec.json.format(answer.content, indent=-1)
    )


def without_free_form(body: bytes) -> bytes:
    """An answer without the blanks that Postgres writes into objects of any shape, which callers made."""
    return body.replace(b'": ', b'":').replace(b", ", b",")


@every_reading_operation
async def test_get_and_post_say_the_same(op: Operation, http: httpx.AsyncClient, home: Home) -> None:
    request = home.request(op)
    answers = [
        await http.post(op.path, json=request, headers=home.caller(op).headers),
        await http.get(op.path, params=request, headers=home.caller(op).headers),
    ]
    posted, got = (answer.json() for answer in answers)
    if op.name == "verify-connection":  # the second echo of a token is one too many
        assert (posted["data"]["ok"], got["data"]["reason"]) == (True, "already_used")
    else:
        assert posted["data"] == got["data"]
        assert posted["meta"].get("pagination") == got["meta"].get("pagination")


@every_operation
async def test_it_needs_a_key(op: Operation, http: httpx.AsyncClient) -> None:
    for authorization in ("", "Bearer", "Basic YTpi", "baton_sk_x", "Bearerbaton_sk_x"):
        answer = await http.post(op.path, content=b"{", headers={"Authorization": authorization})
        assert code(answer) == (401, "AUTH_MISSING")
    assert code(await http.post(op.path, content=b"{")) == (401, "AUTH_MISSING")


@every_operation
async def test_it_refuses_a_key_that_is_unknown_expired_or_revoked(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    async def answer(key: str) -> httpx.Response:
        return await http.post(op.path, content=b"{", headers=in_utf8({"Authorization": f"Bearer {key}"}))

    world = home.workspace
    assert code(await answer("baton_sk_" + "x" * 43)) == (401, "AUTH_INVALID_API_KEY")
    assert code(await answer("é" * 10)) == (401, "AUTH_INVALID_API_KEY")
    expired = await admin.create_key(world.db, world.info, home.caller(op).handle, expires_days=1)
    await world.rows(
        "UPDATE api_keys SET expires_at = now() WHERE workspace_id = %(workspace)s AND id = %(id)s RETURNING id",
        id=expired.id,
    )
    assert code(await answer(expired.api_key)) == (401, "AUTH_API_KEY_EXPIRED")
    revoked = await admin.create_key(world.db, world.info, home.caller(op).handle)
    await admin.revoke_key(world.db, world.info, str(revoked.id))
    last = await answer(revoked.api_key)
    assert code(last) == (401, "AUTH_API_KEY_REVOKED")
    assert "API key has been revoked" in last.json()["error"]["message"]


@every_scoped_operation
async def test_it_needs_its_scope_before_it_looks_at_the_body(
    op: Operation, http: httpx.AsyncClient, workspace: World
) -> None:
    others = [scope for scope in get_args(Scope) if scope != op.scope]
    bot = await workspace.agent(scopes=",".join(others))
    for answer in (
        await http.post(op.path, content=b"{", headers=bot.headers),
        await http.post(op.path, json={}, headers=bot.headers),
        *([await http.get(op.path, headers=bot.headers)] if op.read_only else []),
    ):
        assert code(answer) == expected(ScopeMissing, op)
        assert answer.json()["error"]["details"] == {"scope": op.scope}


@every_operation
async def test_its_scope_is_enough(op: Operation, http: httpx.AsyncClient, home: Home) -> None:
    scope = op.scope or "iris-ask"
    handle = home.caller(op).handle
    key = await admin.create_key(home.workspace.db, home.workspace.info, handle, scopes=scope)
    answer = await http.post(
        op.path, json=home.request(op), headers={"Authorization": f"Bearer {key.api_key}"}
    )
    assert answer.status_code == op.status, answer.text


@every_operation
async def test_another_verb_is_not_allowed(
    op: Operation, server: Server, http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    allowed = "GET, HEAD, POST, OPTIONS" if op.read_only else "POST, OPTIONS"
    async with httpx.AsyncClient(base_url=server.url) as unjudged:  # the document tells of no wrong verb
        for verb in [
            "PUT",
            "PATCH",
            "DELETE",
            "TRACE",
            "PROPFIND",
            *([] if op.read_only else ["GET", "HEAD"]),
        ]:
            answer = await unjudged.request(verb, op.path, headers=bot.headers)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
            if verb != "HEAD":
                assert code(answer) == expected(MethodNotAllowed, op)
                assert verb in answer.json()["error"]["message"]
            assert (await unjudged.request(verb, op.path)).status_code == 401
        for headers in ({}, bot.headers):
            answer = await unjudged.options(op.path, headers=headers)
            assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")


@every_operation
async def test_head_is_get_without_the_body(op: Operation, http: httpx.AsyncClient, home: Home) -> None:
    if not op.read_only:
        return
    headers = {**home.caller(op).headers, "X-Request-Id": "the-same"}
    request = {key: value for key, value in home.request(op).items() if not isinstance(value, dict)}
    get = await http.get(op.path, params=request, headers=headers)
    head = await http.head(op.path, params=request, headers=headers)
    assert (head.status_code, head.content) == (get.status_code, b"")
    same = ("content-type", "x-request-id", "vary")
    assert [head.headers[name] for name in same] == [get.headers[name] for name in same]
    assert int(head.headers["content-length"]) > 0


@every_operation
async def test_a_slash_behind_the_path_and_a_coded_body_are_no_matter(
    op: Operation, server: Server, home: Home
) -> None:
    headers = {**home.caller(op).headers, "Content-Type": "application/json"}
    body = b"\xef\xbb\xbf" + json.dumps(home.request(op)).encode()  # as PowerShell begins it
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as unjudged:
        answer = await unjudged.post(
            op.path + "/", content=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"}
        )
    assert answer.status_code == op.status, answer.text


@every_operation
async def test_a_coding_that_is_not_read_is_named(op: Operation, server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers) as unjudged:
        for coding in ("br", "zstd", "gzip, gzip", "deflate"):
            answer = await unjudged.post(op.path, content=b"{}", headers={"Content-Encoding": coding})
            assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")
            assert coding in answer.json()["error"]["message"]
        for body in (b"{}", gzip.compress(b"{}")[:-3], b"", BOMB):
            answer = await unjudged.post(op.path, content=body, headers={"Content-Encoding": "gzip"})
            assert not body or code(answer) == expected(InvalidInput, op)


@every_operation
async def test_what_is_not_a_json_object_is_invalid(
    op: Operation, http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent(scopes="all,operator")
    for body in (
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b"\xff\xfe",
        b'{"a": "\\ud800"}',
        b"{'a': 1}",
        b"{} {}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "{}\ufeff".encode(),
    ):
        answer = await http.post(op.path, content=body, headers=bot.headers)
        assert code(answer) == expected(InvalidInput, op), body[:80]


@every_operation
async def test_another_media_type_is_invalid(
    op: Operation, http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"):
        answer = await http.post(op.path, content=b"{}", headers={**bot.headers, "Content-Type": media_type})
        assert code(answer) == expected(InvalidInput, op)
        assert "application/json" in answer.json()["error"]["message"]


@every_operation
async def test_json_goes_by_several_names(op: Operation, http: httpx.AsyncClient, workspace: World) -> None:
    bot = await workspace.agent()
    for media_type in ("application/json; charset=utf-8", "Application/JSON", "application/problem+json"):
        answer = await http.post(op.path, content=b"{}", headers={**bot.headers, "Content-Type": media_type})
        assert "Content-Type" not in answer.text


@every_operation
async def test_a_body_that_is_too_large_is_invalid(
    op: Operation, http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    large = b'{"a": "' + b"x" * BODY_BYTES_MAX + b'"}'

    async def undeclared() -> AsyncIterator[bytes]:
        yield large

    for body in (large, undeclared()):
        answer = await http.post(op.path, content=body, headers=bot.headers)
        assert code(answer) == expected(InvalidInput, op)
        assert list(answer.json()["error"]["details"].values()) == [BODY_BYTES_MAX]


@every_operation
async def test_a_key_it_does_not_know_is_no_matter(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    request = home.request(op)
    strange = {"unknown": {"deep": ["\0", 1e300, None]}, "": 0, "__proto__": [], "id": "x", "v" * 10_000: 1}
    answer = await http.post(op.path, json={**strange, **request}, headers=home.caller(op).headers)
    if op.family is SDK:  # this family refuses them, and names one
        assert code(answer) == expected(InvalidInput, op)
        assert any(key in answer.json()["error"]["message"] for key in strange)
        return
    assert answer.status_code == op.status, answer.text
    if op.read_only:
        strange = {"unknown": ["\0", "twice"], "": "", "v" * 1_000: "1"}
        answer = await http.get(op.path, params={**strange, **request}, headers=home.caller(op).headers)
        assert answer.status_code == 200, answer.text


@every_operation
async def test_a_sane_request_id_comes_back_and_another_is_replaced(
    op: Operation, http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()

    async def answered(sent: str) -> str:
        headers = in_utf8({**bot.headers, "X-Request-Id": sent})
        answer = await http.post(
            op.path, json=[], headers=headers
        )  # the judge compares `meta` with the header
        return answer.headers["x-request-id"]

    for sent in ("a", "0198c5a0-7d2e-7a10:retry_1.2", "x" * 128):
        assert await answered(sent) == sent
    insane = ["", "a b", "x" * 129, 'quote"', "back\\slash", "ünïcödé", "<script>", "a,b", "1\t2"]
    replaced = {await answered(sent) for sent in insane}
    assert len(replaced) == len(insane)
    assert replaced.isdisjoint(insane)


@pytest.mark.parametrize("path", ["/v1/agent", "/v1/agent/", "/v1/agent/no-such-task", "/v1/agent/get-me//"])
async def test_a_path_that_is_nowhere_says_so_only_to_those_who_have_a_key(
    http: httpx.AsyncClient, workspace: World, path: str
) -> None:
    bot = await workspace.agent()
    for verb in ("GET", "POST", "DELETE"):
        assert code(await http.request(verb, path)) == (401, "AUTH_MISSING")
        assert code(await http.request(verb, path, headers=bot.headers)) == (404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v2/tasks",
        "/docs",
        "/metrics",
        "/favicon.ico",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server/mcp",
        "/mcp/x",
    ],
)
async def test_where_nothing_is_nobody_needs_a_key_to_hear_it(http: httpx.AsyncClient, path: str) -> None:
    for verb in ("GET", "POST", "DELETE", "OPTIONS"):
        assert code(await http.request(verb, path)) == (404, "not_found")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/openapi.json", "/healthz/", "/openapi.json/"])
async def test_the_pages_of_the_service_need_no_key(server: Server, path: str) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        for verb in ("GET", "HEAD"):
            answer = await http.request(verb, path, headers={"X-Request-Id": "mine"})
            assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine")
        for verb in ("POST", "PUT", "DELETE", "PROPFIND"):
            answer = await http.request(verb, path)
            assert (code(answer), answer.headers["allow"]) == (
                (405, "method_not_allowed"),
                "GET, HEAD, OPTIONS",
            )
        assert (await http.options(path)).headers["allow"] == "GET, HEAD, OPTIONS"
        for sent in ("", "a b", "ünïcödé"):
            answer = await http.get(path, headers=in_utf8({"X-Request-Id": sent}))
            assert answer.headers["x-request-id"] != sent


async def test_a_browser_finds_a_page_at_the_root(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get("/", headers={"Accept": "text/html"})
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        for link in re.findall(r'href="([^"]+)"', answer.text):
            assert (await http.get(link)).status_code == 200


async def test_what_is_large_and_the_same_for_all_is_compressed_for_who_asks_and_sent_once(
    server: Server,
) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        whole = await http.get("/openapi.json", headers={"Accept-Encoding": "identity"})
        packed = await http.get("/openapi.json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert packed.content == whole.content  # httpx unpacks it
        assert "content-encoding" not in whole.headers and packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) * 4 < int(whole.headers["content-length"])
        assert packed.headers["etag"] != whole.headers["etag"]
        for answer in (whole, packed):
            assert answer.headers["vary"] == "Accept-Encoding, Origin"
            plain = answer.headers["etag"]
            for tag in (plain, f"W/{plain}", f'"x", {plain}', "*"):
                again = await http.get("/openapi.json", headers={"If-None-Match": tag})
                assert (again.status_code, again.content) == (304, b"")
        assert (await http.get("/openapi.json", headers={"If-None-Match": '"x"'})).status_code == 200
        for refused in ("gzip;q=0", "br", "", "identity", "*;q=0"):
            answer = await http.get("/openapi.json", headers={"Accept-Encoding": refused})
            assert "content-encoding" not in answer.headers


@every_operation
async def test_answers_of_operations_are_never_compressed(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    headers = {**home.caller(op).headers, "Accept-Encoding": "gzip, br"}
    answer = await http.post(op.path, json=home.request(op), headers=headers)
    assert "content-encoding" not in answer.headers


async def test_a_large_body_from_a_stranger_is_refused_and_the_connection_goes_on(
    http: httpx.AsyncClient,
) -> None:
    for _ in range(3):
        assert code(await http.post("/v1/agent/create-task", content=b"x" * 5_000_000)) == (
            401,
            "AUTH_MISSING",
        )
    assert (await http.get("/healthz")).json() == {"ok": True}


@pytest.mark.parametrize(
    "query",
    [b"taskId=%FF", b"taskId=%ED%A0%80", b"taskId=a&taskId=b", b"&".join([b"x=1"] * 200), b"taskId=%00"],
)
async def test_a_query_that_cannot_be_read_is_invalid(
    http: httpx.AsyncClient, workspace: World, query: bytes
) -> None:
    bot = await workspace.agent()
    url = httpx.URL("/v1/agent/get-task").copy_with(query=query)
    assert code(await http.get(url, headers=bot.headers)) == (400, "invalid_input")
