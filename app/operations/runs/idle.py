"""Why there was nothing to claim: what waits for what, who holds that, and which call would help.

It is told where a model reads the answer. A worker that asks again and again pays for nothing it does not look at.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.db import Encoded, One, Query
from app.db.phrases import folded
from app.operations.runs.ready import UNBLOCKED, anything_ready, ready_walks
from app.operations.tasks.task import priority
from app.operations.told import (
    SHOWN_MAX,
    TITLE_CHARACTERS,
    Help,
    OpenBlocker,
    Told,
    Waiting,
    WaitingTask,
    blockers,
)
from app.rpc import Context
from app.types import TaskPriority
from app.writes.access import CALLER


class WaitingRow(msgspec.Struct):
    """A task that waits for others."""

    identifier: str
    title: str
    priority: TaskPriority
    shown: list[OpenBlocker] | None
    open: int

    def __post_init__(self) -> None:
        """Read what came as plain JSON."""
        self.shown = msgspec.convert(self.shown or [], list[OpenBlocker])


_STUCK: Final = ready_walks("", "", f"LIMIT {SHOWN_MAX}", f"NOT {UNBLOCKED}")
_BLOCKERS: Final = blockers("t.workspace_id", "%(actor_id)s::uuid", "t.id")

STUCK = Query(
    WaitingRow,
    f"""
    WITH i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(queue_max)s::smallint AS queue_max,
               %(priority_min)s::smallint AS priority_min, %(channel_id)s::uuid AS channel_id,
               {folded("%(search)s::text")} AS words
    ), stuck AS (
        SELECT w.id, w.queue, w.claim_rank
          FROM i
         CROSS JOIN LATERAL ({_STUCK}) w
         ORDER BY w.queue, w.claim_rank, w.id
         LIMIT {SHOWN_MAX}
    )
    SELECT 'T-' || t.number, left(t.title, {TITLE_CHARACTERS}), {priority("t.priority")}, b.shown, b.open
      FROM stuck
      JOIN tasks t ON t.workspace_id = %(workspace_id)s::uuid AND t.id = stuck.id
     CROSS JOIN LATERAL {_BLOCKERS} b
     ORDER BY t.queue, t.claim_rank, t.id
    """,
)

ANY_OPEN = Query(
    One[bool],
    f"""
    WITH i AS ({CALLER})
    SELECT EXISTS (
        SELECT FROM i
          JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id
         CROSS JOIN LATERAL (
               SELECT FROM tasks t
                WHERE t.workspace_id = i.workspace_id AND t.channel_id = m.channel_id AND t.is_open
                LIMIT 1) t)
    """,
)

WIDEST: Final[Mapping[str, object]] = {"queue_max": 1, "priority_min": 0, "channel_id": None, "search": None}
"""The filter that leaves nothing out."""


async def told(ctx: Context, asked: Mapping[str, object]) -> Encoded[Told] | None:
    """Why nothing was claimed, if a model asks."""
    if not ctx.for_model:
        return None
    rows = await ctx.all(STUCK, **asked)
    wider = asked != WIDEST and await anything_ready(ctx, WIDEST)
    found = None if rows or wider else await ctx.one(ANY_OPEN)
    finished = found is not None and not found.value
    return Encoded(msgspec.json.encode(Told(waiting=_why(rows, wider=wider, finished=finished))))


def _why(rows: list[WaitingRow], *, wider: bool, finished: bool) -> Waiting:
    tasks = [_waiting(row) for row in rows]
    helps = [
        help for help in dict.fromkeys(_help(blocker) for task in tasks for blocker in task.waits_for) if help
    ]
    calls = [Help(operation=name, arguments=dict(arguments), by="you") for name, arguments in helps]
    said: list[str] = []
    if wider:
        said.append(
            "Nothing is ready for what you asked, but something is without your filters, or in the backlog."
        )
        calls.insert(0, Help(operation="claim-next-task", arguments={"includeBacklog": True}, by="you"))
    if tasks:
        said.append(f"{'; '.join(_line(task) for task in tasks)}.")
        said.append("Help with what they wait for, or wait with `waitSeconds`.")
    elif finished:
        said.append(
            "Your channels have no open task: all are done or cancelled. Create what else has to be done."
        )
    elif not wider:
        said.append(
            "Nothing in your channels is todo and free. Wait with `waitSeconds`, or create what has to be done."
        )
    return Waiting(message=" ".join(said), tasks=tasks, helps=calls)


def _waiting(row: WaitingRow) -> WaitingTask:
    shown = row.shown or []
    task = WaitingTask(identifier=row.identifier, title=row.title, priority=row.priority, waits_for=shown)
    if hidden := row.open - len(shown):
        task.hidden_blockers = hidden
    return task


def _line(task: WaitingTask) -> str:
    names = [
        f"{blocker.identifier} ({blocker.status}, {f'@{blocker.holder}' if blocker.holder else 'nobody has it'})"
        for blocker in task.waits_for
    ]
    if task.hidden_blockers:
        names.append(f"{task.hidden_blockers} more")
    return f"{task.identifier} waits for {', '.join(names)}"


def _help(blocker: OpenBlocker) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """What would bring a blocker on: set it going if it rests with nobody, else ask whoever has it."""
    if blocker.holder:
        return "comment-on-task", (("taskId", blocker.identifier),)
    if blocker.status in {"todo", "in_progress"}:
        return None  # whoever claims next gets it, or it waits for something itself
    return "get-task", (("taskId", blocker.identifier),)
