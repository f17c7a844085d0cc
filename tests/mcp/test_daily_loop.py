"""An agent with an empty memory and nothing but the core tools, from its first call to the finished task."""

import json
from typing import Any

from mcp import Client

from app.operations import create_task, list_comments, update_task
from tests.conftest import Server, World
from tests.mcp.connecting import connected, text_of


async def test_the_core_tools_carry_an_agent_from_an_empty_memory_to_the_finished_task(
    server: Server, workspace: World
) -> None:
    ada, bot = await workspace.user(), await workspace.agent()
    await ada(create_task, title="Later", assignee_agent_id=bot.id)
    await ada(create_task, title="Mend the roof", priority="urgent", assignee_agent_id=bot.id)
    async with connected(server, bot.api_key, tools="core", era="legacy") as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert all(f". {tool}: " in (client.instructions or "") for tool in tools)

        me = await ask(client, "get-me")
        queue = await ask(client, "list-my-tasks", status="open")
        first = queue["data"][0]
        assert first["title"] == "Mend the roof"
        task = await ask(client, "get-task", taskId=first["identifier"])
        assert task["description"] is None and task["assigneeAgentId"] == me["id"]

        # While the agent reads, its owner changes the task: the version it read is no longer the newest.
        await ada(update_task, task_id=task["id"], version=task["version"], description="With slates.")
        refused = await client.call_tool(
            "update-task", {"taskId": task["id"], "version": task["version"], "status": "in_progress"}
        )
        assert refused.is_error
        error = json.loads(text_of(refused))
        assert error["code"] == "conflict" and not error["retryable"]
        current = error["details"]["current"]
        assert current["description"] == "With slates."
        task = await ask(
            client, "update-task", taskId=task["id"], version=current["version"], status="in_progress"
        )
        assert task["status"] == "in_progress" and task["description"] == "With slates."

        await ask(client, "comment-on-task", taskId=task["id"], body="The slates are on, @ada.")
        await ask(client, "create-task", title="Clean the gutter", parentTaskId=task["id"])
        done = await ask(client, "complete-task", taskId=task["id"])
        assert done["status"] == "done" and done["completedAt"]
        queue = await ask(client, "list-my-tasks", status="open")
        assert [task["title"] for task in queue["data"]] == ["Later"]
    [comment] = await ada(list_comments, task_id=task["id"])
    assert comment.body == "The slates are on, @ada."


async def ask(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """Call a tool, which must go well, as a model would: reading nothing but the text."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    said = json.loads(text_of(result))
    return {"data": said} if isinstance(said, list) else said
