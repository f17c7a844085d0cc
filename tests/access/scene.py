"""The scene in which every operation is tried: a private channel with a task, and everyone who could come by.

Each row of the matrix has a workspace of its own, and what a call changed is made anew for the next caller.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import httpx

from app.operations import (
    OPERATIONS,
    add_channel_member,
    claim_task,
    comment_on_task,
    create_task,
    create_task_record,
    remove_channel_member,
    send_message,
)
from app.operations.records.states import create_state
from app.rpc import RECORDS, Operation
from app.transports.mcp.tools import Toolbox
from tests.conftest import Caller, World, spelled

WHO: Final = {
    "stranger": "has no key",
    "narrow": "posts in the channel, with a key that lacks the scope",
    "foreign": "is in another workspace",
    "outsider": "is in no channel but the square, like everyone",
    "removed": "was taken out of the channel by its admin",
    "participant": "is mentioned on the task, and not in the channel",
    "assignee": "has the task, and is not in the channel; the executor of the run",
    "owner": "answers for the author of task and run, and is not in the channel",
    "reader": "reads the channel",
    "poster": "posts in the channel",
    "private": "posts in the channel, and is a private agent of somebody else's",
    "admin": "manages the channel",
}
"""Who comes by, and what they are to the channel, the task in it, and the run without a task."""

TOOLS: Final = Toolbox(OPERATIONS)
_STATUS: Final = {
    "invalid_request": 400,
    "permission_denied": 403,
    "channel_not_member": 403,
    "not_found": 404,
    "conflict": 409,
}


@dataclass
class Cast:
    """The people of the scene."""

    workspace: World
    author: Caller
    extra: Caller
    newcomer: Caller
    callers: dict[str, Caller]
    square: str

    @classmethod
    async def gathered(cls, workspace: World, other: World) -> "Cast":
        owner = await workspace.user("owner", channels=[])
        await workspace.user("somebody", channels=[])
        agents = ("narrow", "outsider", "removed", "participant", "assignee", "reader", "poster")
        made = {
            name: await workspace.agent(
                name, channels=[], **({"scopes": "iris-ask"} if name == "narrow" else {})
            )
            for name in agents
        }
        made["private"] = await workspace.agent("private", owner="somebody", private=True, name="needle")
        made["admin"] = await workspace.user("admin", channels=[])
        made["foreign"] = await other.agent("foreign", channels=[])
        author = await workspace.agent("author", owner="owner", channels=[])
        extra, newcomer = [
            await workspace.agent(name, channels=[], name="needle") for name in ("extra", "newcomer")
        ]
        square = await workspace.channel("square")
        await workspace.rows(
            """INSERT INTO channel_members (workspace_id, channel_id, identity_id)
               SELECT workspace_id, %(channel)s::uuid, id FROM identities WHERE workspace_id = %(workspace)s
               RETURNING role""",
            channel=square,
        )
        return cls(workspace, author, extra, newcomer, {**made, "owner": owner}, square)


_channels = iter(range(1, 1_000_000))


async def set_up(cast: Cast) -> dict[str, str]:
    """A fresh channel, with a task, a claim, a message, and a run and a State without a task: their ids by name."""
    world, callers, author = cast.workspace, cast.callers, cast.author
    name = f"needle-{next(_channels)}"
    channel = await world.channel(name, private=True)
    await world.rows(
        """INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
           SELECT workspace_id, %(channel)s::uuid, id, CASE WHEN handle IN ('admin', 'reader') THEN handle ELSE 'poster' END
             FROM identities WHERE workspace_id = %(workspace)s AND handle = ANY(%(handles)s)
           RETURNING role""",
        channel=channel,
        handles=["admin", "reader", "author", "extra", "narrow", "poster", "private"],
    )
    await callers["admin"](add_channel_member, channel_id=channel, member_id=callers["removed"].id)
    await callers["admin"](remove_channel_member, channel_id=channel, member_id=callers["removed"].id)
    task = await author(
        create_task, title="needle", channel_id=channel, assignee_agent_id=callers["assignee"].id
    )
    await author(comment_on_task, task_id=task.id, body="needle @participant")
    held = await author(create_task, title="needle held", channel_id=channel)
    claim = await author(claim_task, task_id=held.id)
    ready = await author(create_task, title="needle ready", channel_id=channel)
    message = await author(send_message, channel_id=channel, content="needle")
    run = await author(create_task_record, kind="flow", title="needle", executor_id=callers["assignee"].id)
    of_task = await author(
        create_task_record, kind="flow", title="needle", work_item_id=task.id, stateful=True
    )
    state = await author(create_state, name="needle")
    return {
        "channel": channel,
        "square": cast.square,
        "channel_name": name,
        "task": task.id,
        "ready": ready.id,
        "claim": claim.run.id,
        "message": message.id,
        "run": run.id,
        "of_task": of_task.id,
        "state": state.id,
        "state_of_task": of_task.state_id,
        "extra": cast.extra.id,
        "newcomer": cast.newcomer.id,
        "secret": callers["private"].id,
    }


def filled(fields: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """The fields of a request, with the ids of this scene."""
    text = json.dumps(fields)
    for name, id in ids.items():
        text = text.replace(f"<{name}>", id)
    return json.loads(text)


async def by_http(
    client: httpx.AsyncClient, op: Operation, fields: dict[str, Any], headers: dict[str, str]
) -> str:
    """What came of a call over HTTP."""
    wire = {spelled(op, name): value for name, value in fields.items()}
    path = op.path
    for name in list(wire):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", str(wire.pop(name)))
    method = op.method or "POST"
    body = None if method in {"GET", "DELETE"} else wire
    answer = await client.request(method, path, json=body, headers=headers)
    return said(op, answer.status_code, answer.text)


async def by_mcp(
    client: httpx.AsyncClient, op: Operation, fields: dict[str, Any], headers: dict[str, str]
) -> str:
    """What came of a call through MCP, as over HTTP."""
    wire = {spelled(op, name): value for name, value in fields.items()}
    if (tool := TOOLS.find(op.name)) is not None and tool.shortened:
        wire["answer"] = "whole"
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": op.name, "arguments": wire},
    }
    accept = {"Accept": "application/json, text/event-stream"}
    answer = await client.post("/mcp?tools=all", json=message, headers={**headers, **accept})
    if answer.status_code != 200:
        return str(answer.status_code)
    result = answer.json()["result"]
    if result["isError"]:
        return str(_STATUS[result["structuredContent"]["code"]])
    return said(op, 200, json.dumps(result["structuredContent"]))


def said(op: Operation, status: int, text: str) -> str:
    """A cell of the matrix: the status of a refusal; `ok`; or of a read whether it shows what the scene hides."""
    if status >= 400:
        return str(status)
    return "ok" if not op.read_only else "shows" if "needle" in text else "none"


DOORS: Final = {"http": by_http, "mcp": by_mcp}


def doors(op: Operation) -> list[str]:
    """The doors at which an operation answers."""
    return ["http"] if op.family is RECORDS else ["http", "mcp"]
