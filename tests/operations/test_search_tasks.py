"""search-tasks."""

from app.operations import (
    complete_task,
    create_task,
    search_tasks,
    update_task,
)
from tests.conftest import Caller, World


async def tasks_found(caller: Caller, query: str, **fields: object) -> list[str]:
    return [hit.task.title for hit in (await caller(search_tasks, query=query, **fields)).tasks]


async def test_tasks_are_found_by_title_before_description(workspace: World) -> None:
    bot, eve = await workspace.agent("bot"), await workspace.agent("eve")
    await bot(create_task, title="Zoo", description="about the fox")
    fox = await bot(create_task, title="The fox")
    assert await tasks_found(bot, "fox") == ["The fox", "Zoo"]
    assert await tasks_found(bot, "fox -about") == ["The fox"]
    assert await tasks_found(eve, "fox") == []
    await bot(complete_task, task_id=fox.id)
    assert await tasks_found(bot, "fox", open_only=True) == ["Zoo"]
    await bot(update_task, task_id=fox.id, version=2, title="The badger")
    assert (await tasks_found(bot, "fox"), await tasks_found(bot, "badger")) == (["Zoo"], ["The badger"])
