"""Little stories that each end in a call: what test_declared_errors.py tells of errors.

Tasks: the caller has created T-1, or sees it only as a reader of its channel. Channels: the caller has some role
in #builds, or none, and somebody else is there who has said something.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import uuid4

from app.operations import archive_channel, create_task, send_message
from app.rpc import Operation
from tests.conftest import Caller, World

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


class Scene(NamedTuple):
    """#builds, who is there, and who is not."""

    caller: Caller
    channel: str
    member: str
    stranger: str
    message: str


def in_channel(op: Operation, role: str | None = "poster", state: str = "", /, **fields: Any) -> Scenario:
    """A call by someone with this role in #builds, or None, on that channel.

    `state` may say that it is archived, or that nobody else is in it. Fields may be functions of the scene.
    """

    async def scenario(workspace: World) -> None:
        caller = await (workspace.user("ada") if role == "admin" else workspace.agent("bot"))
        operator, member = await workspace.user("operator"), await workspace.agent("member")
        channel = await workspace.channel("builds", member)
        said = await member(send_message, channel_id=channel, content="hello")
        if role:
            await workspace.join("builds", caller, role=role)
        if state == "alone":
            await workspace.leave(channel, member)
        if state == "archived":
            await workspace.join("builds", operator, role="admin")
            await operator(archive_channel, channel_id=channel)
        scene = Scene(caller, channel, member.id, (await workspace.agent("stranger")).id, said.id)
        filled = {name: value(scene) if callable(value) else value for name, value in fields.items()}
        if "channel_id" in op.request.__struct_fields__:
            filled = {"channel_id": channel, **filled}
        await caller(op, **filled)

    return scenario


def addresses_too_many(op: Operation, field: str, scenario: Callable[..., Scenario], /) -> Scenario:
    """A call with a text that addresses twenty-one agents."""

    async def crowded(workspace: World) -> None:
        for n in range(21):
            await workspace.agent(f"helper-{n}")
        text = " ".join(f"@helper-{n}" for n in range(21))
        await scenario(op, **{field: text})(workspace)

    return crowded
