"""Who asks for too much is refused, in the words of each family, and nothing is done; what keeps a claim never is."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.auth import KEY_PREFIX, WRONG_KEYS, Keys
from app.db import Database, Query
from app.errors import KeyInvalid, KeyRevoked
from app.operations import (
    OPERATIONS,
    claim_next_task,
    claim_task,
    create_task,
    get_inbox,
    get_me,
    get_request_outcome,
    get_task,
    list_tasks,
    search_tasks,
    update_task,
)
from app.operator import administration as admin
from app.rpc import RECORDS, SDK, Operation
from tests.conftest import Caller, Server, World
from tests.http.conftest import Home

HARDLY = 1e-3  # a second: nothing comes again while a test runs

SPARED = {
    *("heartbeat-run", "complete-run", "fail-run", "release-run", "force-release-run"),
    *("complete-task", "release-task"),
}
"""What keeps or ends a claim, whatever it says besides."""
SPARED_UNDER_A_CLAIM: dict[str, dict[str, object]] = {
    "block-task": {"reason": "It waits."},
    "cancel-task": {"reason": "Nobody needs it."},
    "update-task": {"version": 2, "status": "blocked"},
}
"""What ends a claim when it says that it is made under it."""

CODES = {"agent": "rate_limited", "sdk": "RATE_LIMITED", "record": "resource_exhausted"}


async def limited(caller: Caller, workspace: World, burst: int, per_second: float | None = HARDLY) -> None:
    """Say how much the key of somebody may ask for who has not called yet."""
    key_id = str(caller.context.actor.key_id)
    await admin.limit_key(workspace.db, workspace.info, key_id, per_second, burst)


async def exhausted(http: httpx.AsyncClient, caller: Caller, workspace: World) -> None:
    """Have somebody who has not called yet use up all that they may ask for."""
    await limited(caller, workspace, burst=1)
    assert (await http.get(get_me.path, headers=caller.headers)).status_code == 200


def calls_of(op: Operation, request: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Verb, path and what goes with it, for every way to call an operation."""
    if op.family is RECORDS:
        path, body = op.path, dict(request)
        for name, value in request.items():
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", str(value))
                del body[name]
        verb = op.method or "POST"
        return [(verb, path, {} if verb in {"GET", "DELETE"} else {"json": body})]
    post = ("POST", op.path, {"json": request})
    return [post, ("GET", op.path, {"params": request})] if op.read_only else [post]


def test_what_no_limit_refuses_is_what_keeps_or_ends_a_claim() -> None:
    assert {op.name for op in OPERATIONS if op.spared is True} == SPARED
    assert {op.name for op in OPERATIONS if callable(op.spared)} == set(SPARED_UNDER_A_CLAIM)


async def test_every_operation_is_refused_in_the_words_of_its_family_unless_it_is_spared(
    http: httpx.AsyncClient, home: Home
) -> None:
    """The client judges each answer by the document besides: a 429 that it does not list fails the test."""
    for caller in (home.scout, home.ada):
        await exhausted(http, caller, home.workspace)

    async def said(op: Operation, verb: str, path: str, sent: dict[str, Any]) -> None:
        answer = await http.request(verb, path, headers=home.caller(op).headers, **sent)
        if op.spared is True:
            assert answer.status_code != 429, (op.name, answer.text)
            return
        assert answer.status_code == 429, (op.name, answer.text)
        body = answer.json()
        error = body if op.family is RECORDS else body["error"]
        assert error["code"] == CODES[op.family.name]
        assert "send the same again" in error["message"]
        seconds = int(answer.headers["retry-after"])
        assert 1 <= seconds <= 30
        assert answer.headers["ratelimit-policy"] == '"key";q=1;w=1000'
        assert answer.headers["ratelimit"] == f'"key";r=0;t={seconds}'
        if op.family is not RECORDS:
            waited = "retry_after_seconds" if op.family is SDK else "retryAfterSeconds"
            assert (error["details"]["policy"], error["details"][waited]) == ("key", seconds)

    calls = [(op, *call) for op in OPERATIONS for call in calls_of(op, home.request(op))]
    assert {verb for _, verb, _, _ in calls} == {"GET", "POST", "PUT", "DELETE"}
    await asyncio.gather(*(said(*call) for call in calls))


@pytest.mark.parametrize(
    "name", ["heartbeat-run", "complete-run", "fail-run", "release-run", *SPARED_UNDER_A_CLAIM]
)
async def test_whoever_has_used_up_everything_keeps_a_claim_and_ends_it(
    http: httpx.AsyncClient, workspace: World, name: str
) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    task = await other(create_task, title="a", assignee_agent_id=bot.id)
    await exhausted(http, bot, workspace)
    claim = await bot(claim_task, task_id=task.id)
    [op] = [op for op in OPERATIONS if op.name == name]
    held: dict[str, Any] = {"runId": claim.run.id}
    if name == "fail-run":
        held["errors"] = [{"code": "broken", "message": "It broke."}]
    if name in SPARED_UNDER_A_CLAIM:
        held = {**held, "taskId": task.id, **SPARED_UNDER_A_CLAIM[name]}
        without = {key: value for key, value in held.items() if key != "runId"}
        assert (await http.post(op.path, json=without, headers=bot.headers)).status_code == 429
    answer = await http.post(op.path, json=held, headers=bot.headers)
    assert answer.status_code == 200, answer.text
    now = await other(get_task, task_id=task.id)
    assert (now.status == "in_progress") == (name in {"heartbeat-run", "complete-run"})


async def test_an_update_under_a_claim_that_goes_on_is_not_spared(
    http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="a")
    claim = await bot(claim_task, task_id=task.id)
    await exhausted(http, bot, workspace)
    for fields in ({"title": "b"}, {"status": "in_progress"}):
        sent = {"taskId": task.id, "version": claim.task.version, "runId": claim.run.id, **fields}
        assert (await http.post(update_task.path, json=sent, headers=bot.headers)).status_code == 429


async def test_a_refused_call_did_nothing_and_may_be_sent_again_under_its_key(
    http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    await exhausted(http, bot, workspace)
    headers = {**bot.headers, "Idempotency-Key": "mine"}
    for body in ({"title": "a"}, {"title": "b"}):  # nor is the key used up
        refused = await http.post(create_task.path, json=body, headers=headers)
        assert refused.status_code == 429
        assert "idempotency-replayed" not in refused.headers
    assert await bot(list_tasks) == []
    outcome = await bot(get_request_outcome, idempotency_key="mine")
    assert outcome.state == "unknown"

    await limited(bot, workspace, burst=1, per_second=None)  # as the settings say, and within a second
    async with asyncio.timeout(10):
        while (
            answer := await http.post(create_task.path, json={"title": "b"}, headers=headers)
        ).status_code != 200:
            assert answer.status_code == 429
    again = await http.post(create_task.path, json={"title": "b"}, headers=headers)
    assert (again.content, again.headers["idempotency-replayed"]) == (answer.content, "true")
    assert [task.title for task in await bot(list_tasks)] == ["b"]


async def test_a_limit_that_is_set_later_is_known_within_a_second_to_who_has_called_before(
    http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    assert (await http.get(get_me.path, headers=bot.headers)).status_code == 200
    await limited(bot, workspace, burst=1)
    async with asyncio.timeout(10):
        while (await http.get(get_me.path, headers=bot.headers)).status_code != 429:
            pass


async def test_a_new_key_has_the_limit_of_the_one_before_it(
    http: httpx.AsyncClient, workspace: World
) -> None:
    bot = await workspace.agent()
    await limited(bot, workspace, burst=3)
    key = await admin.create_key(workspace.db, workspace.info, bot.handle)
    headers = {"Authorization": f"Bearer {key.api_key}"}
    statuses = [(await http.get(get_me.path, headers=headers)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    listed = await admin.list_keys(workspace.db, workspace.info, bot.handle)
    assert [(each.calls_per_second, each.calls_burst) for each in listed] == [(HARDLY, 3)] * 2


async def test_searches_and_totals_are_worth_more(http: httpx.AsyncClient, workspace: World) -> None:
    bot = await workspace.agent()
    await exhausted(http, bot, workspace)
    costs: list[int] = []
    for op, params in (
        (get_task, {"taskId": "T-1"}),
        (list_tasks, {}),
        (list_tasks, {"includeTotal": "true"}),
        (list_tasks, {"query": "x"}),
        (search_tasks, {"query": "x"}),
    ):
        posted = {key: True if value == "true" else value for key, value in params.items()}
        answers = [
            await http.get(op.path, params=params, headers=bot.headers),
            await http.post(op.path, json=posted, headers=bot.headers),
        ]
        got, sent = (answer.json()["error"]["details"]["cost"] for answer in answers)
        assert got == sent
        costs.append(got)
    assert costs == [1, 3, 23, 13, 20]


async def test_nonsense_is_not_for_nothing(server: Server, workspace: World) -> None:
    """Not even to an operation that is spared, whose answer is never a 429 itself."""
    bot, other = await workspace.agent(scopes="task-read,task-write"), await workspace.agent("other")
    await limited(bot, workspace, burst=9)
    async with httpx.AsyncClient(base_url=server.url, headers=bot.headers) as client:
        statuses = [
            (await client.get("/v1/agent/nothing")).status_code,
            (await client.put(get_me.path)).status_code,
            (
                await client.post(get_me.path, content=b"{", headers={"Content-Type": "text/plain"})
            ).status_code,
            (await client.post(get_me.path, content=b"{")).status_code,
            (await client.post("/v1/agent/heartbeat-run", content=b"{}")).status_code,
            (await client.post(create_task.path, content=b"{}")).status_code,
            (await client.get("/v1/agent/get-channels")).status_code,
        ]
        assert statuses == [404, 405, 400, 400, 400, 400, 403]
        for verb, path, sent in (
            ("GET", "/v1/agent/nothing", b""),
            ("PUT", get_me.path, b""),
            ("POST", get_me.path, b"{"),
            ("POST", create_task.path, b"{}"),
            ("GET", "/v1/agent/get-channels", b""),
        ):
            assert (await client.request(verb, path, content=sent)).status_code == 429
        for media_type in ("text/plain", "application/json"):
            answer = await client.post(
                "/v1/agent/heartbeat-run", content=b"{", headers={"Content-Type": media_type}
            )
            assert answer.status_code == 400
        elsewhere = await client.get(get_me.path, headers=other.headers)
        assert elsewhere.status_code == 200


# Calls that wait

WAITS = 100  # of a key, as the settings say


def call_that_waits(
    client: httpx.AsyncClient, headers: dict[str, str], n: int
) -> "asyncio.Task[httpx.Response]":
    """A call that waits, in one of the ways in which one can."""
    asked = {"waitSeconds": 30}
    if n % 4 == 0:
        call = client.post(claim_next_task.path, json=asked, headers=headers)
    elif n % 4 == 1:
        call = client.post(get_inbox.path, json=asked, headers=headers)
    elif n % 4 == 2:
        call = client.get(get_inbox.path, params=asked, headers=headers)
    else:
        call = client.post("/mcp", json=tool_call("claim-next-task", asked), headers=headers)
    return asyncio.create_task(call)


def tool_call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


async def test_so_many_calls_of_a_key_may_wait_and_one_more_is_refused_if_it_would(
    server: Server, workspace: World
) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    asked = {"waitSeconds": 20}
    limits = httpx.Limits(max_connections=WAITS + 5)
    async with httpx.AsyncClient(
        base_url=server.url, headers=bot.headers, timeout=60, limits=limits
    ) as client:
        one_too_many = [call_that_waits(client, bot.headers, n) for n in range(WAITS + 1)]
        try:
            done, waiting = await asyncio.wait(one_too_many, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert (len(done), len(waiting)) == (1, WAITS)
            for refused in (
                await client.post(claim_next_task.path, json={**asked, "claimKey": "k"}),
                await client.get(get_inbox.path, params=asked),
            ):
                error = refused.json()["error"]
                assert (refused.status_code, error["code"]) == (429, "rate_limited")
                assert (error["details"]["policy"], error["details"]["limit"]) == ("waiting-key", WAITS)
                assert refused.headers["retry-after"] == "5"
            told = await client.post("/mcp", json=tool_call("claim-next-task", asked))
            result = told.json()["result"]
            assert (result["isError"], result["structuredContent"]["code"]) == (True, "rate_limited")
            assert result["_meta"]["retry-after"] == "5"
            for op in (get_inbox, get_me):  # what does not wait is no matter
                assert (await client.get(op.path)).status_code == 200
            theirs = await client.get(get_inbox.path, params={"waitSeconds": 1}, headers=other.headers)
            assert theirs.status_code == 200, "nor is who else waits"
            assert not any(call.done() for call in waiting)
        finally:
            for call in one_too_many:
                call.cancel()
            await asyncio.wait(one_too_many)
        async with asyncio.timeout(20):  # whoever hangs up waits no longer
            while (await client.get(get_inbox.path, params={"waitSeconds": 1})).status_code != 200:
                pass


# A flood


async def test_one_key_floods_with_everything_it_may_and_all_calls_of_another_workspace_go_well(
    server: Server, home: Home, other_workspace: World
) -> None:
    """How much longer they take is measured by `make bench`."""
    quiet = await other_workspace.agent("quiet")
    await limited(home.scout, home.workspace, burst=50, per_second=50)
    calls = [
        call
        for op in OPERATIONS
        if home.caller(op) is home.scout and not op.patience_seconds
        for call in calls_of(op, home.request(op))
    ]
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    calls += [
        ("POST", "/mcp", {"json": listing}),
        ("POST", "/mcp", {"json": tool_call("get-me", {})}),
        ("GET", "/v1/agent/nothing", {}),
    ]
    seen: set[int] = set()
    alive: set[int] = set()
    over = asyncio.Event()

    async def flood(client: httpx.AsyncClient, first: int) -> None:
        for n in range(first, 100_000):
            if over.is_set():
                return
            verb, path, sent = calls[n % len(calls)]
            answer = await client.request(verb, path, headers=home.scout.headers, **sent)
            (alive if path.endswith("/heartbeat-run") else seen).add(answer.status_code)

    limits = httpx.Limits(max_connections=40)
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as loud,
        httpx.AsyncClient(base_url=server.url, timeout=60, headers=quiet.headers) as client,
    ):
        floods = [asyncio.create_task(flood(loud, 9 * n)) for n in range(12)]
        try:
            for n in range(8):
                made = await client.post(create_task.path, json={"title": f"{n}"})
                claim = await client.post(claim_next_task.path, json={})
                run = claim.json()["data"][0]["run"]["id"]
                said = [
                    made,
                    claim,
                    await client.post("/v1/agent/heartbeat-run", json={"runId": run}),
                    await client.get(list_tasks.path, params={"includeTotal": "true"}),
                    await client.get(search_tasks.path, params={"query": f"{n}"}),
                    await client.post("/v1/agent/complete-run", json={"runId": run, "completeTask": True}),
                    await client.get(get_inbox.path),
                ]
                assert [answer.status_code for answer in said] == [200] * len(said)
            async with asyncio.timeout(30):
                while 429 not in seen:
                    await asyncio.wait(floods, timeout=0.1)
        finally:
            over.set()
            await asyncio.wait(floods)
    assert not any(task.exception() for task in floods)
    assert 429 not in alive


# Keys that are tried


class Counting(Database):
    """The database, and how often a key was looked up."""

    count = 0

    async def all(self, query: Query[Any], **parameters: object) -> list[Any]:
        self.count += "hash" in parameters
        return await super().all(query, **parameters)


@asynccontextmanager
async def counting(dsn: str) -> AsyncGenerator[tuple[Counting, Keys]]:
    db = Counting(dsn, connections_max=2, statement_timeout_seconds=10, pooler=False)
    await db.open()
    try:
        yield db, Keys(db)
    finally:
        await db.close()


async def test_what_is_no_key_is_not_looked_up_and_a_bad_key_once_in_a_while(
    dsn: str, workspace: World
) -> None:
    bot = await workspace.agent()
    await admin.revoke_key(workspace.db, workspace.info, str(bot.context.actor.key_id))
    async with counting(dsn) as (db, keys):
        for nonsense in ("x", KEY_PREFIX[:-1], "y" * 52):
            with pytest.raises(KeyInvalid):
                await keys.actor(f"Bearer {nonsense}".encode())
        assert db.count == 0
        for key, why in ((KEY_PREFIX + "x" * 43, KeyInvalid), (bot.api_key, KeyRevoked)):
            db.count = 0
            for _ in range(20):
                with pytest.raises(why):
                    await keys.actor(f"Bearer {key}".encode())
            assert db.count == 1


async def test_who_tries_many_keys_is_answered_late_and_a_good_key_is_not(dsn: str, workspace: World) -> None:
    bot = await workspace.agent()
    async with counting(dsn) as (_, keys):

        async def tried(n: int) -> None:
            with pytest.raises(KeyInvalid):
                await keys.actor(f"Bearer {KEY_PREFIX}{n:043}".encode())

        async with asyncio.timeout(20):
            await asyncio.gather(*(tried(n) for n in range(WRONG_KEYS.burst)))
        late = asyncio.create_task(tried(10_000))
        assert (await keys.actor(f"Bearer {bot.api_key}".encode())).handle == bot.handle
        assert not late.done()
        await late
