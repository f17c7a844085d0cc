"""schemathesis against the served document: every check, all phases, valid and invalid data. It may find nothing.

What it is given is worth having: the key of an agent whose workspace has fifty tasks, the names of what is
there, and a second agent in another workspace, who must never see anything of it. What it cannot know from the
document stands in schemathesis_hooks.py. To look closer at a failure, run it with another seed or with more
examples: SCHEMATHESIS_SEED=7 SCHEMATHESIS_EXAMPLES=200.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

from app.operations import OPERATIONS, claim_task, create_tasks_bulk, send_message
from tests.conftest import Caller, Server, World

SEED = int(os.environ.get("SCHEMATHESIS_SEED", "20260302"))
EXAMPLES = int(
    os.environ.get("SCHEMATHESIS_EXAMPLES", "5")
)  # per operation, to which the coverage phase adds its own
SCENARIOS = 4 * EXAMPLES  # of calls that follow the links from one answer to the next
KNOWN_PROBABILITY = 0.8  # of sending the name of something that is there, where there is one to send
THINGS = 30
PHASES = ("examples", "coverage", "fuzzing", "stateful")


async def test_schemathesis_finds_nothing(
    server: Server, http: httpx.AsyncClient, workspace: World, other_workspace: World, tmp_path: Path
) -> None:
    ada = await workspace.user("ada", scopes="all,operator")
    scout = await workspace.agent("scout", owner="ada")
    mole = await other_workspace.agent("mole")
    identities = {name: caller.headers["Authorization"] for name, caller in (("ada", ada), ("mole", mole))}
    (tmp_path / "identities.json").write_text(json.dumps(_identities(identities)))
    known = await _furnished(workspace, ada, scout, http)
    (tmp_path / "schemathesis.toml").write_text(_settings(tmp_path, known))

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml")),
        *("run", f"{server.url}/openapi.json", "--report", "json"),
        *("--report-json-path", str(tmp_path / "report.json")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    print(output.decode())
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["failures"], report["errors"], process.returncode) == ([], [], 0)
    # Finding nothing says something only if all of it was tried, and if every operation also did its work.
    assert report["complete"]
    assert {name: phase["status"] for name, phase in report["phases"].items()} == dict.fromkeys(
        PHASES, "success"
    )
    assert report["operations"]["tested"] == report["operations"]["total"] >= len(OPERATIONS)
    for operation, phases in report["valid_rates"].items():
        assert sum(phase["accepted"] for phase in phases.values()) > 0, f"{operation} never said yes"


async def _furnished(
    workspace: World, ada: Caller, scout: Caller, http: httpx.AsyncClient
) -> dict[str, list[Any]]:
    """Put things into the workspace. Their names, by the parameter or field that takes one.

    Of everything there is enough that some of it is left, whatever the run archives, leaves, completes or deletes.
    """
    await ada(create_tasks_bulk, tasks=[{"title": f"Task {n}", "assigneeUserId": ada.id} for n in range(50)])
    tasks = [f"T-{n}" for n in range(1, 51)]
    channels: list[str] = []
    for n in range(THINGS):
        channels.append(await workspace.channel(f"channel-{n}", ada, role="admin"))
        await workspace.join(f"channel-{n}", scout)
    messages = [(await ada(send_message, channel_id=channel, content="hello")).id for channel in channels]
    claimed = await ada(create_tasks_bulk, tasks=[{"title": f"Claimed {n}"} for n in range(THINGS)])
    runs = [(await ada(claim_task, task_id=task.id, lease_seconds=86_400)).run.id for task in claimed]

    async def made(path: str, body: dict[str, str]) -> list[str]:
        answers = [await http.post(path, json=body, headers=ada.headers) for _ in range(THINGS)]
        return [answer.json()["id"] for answer in answers]

    return {
        "taskId": tasks[:25],
        "parentTaskId": ["T-1", "t-2"],
        "otherTaskId": tasks[25:],  # never the task itself, which would be refused
        "version": [1, 2],
        "channelId": channels,
        "channel_id": channels,
        "summaryChannelId": channels,
        "memberId": [scout.id, ada.id],
        "messageId": messages,
        "threadId": messages,
        "parent_message_id": messages,
        "handle": ["ada", "@scout"],
        "runId": runs,
        "path.taskId": await made("/v1/tasks", {"kind": "default"}),
        "path.stateId": await made("/v1/states", {"name": "A state"}),
    }


def _identities(authorizations: dict[str, str]) -> dict[str, Any]:
    """Who calls, in the form that schemathesis takes (Web Fuzzing Commons)."""
    return {
        "auth": [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": authorization}]}
            for name, authorization in authorizations.items()
        ]
    }


def _settings(directory: Path, known: dict[str, list[Any]]) -> str:
    """Everything is on by default; this says who calls, with what names, and how much."""
    lines = [
        f"seed = {SEED}",
        'hooks = "tests.http.schemathesis_hooks"',
        "continue-on-failure = true",
        "request-timeout = 30.0",
        "color = false",
        f"generation = {{ max-examples = {EXAMPLES}, database = 'none' }}",
        f"phases.stateful.generation.max-examples = {SCENARIOS}",
        f"auth.wfc = {{ path = {json.dumps(str(directory / 'identities.json'))}, user = 'ada', peers = ['ada', 'mole'] }}",
    ]
    for name, values in known.items():
        lines += ["", f"[dictionaries.{name.replace('.', '-')}]", f"values = {json.dumps(values)}"]
    lines += ["", "[parameters]"]
    for name in known:
        for place in (name,) if "." in name else (f"body.{name}", f"query.{name}"):
            binding = f'dictionary = "{name.replace(".", "-")}", probability = {KNOWN_PROBABILITY}'
            lines.append(f'"{place}" = {{ {binding} }}')
    return "\n".join(lines)
