"""Every operation for every kind of caller, at every door: what matrix.txt says is what they get.

The table is data: a column for each kind of caller (scene.WHO says what they are), a row for each operation, or for each of
several things it can be asked for. `shows` and `none` say whether a read shows what is in the private channel; a number is
the status of a refusal.
"""

import re
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from app.operations import OPERATIONS
from tests.access.scene import DOORS, WHO, Cast, doors, filled, set_up
from tests.conftest import Server, World

TABLE: Final = Path(__file__).with_name("matrix.txt")

CALLS: Final[dict[str, dict[str, Any]]] = {
    "create-task": {"title": "x", "channel_id": "<channel>"},
    "create-task / under": {"title": "x", "parent_task_id": "<task>"},
    "create-tasks-bulk": {"tasks": [{"title": "x", "channelId": "<channel>"}]},
    "create-task / for a private agent": {"title": "x", "assignee_agent_id": "<secret>"},
    "get-task": {"task_id": "<task>"},
    "list-tasks": {},
    "list-tasks / of the channel": {"channel_id": "<channel>"},
    "list-tasks / with words": {"query": "needle"},
    "list-my-tasks": {},
    "update-task": {"task_id": "<task>", "version": 1, "title": "x"},
    "update-task / move": {"task_id": "<task>", "version": 1, "channel_id": "<square>"},
    "update-task / assign": {"task_id": "<task>", "version": 1, "assignee_agent_id": "<newcomer>"},
    "complete-task": {"task_id": "<task>"},
    "cancel-task": {"task_id": "<task>"},
    "block-task": {"task_id": "<task>", "reason": "x"},
    "release-task": {"task_id": "<task>"},
    "comment-on-task": {"task_id": "<task>", "body": "x"},
    "list-comments": {"task_id": "<task>"},
    "list-task-history": {"task_id": "<task>"},
    "list-my-activity": {},
    "get-request-outcome": {"idempotency_key": "somebody-else's"},
    "get-channels": {"include_public": True},
    "get-channel-members": {"channel_id": "<channel>"},
    "list-channel-members": {"channel_id": "<channel>"},
    "get-channel-manifest": {"channel_id": "<channel>"},
    "create-channel": {"name": "<channel_name>", "type": "private"},
    "rename-channel": {"channel_id": "<channel>", "name": "<channel_name>-x"},
    "archive-channel": {"channel_id": "<channel>"},
    "join-channel": {"channel_id": "<channel>"},
    "leave-channel": {"channel_id": "<channel>"},
    "add-channel-member": {"channel_id": "<channel>", "member_id": "<newcomer>"},
    "set-channel-member-role": {"channel_id": "<channel>", "member_id": "<extra>", "role": "reader"},
    "remove-channel-member": {"channel_id": "<channel>", "member_id": "<extra>"},
    "send-message": {"channel_id": "<channel>", "content": "x"},
    "get-messages": {"channel_id": "<channel>"},
    "get-unread-mentions": {},
    "create-artifact": {"channel_id": "<channel>", "name": "x", "type": "text", "content": "x"},
    "flag-needs-human": {"message_id": "<message>", "reason": "x"},
    "post-message": {"channel_id": "<channel>", "content": "x"},
    "get-inbox": {},
    "search-messages": {"query": "needle"},
    "search-messages / of the channel": {"query": "needle", "channel_id": "<channel>"},
    "search-tasks": {"query": "needle"},
    "link-tasks": {"task_id": "<ready>", "kind": "blocks", "other_task_id": "<task>"},
    "link-tasks / related": {"task_id": "<ready>", "kind": "related", "other_task_id": "<task>"},
    "list-task-relations": {"task_id": "<task>"},
    "unlink-tasks": {"task_id": "<ready>", "kind": "blocks", "other_task_id": "<task>"},
    "unlink-tasks / hidden": {"task_id": "hidden", "kind": "blocks", "other_task_id": "<task>"},
    "list-ready-tasks": {},
    "explain-task": {"task_id": "<task>"},
    "claim-task": {"task_id": "<ready>"},
    "claim-task / assigned": {"task_id": "<task>"},
    "claim-next-task": {"channel_id": "<channel>"},
    "heartbeat-run": {"run_id": "<claim>"},
    "append-run-log": {"run_id": "<claim>", "steps": [{"kind": "x", "text": "x"}]},
    "complete-run": {"run_id": "<claim>"},
    "fail-run": {"run_id": "<claim>", "errors": [{"code": "x", "message": "x"}]},
    "release-run": {"run_id": "<claim>"},
    "force-release-run": {"run_id": "<claim>", "reason": "x"},
    "get-run": {"run_id": "<claim>"},
    "get-run / without a task": {"run_id": "<run>"},
    "list-runs": {},
    "list-run-log": {"run_id": "<claim>"},
    "createTask": {"kind": "flow"},
    "createTask / of a task": {"kind": "flow", "work_item_id": "<task>"},
    "createTask / below": {"kind": "flow", "parent_id": "<run>"},
    "updateTask": {"task_id": "<run>", "status": "completed"},
    "updateTask / of a task": {"task_id": "<of_task>", "status": "completed"},
    "updateTask / tie to a task": {"task_id": "<run>", "work_item_id": "<task>"},
    "getTask": {"task_id": "<run>"},
    "getTask / of a task": {"task_id": "<of_task>"},
    "listTasks": {},
    "deleteTask": {"task_id": "<run>"},
    "deleteTask / of a task": {"task_id": "<of_task>"},
    "createState": {"name": "x"},
    "getState": {"state_id": "<state>"},
    "getState / of a task": {"state_id": "<state_of_task>"},
    "updateState": {"state_id": "<state>", "variables": [{"name": "a", "value": 1}]},
    "updateState / of a task": {"state_id": "<state_of_task>", "variables": [{"name": "a", "value": 1}]},
    "get-me": {},
    "get-workspace-info": {},
    "resolve-identity": {"handle": "newcomer"},
    "resolve-identity / private": {"handle": "private"},
    "verify-connection": {"token": "x"},
}
BY_NAME: Final = {op.name: op for op in OPERATIONS}


def written() -> dict[str, dict[str, str]]:
    """The table, by row and column; cells are at least two blanks apart."""
    lines = [line.rstrip() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    _, *columns = re.split(r"\s{2,}", lines[0])
    rows = [re.split(r"\s{2,}", line) for line in lines[1:]]
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}


def test_the_matrix_has_every_operation_and_every_kind_of_caller() -> None:
    rows = written()
    assert set(rows) == set(CALLS)
    assert {name.partition(" / ")[0] for name in CALLS} == set(BY_NAME)
    assert all(list(row) == list(WHO) for row in rows.values())


@pytest_asyncio.fixture(loop_scope="session")
async def cast(workspace: World, other_workspace: World) -> Cast:
    return await Cast.gathered(workspace, other_workspace)


@pytest.mark.parametrize("name", CALLS)
async def test_everyone_gets_what_the_matrix_says(server: Server, cast: Cast, name: str) -> None:
    op = BY_NAME[name.partition(" / ")[0]]
    found = {door: await tried(server, cast, name, door) for door in doors(op)}
    assert found == dict.fromkeys(found, written()[name])


async def tried(server: Server, cast: Cast, name: str, door: str) -> dict[str, str]:
    """What everyone gets at a door."""
    op, found = BY_NAME[name.partition(" / ")[0]], {}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        ids = await set_up(cast)
        for who in WHO:
            if (
                next(reversed(found.values()), None) == "ok"
            ):  # what one of them changed, the next one should not find
                ids = await set_up(cast)
            headers = cast.callers[who].headers if who in cast.callers else {}
            found[who] = await DOORS[door](client, op, filled(CALLS[name], ids), headers)
    return found
