"""create-task: only a title is needed, whoever is named must be known, and a refused call leaves no trace."""

import asyncio
from uuid import uuid4

import pytest

from app.errors import (
    ChannelArchived,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    TaskNotFound,
)
from app.operations import create_task, get_task, list_tasks, update_task
from tests.conftest import World


async def test_a_new_task_is_todo_and_at_version_one(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="  Write it down ")
    assert (task.title, task.status, task.version, task.identifier) == ("Write it down", "todo", 1, "T-1")
    assert task.created_by_agent_id == bot.id


async def test_a_task_takes_everything_it_is_given(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    channel = await workspace.channel("builds", ada, bot)
    parent = await ada(create_task, title="Release 2.0", channel_id=channel)
    task = await ada(
        create_task,
        title="Tag it",
        description="With a *signed* tag.",
        status="in_review",
        priority="high",
        assignee_agent_id=bot.id,
        parent_task_id=parent.id,
        channel_id=channel,
        due_at="2026-12-01T09:00:00.250+02:00",
    )
    assert (task.title, task.description, task.status) == ("Tag it", "With a *signed* tag.", "in_review")
    assert (task.priority, task.due_at) == ("high", "2026-12-01T07:00:00.250Z")
    assert (task.assignee_agent_id, task.assignee_user_id) == (bot.id, None)
    assert (task.created_by_user_id, task.created_by_agent_id) == (ada.id, None)
    assert (task.parent_task_id, task.channel_id, task.workspace_id) == (parent.id, channel, workspace.id)
    assert await bot(get_task, task_id=task.id) == task


async def test_null_means_the_same_as_absent(workspace: World) -> None:
    bot = await workspace.agent()
    optional = set(create_task.request.__struct_fields__) - {"title"}
    nulls: dict[str, None] = dict.fromkeys(optional)
    plain, explicit = await bot(create_task, title="Same"), await bot(create_task, title="Same", **nulls)
    ignored = ("id", "identifier", "created_at", "updated_at")
    assert [getattr(plain, name) for name in plain.__struct_fields__ if name not in ignored] == [
        getattr(explicit, name) for name in plain.__struct_fields__ if name not in ignored
    ]


async def test_keys_nobody_knows_are_ignored(workspace: World) -> None:
    bot = await workspace.agent()
    assert (await bot(create_task, title="x", labels=["a"], version=7)).version == 1


# --- the title


@pytest.mark.parametrize("title", ["x", "é" * 500, "🐝" * 500, "\u200bzero width", "  padded\n" + " " * 600])
async def test_a_title_has_one_to_five_hundred_characters_after_trimming(
    workspace: World, title: str
) -> None:
    bot = await workspace.agent()
    assert (await bot(create_task, title=title)).title == title.strip()


@pytest.mark.parametrize("title", ["", " \t\n", "\u00a0\u3000", "x" * 501, "🐝" * 501])
async def test_an_empty_or_overlong_title_is_refused(workspace: World, title: str) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput, match="1 to 500 characters after trimming") as refused:
        await bot(create_task, title=title)
    assert refused.value.details == {"field": "title"}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"title": null}', b'{"title": 7}', b'{"title": ["x"]}'])
async def test_a_title_is_required_and_is_text(workspace: World, body: bytes) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput, match="title"):
        await bot.post(create_task, body)


async def test_a_description_has_at_most_a_hundred_thousand_characters(workspace: World) -> None:
    bot = await workspace.agent()
    assert len((await bot(create_task, title="x", description="é" * 100_000)).description) == 100_000
    with pytest.raises(InvalidInput, match="100000"):
        await bot(create_task, title="x", description="é" * 100_001)


# --- status, priority and due date


@pytest.mark.parametrize("status", ["triage", "backlog", "todo", "in_progress", "blocked", "in_review"])
async def test_a_task_may_start_in_any_open_status(workspace: World, status: str) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x", status=status)
    assert task.status == status
    assert task.started_at == (task.created_at if status == "in_progress" else None)
    assert (task.completed_at, task.cancelled_at) == (None, None)


@pytest.mark.parametrize("status", ["done", "cancelled", "open", "Todo", ""])
async def test_a_task_cannot_start_closed(workspace: World, status: str) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput, match="status"):
        await bot(create_task, title="x", status=status)


@pytest.mark.parametrize("priority", ["none", "low", "medium", "high", "urgent"])
async def test_a_priority_comes_back_as_sent(workspace: World, priority: str) -> None:
    bot = await workspace.agent()
    assert (await bot(create_task, title="x", priority=priority)).priority == priority


@pytest.mark.parametrize(
    "sent, kept",
    [
        ("2026-12-01T09:00:00Z", "2026-12-01T09:00:00.000Z"),
        ("2026-12-01T09:00:00.123456+02:00", "2026-12-01T07:00:00.123Z"),
        ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
async def test_a_due_date_is_kept_as_the_same_moment_in_utc(workspace: World, sent: str, kept: str) -> None:
    bot = await workspace.agent()
    assert (await bot(create_task, title="x", due_at=sent)).due_at == kept


@pytest.mark.parametrize(
    "sent",
    [
        "2026-12-01",
        "2026-12-01T09:00:00",  # no offset: whose nine o'clock?
        "tomorrow",
        "2026-02-30T09:00:00Z",
        "0001-01-01T00:00:00+14:00",  # in UTC that is before the year 1
        "9999-12-31T23:59:59-14:00",  # and this after the year 9999
        1_800_000_000,
        "",
    ],
)
async def test_a_due_date_that_is_no_moment_is_refused(workspace: World, sent: object) -> None:
    bot = await workspace.agent()
    with pytest.raises(InvalidInput) as refused:
        await bot(create_task, title="x", due_at=sent)
    assert refused.value.details == {"field": "dueAt"}


# --- whom it may name


async def test_it_can_be_assigned_to_oneself_or_any_user_or_agent(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    assert (await bot(create_task, title="mine", assignee_agent_id=bot.id)).assignee_agent_id == bot.id
    assert (await bot(create_task, title="hers", assignee_user_id=ada.id)).assignee_user_id == ada.id


async def test_two_assignees_are_refused(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    with pytest.raises(InvalidInput, match="not both"):
        await bot(create_task, title="x", assignee_agent_id=bot.id, assignee_user_id=ada.id)


async def test_an_assignee_must_exist_in_this_workspace_and_be_of_that_kind(
    workspace: World, other_workspace: World
) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    stranger = await other_workspace.agent("stranger")
    for assignee in (stranger.id, ada.id, str(uuid4()), "bot", "@nobody", "a" * 500):
        with pytest.raises(IdentityNotFound) as refused:
            await bot(create_task, title="x", assignee_agent_id=assignee)
        assert refused.value.details == {"field": "assigneeAgentId"}
    with pytest.raises(IdentityNotFound) as refused:
        await bot(create_task, title="x", assignee_user_id=bot.id)
    assert refused.value.details == {"field": "assigneeUserId"}


async def test_a_private_agent_can_be_assigned_by_its_owner_and_their_other_agents_only(
    workspace: World,
) -> None:
    ada, bob = await workspace.user("ada"), await workspace.user("bob")
    secret = await workspace.agent("secret", owner="ada", private=True)
    sister, foreign = (
        await workspace.agent("sister", owner="ada"),
        await workspace.agent("foreign", owner="bob"),
    )
    for caller in (ada, secret, sister):
        assert (
            await caller(create_task, title="x", assignee_agent_id=secret.id)
        ).assignee_agent_id == secret.id
    for caller in (bob, foreign):
        with pytest.raises(IdentityNotFound):
            await caller(create_task, title="x", assignee_agent_id=secret.id)


async def test_a_channel_takes_tasks_of_its_posting_members_only(
    workspace: World, other_workspace: World
) -> None:
    poster, reader = await workspace.agent("poster"), await workspace.agent("reader")
    admin, stranger = await workspace.user("admin"), await workspace.agent("stranger")
    channel = await workspace.channel("builds", poster)
    await workspace.join("builds", reader, role="reader")
    await workspace.join("builds", admin, role="admin")
    for caller in (poster, admin):
        assert (await caller(create_task, title="x", channel_id=channel)).channel_id == channel
    for caller in (reader, stranger):
        with pytest.raises(ChannelNotMember) as refused:
            await caller(create_task, title="x", channel_id=channel)
        assert refused.value.code == "channel_not_member"
    elsewhere = await other_workspace.channel("builds")
    for unknown in (elsewhere, str(uuid4()), "builds", "#nowhere"):
        with pytest.raises(ChannelNotFound):
            await poster(create_task, title="x", channel_id=unknown)


async def test_an_archived_channel_takes_nothing_new(workspace: World) -> None:
    bot = await workspace.agent()
    channel = await workspace.channel("old", bot)
    await workspace.rows(
        """UPDATE channels SET archived_at = now()
            WHERE workspace_id = %(workspace)s AND id = %(channel)s::uuid RETURNING id""",
        channel=channel,
    )
    with pytest.raises(ChannelArchived):
        await bot(create_task, title="x", channel_id=channel)


async def test_a_parent_is_named_by_id_or_identifier(workspace: World) -> None:
    bot = await workspace.agent()
    parent = await bot(create_task, title="whole")
    for name in (parent.id, parent.id.upper(), "T-1", "t-1"):
        assert (await bot(create_task, title="part", parent_task_id=name)).parent_task_id == parent.id


async def test_a_parent_that_the_caller_does_not_see_does_not_exist(
    workspace: World, other_workspace: World
) -> None:
    bot, stranger = await workspace.agent("bot"), await workspace.agent("stranger")
    hidden = await bot(create_task, title="hidden")
    foreign = await (await other_workspace.agent())(create_task, title="elsewhere")
    for name in (hidden.id, "T-1", "T-99", foreign.id, str(uuid4()), "T-", "T-x", "whole"):
        with pytest.raises(TaskNotFound) as refused:
            await stranger(create_task, title="x", parent_task_id=name)
        assert refused.value.details == {"field": "parentTaskId", "taskId": name}


# --- what it leaves behind


async def test_identifiers_count_from_one_in_every_workspace(
    workspace: World, other_workspace: World
) -> None:
    here, there = await workspace.agent(), await other_workspace.agent()
    assert [(await here(create_task, title="x")).identifier for _ in range(3)] == ["T-1", "T-2", "T-3"]
    assert (await there(create_task, title="x")).identifier == "T-1"


async def test_a_refused_task_uses_no_identifier(workspace: World) -> None:
    bot = await workspace.agent()
    for refused in (
        {"title": ""},
        {"title": "x", "assignee_agent_id": str(uuid4())},
        {"title": "x", "parent_task_id": "T-9"},
    ):
        with pytest.raises((InvalidInput, IdentityNotFound, TaskNotFound)):
            await bot(create_task, **refused)
    assert (await bot(create_task, title="first")).identifier == "T-1"
    assert len(await bot(list_tasks)) == 1


async def test_tasks_created_at_once_get_consecutive_identifiers(workspace: World) -> None:
    bots = [await workspace.agent(f"bot-{n}") for n in range(4)]
    tasks = await asyncio.gather(*(bot(create_task, title="x") for _ in range(10) for bot in bots))
    assert sorted(int(task.identifier[2:]) for task in tasks) == list(range(1, 41))


async def test_the_log_says_who_created_it_in_which_request_and_with_what(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    task = await bot(create_task, title="x", status="in_progress", priority="low", assignee_user_id=ada.id)
    [event] = await workspace.events(task.id)
    assert (event["kind"], event["version"]) == ("created", 1)
    assert (event["actor_id"], event["actor_kind"], event["request_id"]) == (bot.id, "agent", "test-bot")
    assert event["changes"] == {
        "title": [None, "x"],
        "status": [None, "in_progress"],
        "priority": [None, "low"],
        "assigneeUserId": [None, ada.id],
        "startedAt": [None, task.created_at],
    }


async def test_creator_assignee_and_the_owners_of_both_take_part(workspace: World) -> None:
    ada, bob = await workspace.user("ada"), await workspace.user("bob")
    bot, helper = await workspace.agent("bot", owner="ada"), await workspace.agent("helper", owner="bob")
    await workspace.agent("bystander")
    task = await bot(create_task, title="x", assignee_agent_id=helper.id)
    rows = await workspace.rows(
        """SELECT identity_id FROM task_participants
            WHERE workspace_id = %(workspace)s AND task_id = %(task)s::uuid""",
        task=task.id,
    )
    assert {row["identity_id"] for row in rows} == {ada.id, bob.id, bot.id, helper.id}


async def test_a_task_can_be_changed_with_the_version_it_came_back_with(workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="x")
    assert (await bot(update_task, task_id=task.id, version=task.version, title="y")).version == 2
