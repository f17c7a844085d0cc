"""What tools give beyond plain HTTP: what an answer says besides its data, and what stands around a task."""

import json

from app.operations import claim_next_task, comment_on_task, complete_task, create_task, link_tasks
from tests.conftest import Server, World
from tests.mcp.connecting import connected, structure_of, text_of


async def test_a_tool_says_besides_what_it_ended_what_blocks_and_what_looks_the_same(
    server: Server, workspace: World
) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    for title in ("Fix the parser", "Write the manual"):
        await other(create_task, title=title, channel_id=channel)
    await other(link_tasks, task_id="T-1", kind="blocks", other_task_id="T-2")
    await other(comment_on_task, task_id="T-1", body="It drops the last line.")
    [claim] = await other(claim_next_task)
    assert claim.task.identifier == "T-1"
    async with connected(server, bot.api_key, tools="core") as client:
        idle = await client.call_tool("claim-next-task", {})
        [waits] = structure_of(idle)["waiting"]["tasks"]
        assert (waits["identifier"], waits["waitsFor"][0]["holder"]) == ("T-2", "other")
        assert "T-2 waits for T-1" in "".join(text_of(idle, place) for place in range(len(idle.content)))
        begun = await client.call_tool(
            "update-task", {"taskId": "T-2", "version": 1, "status": "in_progress"}
        )
        assert [blocker["identifier"] for blocker in structure_of(begun)["blockers"]] == ["T-1"]
        taken = await client.call_tool(
            "update-task", {"taskId": "T-1", "version": 2, "status": "todo", "handoff": "half of it"}
        )
        ended = structure_of(taken)["claimEnded"]
        assert ended == {"reason": "superseded", "holder": "other"}
        made = await client.call_tool(
            "create-task", {"title": "Fix the parser, please", "channelId": channel}
        )
        assert [task["identifier"] for task in structure_of(made)["similar"]] == ["T-1"]
        seen = await client.call_tool("get-task", {"taskId": "T-1"})
        around = json.loads(text_of(seen))
        assert [remark["body"] for remark in around["comments"]["last"]] == ["It drops the last line."]
        assert (around["relations"][0]["identifier"], around["handoff"]["text"]) == ("T-2", "half of it")


async def test_an_agent_hears_when_everything_is_done(server: Server, workspace: World) -> None:
    bot, other = await workspace.agent(), await workspace.agent("other")
    channel = await workspace.channel("work", bot, other)
    await other(create_task, title="The last one", channel_id=channel)
    await other(claim_next_task)
    async with connected(server, bot.api_key, tools="core") as client:
        while_it_is_held = structure_of(await client.call_tool("claim-next-task", {}))["waiting"]["message"]
        assert while_it_is_held.startswith("Nothing in your channels is todo and free.")
        await other(complete_task, task_id="T-1")
        afterwards = structure_of(await client.call_tool("claim-next-task", {}))["waiting"]["message"]
        assert afterwards.startswith("Your channels have no open task: all are done or cancelled.")
