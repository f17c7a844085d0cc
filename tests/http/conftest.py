"""What tests over HTTP share: a client whose every answer is judged, and a home that the examples fit."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.documents import story
from app.operations import claim_task, create_task, create_task_record, get_me, send_message, states
from app.operator import administration as admin
from app.rpc import Operation
from tests.conftest import Caller, Server, World
from tests.http.judge import Judge


@pytest.fixture(scope="session")
def judge(server: Server) -> Judge:
    """Holds answers against the document that the server serves."""
    return Judge(httpx.get(f"{server.url}/openapi.json").json())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(server: Server, judge: Judge) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server; an answer that is not documented fails the test."""
    async with httpx.AsyncClient(
        base_url=server.url, event_hooks={"response": [judge]}, timeout=30
    ) as client:
        yield client


@dataclass
class Home:
    """A workspace in which the examples make sense.

    Scout is ada's, has three tasks and a claim of a fourth; there are four more, a channel and a message, a record and a State.
    """

    workspace: World
    scout: Caller
    ada: Caller
    names: dict[str, Any]  # what the story calls things, and what they are called here
    made: dict[story.Of, Any]  # what was made in the story, and what there is of it here

    def caller(self, op: Operation) -> Caller:
        """Who calls an operation in the examples."""
        return self.ada if story.STORY[op.name].by == "ada" else self.scout

    def request(self, op: Operation) -> dict[str, Any]:
        """The example of a request to an operation, about what is here."""
        request = story.resolved(story.STORY[op.name].request, lambda of: self.made[of])
        return _renamed(request, self.names)


@pytest_asyncio.fixture(loop_scope="session")
async def home(workspace: World) -> Home:
    """A fresh home for the examples."""
    return await at_home(workspace)


async def at_home(workspace: World) -> Home:
    """Make a workspace, in which nobody is yet, the home that the examples fit."""
    ada = await workspace.user("ada")
    scout = await workspace.agent("scout", owner="ada", scopes="all,operator")
    for title in ("one", "two", "three"):
        await scout(create_task, title=title, assignee_agent_id=scout.id)
    me = await scout(get_me)
    general = me.channels[0].id
    channel = await workspace.channel("house", scout)
    await workspace.join("house", ada, role="admin")
    message = await scout(send_message, channel_id=general, content="Hello, @ada")
    ready = [
        await scout(create_task, title=title, channel_id=general)
        for title in ("four", "five", "six", "seven")
    ]
    held = await scout(create_task, title="eight")
    claim = await scout(claim_task, task_id=held.id)
    record = await scout(create_task_record, kind="call_action", executor_id="worker-7")
    state = await scout(states.create_state, name="Import")
    token = await admin.create_verify_token(workspace.db, workspace.info, "scout")
    names: dict[str, Any] = {
        "T-42": "T-1",
        "T-43": "T-2",
        "T-44": "T-3",
        story.ADA: ada.id,
        story.SCOUT: scout.id,
        story.GENERAL: general,
        story.TOKEN: token.token,
        **{f"T-{was}": now.identifier for was, now in zip(story.WAITING, ready, strict=True)},
    }
    made: dict[story.Of, Any] = {
        story.KEYS: channel,
        story.QUESTION: message.id,
        story.RECORD: record.id,
        story.STATE: state.id,
        **dict.fromkeys(story.RUNS, claim.run.id),
    }
    return Home(workspace, scout, ada, names, made)


def _renamed(value: Any, names: dict[str, Any]) -> Any:
    match value:
        case str():
            return names.get(value, value)
        case dict():
            return {key: _renamed(inner, names) for key, inner in value.items()}
        case list():
            return [_renamed(inner, names) for inner in value]
        case _:
            return value
