"""The examples of runs: the second half of the story in examples.py.

Four tasks, T-38 to T-41, waited in #general before it began. The agent claims them all; one is done, one fails, one
is given back, and one is taken from it. Then the same rows are seen through the second contract.
"""

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from app.db import Encoded
from app.errors import (
    ApiError,
    CallerGone,
    EtagMismatch,
    LeaseLost,
    LogFull,
    NotClaimable,
    NotHolder,
    RelationCycle,
    RunClaimed,
    RunEnded,
    RunNotFound,
    StateNotFound,
    TooManyParts,
)
from app.operations.runs.bare.delete import Deleted
from app.operations.runs.bare.task import BareTask
from app.operations.runs.explain import Explanation, Help, Obstacle
from app.operations.runs.heartbeat import Alive, Appended, LoggedStep
from app.operations.runs.run import FAILURES_MAX, Claim, Run, RunAndTask, RunError
from app.operations.states import State, StateScope, StateVariable
from app.operations.tasks.relations import RelatedTask, Relation
from app.operations.tasks.task import Task
from app.rpc import Outcome, Page, Result

MOMENT: Final = "2026-03-02T09:00:00.000Z"
LEASE_END: Final = "2026-03-02T09:05:00.000Z"
WORKSPACE: Final = "019c2f60-5a00-7000-8000-00000000000a"
GENERAL: Final = "019c2f60-5a00-7000-8000-00000000000b"
ADA: Final = "019c2f60-5a00-7000-8000-00000000000c"
SCOUT: Final = "019c2f60-5a00-7000-8000-00000000000d"

_encode: Final = msgspec.json.encode


def _waiting(number: int, title: str) -> Task:
    return Task(
        id=f"019cadf1-2e40-7000-8000-0000000000{number}",
        identifier=f"T-{number}",
        workspace_id=WORKSPACE,
        title=title,
        description=None,
        status="todo",
        priority="none",
        version=1,
        due_at=None,
        assignee_user_id=None,
        assignee_agent_id=None,
        created_by_user_id=ADA,
        created_by_agent_id=None,
        parent_task_id=None,
        channel_id=GENERAL,
        origin_message_id=None,
        origin_extraction_id=None,
        started_at=None,
        completed_at=None,
        cancelled_at=None,
        archived_at=None,
        created_at=MOMENT,
        updated_at=MOMENT,
        deleted_at=None,
    )


T38: Final = _waiting(38, "Measure the cache")
T39: Final = _waiting(39, "Import the archive")
T40: Final = _waiting(40, "Sort the mailbox")
T41: Final = _waiting(41, "Count the invoices")
WAITING: Final = (T38, T39, T40, T41)


def _claimed(task: Task) -> Task:
    return replace(task, version=2, status="in_progress", assignee_agent_id=SCOUT, started_at=MOMENT)


def _run(number: int, task: Task) -> Run:
    return Run(
        id=f"019cadf1-2e40-7000-8000-0000000005{number}",
        task_id=task.id,
        kind="claim",
        status="running",
        title=None,
        holder_user_id=None,
        holder_agent_id=SCOUT,
        attempt=1,
        lease_seconds=300,
        lease_expires_at=LEASE_END,
        progress=None,
        note=None,
        handoff=None,
        input=None,
        output=None,
        errors=[],
        end_reason=None,
        log_length=0,
        started_at=MOMENT,
        ended_at=None,
        created_at=MOMENT,
        updated_at=MOMENT,
    )


R38: Final = _run(38, T38)
R39: Final = _run(39, T39)
R40: Final = _run(40, T40)
R41: Final = _run(41, T41)
CLAIMS: Final = (R38, R39, R40, R41)

R38_DONE: Final = replace(
    R38,
    status="completed",
    progress=0.5,
    note="Half of the probes are in.",
    output={"hitRate": 0.93},
    end_reason="completed",
    log_length=2,
    ended_at=MOMENT,
)
_FULL: Final = RunError(code="disk_full", message="The volume has no room left.")
R39_FAILED: Final = replace(
    R39,
    status="failed",
    errors=[_FULL],
    handoff="Rows up to 40,000 are in.",
    end_reason="failed",
    ended_at=MOMENT,
)
R40_RELEASED: Final = replace(
    R40, status="cancelled", handoff="A to K are sorted.", end_reason="released", ended_at=MOMENT
)
R41_FORCED: Final = replace(
    R41, status="cancelled", handoff="The counter is stuck.", end_reason="force_released", ended_at=MOMENT
)

_EDGE: Final = Relation(
    kind="blocks",
    task=RelatedTask(id=T39.id, identifier="T-39", title=T39.title, status="todo"),
    created_by_user_id=None,
    created_by_agent_id=SCOUT,
    created_at=MOMENT,
)

FETCH: Final = BareTask(
    id="019cadf1-2e40-7000-8000-000000000701",
    kind="call_action",
    status="created",
    title="Fetch the report",
    description=None,
    target_id="reports/fetch",
    executor_id="worker-7",
    input={"month": "2026-02"},
    output=None,
    params={},
    errors=[],
    parent_id=None,
    children=[],
    state_id=None,
    started_at=None,
    ended_at=None,
    app_id=None,
    author_id=SCOUT,
    organization_id=WORKSPACE,
    created_at=MOMENT,
    updated_at=MOMENT,
    work_item_id=None,
)
FETCHED: Final = replace(FETCH, status="completed", output={"pages": 12}, ended_at=MOMENT)

_ROOT: Final = "019cadf1-2e40-7000-8000-000000000802"
_SCOPE: Final = StateScope(id=_ROOT, title="Import", parent_ids=[])
STATE: Final = State(
    id="019cadf1-2e40-7000-8000-000000000801",
    name="Import",
    organization_id=WORKSPACE,
    root_id=_ROOT,
    root=_SCOPE,
    scopes={_ROOT: _SCOPE},
    groups={},
    tags={},
    variables=[],
    created_at=MOMENT,
    updated_at=MOMENT,
)
STATE_SET: Final = replace(
    STATE,
    variables=[
        StateVariable(
            id="019cadf1-2e40-7000-8000-000000000803",
            state_id=STATE.id,
            scope_id=_ROOT,
            name="offset",
            description=None,
            schema=None,
            value=40000,
            group_ids=[],
            tags=[],
            created_at=MOMENT,
            updated_at=MOMENT,
        )
    ],
)


def _list(*items: object) -> Encoded[Any]:
    return Encoded(_encode(list(items)))


def _page(*items: object) -> Page[Any]:
    return Page(Encoded(_encode(items)))


def _tagged(item: object, version: int) -> Outcome[Any]:
    return Outcome(Encoded(_encode(item)), version=version)


def _claim(task: Task, run: Run) -> Claim:
    return Claim(task=_claimed(task), run=run, previous_runs=[])


RUN_EXAMPLES: Final[dict[str, tuple[dict[str, object], Result]]] = {
    "link-tasks": ({"taskId": "T-38", "kind": "blocks", "otherTaskId": "T-39"}, _list(_EDGE)),
    "list-task-relations": ({"taskId": "T-38"}, _list(_EDGE)),
    "unlink-tasks": ({"taskId": "T-38", "kind": "blocks", "otherTaskId": "T-39"}, _list()),
    "list-ready-tasks": ({"channelId": GENERAL, "limit": 10}, _page(*WAITING)),
    "explain-task": (
        {"taskId": "T-43"},
        Explanation(
            task_id="019cadf1-2e40-7000-8000-000000000043",
            identifier="T-43",
            claimable=False,
            offered=False,
            obstacles=[
                Obstacle(
                    code="status",
                    message=(
                        "It is blocked. Only todo, backlog and in_progress can be claimed: set it to todo with update-task."
                    ),
                    helps=[
                        Help(
                            operation="update-task", arguments={"taskId": "T-43", "status": "todo"}, by="you"
                        )
                    ],
                    status="blocked",
                )
            ],
            failures=0,
            failures_max=FAILURES_MAX,
        ),
    ),
    "claim-task": ({"taskId": "T-38", "leaseSeconds": 300}, _claim(T38, R38)),
    "claim-next-task": (
        {"limit": 3, "leaseSeconds": 300, "waitSeconds": 20, "claimKey": "5c4f0a1e"},
        _list(_claim(T39, R39), _claim(T40, R40), _claim(T41, R41)),
    ),
    "heartbeat-run": (
        {"runId": R38.id, "progress": 0.5, "note": R38_DONE.note},
        Alive(run_id=R38.id, task_id=T38.id, lease_seconds=300, lease_expires_at=LEASE_END),
    ),
    "append-run-log": (
        {"runId": R38.id, "steps": [{"text": "Started 8 probes."}, {"text": "4 are in.", "data": {"in": 4}}]},
        Appended(first_number=1, last_number=2, lease_expires_at=LEASE_END),
    ),
    "complete-run": (
        {"runId": R38.id, "output": {"hitRate": 0.93}, "completeTask": True},
        RunAndTask(run=R38_DONE, task=replace(_claimed(T38), version=3, status="done", completed_at=MOMENT)),
    ),
    "fail-run": (
        {
            "runId": R39.id,
            "errors": [{"code": _FULL.code, "message": _FULL.message}],
            "handoff": R39_FAILED.handoff,
        },
        RunAndTask(
            run=R39_FAILED, task=replace(_claimed(T39), version=3, status="todo", assignee_agent_id=None)
        ),
    ),
    "release-run": (
        {"runId": R40.id, "handoff": R40_RELEASED.handoff},
        RunAndTask(
            run=R40_RELEASED, task=replace(_claimed(T40), version=3, status="todo", assignee_agent_id=None)
        ),
    ),
    "force-release-run": ({"runId": R41.id, "reason": R41_FORCED.handoff}, R41_FORCED),
    "get-run": ({"runId": R39.id}, R39_FAILED),
    "list-runs": ({"taskId": "T-40", "limit": 10}, _page(R40_RELEASED)),
    "list-run-log": (
        {"runId": R38.id},
        _page(
            LoggedStep(number=1, kind=None, text="Started 8 probes.", data=None, created_at=MOMENT),
            LoggedStep(number=2, kind=None, text="4 are in.", data={"in": 4}, created_at=MOMENT),
        ),
    ),
    "createTask": (
        {
            "kind": "call_action",
            "title": FETCH.title,
            "targetId": FETCH.target_id,
            "executorId": FETCH.executor_id,
            "input": FETCH.input,
        },
        _tagged(FETCH, 1),
    ),
    "updateTask": (
        {"taskId": FETCH.id, "ifMatch": '"1"', "status": "completed", "output": {"pages": 12}},
        _tagged(FETCHED, 2),
    ),
    "getTask": ({"taskId": FETCH.id}, _tagged(FETCHED, 2)),
    "listTasks": (
        {"executorId": "worker-7", "status": "completed", "pagination": {"limit": 10}},
        _page(FETCHED),
    ),
    "deleteTask": ({"taskId": FETCH.id}, Deleted(id=FETCH.id)),
    "createState": ({"name": "Import"}, _tagged(STATE, 1)),
    "getState": ({"stateId": STATE.id}, _tagged(STATE, 1)),
    "updateState": (
        {"stateId": STATE.id, "ifMatch": '"1"', "variables": [{"name": "offset", "value": 40000}]},
        _tagged(STATE_SET, 2),
    ),
}

_HELD: Final = Obstacle(
    code="blocked_by",
    message="It waits for T-38. Finish or cancel those first, or unlink them.",
    helps=[Help(operation="complete-task", arguments={"taskId": "T-38"}, by="you")],
)

RUN_ERRORS: Final[tuple[ApiError, ...]] = (
    NotHolder(),
    RunNotFound("019cadf1-2e40-7000-8000-0000000005ff"),
    StateNotFound("019cadf1-2e40-7000-8000-0000000008ff"),
    RelationCycle(),
    LeaseLost(
        run_id=R39.id,
        task_id=T39.id,
        identifier="T-39",
        end_reason="lease_expired",
        ended_at=MOMENT,
        holder={
            "runId": R38.id,
            "id": SCOUT,
            "kind": "agent",
            "handle": "scout",
            "leaseExpiresAt": LEASE_END,
        },
    ),
    NotClaimable("T-39", [_HELD], _HELD.message),
    RunClaimed(),
    RunEnded("completed"),
    LogFull(100_000),
    TooManyParts(1000),
    EtagMismatch('"2"'),
    CallerGone(),
)
