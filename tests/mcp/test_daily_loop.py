"""An agent with an empty memory and nothing but the core tools, from its first call to the finished task.

It knows what a model knows: the instructions, the tools it is shown, and the text of each answer.
"""

import json

import pytest

from app.operations import (
    comment_on_task,
    create_task,
    get_run,
    get_task,
    list_comments,
    list_tasks,
    update_task,
)
from tests.conftest import Server, World
from tests.mcp.connecting import ERAS, Newcomer, connected, text_of


@pytest.mark.parametrize("era", ERAS)
async def test_the_core_tools_carry_an_agent_from_an_empty_memory_to_the_finished_task(
    server: Server, workspace: World, era: str
) -> None:
    ada, bot = await workspace.user(), await workspace.agent()
    await ada(create_task, title="Later", assignee_agent_id=bot.id)
    roof = await ada(create_task, title="Mend the roof", priority="urgent", assignee_agent_id=bot.id)
    await ada(comment_on_task, task_id=roof.id, body="It rains in, `@nobody` else has time.")
    async with connected(server, bot.api_key, tools="core", era=era) as client:
        tools = (await client.list_tools()).tools
        told = client.instructions or ""
        assert [f"{place}. {tool.name}: " in told for place, tool in enumerate(tools, 1)] == [True] * len(
            tools
        )
        newcomer = Newcomer(client, {tool.name: tool.input_schema for tool in tools})

        inbox = await newcomer.ask("get-inbox")
        assert [task["title"] for task in inbox["openTasks"]] == ["Mend the roof", "Later"]

        [claim] = await newcomer.ask("claim-next-task")
        task, run = claim["task"], claim["run"]["id"]
        assert task["title"] == "Mend the roof"
        alive = await newcomer.ask("heartbeat-run", runId=run, progress=0.5, note="Looking for slates.")
        assert alive["leaseExpiresAt"] > claim["run"]["leaseExpiresAt"]

        # While the agent works, somebody changes the task: the version it read is no longer the newest.
        await ada(update_task, task_id=roof.id, version=task["version"], description="With slates.")
        change = {"taskId": task["identifier"], "title": "Mend the roof with tar", "runId": run}
        stale = await newcomer.call("update-task", **change, version=task["version"])
        refusal = json.loads(text_of(stale))
        assert stale.is_error and refusal["code"] == "conflict" and not refusal["retryable"]
        facts = refusal["details"]
        assert facts["mergeable"]
        assert facts["changed"] == [{"field": "description", "to": "With slates.", "by": {"handle": "ada"}}]
        merged = {**change, "title": "Mend the roof with slates"}
        changed = await newcomer.ask("update-task", **merged, version=facts["currentVersion"])
        assert changed == {"identifier": task["identifier"], "version": 4, "status": "in_progress"}

        await newcomer.ask(
            "comment-on-task", taskId=task["identifier"], body="The slates are on, @ada.", runId=run
        )
        more = await newcomer.ask(
            "create-task", title="Clean the gutter", parentTaskId=task["identifier"], runId=run
        )
        assert (await newcomer.ask("get-task", taskId=more["identifier"]))["parentTask"] == task["identifier"]
        done = await newcomer.ask("complete-task", taskId=task["identifier"], runId=run)
        assert done["status"] == "done"

        inbox = await newcomer.ask("get-inbox", cursor=inbox["cursor"])
        assert [task["title"] for task in inbox["openTasks"]] == ["Later"]

    finished = await ada(get_task, task_id=roof.id)
    assert (finished.status, finished.assignee_agent_id) == ("done", bot.id)
    ended = await bot(get_run, run_id=run)
    assert (ended.status, ended.end_reason) == ("completed", "completed")
    assert [comment.body for comment in await ada(list_comments, task_id=roof.id)][1:] == [
        "The slates are on, @ada."
    ]
    assert {task.title for task in await bot(list_tasks, created_by_me=True)} == {"Clean the gutter"}


async def test_an_agent_gives_a_claim_up_with_the_core_alone(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    await bot(create_task, title="Too hard")
    async with connected(server, bot.api_key, tools="core") as client:
        tools = (await client.list_tools()).tools
        newcomer = Newcomer(client, {tool.name: tool.input_schema for tool in tools})
        [claim] = await newcomer.ask("claim-next-task")
        blocked = await newcomer.ask(
            "update-task",
            taskId=claim["task"]["identifier"],
            version=claim["task"]["version"],
            status="blocked",
            runId=claim["run"]["id"],
        )
        assert blocked["status"] == "blocked"
        lost = await newcomer.call("heartbeat-run", runId=claim["run"]["id"])
        assert lost.is_error and json.loads(text_of(lost))["details"]["reason"] == "lease_lost"
        assert await newcomer.ask("claim-next-task") == []
