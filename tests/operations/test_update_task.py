"""update-task: what each field does when absent, null or given; what the version guards; what the log keeps."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.errors import (
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    ParentCycle,
    TaskNotFound,
    TaskReadOnly,
    VersionConflict,
)
from app.operations import create_task, get_task, list_tasks, update_task
from tests.conftest import Caller, World


class Setting:
    """A task with every field set, and the values to change them to."""

    def __init__(self, bot: Caller, task: Any, others: dict[str, Any]) -> None:
        self.bot = bot
        self.task = task
        self.others = others

    async def update(self, **changes: object) -> Any:
        return await self.bot(update_task, task_id=self.task.id, version=self.task.version, **changes)

    def difference(self, after: Any) -> dict[str, Any]:
        """What is different now, but for the version and the moment of the change."""
        names = set(self.task.__struct_fields__) - {"version", "updated_at"}
        return {
            name: getattr(after, name) for name in names if getattr(self.task, name) != getattr(after, name)
        }


@pytest.fixture
async def setting(workspace: World) -> Setting:
    ada, bot, helper = (
        await workspace.user("ada"),
        await workspace.agent("bot"),
        await workspace.agent("helper"),
    )
    builds, tests = await workspace.channel("builds", bot), await workspace.channel("tests", bot)
    whole, other_whole = await bot(create_task, title="whole"), await bot(create_task, title="another")
    task = await bot(
        create_task,
        title="before",
        description="before",
        status="todo",
        priority="low",
        assignee_agent_id=bot.id,
        channel_id=builds,
        parent_task_id=whole.id,
        due_at="2026-12-01T09:00:00Z",
    )
    others = {
        "title": "after",
        "description": "after",
        "status": "blocked",
        "priority": "urgent",
        "assignee_agent_id": helper.id,
        "assignee_user_id": ada.id,
        "channel_id": tests,
        "parent_task_id": other_whole.id,
        "due_at": "2027-01-01T00:00:00.000Z",
    }
    return Setting(bot, task, others)


# --- absent, null, value


async def test_absent_fields_stay_as_they_are(setting: Setting) -> None:
    after = await setting.update()
    assert setting.difference(after) == {}


@pytest.mark.parametrize(
    "field", ["description", "assignee_agent_id", "channel_id", "parent_task_id", "due_at"]
)
async def test_null_clears_what_can_be_cleared(setting: Setting, field: str) -> None:
    after = await setting.update(**{field: None})
    assert setting.difference(after) == {field: None}
    assert after.version == 2


@pytest.mark.parametrize("field", ["title", "status", "priority", "assignee_user_id"])
async def test_null_says_nothing_where_there_is_nothing_to_clear(setting: Setting, field: str) -> None:
    after = await setting.update(**{field: None})
    assert setting.difference(after) == {}
    assert after.version == 1


@pytest.mark.parametrize(
    "field",
    [
        "title",
        "description",
        "status",
        "priority",
        "assignee_agent_id",
        "channel_id",
        "parent_task_id",
        "due_at",
    ],
)
async def test_a_value_replaces_the_old_one_and_nothing_else(setting: Setting, field: str) -> None:
    value = setting.others[field]
    after = await setting.update(**{field: value})
    assert setting.difference(after) == {field: value}
    assert after.version == 2
    assert after.updated_at >= setting.task.updated_at
    assert await setting.bot(get_task, task_id=after.id) == after


async def test_all_fields_change_at_once(setting: Setting) -> None:
    changes = {name: value for name, value in setting.others.items() if name != "assignee_user_id"}
    after = await setting.update(**changes)
    assert setting.difference(after) == changes
    assert after.version == 2


async def test_a_title_is_trimmed_and_has_one_to_five_hundred_characters(setting: Setting) -> None:
    for title in ("", " ", "x" * 501):
        with pytest.raises(InvalidInput, match="1 to 500 characters"):
            await setting.update(title=title)
    assert (await setting.update(title=f"  {'é' * 500}\n")).title == "é" * 500


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "closed"},
        {"status": "open"},
        {"priority": "highest"},
        {"priority": 3},
        {"description": 7},
        {"description": "x" * 100_001},
        {"due_at": "2026-12-01"},
        {"due_at": "0001-01-01T00:00:00+14:00"},
        {"title": "a\0b"},
        {"description": "\0"},
        {"assignee_agent_id": "\0"},
    ],
)
async def test_a_value_that_is_none_is_refused(setting: Setting, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        await setting.update(**changes)
    assert (await setting.bot(get_task, task_id=setting.task.id)).version == 1


# --- the assignee


async def test_an_assignee_of_the_other_kind_replaces_the_first(setting: Setting) -> None:
    ada = setting.others["assignee_user_id"]
    after = await setting.update(assignee_user_id=ada)
    assert setting.difference(after) == {"assignee_user_id": ada, "assignee_agent_id": None}


async def test_a_value_with_a_null_of_the_other_kind_assigns(setting: Setting) -> None:
    ada = setting.others["assignee_user_id"]
    after = await setting.update(assignee_user_id=ada, assignee_agent_id=None)
    assert (after.assignee_user_id, after.assignee_agent_id) == (ada, None)


async def test_two_nulls_unassign_whoever_has_it(setting: Setting) -> None:
    user_has_it = await setting.update(assignee_user_id=setting.others["assignee_user_id"])
    after = await setting.bot(
        update_task, task_id="T-3", version=user_has_it.version, assignee_user_id=None, assignee_agent_id=None
    )
    assert (after.assignee_user_id, after.assignee_agent_id) == (None, None)


async def test_a_null_of_one_kind_leaves_an_assignee_of_the_other(setting: Setting) -> None:
    ada = setting.others["assignee_user_id"]
    assigned = await setting.update(assignee_user_id=ada)
    kept = await setting.bot(update_task, task_id="T-3", version=2, assignee_agent_id=None)
    assert (kept.assignee_user_id, kept.version) == (ada, assigned.version)
    cleared = await setting.bot(update_task, task_id="T-3", version=2, assignee_user_id=None)
    assert (cleared.assignee_user_id, cleared.version) == (None, 3)


async def test_two_assignees_are_refused(setting: Setting) -> None:
    with pytest.raises(InvalidInput, match="not both"):
        await setting.update(
            assignee_agent_id=setting.bot.id, assignee_user_id=setting.others["assignee_user_id"]
        )


async def test_an_assignee_must_exist_here_and_be_of_that_kind(
    setting: Setting, other_workspace: World
) -> None:
    stranger = await other_workspace.agent("stranger")
    for unknown in (stranger.id, setting.others["assignee_user_id"], str(uuid4()), "helper", "a" * 500):
        with pytest.raises(IdentityNotFound) as refused:
            await setting.update(assignee_agent_id=unknown)
        assert refused.value.details == {"field": "assigneeAgentId"}
    with pytest.raises(IdentityNotFound) as refused:
        await setting.update(assignee_user_id=setting.bot.id)
    assert refused.value.details == {"field": "assigneeUserId"}


async def test_a_foreign_private_agent_cannot_be_assigned(workspace: World) -> None:
    await workspace.user("ada")
    bot, secret = await workspace.agent("bot"), await workspace.agent("secret", owner="ada", private=True)
    task = await bot(create_task, title="x")
    with pytest.raises(IdentityNotFound):
        await bot(update_task, task_id=task.id, version=1, assignee_agent_id=secret.id)


async def test_a_task_sent_back_as_it_was_read_changes_nothing(workspace: World) -> None:
    ada = await workspace.user("ada")
    secret = await workspace.agent("secret", owner="ada", private=True)
    helper = await workspace.agent("helper")
    channel = await workspace.channel("hers", ada)
    hidden = await ada(create_task, title="hidden")
    task = await ada(
        create_task,
        title="x",
        channel_id=channel,
        parent_task_id=hidden.id,
        assignee_agent_id=secret.id,
        due_at="2026-12-01T09:00:00.123456Z",
    )
    await workspace.join("hers", helper)
    seen = await helper(get_task, task_id=task.id)
    sent_back = {name: getattr(seen, name) for name in seen.__struct_fields__ if name != "id"}
    assert await helper(update_task, task_id=seen.id, **sent_back) == seen


# --- the version


@pytest.mark.parametrize("version", [1, 1.0])
async def test_a_whole_number_may_be_written_as_a_float(setting: Setting, version: float) -> None:
    assert (await setting.bot(update_task, task_id="T-3", version=version, title="after")).version == 2


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", None, True, 2**31, 2**63, 10**30, [1]], ids=repr)
async def test_a_version_that_no_task_can_have_is_refused(setting: Setting, version: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        await setting.bot(update_task, task_id="T-3", version=version, title="after")
    assert refused.value.details == {"field": "version"}


async def test_a_version_is_required(setting: Setting) -> None:
    with pytest.raises(InvalidInput, match="version"):
        await setting.bot(update_task, task_id="T-3", title="after")


@pytest.mark.parametrize("sent", [1, 3, 2**31 - 1])
async def test_another_version_is_a_conflict_that_carries_the_current_task(
    setting: Setting, sent: int
) -> None:
    current = await setting.update(title="theirs")
    with pytest.raises(VersionConflict, match=f"sent version {sent}.* at version 2") as refused:
        await setting.bot(update_task, task_id="T-3", version=sent, title="mine")
    details: dict[str, Any] = dict(refused.value.details or {})
    assert not refused.value.retryable
    assert (details["reason"], details["sentVersion"], details["currentVersion"]) == (
        "version_conflict",
        sent,
        2,
    )
    assert details["current"].decode(type(current)) == current
    assert await setting.bot(get_task, task_id="T-3") == current


async def test_a_stale_version_conflicts_even_if_nothing_would_change(setting: Setting) -> None:
    await setting.update(title="theirs")
    with pytest.raises(VersionConflict):
        await setting.bot(update_task, task_id="T-3", version=1, title="theirs")
    with pytest.raises(VersionConflict):
        await setting.bot(update_task, task_id="T-3", version=1)


async def test_an_update_that_changes_nothing_keeps_version_and_log(
    setting: Setting, workspace: World
) -> None:
    before = setting.task
    after = await setting.update(
        title=" before ", status="todo", priority="low", due_at="2026-12-01T10:00:00+01:00"
    )
    assert after == before
    assert len(await workspace.events(before.id)) == 1


async def test_of_several_updates_with_one_version_one_wins(setting: Setting) -> None:
    answers = await asyncio.gather(
        *(setting.update(title=f"claim {n}") for n in range(8)), return_exceptions=True
    )
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    lost = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in lost] == [VersionConflict] * 7
    assert await setting.bot(get_task, task_id="T-3") == won[0]
    assert won[0].version == 2


async def test_a_conflict_can_be_merged_and_sent_again(setting: Setting) -> None:
    await setting.update(title="theirs")
    with pytest.raises(VersionConflict) as refused:
        await setting.update(description="mine")
    version = (refused.value.details or {})["currentVersion"]
    after = await setting.bot(update_task, task_id="T-3", version=version, description="mine")
    assert (after.title, after.description, after.version) == ("theirs", "mine", 3)


# --- the stamps


async def stamps(workspace: World) -> tuple[str | None, str | None, str | None]:
    """The stamps of T-1, to the microsecond."""
    [row] = await workspace.rows("SELECT * FROM tasks WHERE workspace_id = %(workspace)s AND number = 1")
    return row["started_at"], row["completed_at"], row["cancelled_at"]


async def through(bot: Caller, *statuses: str) -> Any:
    """T-1 after it went through these."""
    task = await bot(get_task, task_id="T-1")
    for status in statuses:
        task = await bot(update_task, task_id="T-1", version=task.version, status=status)
    return task


async def test_work_starts_once(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    task = await through(bot, "in_progress")
    assert task.started_at == task.updated_at
    first = await stamps(workspace)
    await through(bot, "todo", "in_progress")
    assert await stamps(workspace) == first


async def test_every_flip_to_done_or_cancelled_stamps_anew_and_reopening_keeps_the_stamps(
    workspace: World,
) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    done = await through(bot, "done")
    assert (done.started_at, done.completed_at, done.cancelled_at) == (None, done.updated_at, None)
    _, first_done, _ = await stamps(workspace)
    await through(bot, "todo")
    assert await stamps(workspace) == (None, first_done, None)
    await through(bot, "cancelled")
    _, kept, first_cancelled = await stamps(workspace)
    assert kept == first_done
    assert first_cancelled is not None
    await through(bot, "done")
    _, second_done, kept = await stamps(workspace)
    assert str(second_done) > str(first_done)
    assert kept == first_cancelled
    await through(bot, "backlog", "cancelled")
    _, kept, second_cancelled = await stamps(workspace)
    assert kept == second_done
    assert str(second_cancelled) > str(first_cancelled)


async def test_changing_a_closed_task_does_not_stamp_it_again(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    await through(bot, "done")
    before = await stamps(workspace)
    await bot(update_task, task_id="T-1", version=2, title="y", status="done")
    assert await stamps(workspace) == before


async def test_any_status_may_follow_any_other(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="x")
    every = ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
    order = [status for first in every for second in every for status in (first, second)]
    task = await bot(get_task, task_id="T-1")
    for status in order:
        task = await bot(update_task, task_id="T-1", version=task.version, status=status)
        assert task.status == status


# --- channel and parent


async def test_a_task_moves_only_into_channels_where_the_caller_posts(
    setting: Setting, workspace: World
) -> None:
    mute = await workspace.channel("mute")
    await workspace.join("mute", setting.bot, role="reader")
    for closed in (mute, await workspace.channel("foreign")):
        with pytest.raises(ChannelNotMember):
            await setting.update(channel_id=closed)
    for unknown in (str(uuid4()), "tests"):
        with pytest.raises(ChannelNotFound):
            await setting.update(channel_id=unknown)


async def test_members_of_the_new_channel_see_it_and_those_of_the_old_no_longer(
    setting: Setting, workspace: World
) -> None:
    old, new = await workspace.agent("old"), await workspace.agent("new")
    await workspace.join("builds", old)
    await workspace.join("tests", new)
    await setting.update(channel_id=setting.others["channel_id"])
    assert [task.identifier for task in await new(list_tasks)] == ["T-3"]
    assert await old(list_tasks) == []


async def test_a_parent_is_named_by_id_or_identifier(setting: Setting) -> None:
    after = await setting.update(parent_task_id="t-2")
    assert after.parent_task_id == setting.others["parent_task_id"]


async def test_a_parent_that_the_caller_does_not_see_does_not_exist(
    setting: Setting, workspace: World
) -> None:
    stranger = await workspace.agent("stranger")
    hidden = await stranger(create_task, title="hidden")
    for name in (hidden.id, hidden.identifier, "T-99", str(uuid4())):
        with pytest.raises(TaskNotFound) as refused:
            await setting.update(parent_task_id=name)
        assert refused.value.details == {"field": "parentTaskId", "taskId": name}


async def test_a_task_cannot_be_moved_under_itself_or_below(workspace: World) -> None:
    bot = await workspace.agent()
    top = await bot(create_task, title="top")
    middle = await bot(create_task, title="middle", parent_task_id=top.id)
    bottom = await bot(create_task, title="bottom", parent_task_id=middle.id)
    for below in (top, middle, bottom):
        with pytest.raises(ParentCycle) as refused:
            await bot(update_task, task_id=top.id, version=1, parent_task_id=below.id)
        assert refused.value.details == {"reason": "parent_cycle", "field": "parentTaskId"}
    freed = await bot(update_task, task_id=middle.id, version=1, parent_task_id=None)
    assert freed.parent_task_id is None
    moved = await bot(update_task, task_id=top.id, version=1, parent_task_id=bottom.id)
    assert moved.parent_task_id == bottom.id


async def test_two_moves_at_once_cannot_close_a_circle(workspace: World) -> None:
    bot = await workspace.agent()
    for _ in range(10):
        one, two = await bot(create_task, title="one"), await bot(create_task, title="two")
        answers = await asyncio.gather(
            bot(update_task, task_id=one.id, version=1, parent_task_id=two.id),
            bot(update_task, task_id=two.id, version=1, parent_task_id=one.id),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["ParentCycle", "Task"]


# --- who may


@pytest.mark.parametrize("task_id", ["T-3", "t-3"])
async def test_a_task_is_named_by_identifier_in_any_case(setting: Setting, task_id: str) -> None:
    assert (await setting.bot(update_task, task_id=task_id, version=1, title="after")).title == "after"


async def test_an_invisible_task_does_not_exist(
    setting: Setting, workspace: World, other_workspace: World
) -> None:
    for stranger in (await workspace.agent("stranger"), await other_workspace.agent("stranger")):
        for name in (setting.task.id, "T-3", "T-99", str(uuid4()), "nonsense"):
            with pytest.raises(TaskNotFound) as refused:
                await stranger(update_task, task_id=name, version=1, title="mine now")
            assert refused.value.details == {"field": "taskId", "taskId": name}


async def test_a_reader_of_its_channel_may_not_change_it(setting: Setting, workspace: World) -> None:
    reader = await workspace.agent("reader")
    await workspace.join("builds", reader, role="reader")
    for changes in ({"title": "mine now"}, {"title": "before"}, {}):
        with pytest.raises(TaskReadOnly):
            await reader(update_task, task_id="T-3", version=1, **changes)


# --- the log and the participants


async def test_each_change_is_one_event_with_old_and_new_values(setting: Setting, workspace: World) -> None:
    others = setting.others
    await setting.update(
        title="after",
        status="in_progress",
        priority="urgent",
        assignee_user_id=others["assignee_user_id"],
        due_at=None,
    )
    task = await setting.bot(update_task, task_id="T-3", version=2, status="done", channel_id=None)
    _, first, second = await workspace.events(task.id)
    for event, version in ((first, 2), (second, 3)):
        assert (event["kind"], event["version"]) == ("updated", version)
        assert (event["actor_id"], event["actor_kind"]) == (setting.bot.id, "agent")
        assert event["request_id"] == "test-bot"
    assert first["changes"] == {
        "title": ["before", "after"],
        "status": ["todo", "in_progress"],
        "priority": ["low", "urgent"],
        "assigneeAgentId": [setting.bot.id, None],
        "assigneeUserId": [None, others["assignee_user_id"]],
        "dueAt": ["2026-12-01T09:00:00.000Z", None],
        "startedAt": [None, task.started_at],
    }
    assert second["changes"] == {
        "status": ["in_progress", "done"],
        "channelId": [setting.task.channel_id, None],
        "completedAt": [None, task.completed_at],
    }


async def test_a_refused_update_leaves_no_event(setting: Setting, workspace: World) -> None:
    with pytest.raises(VersionConflict):
        await setting.bot(update_task, task_id="T-3", version=2, title="after")
    with pytest.raises(IdentityNotFound):
        await setting.update(title="after", assignee_agent_id=str(uuid4()))
    assert [event["kind"] for event in await workspace.events(setting.task.id)] == ["created"]
    assert await setting.bot(get_task, task_id="T-3") == setting.task


async def test_a_former_assignee_and_their_owner_keep_seeing_the_task(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("bot")
    helper = await workspace.agent("helper", owner="ada")
    task = await bot(create_task, title="x")
    await bot(update_task, task_id=task.id, version=1, assignee_agent_id=helper.id)
    await bot(update_task, task_id=task.id, version=2, assignee_agent_id=bot.id)
    for caller in (helper, ada):
        assert [seen.id for seen in await caller(list_tasks)] == [task.id]


async def test_search_follows_title_and_description(setting: Setting) -> None:
    await setting.update(title="Übermut", description="a needle")
    for found in ("übermut", "needle"):
        assert [task.identifier for task in await setting.bot(list_tasks, query=found)] == ["T-3"]
    assert await setting.bot(list_tasks, query="before") == []
