"""fastmcp's client, without a model: the typed results it makes of output schemas."""

import asyncio

import setting
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError


def client(url: str) -> Client:
    return Client(StreamableHttpTransport(url, headers=setting.HEADERS))


async def main() -> None:
    async with client(setting.ALL) as everything:
        tools = await everything.list_tools()
    async with client(setting.CORE) as core:
        await core.call_tool("get-inbox", {})
        me = (await core.call_tool("create-task", {"title": "Who am I", "answer": "whole"})).data
        created = (
            await core.call_tool(
                "create-task",
                {
                    "title": "Mend the roof",
                    "description": "It rains in.",
                    "dueAt": "2027-01-01T09:00:00Z",
                    "assigneeAgentId": me.createdByAgentId,
                    "priority": "high",
                    "answer": "whole",
                },
            )
        ).data
        if not created.id or created.description != "It rains in.":
            setting.fail(f"the typed result lacks what was made: {created}")
        [claim] = (await core.call_tool("claim-next-task", {})).data.data
        on_it = {"taskId": created.identifier, "runId": claim.run["id"]}
        version = claim.task["version"]
        await core.call_tool("heartbeat-run", {"runId": claim.run["id"], "progress": 0.5})
        changed = await core.call_tool("update-task", {**on_it, "version": version, "title": "With tar"})
        try:
            await core.call_tool(
                "update-task", {**on_it, "version": version, "title": "Mend the roof with slates"}
            )
            setting.fail("a stale version was taken")
        except ToolError as e:
            if "version_conflict" not in str(e):
                setting.fail(f"the conflict is not said: {e}")
        change = {"version": changed.data.version, "title": "Mend the roof with slates"}
        await core.call_tool("update-task", {**on_it, **change})
        said = (await core.call_tool("comment-on-task", {**on_it, "body": "The slates are on."})).data
        if not said.id:
            setting.fail("the comment has no id")
        closed = (await core.call_tool("complete-task", on_it)).data
        if closed.status != "done":
            setting.fail(f"not done: {closed}")
    setting.done("fastmcp", converted=len(tools), said="The roof is mended.")


asyncio.run(main())
