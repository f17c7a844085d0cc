"""The daily loop through the frameworks that people build agents with, each at its own version, in a venv of its own.

`make frameworks` installs them and runs this. Without them these tests are skipped, and say so; nothing else needs
them. What each script does is in `clients/`; the model that it thinks it talks to is `model.py`.
"""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from app.operations import OPERATIONS, list_comments, list_tasks
from tests.conftest import Server, World
from tests.frameworks.model import TASK, StubModel

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
VENVS: Final = ROOT / ".cache" / "frameworks"
SECONDS_MAX: Final = 240  # some take half a minute to be imported, on a busy machine

CLIENTS: Final = {
    "openai_agents": "mcp-2",
    "pydantic_ai": "mcp-2",
    "fastmcp": "mcp-2",
    "langchain": "mcp-1",
    "autogen": "mcp-1",
    "llama_index": "mcp-1",
    "strands": "mcp-1",
    "crewai": "crewai",
}
"""Each client, and the venv in which it lives: they do not agree on the version of the SDK, and more."""

STRICT: Final = {"openai_agents"}
"""Those whose model has to fill in every argument."""
WITHOUT_A_MODEL: Final = {"fastmcp"}


def test_every_client_has_a_script_and_pins() -> None:
    assert {path.stem.removeprefix("with_") for path in (HERE / "clients").glob("with_*.py")} == set(CLIENTS)
    assert {path.stem for path in HERE.glob("*.txt")} == set(CLIENTS.values())


def test_every_version_in_the_documentation_is_the_one_that_is_pinned() -> None:
    told = (ROOT / "docs" / "clients.md").read_text()
    table = told.partition("## Frameworks on MCP")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+) ([\d.]+) \|", table, re.MULTILINE)
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", "\n".join(p.read_text() for p in HERE.glob("*.txt")), re.MULTILINE)
    )
    assert len(rows) >= len(CLIENTS)
    for package, version in rows:
        assert pinned[package] == version


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_framework_carries_its_model_through_the_daily_loop(
    server: Server, workspace: World, client: str
) -> None:
    if "FRAMEWORKS" not in os.environ:
        pytest.skip(f"NOT TRIED: the daily loop through {client}; `make frameworks` installs it and tries")
    python = VENVS / CLIENTS[client] / "bin" / "python"
    assert python.exists(), f"{client} is not installed; `make frameworks` does that"
    bot = await workspace.agent()
    model = StubModel(assignee=bot.id)
    with model.serving():
        done = await asyncio.to_thread(
            subprocess.run,
            [python, HERE / "clients" / f"with_{client}.py"],
            env={**os.environ, "BATON_URL": server.url, "BATON_API_KEY": bot.api_key, "MODEL_URL": model.url},
            cwd=VENVS,
            capture_output=True,
            check=False,
            text=True,
            timeout=SECONDS_MAX,
        )
    told = f"{model.failures}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    assert done.returncode == 0 and not model.failures, told
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {said['package']} {said['version']}: {said['converted']} tools")
    assert "The roof is mended." in said["said"], told
    assert said["converted"] == sum(
        op.family.tools and op.allows(bot.context.actor.scopes) for op in OPERATIONS
    )
    [task] = await bot(list_tasks, status="done")
    assert (task.title, task.priority) == ("Mend the roof with slates", "high")
    # What the model left out was left alone, whatever the framework sent in its place.
    assert (task.description, task.assignee_agent_id) == (TASK["description"], bot.id)
    assert task.due_at is not None and task.due_at.startswith("2027-01-01")
    assert [comment.body for comment in await bot(list_comments, task_id=task.id)] == ["The slates are on."]
    if client not in WITHOUT_A_MODEL:
        strict = {name for name, tool in model.tools.items() if tool.get("strict")}
        assert strict == (set(model.tools) if client in STRICT else strict)
        for tool in model.tools.values():
            fits_openai(tool)


def fits_openai(tool: dict[str, Any]) -> None:
    """The rules of a provider for what a framework made of a tool; the strict ones where it says that it is."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"])
    assert tool["parameters"]["type"] == "object"
    todo: list[Any] = [tool["parameters"]]
    while todo:
        schema = todo.pop()
        if isinstance(schema, list):
            todo += schema
        elif isinstance(schema, dict):
            todo += schema.values()
            if tool.get("strict") and schema.get("type") == "object" and "properties" in schema:
                assert schema["additionalProperties"] is False
                assert sorted(schema["required"]) == sorted(schema["properties"])
