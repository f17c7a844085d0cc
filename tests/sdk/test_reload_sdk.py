"""The published client, `reload-sdk`, unmodified: all its task and workspace operations, and every error it knows.

Each test runs twice, with the synchronous and the asynchronous client, which is written alike in both cases:
`await sdk.tasks.create_task(...)`. The client parses what it gets with pydantic, so an answer of another shape
fails a test as a ValidationError.
"""

import asyncio
import contextlib
import inspect
import json
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from reload import AsyncReloadApi, ReloadApi
from reload.core.api_error import ApiError
from reload.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InternalServerError,
    NotFoundError,
    ServiceUnavailableError,
    TooManyRequestsError,
    UnauthorizedError,
)

from app.operations import create_task, get_task, list_tasks, update_task
from app.operator import administration as admin
from tests.apart import new_agent, served_apart
from tests.conftest import Caller, Server, World, drop_database, new_database

Sdk = Any  # either client, all of whose calls are awaited


class InThread:
    """A synchronous client whose calls can be awaited."""

    def __init__(self, client: object) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return InThread(found)

        async def call(**arguments: Any) -> Any:
            return await asyncio.to_thread(found, **arguments)

        return call


Connect = Callable[[str, str], Sdk]


@pytest_asyncio.fixture(params=["sync", "async"], loop_scope="session")
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Makes clients of one kind, for a base URL and a key."""
    if request.param == "sync":
        with httpx.Client(timeout=60) as client:
            yield lambda url, key: InThread(ReloadApi(base_url=url, token=key, httpx_client=client))
    else:
        async with httpx.AsyncClient(timeout=60) as client:
            yield lambda url, key: AsyncReloadApi(base_url=url, token=key, httpx_client=client)


@pytest_asyncio.fixture(loop_scope="session")
async def ada(workspace: World) -> Caller:
    return await workspace.user("ada")


@pytest_asyncio.fixture(loop_scope="session")
async def bot(workspace: World, ada: Caller) -> Caller:
    return await workspace.agent("bot", owner="ada")


@pytest_asyncio.fixture(loop_scope="session")
async def sdk(connect: Connect, server: Server, bot: Caller) -> Sdk:
    """A client that calls as bot."""
    return connect(server.url, bot.api_key)


async def task(sdk: Sdk, **fields: Any) -> Any:
    return (await sdk.tasks.create_task(**{"title": "A task", **fields})).data


# The thirteen operations -------------------------------------------------------------------------------


async def test_create_task(sdk: Sdk, bot: Caller, workspace: World) -> None:
    channel = await workspace.channel("launch", bot)
    parent = await task(sdk)
    answer = await sdk.tasks.create_task(
        title="Launch",
        description="Soon",
        status="in_progress",
        priority="urgent",
        assignee_agent_id=bot.id,
        parent_task_id=parent.identifier,
        channel_id=channel,
    )
    assert answer.success is True
    made = answer.data
    assert (made.title, made.description, made.status, made.priority) == (
        "Launch",
        "Soon",
        "in_progress",
        "urgent",
    )
    assert (made.assignee_agent_id, made.created_by_agent_id, made.parent_task_id) == (
        bot.id,
        bot.id,
        parent.id,
    )
    assert (made.channel_id, made.workspace_id, made.version) == (channel, workspace.id, 1)
    assert made.started_at is not None and made.started_at.tzinfo is not None
    assert abs(datetime.now(UTC) - answer.meta.timestamp).total_seconds() < 60


async def test_create_tasks_bulk_from_a_string_and_from_a_list(sdk: Sdk) -> None:
    rows = [{"title": "one"}, {"title": "two", "priority": "high", "status": "backlog"}]
    for tasks in (json.dumps(rows), rows):
        made = (await sdk.tasks.create_tasks_bulk(tasks=tasks)).data
        assert [(each.title, each.priority, each.status) for each in made] == [
            ("one", "none", "todo"),
            ("two", "high", "backlog"),
        ]


async def test_create_tasks_bulk_with_a_summary(sdk: Sdk, bot: Caller, workspace: World) -> None:
    channel = await workspace.channel("launch", bot)
    await sdk.tasks.create_tasks_bulk(
        tasks=json.dumps([{"title": "one"}]), summary_channel_id=channel, summary_message="Here they are"
    )
    [message] = await workspace.rows("SELECT content FROM messages WHERE workspace_id = %(workspace)s")
    assert message["content"] == "Here they are"


async def test_update_task(sdk: Sdk, ada: Caller) -> None:
    made = await task(sdk)
    changed = (
        await sdk.tasks.update_task(
            task_id=made.id,
            version=made.version,
            title="Renamed",
            description="Now with words",
            status="in_review",
            priority="low",
            assignee_user_id=ada.id,
        )
    ).data
    assert (changed.version, changed.title, changed.status, changed.priority) == (
        2,
        "Renamed",
        "in_review",
        "low",
    )
    assert (changed.assignee_user_id, changed.assignee_agent_id) == (ada.id, None)


async def test_complete_cancel_block_and_release_task(sdk: Sdk, bot: Caller) -> None:
    made = await task(sdk, assignee_agent_id=bot.id)
    blocked = (await sdk.tasks.block_task(task_id=made.identifier, reason="Waits for rain")).data
    assert (blocked.status, blocked.version) == ("blocked", 2)
    released = (await sdk.tasks.release_task(task_id=made.id)).data
    assert (released.assignee_agent_id, released.status) == (None, "blocked")
    completed = (await sdk.tasks.complete_task(task_id=made.id)).data
    assert completed.status == "done" and completed.completed_at is not None
    for reason in ({}, {"reason": "Second thoughts"}, {"reason": None}):
        cancelled = (await sdk.tasks.cancel_task(task_id=made.id, **reason)).data
        assert cancelled.status == "cancelled" and cancelled.cancelled_at is not None


async def test_list_tasks(sdk: Sdk, bot: Caller, ada: Caller, workspace: World) -> None:
    channel = await workspace.channel("launch", bot)
    first = await task(sdk, title="Paint the shed", priority="high", assignee_agent_id=bot.id)
    second = await task(sdk, title="Mow the lawn", channel_id=channel, assignee_user_id=ada.id)

    async def listed(**filters: Any) -> list[str]:
        return [each.id for each in (await sdk.tasks.list_tasks(**filters)).data]

    assert await listed() == [second.id, first.id]
    assert await listed(query="SHED") == await listed(query=first.identifier) == [first.id]
    assert await listed(priority="high") == await listed(assignee_agent_id=bot.id) == [first.id]
    assert await listed(channel_id=channel) == await listed(assignee_user_id=ada.id) == [second.id]
    assert await listed(status="todo") == await listed(status="open") == [second.id, first.id]
    assert await listed(status="done") == []
    answer = await sdk.tasks.list_tasks(limit=1)
    assert answer.meta.pagination.has_more is True
    rest = await sdk.tasks.list_tasks(
        request_options={"additional_query_parameters": {"cursor": answer.meta.pagination.cursor}}
    )
    assert [each.id for each in answer.data + rest.data] == [second.id, first.id]
    assert rest.meta.pagination.has_more is False


async def test_list_my_tasks(sdk: Sdk, bot: Caller) -> None:
    await task(sdk, title="Somebody else's")
    mine = [await task(sdk, priority=priority, assignee_agent_id=bot.id) for priority in ("low", "urgent")]
    assert [each.id for each in (await sdk.tasks.list_my_tasks()).data] == [mine[1].id, mine[0].id]
    assert (await sdk.tasks.list_my_tasks(status="done", limit=5)).data == []


async def test_comment_on_task(sdk: Sdk, bot: Caller, ada: Caller) -> None:
    made = await task(sdk)
    comment = (await sdk.tasks.comment_on_task(task_id=made.id, body="What do you think, @ada?")).data
    assert (comment.task_id, comment.author_agent_id, comment.body) == (
        made.id,
        bot.id,
        "What do you think, @ada?",
    )
    assert [(each.id, each.type) for each in comment.mentions] == [(ada.id, "user")]
    plain = (await sdk.tasks.comment_on_task(task_id=made.id, body="Nobody")).data
    assert plain.mentions == []


async def test_resolve_identity(sdk: Sdk, ada: Caller, bot: Caller) -> None:
    for who in ({"handle": "ada"}, {"handle": "@ada"}, {"email": "ada@example.test"}):
        found = (await sdk.workspace.resolve_identity(**who)).data
        assert (found.id, found.kind, found.handle) == (ada.id, "user", "ada")
    assert (await sdk.workspace.resolve_identity(handle="bot")).data.kind == "agent"


async def test_verify_connection(sdk: Sdk, bot: Caller, workspace: World) -> None:
    token = await admin.create_verify_token(workspace.db, workspace.info, "bot")
    verified = (await sdk.workspace.verify_connection(token=token.token)).data
    assert (verified.ok, verified.agent_id, verified.workspace_id) == (True, bot.id, workspace.id)
    again = (await sdk.workspace.verify_connection(token=token.token)).data
    assert (again.ok, again.reason) == (False, "already_used")
    assert (await sdk.workspace.verify_connection(token="guess")).data.reason == "invalid_token"


async def test_get_workspace_info(sdk: Sdk, workspace: World) -> None:
    info = (await sdk.workspace.get_workspace_info()).data
    assert (info.id, info.slug) == (workspace.id, workspace.slug)
    assert (info.member_count, info.agent_count, info.channel_count) == (1, 1, 1)
    assert info.created_at.tzinfo is not None


# What the client sends when it is told nothing, None or a float ----------------------------------------


async def test_none_unassigns_and_nothing_leaves_alone(sdk: Sdk, bot: Caller, ada: Caller) -> None:
    made = await task(sdk, assignee_agent_id=bot.id)
    kept = (await sdk.tasks.update_task(task_id=made.id, version=1, priority="low")).data
    assert kept.assignee_agent_id == bot.id
    unassigned = (await sdk.tasks.update_task(task_id=made.id, version=2, assignee_agent_id=None)).data
    assert (unassigned.assignee_agent_id, unassigned.version) == (None, 3)
    given = (await sdk.tasks.update_task(task_id=made.id, version=3, assignee_user_id=ada.id)).data
    swapped = await sdk.tasks.update_task(
        task_id=made.id, version=given.version, assignee_agent_id=bot.id, assignee_user_id=None
    )
    assert (swapped.data.assignee_agent_id, swapped.data.assignee_user_id) == (bot.id, None)


async def test_none_clears_a_description_and_is_nothing_for_what_cannot_be_cleared(sdk: Sdk) -> None:
    made = await task(sdk, description="Words", priority="high")
    same = (
        await sdk.tasks.update_task(task_id=made.id, version=1, title=None, status=None, priority=None)
    ).data
    assert (same.title, same.status, same.priority, same.version) == ("A task", "todo", "high", 1)
    cleared = (await sdk.tasks.update_task(task_id=made.id, version=1, description=None)).data
    assert (cleared.description, cleared.version) == (None, 2)


async def test_none_is_nothing_when_a_task_is_created(sdk: Sdk) -> None:
    names = (
        "description",
        "status",
        "priority",
        "assignee_agent_id",
        "assignee_user_id",
        "parent_task_id",
        "channel_id",
    )
    made = await task(sdk, **dict.fromkeys(names))
    assert (made.description, made.status, made.priority, made.channel_id) == (None, "todo", "none", None)


async def test_numbers_may_be_floats(sdk: Sdk, bot: Caller) -> None:
    made = await task(sdk, assignee_agent_id=bot.id)
    assert (await sdk.tasks.update_task(task_id=made.id, version=1.0, priority="low")).data.version == 2
    assert len((await sdk.tasks.list_tasks(limit=10.0)).data) == 1
    assert len((await sdk.tasks.list_my_tasks(limit=10.0)).data) == 1
    with pytest.raises(BadRequestError):
        await sdk.tasks.update_task(task_id=made.id, version=2.5, priority="high")
    with pytest.raises(BadRequestError):
        await sdk.tasks.list_tasks(limit=1.5)


async def test_what_the_client_does_not_know_goes_along_in_the_body(
    sdk: Sdk, bot: Caller, ada: Caller, workspace: World
) -> None:
    channel = await workspace.channel("launch", bot)

    def also(**fields: Any) -> dict[str, Any]:
        return {"additional_body_parameters": fields}

    made = (
        await sdk.tasks.create_task(title="Due", request_options=also(dueAt="2031-05-04T12:00:00+02:00"))
    ).data
    assert made.due_at == datetime(2031, 5, 4, 10, tzinfo=UTC)
    changed = (
        await sdk.tasks.update_task(
            task_id=made.id,
            version=1,
            request_options=also(dueAt=None, channelId=channel, anything={"at": "all"}),
        )
    ).data
    assert (changed.due_at, changed.channel_id, changed.version) == (None, channel, 2)
    comment = await sdk.tasks.comment_on_task(
        task_id=made.id, body="Look", request_options=also(mentions=[{"id": ada.id, "type": "user"}])
    )
    assert [each.id for each in comment.data.mentions] == [ada.id]


async def test_a_request_id_of_ones_own_comes_back(sdk: Sdk) -> None:
    answer = await sdk.tasks.list_tasks(request_options={"additional_headers": {"X-Request-Id": "mine-1"}})
    assert answer.meta.request_id == "mine-1"


# Every error the client knows --------------------------------------------------------------------------


def explained(error: ApiError, code: str) -> Any:
    """The error as the client parsed it: of a documented shape, with its request id."""
    assert error.body.success is False
    assert error.body.error.code == code
    assert error.body.error.message
    assert error.body.meta.request_id == (error.headers or {})["x-request-id"]
    return error.body.error


async def test_400_is_a_bad_request_error_that_names_the_field(sdk: Sdk) -> None:
    for title in ("", "   ", "x" * 501, "a\0b"):
        with pytest.raises(BadRequestError) as caught:
            await task(sdk, title=title)
        assert explained(caught.value, "invalid_input").retryable is False
    with pytest.raises(BadRequestError) as caught:
        await task(sdk, status="done")
    assert explained(caught.value, "invalid_input").details["field"] == "status"
    with pytest.raises(BadRequestError) as caught:
        await sdk.tasks.create_tasks_bulk(tasks=json.dumps([{"title": "fine"}, {"title": ""}]))
    assert explained(caught.value, "invalid_input").details["index"] == 1
    with pytest.raises(BadRequestError):
        await sdk.workspace.resolve_identity()


async def test_401_is_an_unauthorized_error(
    connect: Connect, server: Server, workspace: World, bot: Caller
) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        await connect(server.url, "rl_sk_unknown").tasks.list_tasks()
    explained(caught.value, "AUTH_INVALID_API_KEY")
    key = await admin.create_key(workspace.db, workspace.info, "bot")
    await admin.revoke_key(workspace.db, workspace.info, str(key.id))
    with pytest.raises(UnauthorizedError) as caught:
        await connect(server.url, key.api_key).tasks.list_tasks()
    assert "API key has been revoked" in explained(caught.value, "AUTH_API_KEY_REVOKED").message


async def test_403_is_a_forbidden_error(connect: Connect, server: Server, workspace: World, sdk: Sdk) -> None:
    reader = await workspace.agent("reader", scopes="read-only")
    with pytest.raises(ForbiddenError) as caught:
        await task(connect(server.url, reader.api_key))
    assert explained(caught.value, "permission_denied").details == {"scope": "task-write"}
    closed = await workspace.channel("closed")
    with pytest.raises(ForbiddenError) as caught:
        await task(sdk, channel_id=closed)
    assert explained(caught.value, "channel_not_member").details == {"channelId": closed}


async def test_404_is_a_not_found_error(sdk: Sdk, workspace: World) -> None:
    stranger = await workspace.agent("stranger")
    hidden = await stranger(create_task, title="Hidden")
    for task_id in ("T-999", hidden.id, hidden.identifier, "no such thing", "x" * 400):
        with pytest.raises(NotFoundError) as caught:
            await sdk.tasks.complete_task(task_id=task_id)
        explained(caught.value, "not_found")
    with pytest.raises(NotFoundError):
        await sdk.workspace.resolve_identity(handle="nobody")


async def test_an_operation_that_is_not_served_is_a_not_found_error(sdk: Sdk) -> None:
    with pytest.raises(NotFoundError) as caught:
        await sdk.memory.search_memories()
    explained(caught.value, "not_found")


@pytest.mark.parametrize("noun", ["memory", "files"])
async def test_an_operation_on_memory_or_files_says_that_there_is_neither(sdk: Sdk, noun: str) -> None:
    """So that a model does not try the next one."""
    client = getattr(ReloadApi(base_url="http://localhost", token="x"), noun)
    names = [name for name in dir(client) if not name.startswith(("_", "with_"))]
    assert names
    for name in names:
        parameters = inspect.signature(getattr(client, name)).parameters.values()
        needed = {each.name: "x" for each in parameters if each.default is each.empty}
        with pytest.raises(NotFoundError) as caught:
            await getattr(getattr(sdk, noun), name)(**needed)
        assert "Baton serves neither memory nor files." in caught.value.body.error.message


async def test_409_is_a_conflict_error_with_the_task_as_it_is_now(sdk: Sdk) -> None:
    made = await task(sdk)
    await sdk.tasks.update_task(task_id=made.id, version=1, title="Mine")
    with pytest.raises(ConflictError) as caught:
        await sdk.tasks.update_task(task_id=made.id, version=1, title="Yours")
    error = explained(caught.value, "conflict")
    assert error.retryable is False
    assert (error.details["reason"], error.details["currentVersion"]) == ("version_conflict", 2)
    assert error.details["current"]["title"] == "Mine"
    merged = await sdk.tasks.update_task(
        task_id=made.id, version=error.details["currentVersion"], title="Ours"
    )
    assert (merged.data.title, merged.data.version) == ("Ours", 3)
    with pytest.raises(ConflictError) as caught:
        await sdk.tasks.release_task(task_id=made.id)
    assert explained(caught.value, "conflict").details == {"reason": "not_assigned"}


async def test_the_clients_own_retries_after_a_409_do_no_harm(server: Server, bot: Caller) -> None:
    """It sends what was refused once more, unchanged, after about two seconds (contract section 12)."""
    sent: list[tuple[str, str]] = []

    def note(response: httpx.Response) -> None:
        replayed = response.headers.get("idempotency-replayed", "")
        sent.append((response.request.headers.get("idempotency-key", ""), replayed))

    made = await bot(create_task, title="A")
    await bot(update_task, task_id=made.id, version=1, title="B")
    with httpx.Client(timeout=60, event_hooks={"response": [note]}) as client:
        sdk = InThread(ReloadApi(base_url=server.url, token=bot.api_key, httpx_client=client))
        refused = await asyncio.gather(
            *(
                sdk.tasks.update_task(
                    task_id=made.id,
                    version=1,
                    title="C",
                    request_options={"max_retries": 3, "additional_headers": headers},
                )
                for headers in ({}, {"Idempotency-Key": "k-1"})
            ),
            return_exceptions=True,
        )
    assert [type(error) for error in refused] == [ConflictError, ConflictError]
    assert sorted(sent) == [("", ""), ("", ""), ("k-1", ""), ("k-1", "true")]
    task_now = await bot(get_task, task_id=made.id)
    assert (task_now.title, task_now.version) == ("B", 2)


async def limited(workspace: World, bot: Caller, per_second: float) -> None:
    """Let somebody create one task, and then so many units a second more; a task is worth two."""
    key_id = str(bot.context.actor.key_id)
    await admin.limit_key(workspace.db, workspace.info, key_id, per_second=per_second, burst=2)


async def test_429_is_a_too_many_requests_error_that_says_when_to_try_again(
    connect: Connect, server: Server, workspace: World, bot: Caller
) -> None:
    await limited(workspace, bot, per_second=0.001)
    sdk = connect(server.url, bot.api_key)
    await task(sdk)
    with pytest.raises(TooManyRequestsError) as caught:
        await task(sdk, title="B")
    error = explained(caught.value, "rate_limited")
    assert error.retryable is True
    assert (error.details["policy"], error.details["retryAfterSeconds"]) == ("key", 30)
    assert (caught.value.headers or {})["retry-after"] == "30", "the most that this client obeys"
    assert len(await bot(list_tasks)) == 1


async def test_the_clients_own_retry_after_a_429_waits_as_told_and_is_answered(
    server: Server, workspace: World, bot: Caller
) -> None:
    """Three seconds, where by itself it waits for two at most: then it would be refused once more."""
    await limited(workspace, bot, per_second=0.7)
    statuses: list[int] = []

    def note(response: httpx.Response) -> None:
        statuses.append(response.status_code)

    with httpx.Client(timeout=60, event_hooks={"response": [note]}) as client:
        sdk = InThread(ReloadApi(base_url=server.url, token=bot.api_key, httpx_client=client))
        for _ in range(2):
            await sdk.tasks.create_task(title="A", request_options={"max_retries": 3})
    assert statuses in ([200, 429, 200], [200, 200]), "the second is not refused if this machine stood still"
    assert len(await bot(list_tasks)) == 2


async def test_500_is_an_internal_server_error_and_the_log_has_the_rest(
    connect: Connect, postgres: str
) -> None:
    """A table is renamed behind the service's back: the nearest thing to a bug that can be had for real."""
    name = f"baton_bug_{os.getpid()}"
    dsn = new_database(postgres, name)
    server = Server(dsn)
    try:
        key = await new_agent(dsn)
        sdk = connect(server.url, key)
        await task(sdk)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("ALTER TABLE task_counters RENAME TO hidden")
            with pytest.raises(InternalServerError) as caught:
                await task(sdk, title="marker-9c2e")
            error = explained(caught.value, "internal_error")
            assert error.retryable is True
            assert error.details is None
            assert "task_counters" not in error.message
            connection.execute("ALTER TABLE hidden RENAME TO task_counters")
        assert (await task(sdk)).identifier == "T-2"
    finally:
        server.stop()
        log = server.stderr()
        server.log.close()
        drop_database(postgres, name)
    [line] = [line for line in log.splitlines() if "Traceback" in line]
    assert (caught.value.headers or {})["x-request-id"] in line
    assert "task_counters" in line
    assert "marker-9c2e" not in log
    assert key not in log


async def test_503_is_a_service_unavailable_error_that_says_when_to_try_again(tmp_path: Path) -> None:
    """Both kinds of client in one go, because the database takes seconds to go and to come."""
    async with (
        served_apart(tmp_path) as apart,
        httpx.AsyncClient(timeout=60) as asynchronous,
        contextlib.AsyncExitStack() as stack,
    ):
        synchronous = stack.enter_context(httpx.Client(timeout=60))
        url, key = apart.server.url, apart.api_key
        sdks: list[Sdk] = [
            InThread(ReloadApi(base_url=url, token=key, httpx_client=synchronous)),
            AsyncReloadApi(base_url=url, token=key, httpx_client=asynchronous),
        ]
        made = await task(sdks[0])
        await apart.stop_database()
        calls = [call for sdk in sdks for call in (sdk.tasks.list_tasks(), task(sdk))]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, ServiceUnavailableError)
            assert explained(error, "upstream_unavailable").retryable is True
            assert int((error.headers or {})["retry-after"]) >= 1
        await apart.start_database()
        for sdk in sdks:
            assert [each.id for each in (await sdk.tasks.list_tasks()).data] == [made.id]
