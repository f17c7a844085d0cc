"""create-tasks-bulk: all of the rows or none, in order, with consecutive identifiers, and one message about them."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from app.errors import (
    ApiError,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    TaskNotFound,
)
from app.operations import create_task, create_tasks_bulk, list_tasks
from tests.conftest import Caller, World


async def messages(workspace: World) -> list[dict[str, Any]]:
    """Every message in the workspace."""
    return await workspace.rows("SELECT * FROM messages WHERE workspace_id = %(workspace)s ORDER BY id")


async def addressed(workspace: World) -> set[tuple[str, str]]:
    """For whom which message waits."""
    rows = await workspace.rows("SELECT * FROM unread_mentions WHERE workspace_id = %(workspace)s")
    return {(row["identity_id"], row["id"]) for row in rows}


@pytest.mark.parametrize("encoded", [False, True], ids=["array", "string"])
async def test_rows_become_tasks_in_their_order_with_consecutive_identifiers(
    workspace: World, encoded: bool
) -> None:
    bot = await workspace.agent()
    rows: Any = [{"title": f"task {n}", "priority": "high" if n % 2 else "none"} for n in range(50)]
    tasks = await bot(create_tasks_bulk, tasks=json.dumps(rows) if encoded else rows)
    assert [task.title for task in tasks] == [f"task {n}" for n in range(50)]
    assert [task.identifier for task in tasks] == [f"T-{n}" for n in range(1, 51)]
    assert [task.priority for task in tasks] == ["none", "high"] * 25
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    assert {task.created_by_agent_id for task in tasks} == {bot.id}


async def test_a_row_takes_everything_that_create_task_does(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", bot)
    parent = await bot(create_task, title="whole")
    fields = {
        "title": " part ",
        "description": "of it",
        "status": "in_progress",
        "priority": "urgent",
        "assigneeUserId": ada.id,
        "channelId": channel,
        "dueAt": "2026-12-01T09:00:00Z",
        "labels": ["nobody knows these"],
    }
    by_id, by_identifier = await bot(
        create_tasks_bulk,
        tasks=[{**fields, "parentTaskId": parent.id}, {**fields, "parentTaskId": "t-1"}],
    )
    for task in (by_id, by_identifier):
        assert (task.title, task.description, task.status, task.priority) == (
            "part",
            "of it",
            "in_progress",
            "urgent",
        )
        assert (task.assignee_user_id, task.channel_id, task.parent_task_id) == (ada.id, channel, parent.id)
        assert (task.due_at, task.started_at) == ("2026-12-01T09:00:00.000Z", task.created_at)


async def test_each_task_has_its_own_event_and_participants(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    one, two = await bot(
        create_tasks_bulk, tasks=[{"title": "one"}, {"title": "two", "assigneeUserId": ada.id}]
    )
    for task in (one, two):
        [event] = await workspace.events(task.id)
        assert (event["kind"], event["version"], event["actor_id"]) == ("created", 1, bot.id)
        assert event["request_id"] == "test-bot"
        assert event["changes"]["title"] == [None, task.title]
    assert [task.title for task in await ada(list_tasks)] == ["two"]


@pytest.mark.parametrize(
    "tasks, said",
    [
        ([], "1 to 50 tasks; this one has 0"),
        ("[]", "this one has 0"),
        ([{"title": "x"}] * 51, "1 to 50 tasks; this one has 51"),
        (json.dumps([{"title": "x"}] * 51), "this one has 51"),
        ("{}", "must be an array of 1 to 50"),
        ('"x"', "must be an array of 1 to 50"),
        ("null", "must be an array of 1 to 50"),
        ("", "not one that holds a JSON array"),
        ("[", "not one that holds a JSON array"),
        ('[{"title": "\\ud800"}]', "not one that holds a JSON array"),
        ("[" * 100_000, "not one that holds a JSON array"),
    ],
)
async def test_what_is_no_array_of_one_to_fifty_rows_is_refused(
    workspace: World, tasks: object, said: str
) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput, match=said) as refused:
        await bot(create_tasks_bulk, tasks=tasks)
    assert refused.value.details == {"field": "tasks"}


GOOD = {"title": "in order"}


@pytest.mark.parametrize("encoded", [False, True], ids=["array", "string"])
@pytest.mark.parametrize(
    "bad, error, field",
    [
        ({}, InvalidInput, "title"),
        ({"title": "  "}, InvalidInput, "title"),
        ({"title": "x" * 501}, InvalidInput, "title"),
        ({"title": 7}, InvalidInput, "title"),
        ({"title": "x", "status": "done"}, InvalidInput, "status"),
        ({"title": "x", "priority": 1}, InvalidInput, "priority"),
        ({"title": "x", "dueAt": "tomorrow"}, InvalidInput, "dueAt"),
        ({"title": "x", "dueAt": "9999-12-31T23:59:59-14:00"}, InvalidInput, "dueAt"),
        ({"title": "x", "description": "x" * 100_001}, InvalidInput, "description"),
        ({"title": "x", "assigneeAgentId": "a", "assigneeUserId": "b"}, InvalidInput, "assigneeAgentId"),
        ({"title": "x", "assigneeAgentId": str(uuid4())}, IdentityNotFound, "assigneeAgentId"),
        ({"title": "x", "assigneeUserId": "ada"}, IdentityNotFound, "assigneeUserId"),
        ({"title": "x", "channelId": str(uuid4())}, ChannelNotFound, "channelId"),
        ({"title": "x", "channelId": "general"}, ChannelNotFound, "channelId"),
        ({"title": "x", "parentTaskId": "T-99"}, TaskNotFound, "parentTaskId"),
        ({"title": "x", "parentTaskId": str(uuid4())}, TaskNotFound, "parentTaskId"),
    ],
)
async def test_one_bad_row_is_named_and_nothing_is_created(
    workspace: World, encoded: bool, bad: dict[str, object], error: type[ApiError], field: str | None
) -> None:
    bot = await workspace.agent()
    rows: Any = [GOOD] * 36 + [bad] + [GOOD] * 13
    with pytest.raises(error, match="No task was created") as refused:
        await bot(create_tasks_bulk, tasks=json.dumps(rows) if encoded else rows)
    details = dict(refused.value.details or {})
    assert (details["index"], details["message"], details.get("field")) == (36, refused.value.message, field)
    assert refused.value.message.startswith("Row 36: ")
    assert await bot(list_tasks) == []
    assert (await bot(create_task, title="next")).identifier == "T-1", "no number was used"


@pytest.mark.parametrize("row", [7, None, "x", [], '{"title": "x"}'])
async def test_a_row_that_is_no_object_is_refused(workspace: World, row: object) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput, match=r"Row 1: .*object"):
        await bot(create_tasks_bulk, tasks=json.dumps([GOOD, row]))
    with pytest.raises(InvalidInput, match=r"tasks\[1\]"):
        await bot(create_tasks_bulk, tasks=[GOOD, row])


@pytest.mark.parametrize("encoded", [False, True], ids=["array", "string"])
async def test_nul_is_refused_however_deep_it_is_escaped(workspace: World, encoded: bool) -> None:
    bot = await workspace.agent()
    rows: Any = [GOOD, {"title": "x", "description": "a\0b"}]
    with pytest.raises(InvalidInput, match="NUL"):
        await bot(create_tasks_bulk, tasks=json.dumps(rows) if encoded else rows)
    with pytest.raises(InvalidInput, match="NUL"):
        await bot(create_tasks_bulk, tasks=[GOOD], summary_message="a\0b")


@pytest.mark.parametrize("encoded", [False, True], ids=["array", "string"])
async def test_an_unknown_key_of_a_row_is_ignored_whatever_it_holds(workspace: World, encoded: bool) -> None:
    bot = await workspace.agent()
    rows: Any = [GOOD | {"mine\0": "a\0b", "more": [{"\0": "\0"}]}]
    assert len(await bot(create_tasks_bulk, tasks=json.dumps(rows) if encoded else rows)) == 1


async def test_of_two_bad_rows_the_first_is_named(workspace: World) -> None:
    bot = await workspace.agent()
    unknown = {"title": "x", "assigneeAgentId": str(uuid4())}
    with pytest.raises(IdentityNotFound, match="Row 1: "):
        await bot(create_tasks_bulk, tasks=[GOOD, unknown, GOOD, unknown])


async def test_a_channel_row_needs_a_posting_member(workspace: World) -> None:
    bot = await workspace.agent()
    channel = await workspace.channel("read-only")
    await workspace.join("read-only", bot, role="reader")
    with pytest.raises(ChannelNotMember, match="Row 1: ") as refused:
        await bot(create_tasks_bulk, tasks=[GOOD, {"title": "x", "channelId": channel}])
    assert (refused.value.details or {})["index"] == 1


async def test_batches_created_at_once_share_no_identifier_and_stay_consecutive(workspace: World) -> None:
    bots = [await workspace.agent(f"bot-{n}") for n in range(4)]
    batches = await asyncio.gather(
        *(bot(create_tasks_bulk, tasks=[GOOD] * 20) for bot in bots for _ in range(3))
    )
    numbers = [[int(task.identifier[2:]) for task in batch] for batch in batches]
    assert all(batch == list(range(batch[0], batch[0] + 20)) for batch in numbers)
    assert sorted(number for batch in numbers for number in batch) == list(range(1, 241))


# --- the summary


async def summarised(workspace: World) -> tuple[Caller, Caller, Caller, str]:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    return ada, bot, await workspace.agent("helper"), await workspace.channel("builds", bot)


async def test_a_summary_lists_the_tasks_and_mentions_the_assignees(workspace: World) -> None:
    ada, bot, helper, channel = await summarised(workspace)
    await bot(
        create_tasks_bulk,
        tasks=[
            {"title": "one", "assigneeUserId": ada.id},
            {"title": "two"},
            {"title": "three", "assigneeAgentId": helper.id},
            {"title": "four", "assigneeUserId": ada.id},
        ],
        summary_channel_id=channel,
    )
    [message] = await messages(workspace)
    assert message["content"] == "Created T-1 @ada, T-2, T-3 @helper, T-4 @ada"
    assert (message["channel_id"], message["sender_id"], message["sender_type"]) == (channel, bot.id, "agent")
    assert await addressed(workspace) == {(ada.id, message["id"]), (helper.id, message["id"])}


async def test_a_summary_message_is_posted_as_it_is(workspace: World) -> None:
    ada, bot, _, channel = await summarised(workspace)
    await bot(
        create_tasks_bulk,
        tasks=json.dumps([{"title": "one", "assigneeUserId": ada.id}]),
        summary_channel_id=channel,
        summary_message="Sprint 12 is *planned*.",
    )
    [message] = await messages(workspace)
    assert message["content"] == "Sprint 12 is *planned*."
    assert await addressed(workspace) == {(ada.id, message["id"])}


async def test_a_human_posts_as_a_human(workspace: World) -> None:
    ada = await workspace.user("ada")
    channel = await workspace.channel("builds", ada)
    await ada(create_tasks_bulk, tasks=[GOOD], summary_channel_id=channel)
    [message] = await messages(workspace)
    assert (message["sender_type"], await addressed(workspace)) == ("human", set())


@pytest.mark.parametrize("nothing", [{}, {"summary_channel_id": None}, {"summary_message": "for no channel"}])
async def test_without_a_channel_nothing_is_posted(workspace: World, nothing: dict[str, object]) -> None:
    bot = await workspace.agent()
    assert len(await bot(create_tasks_bulk, tasks=[GOOD], **nothing)) == 1
    assert await messages(workspace) == []


@pytest.mark.parametrize("empty", [None, ""])
async def test_an_empty_summary_message_counts_as_none(workspace: World, empty: str | None) -> None:
    _, bot, _, channel = await summarised(workspace)
    await bot(create_tasks_bulk, tasks=[GOOD], summary_channel_id=channel, summary_message=empty)
    assert [message["content"] for message in await messages(workspace)] == ["Created T-1"]


async def test_a_refused_batch_posts_nothing(workspace: World) -> None:
    _, bot, _, channel = await summarised(workspace)
    with pytest.raises(TaskNotFound):
        await bot(
            create_tasks_bulk,
            tasks=[GOOD, {"title": "x", "parentTaskId": str(uuid4())}],
            summary_channel_id=channel,
        )
    assert await messages(workspace) == []


async def test_a_summary_needs_a_channel_that_the_caller_may_post_in(
    workspace: World, other_workspace: World
) -> None:
    _, bot, helper, channel = await summarised(workspace)
    await workspace.join("builds", helper, role="reader")
    with pytest.raises(ChannelNotMember):
        await helper(create_tasks_bulk, tasks=[GOOD], summary_channel_id=channel)
    for unknown in ("builds", str(uuid4()), await other_workspace.channel("builds")):
        with pytest.raises(ChannelNotFound) as refused:
            await bot(create_tasks_bulk, tasks=[GOOD], summary_channel_id=unknown)
        assert refused.value.details == {"field": "summaryChannelId"}
    assert await bot(list_tasks) == await helper(list_tasks) == []
