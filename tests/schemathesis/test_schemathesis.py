"""schemathesis against the served document: every check, all phases, valid and invalid data. It may find nothing.

Once it comes as a stranger: with the key of a fresh agent, and nothing but the document. Once what it is given is worth
having: the key of a human whose workspace has tasks, channels, messages and runs, the names of what is there, and an
agent of another workspace, who must never see anything of it. Where it sends those names stands in
hooks.py. To look closer at a failure, take another seed or more examples:
`make trials TESTS=tests/schemathesis SCHEMATHESIS_SEED=7 SCHEMATHESIS_EXAMPLES=200`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import httpx

from app.config import PROJECT
from app.operations import OPERATIONS, claim_task, create_tasks_bulk, send_message
from tests.conftest import Caller, Server, World

SEED = int(os.environ.get("SCHEMATHESIS_SEED", "20260302"))
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))  # per operation; the coverage phase adds its own
FEW = 2  # examples for the stranger
PATIENT = ("--request-timeout", "40", "--max-response-time", "40")  # two operations wait 30 s, if told to
SCENARIOS = 4 * EXAMPLES  # of calls that follow the links from one answer to the next
THINGS = 20  # of each kind
PHASES = ("examples", "coverage", "fuzzing", "stateful")
MOVES_TASKS = ("update-task", "complete-task", "cancel-task", "claim-task")
ENDS_RUNS = ("complete-run", "fail-run", "release-run", "force-release-run")


async def test_schemathesis_finds_nothing(
    server: Server, workspace: World, other_workspace: World, tmp_path: Path
) -> None:
    ada = await workspace.user("ada", scopes="all,operator")
    grace = await workspace.user("grace")
    mole = await other_workspace.agent("mole")
    identities = {name: caller.headers["Authorization"] for name, caller in (("ada", ada), ("mole", mole))}
    (tmp_path / "identities.json").write_text(json.dumps(_identities(identities)))
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        (tmp_path / "known.json").write_text(json.dumps(await _furnished(workspace, ada, grace, http)))
    (tmp_path / "schemathesis.toml").write_text(_settings(tmp_path))

    config = ("--config-file", str(tmp_path / "schemathesis.toml"))
    report = await _report(
        server, tmp_path, *config, environ={"SCHEMATHESIS_KNOWN": str(tmp_path / "known.json")}
    )
    # Finding nothing says something only if all of it was tried, and if every operation also did its work.
    assert report["complete"]
    assert {name: phase["status"] for name, phase in report["phases"].items()} == dict.fromkeys(
        PHASES, "success"
    )
    assert report["operations"]["tested"] == report["operations"]["total"] >= len(OPERATIONS)
    for operation, phases in report["valid_rates"].items():
        assert sum(phase["accepted"] for phase in phases.values()) > 0, f"{operation} never said yes"


async def test_a_stranger_with_schemathesis_finds_nothing(
    server: Server, workspace: World, tmp_path: Path
) -> None:
    """As anybody would run it: with no settings but the key, time for calls that wait, and few examples, so that it ends."""
    bot = await workspace.agent()
    few = ("--checks", "all", "--max-examples", str(FEW), "--seed", str(SEED), "--no-color", *PATIENT)
    authorization = f"Authorization: {bot.headers['Authorization']}"
    report = await _report(server, tmp_path, options=("--header", authorization, *few))
    assert report["complete"]
    assert report["operations"]["tested"] == report["operations"]["total"] >= len(OPERATIONS)


async def _report(
    server: Server,
    directory: Path,
    *config: str,
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What schemathesis reports. It must find nothing.

    It is told where the server is. From the document's `.` it works that out right, but 4.32 then takes no request for
    one it sent (it compares `/./v1/…` with `/v1/…`), and counts ignored query parameters as failures.
    """
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            *config,
            "run",
            f"{server.url}/openapi.json",
            "--url",
            server.url,
            *options,
        ),
        *("--report", "json", "--report-json-path", str(directory / "report.json")),
        cwd=directory,  # where no settings are
        env={**os.environ, "PYTHONPATH": str(PROJECT), **(environ or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    print(output.decode())
    report = json.loads((directory / "report.json").read_text())
    assert (report["failures"], report["errors"], process.returncode) == ([], [], 0)
    return report


async def _furnished(
    workspace: World, ada: Caller, grace: Caller, http: httpx.AsyncClient
) -> dict[str, list[Any]]:
    """Put things into the workspace. Their names, by the parameter or field that takes one.

    What stands at one place in all lists belongs together. An operation that ends what it is given has a list of
    its own, so that the others find theirs alive.
    """

    async def tasks(title: str) -> list[str]:
        assigned = [{"title": f"{title} {n}", "assigneeUserId": ada.id} for n in range(THINGS)]
        return [task.identifier for task in await ada(create_tasks_bulk, tasks=assigned)]

    async def runs(title: str) -> list[str]:
        claims = [await ada(claim_task, task_id=task, lease_seconds=86_400) for task in await tasks(title)]
        return [claim.run.id for claim in claims]

    async def channels(name: str, *others: Caller, role: str = "poster") -> list[str]:
        made = [await workspace.channel(f"{name}-{n}", ada, role="admin") for n in range(THINGS)]
        for n, other in product(range(THINGS), others):
            await workspace.join(f"{name}-{n}", other, role=role)
        return made

    async def made(path: str, body: dict[str, str]) -> list[str]:
        answers = [await http.post(path, json=body, headers=ada.headers) for _ in range(THINGS)]
        return [answer.json()["id"] for answer in answers]

    lasting = await channels("talk", grace)
    messages = [(await ada(send_message, channel_id=channel, content="hello")).id for channel in lasting]
    return {
        "taskId": await tasks("Work"),
        "otherTaskId": await tasks("More"),  # never the task itself, which would be refused
        "parentTaskId": (await tasks("Whole"))[:1],
        **{f"{name} taskId": await tasks(name) for name in MOVES_TASKS},
        "version": [1, 2],
        "channelId": lasting,
        "channel_id": lasting,
        "summaryChannelId": lasting,
        "archive-channel channelId": await channels("old"),
        "leave-channel channelId": await channels("leave", grace, role="admin"),  # the only one could not
        "add-channel-member channelId": await channels("new"),
        "set-channel-member-role channelId": await channels("role", grace),
        "remove-channel-member channelId": await channels("remove", grace),
        "memberId": [grace.id],
        "messageId": messages,
        "threadId": messages,
        "parent_message_id": messages,
        "handle": ["ada", "@grace"],
        "runId": await runs("Run"),
        **{f"{name} runId": await runs(name) for name in ENDS_RUNS},
        "create-task-record workItemId": await tasks("Work item"),
        **{
            f"{name} taskId": await made("/v1/tasks", {"kind": "default"})
            for name in ("get-task-record", "update-task-record")
        },
        "delete-task-record taskId": await made("/v1/tasks", {"kind": "default"}),
        "stateId": await made("/v1/states", {"name": "A state"}),
    }


def _identities(authorizations: dict[str, str]) -> dict[str, Any]:
    """Who calls, in the form that schemathesis takes (Web Fuzzing Commons)."""
    return {
        "auth": [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": authorization}]}
            for name, authorization in authorizations.items()
        ]
    }


def _settings(directory: Path) -> str:
    """Everything is on by default; this says who calls, and how much."""
    identities = json.dumps(str(directory / "identities.json"))
    return f"""
seed = {SEED}
hooks = "tests.schemathesis.hooks"
continue-on-failure = true
request-timeout = 40.0
color = false
generation = {{ max-examples = {EXAMPLES}, database = 'none' }}
phases.stateful.generation.max-examples = {SCENARIOS}
auth.wfc = {{ path = {identities}, user = 'ada', peers = ['ada', 'mole'] }}
"""
