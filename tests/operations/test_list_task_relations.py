"""list-task-relations: the edges of a task."""

from app.operations import create_task, link_tasks, unlink_tasks
from tests.conftest import World
from tests.operations.claims import kinds


async def test_an_edge_is_one_row_with_two_views(workspace: World) -> None:
    bot = await workspace.agent()
    a, b = [await bot(create_task, title=title) for title in "ab"]
    shown = await bot(link_tasks, task_id=a.identifier, kind="blocks", other_task_id=b.identifier)
    assert [(r.kind, r.task.id, r.task.title, r.task.status) for r in shown] == [
        ("blocks", b.id, "b", "todo")
    ]
    assert await kinds(bot, b) == [("blocked_by", a.identifier)]
    await bot(unlink_tasks, task_id=a.id, kind="blocks", other_task_id=b.id)
    assert await kinds(bot, a) == await kinds(bot, b) == []


async def test_relations_to_tasks_that_the_caller_cannot_see_are_left_out(workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("plans", bot, other)
    shown = await bot(create_task, title="shown", channel_id=channel)
    hidden = await bot(create_task, title="hidden")
    await bot(link_tasks, task_id=hidden.id, kind="blocks", other_task_id=shown.id)
    assert await kinds(other, shown) == []
    assert await kinds(bot, shown) == [("blocked_by", hidden.identifier)]
