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

from app.operations import OPERATIONS, create_tasks_bulk, send_message
from tests.conftest import Server, World

SEED = int(os.environ.get("SCHEMATHESIS_SEED", "20260302"))
EXAMPLES = int(
    os.environ.get("SCHEMATHESIS_EXAMPLES", "5")
)  # per operation, to which the coverage phase adds its own
SCENARIOS = 4 * EXAMPLES  # of calls that follow the links from one answer to the next
KNOWN_PROBABILITY = 0.8  # of sending the name of something that is there, where there is one to send
CHANNELS = 30
PHASES = ("examples", "coverage", "fuzzing", "stateful")


async def test_schemathesis_finds_nothing(
    server: Server, workspace: World, other_workspace: World, tmp_path: Path
) -> None:
    ada, scout = await workspace.user("ada"), await workspace.agent("scout", owner="ada")
    mole = await other_workspace.agent("mole")
    rows = [{"title": f"Task {n}", "assigneeAgentId": scout.id} for n in range(1, 51)]
    await ada(create_tasks_bulk, tasks=rows)
    # Channels enough that some are open and full, however many the run archives, leaves or empties.
    channels: list[str] = []
    for n in range(CHANNELS):
        channels.append(await workspace.channel(f"channel-{n}", ada, role="admin"))
        await workspace.join(f"channel-{n}", scout)
    messages = [(await ada(send_message, channel_id=channel, content="hello")).id for channel in channels]

    identities = {name: caller.headers["Authorization"] for name, caller in (("ada", ada), ("mole", mole))}
    (tmp_path / "identities.json").write_text(json.dumps(_identities(identities)))
    known = {
        "taskId": [f"T-{n}" for n in range(1, 51)],
        "parentTaskId": ["T-1", "t-2"],
        "version": [1, 2],
        "channelId": channels,
        "channel_id": channels,
        "summaryChannelId": channels,
        "memberId": [scout.id, ada.id],
        "messageId": messages,
        "threadId": messages,
        "parent_message_id": messages,
        "handle": ["ada", "@scout"],
    }
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
        lines += ["", f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["", "[parameters]"]
    for name in known:
        for place in ("body", "query"):
            lines += [f'"{place}.{name}" = {{ dictionary = "{name}", probability = {KNOWN_PROBABILITY} }}']
    return "\n".join(lines)
