"""What tools answer: what is new to the caller, in bytes that are counted, with names beside ids; the whole on request."""

import json
from typing import Any, Final

import jsonschema
import pytest
from mcp import Client
from mcp_types import CallToolResult

from app.operations import (
    OPERATIONS,
    claim_task,
    comment_on_task,
    create_task,
    get_inbox,
    send_message,
    update_task,
)
from app.transports.mcp.results import news_of
from tests.conftest import Server, World
from tests.mcp.connecting import connected, structure_of, text_of

BYTES_MAX: Final = {
    "complete-task": 120,
    "comment-on-task": 160,
    "create-task": 200,
    "update-task": 200,
    "claim-next-task": 600,  # besides the description
    "a change in the inbox": 120,
    "a conflict": 700,  # besides the texts that overlap
}
DESCRIPTION: Final = "It rains in, and the neighbours are not amused. " * 20


def size(value: Any) -> int:
    """How many bytes a model reads."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode())


def said_by(result: CallToolResult) -> Any:
    assert not result.is_error, result
    return json.loads(text_of(result))


async def ask(client: Client, tool: str, **arguments: object) -> Any:
    return said_by(await client.call_tool(tool, arguments))


def test_every_write_says_what_of_its_answer_is_news() -> None:
    silent = [op.name for op in OPERATIONS if op.family.tools and not op.read_only and not news_of(op)]
    assert silent == ["create-artifact"], "whose three keys are short, and all new"


async def test_answers_of_the_daily_loop_fit_their_bytes(
    server: Server, workspace: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    channel = await workspace.channel("roofs", ada, bot)
    begun = await bot(get_inbox)
    roof = await ada(
        create_task,
        title="Mend the roof of the old house by the river",
        description=DESCRIPTION,
        priority="urgent",
        due_at="2027-01-01T09:00:00Z",
        channel_id=channel,
    )
    sizes: dict[str, int] = {}
    async with connected(server, bot.api_key, tools="core") as client:
        [change] = (await ask(client, "get-inbox", cursor=begun.cursor))["changes"]
        assert change == {"identifier": "T-1", "kind": "created", "actorHandle": "ada"}
        [claim] = await ask(client, "claim-next-task")
        assert claim["task"].pop("description") == DESCRIPTION
        sizes["claim-next-task"] = size([claim])
        assert (claim["task"]["channel"], claim["task"]["createdBy"]) == ("#roofs", "@ada")
        on_it = {"taskId": "T-1", "runId": claim["run"]["id"]}

        await ada(update_task, task_id=roof.id, version=2, title="Mend the roof", priority="low")
        sent = {"version": 1, "title": "Mend the roof of the old house"}
        refused = await client.call_tool("update-task", {**on_it, **sent})
        facts = json.loads(text_of(refused))
        assert refused.is_error
        [overlap] = facts["details"].pop("overlapping")
        assert overlap == {"field": "title", "yours": sent["title"], "theirs": "Mend the roof"}
        assert [changed["field"] for changed in facts["details"]["changed"]] == ["priority", "title"], (
            "one's own claim is no news"
        )
        sizes["a conflict"] = size(facts)

        version = facts["details"]["currentVersion"]
        changed = await ask(client, "update-task", **on_it, version=version, title=sent["title"])
        assert changed == {"identifier": "T-1", "version": version + 1, "status": "in_progress"}
        sizes["update-task"] = size(changed)
        remark = await ask(client, "comment-on-task", **on_it, body="The slates are on, @ada.")
        assert remark["mentions"] == [{"handle": "@ada"}]
        sizes["comment-on-task"] = size(remark)
        made = await ask(client, "create-task", title="Clean the gutter", channelId=channel)
        assert made == {"identifier": "T-2", "version": 1, "status": "todo"}
        sizes["create-task"] = size(made)
        await ada(update_task, task_id=roof.id, version=version + 1, status="in_review", priority="high")
        [*_, last] = (await ask(client, "get-inbox", cursor=begun.cursor))["changes"]
        sizes["a change in the inbox"] = size(last)
        done = await ask(client, "complete-task", taskId="T-2")
        assert done == {"identifier": "T-2", "version": 2, "status": "done"}
        sizes["complete-task"] = size(done)
    with capsys.disabled():
        print()
        for what, most in BYTES_MAX.items():
            print(f"  {what:22} {sizes[what]:4} bytes, at most {most}")
    assert sizes.keys() == BYTES_MAX.keys()
    assert {what: size for what, size in sizes.items() if size > BYTES_MAX[what]} == {}


async def test_the_whole_answer_comes_on_request_with_names_beside_ids(
    server: Server, workspace: World
) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    channel = await workspace.channel("roofs", ada, bot)
    async with connected(server, bot.api_key) as client:
        sent = {"title": "Mend it", "channelId": channel, "assigneeAgentId": bot.id, "answer": "Whole"}
        made = await ask(client, "create-task", **sent)
        assert (made["assigneeAgentId"], made["assignee"]) == (bot.id, "@scout")
        assert (made["channelId"], made["channel"]) == (channel, "#roofs")
        assert (made["createdByAgentId"], made["createdBy"]) == (bot.id, "@scout")
        assert "description" not in made and "assigneeUserId" not in made, "null is left out"
        assert await ask(client, "get-task", taskId="T-1") == made
        listed = await ask(client, "list-tasks", fields=["assigneeAgentId"])
        assert listed == [{"assigneeAgentId": bot.id, "assignee": "@scout"}]
        refused = await client.call_tool("create-task", {"title": "Mend it", "answer": "long"})
        assert "`answer` is `whole`, or left out." in text_of(refused)


async def test_what_is_free_json_keeps_its_nulls(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    task = await bot(create_task, title="Count")
    claim = await bot(claim_task, task_id=task.id)
    output = {"found": None, "list": [], "text": ""}
    async with connected(server, bot.api_key) as client:
        sent = {"runId": claim.run.id, "output": output, "completeTask": True}
        assert await ask(client, "complete-run", **sent) == {
            "claimEnded": {"reason": "completed"},
            "task": {"identifier": "T-1", "status": "done", "version": 3},
        }
        assert (await ask(client, "get-run", runId=claim.run.id))["output"] == output


async def test_history_activity_and_runs_are_short_unless_told(server: Server, workspace: World) -> None:
    bot, other = await workspace.agent("scout"), await workspace.agent("other")
    channel = await workspace.channel("roofs", bot, other)
    await other(create_task, title="Mend it", channel_id=channel)
    claim = await other(claim_task, task_id="T-1")
    for version in range(2, 5):
        await other(update_task, task_id="T-1", version=version, description=DESCRIPTION + str(version))
    async with connected(server, bot.api_key) as client:
        history = await ask(client, "list-task-history", taskId="T-1")
        assert len(history) == 5
        assert size(history) < 1400, "five events took 3.7 KB"
        assert history[0]["by"] == {"handle": "other"}
        [change] = history[0]["changes"]
        assert change["field"] == "description" and len(change["to"]) < 100
        whole = await ask(client, "list-task-history", taskId="T-1", answer="whole")
        assert whole[0]["changes"][0]["to"] == DESCRIPTION + "4"
        [run] = await ask(client, "list-runs", live=True)
        assert (run["holder"], run["task"], run["id"]) == ("@other", "T-1", claim.run.id)


async def test_a_repeated_answer_says_that_it_is_one(server: Server, workspace: World) -> None:
    bot = await workspace.agent()
    async with connected(server, bot.api_key) as client:
        sent = {"title": "Mend it", "idempotencyKey": "once"}
        first = await ask(client, "create-task", **sent)
        assert await ask(client, "create-task", **sent) == {"replayed": True, **first}
        bulk = {"tasks": [{"title": "One"}], "idempotencyKey": "bulk"}
        assert "replayed" not in structure_of(await client.call_tool("create-tasks-bulk", bulk))
        again = await client.call_tool("create-tasks-bulk", bulk)
        assert structure_of(again)["replayed"] is True
        assert json.loads(text_of(again, 1)) == {"replayed": True}


async def test_every_short_answer_fits_the_schema_that_tells_of_it(server: Server, workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    channel = await workspace.channel("roofs", ada, bot)
    await bot(send_message, channel_id=channel, content="Hello, @ada")
    async with connected(server, bot.api_key) as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        for tool, arguments in {
            "create-task": {"title": "Mend it", "channelId": channel},
            "claim-task": {"taskId": "T-1"},
            "comment-on-task": {"taskId": "T-1", "body": "@ada, look."},
            "list-comments": {"taskId": "T-1"},
            "list-runs": {},
            "get-messages": {"channelId": channel},
            "get-inbox": {},
        }.items():
            said = structure_of(await client.call_tool(tool, arguments))
            schema = schemas[tool]
            assert schema is not None
            jsonschema.Draft202012Validator(schema).validate(said)
            shape = schema["properties"].get("data", {}).get("items") or schema
            shown = said["data"][0] if "data" in schema["properties"] else said
            assert set(shape["properties"]) & set(shown), "what is told is what comes"


async def test_a_mention_is_told_with_who_speaks(server: Server, workspace: World) -> None:
    ada, bot = await workspace.user("ada"), await workspace.agent("scout")
    await workspace.channel("roofs", ada, bot)
    task = await ada(create_task, title="Mend it", assignee_agent_id=bot.id)
    await ada(comment_on_task, task_id=task.id, body="Is it done, @scout?")
    async with connected(server, bot.api_key, tools="core") as client:
        [mention] = (await ask(client, "get-inbox"))["mentions"]
    assert (mention["senderHandle"], mention["channelName"], mention["preview"]) == (
        "ada",
        "T-1",
        "Is it done, @scout?",
    )
