"""Little stories that each end in a call: what test_declared_errors.py tells of errors.

Tasks: the caller has created T-1, or sees it only as a reader of its channel. Channels: the caller has some role
in #builds, or none, and somebody else is there who has said something.
"""

import json
from collections.abc import Awaitable, Callable
from uuid import uuid4

from app.operations import archive_channel, create_task, send_message
from app.rpc import Operation
from tests.conftest import World, spelled

Scenario = Callable[[World], Awaitable[object]]

NOBODY = str(uuid4())
"""An id that nothing has."""

OVERTAKEN = "somebody else always changes this one first"
"""The title of a task that no change gets at: see the fixture `overtaken`."""


def calls(op: Operation, **fields: object) -> Scenario:
    """A call by an agent in a workspace where nothing else is."""

    async def scenario(workspace: World) -> None:
        bot = await workspace.agent("bot")
        await bot(op, **fields)

    return scenario


def calls_on_own_task(op: Operation, title: str = "x", /, **fields: object) -> Scenario:
    """A call on T-1, which the caller has created."""

    async def scenario(workspace: World) -> None:
        bot = await workspace.agent("bot")
        await bot(create_task, title=title)
        await bot(op, task_id="T-1", **fields)

    return scenario


def calls_on_a_task_of(assignee: str, op: Operation, title: str = "x", /) -> Scenario:
    """A call on T-1, which is assigned to the caller or to somebody else."""

    async def scenario(workspace: World) -> None:
        bot, other = await workspace.agent("bot"), await workspace.agent("other")
        await bot(create_task, title=title, assignee_agent_id={"bot": bot.id, "other": other.id}[assignee])
        await bot(op, task_id="T-1")

    return scenario


def calls_as_reader(op: Operation, **fields: object) -> Scenario:
    """A call on T-1, which the caller sees only as a reader of its channel."""

    async def scenario(workspace: World) -> None:
        author, reader = await workspace.agent("author"), await workspace.agent("reader")
        channel = await workspace.channel("builds", author)
        await workspace.join("builds", reader, role="reader")
        await author(create_task, title="x", channel_id=channel)
        await reader(op, task_id="T-1", **fields)

    return scenario


THE_CALLER, THE_CHANNEL, THE_MEMBER, A_STRANGER, THE_MESSAGE, OWN_TASK = (
    f"<{name}>" for name in ("caller", "channel", "member", "stranger", "message", "own task")
)
"""What fields of `in_channel` may say instead of an id that is not known before."""


def in_channel(op: Operation, role: str | None = "poster", state: str = "", /, **fields: object) -> Scenario:
    """A call on #builds, by someone who has this role there, or none.

    `state` may say that the channel is `archived`, or that nobody else is in it: `alone`.
    """

    async def scenario(workspace: World) -> None:
        caller = await (workspace.user("ada") if role == "admin" else workspace.agent("bot"))
        operator, member = await workspace.user("operator"), await workspace.agent("member")
        channel = await workspace.channel("builds", member)
        message = await member(send_message, channel_id=channel, content="hello")
        if role:
            await workspace.join("builds", caller, role=role)
        if state == "alone":
            await workspace.leave(channel, member)
        if state == "archived":
            await workspace.join("builds", operator, role="admin")
            await operator(archive_channel, channel_id=channel)
        body = json.dumps(
            {spelled(op, "channel_id"): channel, **{spelled(op, k): v for k, v in fields.items()}}
        )
        for name, id in {
            THE_CALLER: caller.id,
            THE_CHANNEL: channel,
            THE_MEMBER: member.id,
            A_STRANGER: (await workspace.agent("stranger")).id,
            THE_MESSAGE: message.id,
            OWN_TASK: (await caller(create_task, title="x")).id,
        }.items():
            body = body.replace(name, id)
        await caller.post(op, body.encode())

    return scenario


def addresses_too_many(op: Operation, field: str, scenario: Callable[..., Scenario], /) -> Scenario:
    """A call with a text that addresses twenty-one agents."""

    async def crowded(workspace: World) -> None:
        for n in range(21):
            await workspace.agent(f"helper-{n}")
        text = " ".join(f"@helper-{n}" for n in range(21))
        await scenario(op, **{field: text})(workspace)

    return crowded
