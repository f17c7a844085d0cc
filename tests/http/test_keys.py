"""Idempotency keys over HTTP, for every operation that writes, of whichever family."""

import asyncio
from typing import Any

import httpx
import pytest

from app.operations import OPERATIONS, get_request_outcome, get_task
from app.rpc import BARE, Operation
from tests.http.conftest import Home

KEYED = [op for op in OPERATIONS if not op.read_only]
every_keyed_operation = pytest.mark.parametrize(
    "op", [op for op in KEYED if op.family is not BARE], ids=lambda op: op.name
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
    headers = {**home.scout.headers, "Idempotency-Key": "bare"}
    answers = [await http.post("/v1/tasks", json={"kind": "default"}, headers=headers) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotency-replayed"] == "true"
    task = answers[0].json()["id"]
    headers["Idempotency-Key"] = "bare put"
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


async def test_a_header_that_cannot_be_a_key_is_refused(http: httpx.AsyncClient, home: Home) -> None:
    for wrong in ("", "x" * 256, "\xff"):
        headers = httpx.Headers({**home.scout.headers, "Idempotency-Key": wrong}, encoding="latin-1")
        answer = await http.post("/v1/agent/create-task", json={"title": "A"}, headers=headers)
        assert answer.status_code == 400, wrong
