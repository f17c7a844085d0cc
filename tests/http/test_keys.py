"""Idempotency keys over HTTP, for every operation that writes, of whichever family."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from app.db import BatchCommand, BatchQuery, Database, Query, Transaction, Whose
from app.db.batcher import Item
from app.operations import OPERATIONS, get_request_outcome, get_task, link_tasks, unlink_tasks
from app.rpc import RECORDS, Operation, execute
from tests.conftest import World
from tests.http.conftest import Home, at_home

KEYED = [op for op in OPERATIONS if not op.read_only]
every_keyed_operation = pytest.mark.parametrize(
    "op", [op for op in KEYED if op.family is not RECORDS], ids=lambda op: op.name
)


async def request_of(op: Operation, home: Home) -> dict[str, Any]:
    """The example of a request, without a key, and for the version that its task is at here."""
    request = {name: value for name, value in home.request(op).items() if name != "idempotencyKey"}
    if "version" in request:
        request["version"] = (await home.scout(get_task, task_id=request["taskId"])).version
    return request


@every_keyed_operation
async def test_the_same_request_again_gets_the_first_answer(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    request = await request_of(op, home)
    headers = {**home.caller(op).headers, "Idempotency-Key": "again"}
    first = await http.post(op.path, json=request, headers={**headers, "X-Request-Id": "first"})
    assert (first.status_code, first.headers.get("idempotency-replayed")) == (op.status, None)
    for number in range(2):
        again = await http.post(op.path, json=request, headers={**headers, "X-Request-Id": f"again-{number}"})
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["x-request-id"] == f"again-{number}", "the header is about this request"
    asked = {"idempotencyKey": "again"}
    told = await http.post(get_request_outcome.path, json=asked, headers=home.caller(op).headers)
    assert (told.json()["data"]["state"], told.json()["data"]["status"]) == ("done", op.status)
    other = await http.post(op.path, json={**request, "taskId": "T-3", "title": "?"}, headers=headers)
    assert other.status_code in {400, 409}, "400 where the family refuses keys it does not know"


class Counting(Database):
    """The database, and how often it was asked for anything."""

    count = 0

    async def write(self, batch: BatchCommand[Any], item: Item) -> Any:
        self.count += 1
        return await super().write(batch, item)

    async def ask(self, batch: BatchQuery[Any], item: Item) -> Any:
        self.count += 1
        return await super().ask(batch, item)

    async def all(self, query: Query[Any], **parameters: object) -> list[Any]:
        self.count += 1
        return await super().all(query, **parameters)

    @asynccontextmanager
    async def transaction(self, whose: Whose | None = None) -> AsyncGenerator[Transaction]:
        self.count += 1
        async with super().transaction(whose) as tx:
            yield tx


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def counting(dsn: str) -> AsyncGenerator[Counting]:
    counting = Counting(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False)
    await counting.open()
    yield counting
    await counting.close()


@every_keyed_operation
async def test_a_key_takes_no_statement_more(
    op: Operation, home: Home, other_workspace: World, counting: Counting
) -> None:
    counts: list[int] = []
    for place, key in ((home, None), (await at_home(other_workspace), "k-1")):
        caller, request = place.caller(op), await request_of(op, place)
        if op is unlink_tasks:  # which writes only where there is something to remove
            await caller.post(link_tasks, request)
        counting.count = 0
        ctx = msgspec.structs.replace(caller.context, db=counting, idempotency_key=key)
        await execute(op, ctx, body=json.dumps(request).encode())
        counts.append(counting.count)
    plain, keyed = counts
    assert keyed == plain > 0


@every_keyed_operation
async def test_of_several_at_once_one_has_an_effect(
    op: Operation, http: httpx.AsyncClient, home: Home
) -> None:
    request = await request_of(op, home)
    headers = {**home.caller(op).headers, "Idempotency-Key": "at once"}
    answers = await asyncio.gather(*(http.post(op.path, json=request, headers=headers) for _ in range(6)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(op.status, answers[0].content)}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_the_second_contract_takes_keys_too(http: httpx.AsyncClient, home: Home) -> None:
    headers = {**home.scout.headers, "Idempotency-Key": "record"}
    answers = [await http.post("/v1/tasks", json={"kind": "default"}, headers=headers) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotency-replayed"] == "true"
    task = answers[0].json()["id"]
    headers["Idempotency-Key"] = "record put"
    puts = [
        await http.put(f"/v1/tasks/{task}", json={"status": "running"}, headers=headers) for _ in range(2)
    ]
    assert [(put.status_code, put.json()["status"]) for put in puts] == [(200, "running")] * 2
    assert puts[1].headers["idempotency-replayed"] == "true"
    assert [put.headers["etag"] for put in puts] == ['"2"', '"2"']
    assert [answer.headers["etag"] for answer in answers] == ['"1"', '"1"']
    other = (await http.post("/v1/tasks", json={"kind": "default"}, headers=home.scout.headers)).json()["id"]
    elsewhere = await http.put(f"/v1/tasks/{other}", json={"status": "running"}, headers=headers)
    assert elsewhere.status_code == 409, "another path is another request"


@pytest.mark.parametrize(
    "method, path, request_body",
    [
        ("POST", "/v1/tasks", {"kind": "default", "title": "Größe"}),
        ("PUT", "/v1/tasks/{task}", {"title": "Größe"}),
        ("PUT", "/v1/tasks/{task}", {"parentId": "{other}"}),
        ("PUT", "/v1/tasks/{task}", {}),
        ("DELETE", "/v1/tasks/{task}", {}),
        ("POST", "/v1/states", {"name": "one"}),
        ("PUT", "/v1/states/{state}", {"variables": [{"name": "a", "value": {"b": [1, None]}}]}),
        ("PUT", "/v1/states/{state}", {}),
    ],
)
async def test_whatever_the_second_contract_writes_is_answered_as_the_first_time(
    http: httpx.AsyncClient, home: Home, method: str, path: str, request_body: dict[str, Any]
) -> None:
    async def made(path: str, **body: object) -> str:
        return (await http.post(path, json=body, headers=home.scout.headers)).json()["id"]

    task, state = await made("/v1/tasks", kind="default"), await made("/v1/states", name="x")
    other, _part = (
        await made("/v1/tasks", kind="default"),
        await made("/v1/tasks", kind="part", parentId=task),
    )
    path = path.format(task=task, state=state)
    body = {name: other if value == "{other}" else value for name, value in request_body.items()}
    headers = {**home.scout.headers, "Idempotency-Key": "again"}

    async def said() -> tuple[int, bytes, str | None]:
        answer = await http.request(method, path, json=body, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        replays.append(answer.headers.get("idempotency-replayed"))
        return answer.status_code, answer.content, answer.headers.get("etag")

    replays: list[str | None] = []
    at_once = await asyncio.gather(*(said() for _ in range(4)))
    await http.put(f"/v1/tasks/{task}", json={"description": "later"}, headers=home.scout.headers)
    assert {*at_once, await said()} == {at_once[0]}
    assert sorted(replays, key=str) == [None] + ["true"] * 4
    if method == "PUT" and "/tasks/" in path:
        assert [child["kind"] for child in json.loads(at_once[0][1])["children"]] == ["part"]


async def test_a_header_that_cannot_be_a_key_is_refused(http: httpx.AsyncClient, home: Home) -> None:
    for wrong in ("", "x" * 256, "\xff"):
        headers = httpx.Headers({**home.scout.headers, "Idempotency-Key": wrong}, encoding="latin-1")
        answer = await http.post("/v1/agent/create-task", json={"title": "A"}, headers=headers)
        assert answer.status_code == 400, wrong
