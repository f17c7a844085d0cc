"""create-task."""

from app.operations import create_task
from tests.conftest import World


async def test_a_new_task_is_todo_and_at_version_one(workspace: World) -> None:
    bot = await workspace.agent("bot")
    task = await bot(create_task, title="  Write it down ")
    assert (task.title, task.status, task.version, task.identifier) == ("Write it down", "todo", 1, "T-1")
    assert task.created_by_agent_id == bot.id
