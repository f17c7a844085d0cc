"""Who sees a task, and who may change it: every relation to a task, through every operation that touches one.

A relation is a small story that ends with a caller and a task. Whatever the door, the answer must be the same:
`writes`; `remarks` (reads and comments, a 403 on every change); `reads` (a 403 on every change, a remark too); or
`nothing` (a 404, as if the task did not exist).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from app.errors import NotAssigned, NotAssignee, TaskNotFound, TaskReadOnly
from app.operations import (
    block_task,
    cancel_task,
    comment_on_task,
    complete_task,
    create_task,
    get_task,
    list_comments,
    list_tasks,
    release_task,
    update_task,
)
from app.rpc import Operation
from tests.conftest import Caller, World

Access = Literal["writes", "remarks", "reads", "nothing"]
Story = tuple[Caller, Any]


async def creator(workspace: World) -> Story:
    bot = await workspace.agent("bot")
    return bot, await bot(create_task, title="needle")


async def assignee(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    return bot, await author(create_task, title="needle", assignee_agent_id=bot.id)


async def former_assignee(workspace: World) -> Story:
    bot, task = await assignee(workspace)
    return bot, await bot(release_task, task_id=task.id)


async def creator_who_left_the_channel(workspace: World) -> Story:
    bot = await workspace.agent("bot")
    channel = await workspace.channel("builds", bot)
    task = await bot(create_task, title="needle", channel_id=channel)
    await workspace.leave(channel, bot)
    return bot, task


async def creator_who_may_only_read_the_channel(workspace: World) -> Story:
    bot = await workspace.agent("bot")
    channel = await workspace.channel("builds", bot)
    task = await bot(create_task, title="needle", channel_id=channel)
    await workspace.join("builds", bot, role="reader")
    return bot, task


async def assignee_who_left_the_channel(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author, bot)
    task = await author(create_task, title="needle", channel_id=channel, assignee_agent_id=bot.id)
    await workspace.leave(channel, bot)
    return bot, task


async def owner_of_an_assignee_who_left_the_channel(workspace: World) -> Story:
    ada, bot, author = await owned(workspace)
    channel = await workspace.channel("builds", author, bot)
    task = await author(create_task, title="needle", channel_id=channel, assignee_agent_id=bot.id)
    await workspace.leave(channel, bot)
    return ada, task


async def mentioned_from_a_channel(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author, private=True)
    task = await author(create_task, title="needle", channel_id=channel)
    await author(comment_on_task, task_id=task.id, body="@bot, please look")
    return bot, task


async def in_channel(workspace: World, kind: str, role: str) -> tuple[Caller, Any, str]:
    """A task in a channel, and a member of it who has nothing else to do with the task."""
    author = await workspace.agent("author")
    bot = await workspace.agent("bot") if kind == "agent" else await workspace.user("ada")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", bot, role=role)
    return bot, await author(create_task, title="needle", channel_id=channel), channel


async def channel_poster(workspace: World) -> Story:
    bot, task, _ = await in_channel(workspace, "agent", "poster")
    return bot, task


async def channel_admin(workspace: World) -> Story:
    ada, task, _ = await in_channel(workspace, "user", "admin")
    return ada, task


async def channel_reader(workspace: World) -> Story:
    bot, task, _ = await in_channel(workspace, "agent", "reader")
    return bot, task


async def channel_reader_who_is_assigned(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", bot, role="reader")
    return bot, await author(create_task, title="needle", channel_id=channel, assignee_agent_id=bot.id)


async def former_channel_member(workspace: World) -> Story:
    bot, task, channel = await in_channel(workspace, "agent", "poster")
    await workspace.leave(channel, bot)
    return bot, task


async def commenter_who_left_the_channel(workspace: World) -> Story:
    bot, task, channel = await in_channel(workspace, "agent", "poster")
    await bot(comment_on_task, task_id=task.id, body="I was here")
    await workspace.leave(channel, bot)
    return bot, task


async def blocker_who_left_the_channel(workspace: World) -> Story:
    bot, task, channel = await in_channel(workspace, "agent", "poster")
    task = await bot(block_task, task_id=task.id, reason="waiting")
    await workspace.leave(channel, bot)
    return bot, task


async def member_of_another_channel(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author)
    await workspace.channel("tests", author, bot)
    return bot, await author(create_task, title="needle", channel_id=channel)


async def mentioned_in_a_comment(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    task = await author(create_task, title="needle")
    await author(comment_on_task, task_id=task.id, body="@bot, please look")
    return bot, task


async def mentioned_in_a_reason(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    task = await author(create_task, title="needle")
    return bot, await author(block_task, task_id=task.id, reason="waiting for @bot")


async def mentioned_on_purpose(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    task = await author(create_task, title="needle")
    await author(comment_on_task, task_id=task.id, body="please look", mentions=[{"id": bot.id}])
    return bot, task


async def named_in_code_only(workspace: World) -> Story:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    task = await author(create_task, title="needle")
    await author(comment_on_task, task_id=task.id, body="run `assign @bot`")
    return bot, task


async def owned(workspace: World) -> tuple[Caller, Caller, Caller]:
    """A human, an agent of theirs, and somebody else."""
    ada = await workspace.user("ada")
    return ada, await workspace.agent("bot", owner="ada"), await workspace.agent("author")


async def owner_of_the_creator(workspace: World) -> Story:
    ada, bot, _ = await owned(workspace)
    return ada, await bot(create_task, title="needle")


async def owner_of_the_assignee(workspace: World) -> Story:
    ada, bot, author = await owned(workspace)
    return ada, await author(create_task, title="needle", assignee_agent_id=bot.id)


async def owner_of_a_later_assignee(workspace: World) -> Story:
    ada, bot, author = await owned(workspace)
    task = await author(create_task, title="needle")
    return ada, await author(update_task, task_id=task.id, version=1, assignee_agent_id=bot.id)


async def owner_of_a_commenter(workspace: World) -> Story:
    ada, bot, author = await owned(workspace)
    channel = await workspace.channel("builds", author, bot)
    task = await author(create_task, title="needle", channel_id=channel)
    await bot(comment_on_task, task_id=task.id, body="I was here")
    return ada, task


async def owner_of_the_mentioned(workspace: World) -> Story:
    ada, _, author = await owned(workspace)
    task = await author(create_task, title="needle")
    await author(comment_on_task, task_id=task.id, body="@bot, please look")
    return ada, task


async def owner_of_a_channel_member(workspace: World) -> Story:
    ada, bot, author = await owned(workspace)
    channel = await workspace.channel("builds", author, bot)
    return ada, await author(create_task, title="needle", channel_id=channel)


async def agent_of_the_same_owner(workspace: World) -> Story:
    _, bot, _ = await owned(workspace)
    sister = await workspace.agent("sister", owner="ada")
    return sister, await bot(create_task, title="needle")


async def agent_of_the_creator(workspace: World) -> Story:
    ada, bot, _ = await owned(workspace)
    return bot, await ada(create_task, title="needle")


async def stranger(workspace: World) -> Story:
    author = await workspace.agent("author")
    return await workspace.agent("bot"), await author(create_task, title="needle")


ACCESS: dict[Callable[[World], Awaitable[Story]], Access] = {
    creator: "writes",
    assignee: "writes",
    former_assignee: "writes",
    creator_who_left_the_channel: "remarks",
    creator_who_may_only_read_the_channel: "remarks",
    assignee_who_left_the_channel: "writes",
    owner_of_an_assignee_who_left_the_channel: "writes",
    channel_poster: "writes",
    channel_admin: "writes",
    channel_reader: "reads",
    channel_reader_who_is_assigned: "writes",
    former_channel_member: "nothing",
    commenter_who_left_the_channel: "remarks",
    blocker_who_left_the_channel: "remarks",
    mentioned_from_a_channel: "remarks",
    member_of_another_channel: "nothing",
    mentioned_in_a_comment: "writes",
    mentioned_in_a_reason: "writes",
    mentioned_on_purpose: "writes",
    named_in_code_only: "nothing",
    owner_of_the_creator: "writes",
    owner_of_the_assignee: "writes",
    owner_of_a_later_assignee: "writes",
    owner_of_a_commenter: "remarks",
    owner_of_the_mentioned: "writes",
    owner_of_a_channel_member: "nothing",
    agent_of_the_same_owner: "nothing",
    agent_of_the_creator: "nothing",
    stranger: "nothing",
}


@pytest.mark.parametrize("story", ACCESS, ids=lambda story: story.__name__)
async def test_every_operation_agrees_on_who_may_what(
    workspace: World, story: Callable[[World], Awaitable[Story]]
) -> None:
    caller, task = await story(workspace)
    assert await seen_in_lists(caller, task) == (ACCESS[story] != "nothing")
    for name in (task.id, task.identifier):
        await check_doors(caller, name, ACCESS[story])
    if ACCESS[story] == "writes":
        await check_release(caller, task.id)


async def test_the_same_handle_in_another_workspace_sees_nothing(
    workspace: World, other_workspace: World
) -> None:
    bot, task = await creator(workspace)
    namesake = await other_workspace.agent("bot")
    assert (await namesake(create_task, title="another")).identifier == task.identifier
    assert [found.title for found in await namesake(list_tasks)] == ["another"]
    await check_doors(namesake, task.id, "nothing")
    assert await bot(get_task, task_id=task.id) == task


async def seen_in_lists(caller: Caller, task: Any) -> bool:
    """Whether the lists show the task; each way of listing must agree."""
    lists = {
        "plain": {},
        "by words": {"query": "needle"},
        "by identifier": {"query": task.identifier},
        "by channel": {"channel_id": task.channel_id} if task.channel_id else {},
        "by assignee": {"assignee_agent_id": task.assignee_agent_id} if task.assignee_agent_id else {},
    }
    answers = {how: await caller(list_tasks, include_total=True, **filters) for how, filters in lists.items()}
    shown = {how: [found.id for found in page] == [task.id] for how, page in answers.items()}
    assert len(set(shown.values())) == 1, shown
    assert {how: page.total == len(page) for how, page in answers.items()} == dict.fromkeys(lists, True)
    return shown["plain"]


READS = (get_task, list_comments)
CHANGES: tuple[tuple[Operation, dict[str, object]], ...] = (
    (update_task, {"version": 1, "title": "mine"}),
    (block_task, {"reason": "stuck"}),
    (comment_on_task, {"body": "done soon"}),
    (complete_task, {}),
    (cancel_task, {"reason": "no longer needed"}),
    (release_task, {}),
)


async def check_doors(caller: Caller, name: str, access: Access) -> None:
    """Try every operation that takes a task, under one of its names."""
    match access:
        case "writes":
            for op in READS:
                await caller(op, task_id=name)
            await change_everything(caller, name)
        case "reads" | "remarks":
            for op in READS:
                await caller(op, task_id=name)
            if access == "remarks":
                await caller(comment_on_task, task_id=name, body="I see")
            for op, fields in CHANGES:
                if op is comment_on_task and access == "remarks":
                    continue
                with pytest.raises(TaskReadOnly):
                    await caller(op, task_id=name, **fields)
        case "nothing":
            for op, fields in (*((op, {}) for op in READS), *CHANGES):
                with pytest.raises(TaskNotFound) as refused:
                    await caller(op, task_id=name, **fields)
                assert refused.value.details == {"field": "taskId", "taskId": name}


async def change_everything(caller: Caller, name: str) -> None:
    task = await caller(get_task, task_id=name)
    await caller(update_task, task_id=name, version=task.version, title=f"by {name}")
    for op, fields in CHANGES[1:-1]:
        await caller(op, task_id=name, **fields)


async def check_release(caller: Caller, task_id: str) -> None:
    """An assignee gives the task back, once; nobody else does."""
    task = await caller(get_task, task_id=task_id)
    if caller.id in {task.assignee_agent_id, task.assignee_user_id}:
        await caller(release_task, task_id=task_id)
    with pytest.raises((NotAssignee, NotAssigned, TaskReadOnly)):
        await caller(release_task, task_id=task_id)
