"""Whoever may work on a task does not thereby decide who else sees it: every field that could show it to others.

Two rules: what stands in a channel is shown to others by those who may post there, and what stands in none is bound to
a channel only by its creator, or who answers for them. What a task says of another is for those who see that one.
"""

from typing import Any, NamedTuple

import pytest

from app.errors import (
    BlockerHidden,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    NotYoursToShow,
    TaskNotFound,
    TaskReadOnly,
)
from app.operations import (
    block_task,
    claim_next_task,
    claim_task,
    comment_on_task,
    complete_task,
    create_task,
    explain_task,
    get_task,
    get_unread_mentions,
    link_tasks,
    list_my_activity,
    list_ready_tasks,
    list_task_history,
    list_tasks,
    release_task,
    unlink_tasks,
    update_task,
)
from tests.conftest import Caller, World


class Story(NamedTuple):
    author: Caller
    outsider: Caller  # takes part in the task, but is not in its channel
    friend: Caller  # of the outsider; in the town square with them, and with the task has nothing to do
    task: Any
    private: str
    square: str


async def told(workspace: World, *, assigned: bool = False, bound: bool = True) -> Story:
    author = await workspace.agent("author", channels=[])
    outsider, friend = [await workspace.agent(name, channels=[]) for name in ("outsider", "friend")]
    private = await workspace.channel("private", author, private=True)
    square = await workspace.channel("square", author, outsider, friend)
    given: dict[str, object] = {"channel_id": private} if bound else {}
    task = await author(create_task, title="needle", **given)
    await author(comment_on_task, task_id=task.id, body="cc @outsider")
    if assigned:
        task = await author(update_task, task_id=task.id, version=1, assignee_agent_id=outsider.id)
    return Story(author, outsider, friend, task, private, square)


@pytest.mark.parametrize("target", ["square", None], ids=["a public channel", "no channel"])
@pytest.mark.parametrize("assigned", [False, True])
async def test_who_only_takes_part_does_not_move_a_task(
    workspace: World, target: str | None, assigned: bool
) -> None:
    story = await told(workspace, assigned=assigned)
    channel = story.square if target else None
    with pytest.raises(NotYoursToShow if assigned else TaskReadOnly):
        await story.outsider(
            update_task, task_id=story.task.id, version=story.task.version, channel_id=channel
        )
    assert (await story.author(get_task, task_id=story.task.id)).channel_id == story.private
    with pytest.raises(TaskNotFound):
        await story.friend(get_task, task_id=story.task.id)


async def test_a_move_takes_the_right_to_post_on_both_sides(workspace: World) -> None:
    author, member = await workspace.agent("author"), await workspace.agent("member")
    here = await workspace.channel("here", author, member)
    there = await workspace.channel("there", author)
    hidden = await workspace.channel("hidden", author, private=True)
    task = await author(create_task, title="needle", channel_id=here)
    with pytest.raises(ChannelNotMember):
        await member(update_task, task_id=task.id, version=1, channel_id=there)
    with pytest.raises(ChannelNotFound):
        await member(update_task, task_id=task.id, version=1, channel_id=hidden)
    await workspace.join("there", member, role="reader")
    with pytest.raises(ChannelNotMember):
        await member(update_task, task_id=task.id, version=1, channel_id=there)
    await workspace.join("there", member, role="poster")
    moved = await member(update_task, task_id=task.id, version=1, channel_id=there)
    assert moved.channel_id == there


async def test_only_its_creator_or_their_owner_binds_a_task_that_is_in_no_channel(workspace: World) -> None:
    ada = await workspace.user("ada", channels=[])
    author = await workspace.agent("author", owner="ada", channels=[])
    outsider = await workspace.agent("outsider", channels=[])
    square = await workspace.channel("square", author, outsider, ada)
    task = await author(create_task, title="needle", assignee_agent_id=outsider.id)
    with pytest.raises(NotYoursToShow):
        await outsider(update_task, task_id=task.id, version=1, channel_id=square)
    bound = await ada(update_task, task_id=task.id, version=1, channel_id=square)
    loose = await author(update_task, task_id=task.id, version=bound.version, channel_id=None)
    assert (
        await author(update_task, task_id=task.id, version=loose.version, channel_id=square)
    ).channel_id == square


async def test_to_send_a_task_back_as_it_was_read_shows_it_to_nobody_and_is_fine(workspace: World) -> None:
    story = await told(workspace, assigned=True)
    task = await story.outsider(get_task, task_id=story.task.id)
    fields = {
        "channel_id": task.channel_id,
        "assignee_agent_id": task.assignee_agent_id,
        "parent_task_id": task.parent_task_id,
    }
    done = await story.outsider(update_task, task_id=task.id, version=task.version, status="done", **fields)
    assert done.status == "done"


async def test_an_assignee_from_outside_finishes_the_task(workspace: World) -> None:
    story = await told(workspace, assigned=True)
    assert (await story.outsider(block_task, task_id=story.task.id, reason="stuck")).status == "blocked"
    assert (await story.outsider(complete_task, task_id=story.task.id)).status == "done"
    released = await story.outsider(release_task, task_id=story.task.id)
    with pytest.raises(TaskReadOnly):
        await story.outsider(update_task, task_id=story.task.id, version=released.version, title="mine")


async def test_an_assignee_from_outside_gives_the_task_only_to_who_sees_it(workspace: World) -> None:
    story = await told(workspace, assigned=True)
    with pytest.raises(NotYoursToShow):
        await story.outsider(
            update_task, task_id=story.task.id, version=2, assignee_agent_id=story.friend.id, title="yours"
        )
    assert await story.friend(list_tasks) == []
    back = await story.outsider(
        update_task, task_id=story.task.id, version=2, assignee_agent_id=story.author.id
    )
    assert back.assignee_agent_id == story.author.id


async def test_one_who_cannot_be_known_is_not_found_before_anything_is_said_of_sharing(
    workspace: World,
) -> None:
    story = await told(workspace, assigned=True)
    await workspace.user("ada")
    hidden = await workspace.agent("hidden", owner="ada", private=True, channels=[])
    with pytest.raises(IdentityNotFound):
        await story.outsider(update_task, task_id=story.task.id, version=2, assignee_agent_id=hidden.id)


async def test_a_mention_from_outside_reaches_only_who_sees_the_task(workspace: World) -> None:
    story = await told(workspace, assigned=True)
    said = await story.outsider(comment_on_task, task_id=story.task.id, body="@friend @author, look")
    assert [mention.id for mention in said.mentions] == [story.author.id]
    on_purpose = [{"id": story.friend.id}]
    said = await story.outsider(comment_on_task, task_id=story.task.id, body="look", mentions=on_purpose)
    assert said.mentions == []
    await story.outsider(block_task, task_id=story.task.id, reason="waiting for @friend")
    assert await story.friend(list_tasks) == []
    assert (await story.friend(get_unread_mentions)).count == 0
    assert (await story.author(get_unread_mentions)).count == 1


async def test_a_mention_by_who_may_post_in_the_channel_lets_someone_in(workspace: World) -> None:
    story = await told(workspace)
    await story.author(comment_on_task, task_id=story.task.id, body="@friend, look")
    assert [task.id for task in await story.friend(list_tasks)] == [story.task.id]


async def test_who_is_only_mentioned_does_not_claim_a_task_of_a_channel(workspace: World) -> None:
    story = await told(workspace)
    assert await story.outsider(list_ready_tasks) == []
    assert await story.outsider(claim_next_task) == []
    with pytest.raises(TaskReadOnly):
        await story.outsider(claim_task, task_id=story.task.id)
    explained = await story.outsider(explain_task, task_id=story.task.id)
    assert [obstacle.code for obstacle in explained.obstacles] == ["read_only"]


async def test_who_is_only_mentioned_does_not_put_something_in_the_way_of_a_task(workspace: World) -> None:
    story = await told(workspace)
    mine = await story.outsider(create_task, title="never done")
    with pytest.raises(TaskReadOnly):
        await story.outsider(link_tasks, task_id=mine.id, kind="blocks", other_task_id=story.task.id)
    assert (await story.author(claim_task, task_id=story.task.id)).task.id == story.task.id


# What a task says of another


async def under_a_hidden_parent(workspace: World) -> tuple[Caller, Caller, Any, Any]:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author, bot)
    parent = await author(create_task, title="secret")
    child = await author(create_task, title="needle", channel_id=channel, parent_task_id=parent.id)
    return author, bot, parent, child


async def test_a_hidden_parent_is_named_nowhere(workspace: World) -> None:
    author, bot, parent, child = await under_a_hidden_parent(workspace)
    assert (await author(get_task, task_id=child.id)).parent_task_id == parent.id
    shown: list[Any] = [
        await bot(get_task, task_id=child.id),
        await bot(list_tasks),
        await bot(list_tasks, query="needle"),
        await bot(list_ready_tasks),
        await bot(list_task_history, task_id=child.id),
        await bot(update_task, task_id=child.id, version=1, title="needle 2"),
        await bot(claim_next_task),
        await bot(get_task, task_id=child.id, at_version=1),
        await bot(list_my_activity),
    ]
    assert all(shown)
    assert parent.id not in repr(shown)
    assert await bot(list_tasks, parent_task_id=parent.id) == []
    assert [task.id for task in await author(list_tasks, parent_task_id=parent.id)] == [child.id]


async def test_a_conflict_does_not_name_a_hidden_parent(workspace: World) -> None:
    author, bot, parent, child = await under_a_hidden_parent(workspace)
    loose = await author(update_task, task_id=child.id, version=1, parent_task_id=None)
    back = await author(update_task, task_id=child.id, version=loose.version, parent_task_id=parent.id)
    for version in (1, loose.version):
        status, body, _ = await bot.answer(update_task, "r", task_id=child.id, version=version, title="mine")
        assert status == 409
        assert parent.id.encode() not in body
    status, body, _ = await author.answer(
        update_task, "r", task_id=child.id, version=loose.version, title="mine"
    )
    assert (status, body.count(parent.id.encode())) == (409, 2)
    assert back.parent_task_id == parent.id


async def test_a_hidden_parent_stays_when_the_task_is_sent_back_as_it_was_read(workspace: World) -> None:
    author, bot, parent, child = await under_a_hidden_parent(workspace)
    read = await bot(get_task, task_id=child.id)
    await bot(update_task, task_id=child.id, version=1, title="new", parent_task_id=read.parent_task_id)
    assert (await author(get_task, task_id=child.id)).parent_task_id == parent.id


# What a task waits for


async def test_nobody_holds_a_task_back_with_what_its_creator_or_assignee_does_not_see(
    workspace: World,
) -> None:
    author, bot, helper = [await workspace.agent(name, channels=[]) for name in ("author", "bot", "helper")]
    channel = await workspace.channel("builds", author, bot, helper)
    mine = await bot(create_task, title="secret")
    task = await author(create_task, title="needle", channel_id=channel)
    with pytest.raises(BlockerHidden):
        await bot(link_tasks, task_id=mine.id, kind="blocks", other_task_id=task.id)
    await bot(comment_on_task, task_id=mine.id, body="@author")
    await bot(link_tasks, task_id=mine.id, kind="blocks", other_task_id=task.id)
    other = await author(create_task, title="other", channel_id=channel, assignee_agent_id=helper.id)
    with pytest.raises(BlockerHidden):
        await bot(link_tasks, task_id=mine.id, kind="blocks", other_task_id=other.id)
    await bot(link_tasks, task_id=mine.id, kind="related", other_task_id=other.id)


async def test_a_tasks_own_people_remove_what_holds_it_back_unseen(workspace: World) -> None:
    author, bot, helper = [await workspace.agent(name, channels=[]) for name in ("author", "bot", "helper")]
    channel = await workspace.channel("builds", author, bot, helper)
    secret = [await bot(create_task, title="secret", channel_id=channel) for _ in range(2)]
    task = await author(create_task, title="needle", channel_id=channel)
    for one in secret:
        await bot(link_tasks, task_id=one.id, kind="blocks", other_task_id=task.id)
        await bot(update_task, task_id=one.id, version=1, channel_id=None)
    explained = await helper(explain_task, task_id=task.id)
    assert explained.obstacles[0].hidden_blockers == 2
    [help_] = explained.obstacles[0].helps
    assert (help_.operation, help_.by) == ("unlink-tasks", "you")
    with pytest.raises(TaskNotFound):
        await helper(unlink_tasks, task_id=secret[0].identifier, kind="blocks", other_task_id=task.id)
    for left in (1, 0, 0):
        assert await helper(unlink_tasks, task_id="hidden", kind="blocks", other_task_id=task.id) == []
        explained = await helper(explain_task, task_id=task.id)
        assert sum(obstacle.hidden_blockers for obstacle in explained.obstacles) == left
    assert explained.claimable
    history = await helper(list_task_history, task_id=task.id)
    assert [entry.kind for entry in history] == ["unlinked", "unlinked", "linked", "linked", "created"]
    assert not any(one.id in repr(history) for one in secret)
    seen = await bot(list_task_history, task_id=task.id)
    assert all(one.id in repr(seen) for one in secret)


async def test_who_may_not_change_a_task_removes_nothing_it_waits_for(workspace: World) -> None:
    story = await told(workspace)
    blocker = await story.author(create_task, title="first")
    await story.author(link_tasks, task_id=blocker.id, kind="blocks", other_task_id=story.task.id)
    with pytest.raises(TaskReadOnly):
        await story.outsider(unlink_tasks, task_id="hidden", kind="blocks", other_task_id=story.task.id)
    with pytest.raises(TaskNotFound):
        await story.friend(unlink_tasks, task_id="hidden", kind="blocks", other_task_id=story.task.id)
    for op in (link_tasks, unlink_tasks):
        with pytest.raises(TaskNotFound):
            await story.author(op, task_id="hidden", kind="related", other_task_id=story.task.id)


async def test_who_may_change_a_task_removes_what_it_waits_for_and_may_only_read(workspace: World) -> None:
    author, bot = await workspace.agent("author"), await workspace.agent("bot")
    channel = await workspace.channel("builds", author)
    await workspace.join("builds", bot, role="reader")
    task = await bot(create_task, title="needle")
    await bot(comment_on_task, task_id=task.id, body="@author")
    blocker = await author(create_task, title="first", channel_id=channel)
    await author(link_tasks, task_id=blocker.id, kind="blocks", other_task_id=task.id)
    assert await bot(unlink_tasks, task_id=blocker.id, kind="blocks", other_task_id=task.id) == []
