"""unlink-tasks: edges that are no more."""

import pytest

from app.errors import TaskReadOnly
from app.operations import create_task, link_tasks, list_ready_tasks, unlink_tasks
from tests.conftest import World
from tests.operations.claims import kinds


async def test_what_waited_for_an_unlinked_task_is_ready(workspace: World) -> None:
    bot = await workspace.agent()
    a, b = [await bot(create_task, title=title) for title in "ab"]
    await bot(link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    assert [task.title for task in await bot(list_ready_tasks)] == ["a"]
    assert await bot(unlink_tasks, task_id=a.id, kind="blocks", other_task_id=b.id) == []
    assert [task.title for task in await bot(list_ready_tasks)] == ["a", "b"]


async def test_only_the_edge_that_is_named_goes(workspace: World) -> None:
    bot = await workspace.agent()
    a, b = [await bot(create_task, title=title) for title in "ab"]
    await bot(link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    await bot(link_tasks, task_id=a.id, kind="related", other_task_id=b.id)
    await bot(unlink_tasks, task_id=b.id, kind="blocks", other_task_id=a.id)  # the other way round: not there
    assert len(await kinds(bot, a)) == 2
    await bot(unlink_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    assert await kinds(bot, a) == [("related", b.identifier)]


async def test_a_reader_cannot_unlink(workspace: World) -> None:
    bot, reader = await workspace.agent(), await workspace.agent("reader", channels=[])
    channel = await workspace.channel("plans", bot)
    await workspace.join("plans", reader, role="reader")
    a, b = [await bot(create_task, title=title, channel_id=channel) for title in "ab"]
    await bot(link_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    with pytest.raises(TaskReadOnly):
        await reader(unlink_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    assert await kinds(reader, a) == [("blocks", b.identifier)]
