"""What a run is on the wire, who sees it, and the SQL fragments that statements on runs share.

Fragments speak of `r`, a row of `runs`, and of `i`, the input that names the caller.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, LiteralString

import msgspec
from msgspec import Meta

from app.db import Encoded
from app.db.phrases import agent, moment, user
from app.operations.tasks.task import Task
from app.rpc import Answer, Context
from app.types import NO_NUL, Note, Timestamp
from app.writes.access import VISIBLE, WRITABLE

LEASE_SECONDS_MIN: Final = 1  # below that a heartbeat could not arrive in time
LEASE_SECONDS_MODELS_MIN: Final = 30  # a model thinks for longer than a second before its next call
HELD_BY_MODELS: Final = {"tools_min": LEASE_SECONDS_MODELS_MIN}
"""For the `Meta` of a lease: the least that tools take."""
LEASE_SECONDS_MAX: Final = 86_400  # a day; who needs longer should show a sign of life in between
LEASE_SECONDS_DEFAULT: Final = (
    300  # as long as a step of an agent may take; one that is dead is noticed after this
)
FAILURES_MAX: Final = (
    5  # claims of a task that may fail or expire until it is parked as blocked, so that it cannot loop
)
ERRORS_MAX: Final = 100  # of one run
PREVIOUS_RUNS_SHOWN_MAX: Final[LiteralString] = (
    "3"  # the latest ones: what the next holder reads before it begins
)

RunStatus = Literal["created", "queued", "waiting", "running", "paused", "completed", "failed", "cancelled"]
EndReason = Literal["completed", "failed", "released", "lease_expired", "superseded", "force_released"]

LeaseSeconds = Annotated[int, Meta(ge=LEASE_SECONDS_MIN, le=LEASE_SECONDS_MAX)]
Progress = Annotated[float, Meta(ge=0, le=1)]


class NewRunProblem(msgspec.Struct, rename="camel"):
    """A problem to report."""

    code: Annotated[
        str, Meta(max_length=200, extra_json_schema=NO_NUL, description="What kind of problem, for machines.")
    ]
    message: Annotated[Note, Meta(description="What happened, for people.")]


class RunError(Answer):
    """A problem met on the way."""

    code: Annotated[str, Meta(description="What kind of problem, for machines.")]
    message: Annotated[str, Meta(description="What happened, for people.")]


class PreviousRun(Answer):
    """An earlier attempt at a task: what its holder left for the next."""

    brief: ClassVar[tuple[str, ...]] = ("id", "endReason", "progress", "note", "handoff", "errors")

    id: Annotated[str, Meta(description="Its id.")]
    attempt: Annotated[int, Meta(description="Which attempt it was.")]
    holder_user_id: Annotated[str | None, Meta(description="The human who held it.")]
    holder_agent_id: Annotated[str | None, Meta(description="The agent who held it.")]
    end_reason: Annotated[EndReason, Meta(description="How it ended.")]
    ended_at: Annotated[Timestamp, Meta(description="When it ended.")]
    progress: Annotated[float | None, Meta(description="How far it got, 0 to 1, as last reported.")]
    note: Annotated[str | None, Meta(description="What it last reported.")]
    handoff: Annotated[str | None, Meta(description="What the next holder should know.")]
    errors: Annotated[list[RunError], Meta(description="The problems it met.")]


class Run(Answer):
    """One attempt to do something. A run with a holder is a claim of a task; the others are made under /v1/tasks."""

    news: ClassVar[tuple[str, ...]] = ("id", "status", "endReason", "taskId")

    brief: ClassVar[tuple[str, ...]] = (
        "id",
        "taskId",
        "status",
        "holderUserId",
        "holderAgentId",
        "endReason",
        "leaseExpiresAt",
        "progress",
        "note",
        "handoff",
        "output",
        "errors",
    )

    id: Annotated[str, Meta(description="Its id: send it as `runId` with what you write under this claim.")]
    task_id: Annotated[str | None, Meta(description="The task it works on; null for a run of its own.")]
    kind: Annotated[str, Meta(description="What sort of run: `claim`, or what its creator called it.")]
    status: Annotated[RunStatus, Meta(description="Where it stands.")]
    title: Annotated[str | None, Meta(description="What it is, for people.")]
    holder_user_id: Annotated[
        str | None, Meta(description="The human who holds or held the task through it.")
    ]
    holder_agent_id: Annotated[
        str | None, Meta(description="The agent who holds or held the task through it.")
    ]
    attempt: Annotated[int | None, Meta(description="Which claim of its task it is, from 1.")]
    lease_seconds: Annotated[int | None, Meta(description="How long a sign of life keeps the claim.")]
    lease_expires_at: Annotated[
        Timestamp | None, Meta(description="When the claim is lost unless there is a sign of life before.")
    ]
    progress: Annotated[float | None, Meta(description="How far it is, 0 to 1, as last reported.")]
    note: Annotated[str | None, Meta(description="What was last reported.")]
    handoff: Annotated[str | None, Meta(description="What the next holder should know.")]
    input: Annotated[Any, Meta(description="What it works with; any JSON.")]
    output: Annotated[Any, Meta(description="What came of it; any JSON.")]
    errors: Annotated[list[RunError], Meta(description="The problems it met.")]
    end_reason: Annotated[EndReason | None, Meta(description="How the claim ended; null while it lives.")]
    log_length: Annotated[int, Meta(description="How many steps its log has.")]
    started_at: Annotated[Timestamp | None, Meta(description="When it started.")]
    ended_at: Annotated[Timestamp | None, Meta(description="When it ended.")]
    created_at: Annotated[Timestamp, Meta(description="When it was created.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed; signs of life do not count.")]


class Claim(Answer):
    """A task that is yours for as long as the run lives."""

    news: ClassVar[tuple[str, ...]] = (
        "task.identifier",
        "task.title",
        "task.description",
        "task.priority",
        "task.version",
        "task.dueAt",
        "task.channelId",
        "task.parentTaskId",
        "task.createdByUserId",
        "task.createdByAgentId",
        "run.id",
        "run.leaseExpiresAt",
        "previousRuns",
    )

    task: Annotated[Task, Meta(description="The task, in progress and assigned to you.")]
    run: Annotated[
        Run, Meta(description="Your claim of it: send its id as `runId` with everything you write.")
    ]
    previous_runs: Annotated[
        list[PreviousRun],
        Meta(description="The latest earlier attempts, newest first: read their handoff and errors."),
    ]


class RunAndTask(Answer):
    """A run and its task, after the run ended."""

    news: ClassVar[tuple[str, ...]] = ("task.identifier", "task.version", "task.status")

    run: Annotated[Run, Meta(description="The run.")]
    task: Annotated[Task, Meta(description="Its task.")]


RUN_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        r.id, r.work_item_id AS "taskId", r.kind, r.status, r.title,
        {user("r.holder")} AS "holderUserId",
        {agent("r.holder")} AS "holderAgentId",
        r.attempt, r.lease_seconds AS "leaseSeconds",
        {moment("r.lease_expires_at")} AS "leaseExpiresAt",
        r.progress, r.note, r.handoff, r.input, r.output, r.errors, r.end_reason AS "endReason", r.log_length AS "logLength",
        {moment("r.started_at")} AS "startedAt",
        {moment("r.ended_at")} AS "endedAt",
        {moment("r.created_at")} AS "createdAt",
        {moment("r.updated_at")} AS "updatedAt") w))"""

# The earlier claims of task `t`, without run `r`.
PREVIOUS_JSON: Final = f"""
    (SELECT coalesce(array_to_json(array_agg(row_to_json((SELECT w FROM (SELECT
            p.id, p.attempt,
            {user("p.holder")} AS "holderUserId",
            {agent("p.holder")} AS "holderAgentId",
            p.end_reason AS "endReason",
            {moment("p.ended_at")} AS "endedAt",
            p.progress, p.note, p.handoff, p.errors) w)) ORDER BY p.id DESC)), '[]')
       FROM (SELECT e.*
               FROM runs e
              WHERE e.workspace_id = t.workspace_id AND e.work_item_id = t.id AND e.end_reason IS NOT NULL AND e.id <> r.id
              ORDER BY e.id DESC
              LIMIT {PREVIOUS_RUNS_SHOWN_MAX}) p)"""


RUN_SHOWABLE: Final = """(
        i.sees_all OR o.author_id = i.actor_id
        OR EXISTS (SELECT FROM identities a
                    WHERE a.workspace_id = i.workspace_id AND a.id = o.author_id AND a.owner_id = i.actor_id))"""
"""Who decides whether a run belongs to a task, and so who sees it: its author, and their owner. Not who carries it out."""


def run_own(run: LiteralString) -> LiteralString:
    """SQL for whether a run without a task is the caller's.

    It is its author's, the executor's whom it names by id or handle, and theirs who answer for one of the two. Others need
    the scope of operators.
    """
    return f"""(
        i.sees_all OR {run}.author_id = i.actor_id
        OR EXISTS (SELECT FROM identities a
                    WHERE a.workspace_id = i.workspace_id AND (a.id = i.actor_id OR a.owner_id = i.actor_id)
                      AND (a.id = {run}.author_id OR {run}.executor_id IN (a.id::text, a.handle, '@' || a.handle))))"""


# Who sees a run: with a task, whoever sees that; without one, whose it is. `i.sees_all`: whether the caller's key has
# the scope of operators.
RUN_VISIBLE: Final = f"""(CASE WHEN r.work_item_id IS NULL THEN {run_own("r")}
        ELSE EXISTS (SELECT FROM tasks t WHERE t.workspace_id = r.workspace_id AND t.id = r.work_item_id AND {VISIBLE}) END)"""

# Who may write to it: with a task, whoever may change that; without one, whose it is. `o` is the run as it was.
RUN_WRITABLE: Final = f"""(CASE WHEN o.work_item_id IS NULL THEN {run_own("o")}
        ELSE EXISTS (SELECT FROM tasks t WHERE t.workspace_id = o.workspace_id AND t.id = o.work_item_id AND {WRITABLE}) END)"""


def sees_all(ctx: Context) -> bool:
    """Whether the caller may see and change the runs and States of everyone, as far as no task says who may."""
    return "operator" in ctx.actor.scopes


EncodedRun = Encoded[Run]
