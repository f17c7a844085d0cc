"""explain-task: why a task cannot be claimed now, as data, and what call would help. claim-task refuses with the same."""

from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Query
from app.db.phrases import moment
from app.errors import ApiError, NotClaimable, TaskNotFound, TaskReadOnly
from app.operations.runs.run import FAILURES_MAX
from app.operations.tasks.task import task_id
from app.operations.told import Help
from app.rpc import AgentRequest, Answer, Context, operation
from app.types import Id, IdentityKind, TaskStatus, Timestamp
from app.writes.access import CALLER, VISIBLE, WRITABLE

BLOCKERS_SHOWN_MAX: Final = 20  # of one task; who waits for more knows what to do with twenty

ObstacleCode = Literal[
    "not_visible", "read_only", "held_by_you", "held", "assigned", "closed", "status", "blocked_by"
]


class Blocker(Answer):
    """A task that has to be done or cancelled first."""

    id: Annotated[str, Meta(description="Its id.")]
    identifier: Annotated[str, Meta(description="Its short name, `T-42`.")]
    title: Annotated[str, Meta(description="What is to be done.")]
    status: Annotated[TaskStatus, Meta(description="Where it stands.")]


class HolderNow(Answer):
    """Whoever has a task."""

    id: Annotated[str, Meta(description="The user or agent.")]
    kind: Annotated[IdentityKind, Meta(description="Which of the two.")]
    handle: Annotated[str, Meta(description="Address it as `@handle`.")]
    run_id: Annotated[
        str | None, Meta(description="The run through which it is held; null for a mere assignment.")
    ]
    lease_expires_at: Annotated[
        Timestamp | None, Meta(description="When the claim ends unless there is a sign of life before.")
    ]


class Obstacle(Answer, omit_defaults=True):
    """One thing that stands in the way of a claim."""

    advises: ClassVar[tuple[str, ...]] = ("message",)

    code: Annotated[ObstacleCode, Meta(description="What stands in the way.")]
    message: Annotated[str, Meta(description="The same for people, and what to do about it.")]
    helps: Annotated[list[Help], Meta(description="Calls that would remove it; empty if only waiting helps.")]
    holder: Annotated[HolderNow | UnsetType, Meta(description="Who has it.")] = UNSET
    status: Annotated[TaskStatus | UnsetType, Meta(description="Where the task stands.")] = UNSET
    blockers: Annotated[
        list[Blocker] | UnsetType, Meta(description="What has to be done first, 20 at most.")
    ] = UNSET
    hidden_blockers: Annotated[
        int | UnsetType, Meta(description="How many more have to be done first that you cannot see.")
    ] = UNSET


class Explanation(Answer):
    """Whether a task can be claimed, and if not, why."""

    task_id: Annotated[str | None, Meta(description="The task; null if you see none by this name.")]
    identifier: Annotated[str | None, Meta(description="Its short name, `T-42`.")]
    claimable: Annotated[bool, Meta(description="Whether claim-task would succeed now.")]
    offered: Annotated[
        bool,
        Meta(
            description="Whether claim-next-task would come to it: it is claimable, `todo` or `backlog`, and yours or "
            "nobody's in one of your channels or in none."
        ),
    ]
    obstacles: Annotated[list[Obstacle], Meta(description="What stands in the way, most fundamental first.")]
    failures: Annotated[
        int, Meta(description="How many claims of it failed or expired since it was last set going.")
    ]
    failures_max: Annotated[int, Meta(description="After so many it is parked as `blocked`.")]


class FactsRow(msgspec.Struct):
    """All that decides whether a task can be claimed."""

    task_id: str
    identifier: str
    version: int
    status: TaskStatus
    writable: bool
    offered: bool
    failures: int
    assignee_id: str | None
    assignee_kind: IdentityKind | None
    assignee_handle: str | None
    assigned_to_caller: bool
    run_id: str | None
    lease_expires_at: str | None
    lease_over: bool
    blockers: list[dict[str, Any]]  # the keys of Blocker
    blocker_count: int


FACTS = Query(
    FactsRow,
    f"""
    WITH i AS ({CALLER})
    SELECT o.id::text, 'T-' || o.number, o.version, o.status, {WRITABLE},
           o.assignee_id IS NOT NULL OR o.channel_id IS NULL
               OR EXISTS (SELECT FROM channel_members m
                           WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = o.channel_id
                             AND m.role <> 'reader'),
           o.failures, o.assignee_id::text, o.assignee_kind, a.handle, o.assignee_id IS NOT DISTINCT FROM i.actor_id,
           r.id::text, {moment("r.lease_expires_at")},
           coalesce(r.lease_expires_at <= now(), false),
           (SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'id', s.id, 'identifier', 'T-' || s.number, 'title', s.title, 'status', s.status) ORDER BY s.number), '[]')
              FROM (SELECT t.*
                      FROM task_relations b
                      JOIN tasks t ON t.workspace_id = b.workspace_id AND t.id = b.from_task_id AND t.is_open
                     WHERE b.workspace_id = o.workspace_id AND b.to_task_id = o.id AND b.kind = 'blocks' AND {VISIBLE}
                     ORDER BY t.number
                     LIMIT %(limit)s) s),
           (SELECT count(*)
              FROM task_relations b
              JOIN tasks t ON t.workspace_id = b.workspace_id AND t.id = b.from_task_id AND t.is_open
             WHERE b.workspace_id = o.workspace_id AND b.to_task_id = o.id AND b.kind = 'blocks')
      FROM i
      JOIN tasks o ON o.workspace_id = i.workspace_id AND o.id = %(task_id)s::uuid
     CROSS JOIN LATERAL (SELECT o.*) t                    -- the same row, under the name the shared fragments use
      LEFT JOIN runs r ON r.workspace_id = o.workspace_id AND r.id = o.run_id
      LEFT JOIN identities a ON a.workspace_id = o.workspace_id AND a.id = o.assignee_id
     WHERE {VISIBLE}
    """,
)


class ExplainTask(AgentRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]


@operation(scope="task-read", read_only=True)
async def explain_task(ctx: Context, req: ExplainTask) -> Explanation:
    """Say why a task is blocked or cannot be claimed now, or that it can, and what call would help.

    A task that you cannot see is explained as `not_visible`, whether or not it exists.
    """
    try:
        facts = await facts_of(ctx, await task_id(ctx, req.task_id))
    except TaskNotFound:
        facts = None
    if facts is None:
        return _invisible(req.task_id)
    obstacles = obstacles_of(facts)
    return Explanation(
        task_id=facts.task_id,
        identifier=facts.identifier,
        claimable=not obstacles,
        offered=not obstacles and facts.offered and facts.status in {"todo", "backlog"},
        obstacles=obstacles,
        failures=facts.failures,
        failures_max=FAILURES_MAX,
    )


async def facts_of(ctx: Context, id: UUID) -> FactsRow | None:
    """What decides whether a task can be claimed; None if the caller does not see it."""
    return await ctx.one(
        FACTS,
        task_id=id,
        limit=BLOCKERS_SHOWN_MAX,
    )


def refusal(facts: FactsRow) -> ApiError | None:
    """The error with which claim-task says why not; None if nothing stands in the way."""
    obstacles = obstacles_of(facts)
    if not obstacles:
        return None
    if obstacles[0].code == "read_only":
        return TaskReadOnly()
    return NotClaimable(facts.identifier, obstacles, " ".join(obstacle.message for obstacle in obstacles))


def obstacles_of(facts: FactsRow) -> list[Obstacle]:
    """What stands in the way, most fundamental first."""
    found = (_permission(facts), _hold(facts), _status(facts), _blockers(facts))
    return [obstacle for obstacle in found if obstacle is not None]


def _task(facts: FactsRow) -> dict[str, object]:
    """The task as update-task takes it."""
    return {"taskId": facts.identifier, "version": facts.version}


def _permission(facts: FactsRow) -> Obstacle | None:
    if facts.writable:
        return None
    return Obstacle(
        code="read_only",
        message="You see it, but may not change it. Ask to be made a poster of its channel, or its assignee.",
        helps=[
            Help(
                operation="update-task",
                arguments={**_task(facts), "assigneeAgentId": "<you>"},
                by="holder",
            )
        ],
    )


def _hold(facts: FactsRow) -> Obstacle | None:
    """Whoever has it: through a live claim, or as a mere assignee."""
    if facts.assignee_id is None or (facts.assigned_to_caller and facts.run_id is None):
        return None
    holder = HolderNow(
        id=facts.assignee_id,
        kind=facts.assignee_kind or "agent",
        handle=facts.assignee_handle or "",
        run_id=facts.run_id,
        lease_expires_at=facts.lease_expires_at,
    )
    if facts.run_id is None:
        return Obstacle(
            code="assigned",
            message=f"It is assigned to @{holder.handle}. Ask them to release it, or reassign it with update-task.",
            holder=holder,
            helps=[
                Help(operation="release-task", arguments={"taskId": facts.identifier}, by="holder"),
                Help(
                    operation="update-task",
                    arguments={**_task(facts), "assigneeAgentId": "<you>"},
                    by="you",
                ),
            ],
        )
    run = {"runId": facts.run_id}
    force = Help(operation="force-release-run", arguments=run, by="operator")
    if facts.assigned_to_caller and not facts.lease_over:
        return Obstacle(
            code="held_by_you",
            message=f"You hold it already, through run {facts.run_id}.",
            holder=holder,
            helps=[Help(operation="release-run", arguments=run, by="you"), force],
        )
    end = "ended and is about to be cleared" if facts.lease_over else f"ends at {facts.lease_expires_at}"
    return Obstacle(
        code="held",
        message=f"@{holder.handle} holds it; the lease {end} unless there is a sign of life.",
        holder=holder,
        helps=[] if facts.lease_over else [Help(operation="release-run", arguments=run, by="holder"), force],
    )


def _status(facts: FactsRow) -> Obstacle | None:
    if facts.status in {"todo", "backlog", "in_progress"}:
        return None
    reopen = [Help(operation="update-task", arguments={**_task(facts), "status": "todo"}, by="you")]
    if facts.status in {"done", "cancelled"}:
        return Obstacle(
            code="closed",
            message=f"It is {facts.status}. Set it to todo with update-task if it has to be done again.",
            status=facts.status,
            helps=reopen,
        )
    failed = f" after {facts.failures} failed claims; its comments say why" if facts.failures else ""
    return Obstacle(
        code="status",
        message=(
            f"It is {facts.status}{failed}. Only todo, backlog and in_progress can be claimed: "
            "set it to todo with update-task."
        ),
        status=facts.status,
        helps=reopen,
    )


def _blockers(facts: FactsRow) -> Obstacle | None:
    if not facts.blocker_count:
        return None
    blockers = msgspec.convert(facts.blockers, list[Blocker])
    names = ", ".join(blocker.identifier for blocker in blockers)
    hidden = facts.blocker_count - len(blockers)
    others = f"{' and ' if names else ''}{hidden} more that you cannot see" if hidden else ""
    return Obstacle(
        code="blocked_by",
        message=f"It waits for {names}{others}. Finish or cancel those first, or unlink them.",
        blockers=blockers,
        hidden_blockers=hidden,
        helps=[
            Help(operation="complete-task", arguments={"taskId": blocker.identifier}, by="you")
            for blocker in blockers
        ]
        + [
            Help(
                operation="unlink-tasks",
                arguments={"taskId": blocker.identifier, "kind": "blocks", "otherTaskId": facts.identifier},
                by="you",
            )
            for blocker in blockers
        ]
        + [
            Help(
                operation="unlink-tasks",
                arguments={"taskId": "hidden", "kind": "blocks", "otherTaskId": facts.identifier},
                by="you",
            )
        ][:hidden],
    )


def _invisible(sent: str) -> Explanation:
    obstacle = Obstacle(
        code="not_visible",
        message=f"No task `{sent[:80]}` is visible to you. If it exists, ask to be added to its channel or mentioned on it.",
        helps=[Help(operation="list-ready-tasks", arguments={}, by="you")],
    )
    return Explanation(
        task_id=None,
        identifier=None,
        claimable=False,
        offered=False,
        obstacles=[obstacle],
        failures=0,
        failures_max=FAILURES_MAX,
    )
