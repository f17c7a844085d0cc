"""create-task and create-tasks-bulk with `blockedBy`: a task that waits from its first moment."""

import pytest

from app.errors import BlockerHidden, InvalidInput, TaskNotFound, TaskReadOnly
from app.operations import (
    claim_next_task,
    complete_task,
    create_task,
    create_tasks_bulk,
    list_task_history,
    list_task_relations,
    list_tasks,
)
from tests.conftest import World


async def test_a_task_waits_for_others_from_its_first_moment(workspace: World) -> None:
    bot = await workspace.agent()
    first = await bot(create_task, title="Dig")
    second = await bot(create_task, title="Pour")
    third = await bot(create_task, title="Build", blocked_by=[first.id, "T-2", "t-1"], priority="urgent")
    assert [(r.kind, r.task.identifier) for r in await bot(list_task_relations, task_id=third.id)] == [
        ("blocked_by", "T-1"),
        ("blocked_by", "T-2"),
    ]
    claims = await bot(claim_next_task, limit=3)
    assert [claim.task.id for claim in claims] == [first.id, second.id]
    assert await bot(claim_next_task) == []
    for task in (first, second):
        await bot(complete_task, task_id=task.id)
    [claim] = await bot(claim_next_task)
    assert claim.task.id == third.id


async def test_it_stands_in_the_history_of_both_ends(workspace: World) -> None:
    bot = await workspace.agent()
    first = await bot(create_task, title="Dig")
    second = await bot(create_task, title="Build", blocked_by=["T-1"])
    [linked, *_] = await bot(list_task_history, task_id=first.id)
    assert (linked.kind, [(c.field, c.now) for c in linked.changes]) == ("linked", [("blocks", second.id)])
    entries = await bot(list_task_history, task_id=second.id)
    assert sorted(entry.kind for entry in entries) == ["created", "linked"]
    assert second.version == 1 and linked.version == 1, "a relation is no part of either"


async def test_rows_of_a_bulk_call_wait_too_also_where_they_are_announced(workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent()
    channel = await workspace.channel("site", ada, bot)
    await bot(create_task, title="Dig", channel_id=channel)
    rows = [{"title": "Pour", "blockedBy": ["T-1"], "channelId": channel}, {"title": "Paint"}]
    for more in ({}, {"summary_channel_id": channel}):
        made = await bot(create_tasks_bulk, tasks=rows, **more)
        [relation] = await bot(list_task_relations, task_id=made[0].id)
        assert (relation.kind, relation.task.identifier) == ("blocked_by", "T-1")
        assert await bot(list_task_relations, task_id=made[1].id) == []


async def test_what_may_not_block_is_refused_and_nothing_is_created(workspace: World) -> None:
    ada, bot, eve = await workspace.user("ada"), await workspace.agent("bot"), await workspace.agent("eve")
    channel = await workspace.channel("site", ada)
    await workspace.join("site", bot, role="reader")
    await eve(create_task, title="Secret")
    await ada(create_task, title="Read only", channel_id=channel)
    await bot(create_task, title="Mine")
    with pytest.raises(TaskNotFound, match="`T-1`") as missing:
        await bot(create_task, title="x", blocked_by=["T-3", "T-1"])
    assert (missing.value.details or {})["field"] == "blockedBy"
    with pytest.raises(TaskNotFound, match="`T-99`"):
        await bot(create_task, title="x", blocked_by=["T-99"])
    with pytest.raises(TaskReadOnly):
        await bot(create_task, title="x", blocked_by=["T-2"])
    with pytest.raises(BlockerHidden):
        await bot(create_task, title="x", blocked_by=["T-3"], assignee_user_id=ada.id)
    with pytest.raises(TaskNotFound, match=r"Row 1: No task `T-1`.* No task was created"):
        await bot(create_tasks_bulk, tasks=[{"title": "x"}, {"title": "y", "blockedBy": ["T-1"]}])
    with pytest.raises(InvalidInput, match="at most 20 items"):
        await bot(create_task, title="x", blocked_by=["T-3"] * 21)
    assert len(await bot(list_tasks)) == 2


async def test_a_task_that_is_done_blocks_nothing(workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="Dig")
    await bot(complete_task, task_id="T-1")
    await bot(create_task, title="Build", blocked_by=["T-1"])
    [claim] = await bot(claim_next_task)
    assert claim.task.identifier == "T-2"
