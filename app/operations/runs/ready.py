"""Which tasks are ready to be claimed, and in which order: what claim-next-task takes and list-ready-tasks shows.

Ready is a task that

* is `todo`, or `backlog` where the caller asks for that too;
* is nobody's, or the caller's;
* waits for nothing: everything that blocks it is done or cancelled;
* is offered to the caller: assigned to them, or bound to a channel they post in, or bound to none while they take
  part in it. (One bound to somebody else's channel, in which they are only mentioned, is not theirs to claim.)

The order is `todo` before `backlog`, then by rank, then by id. The rank is the time of creation, one week earlier
for each step of priority: so the more urgent goes first and the older among equals, yet a task of low priority that
has waited long enough goes before a fresh urgent one, four weeks later at the latest, and none is starved. The rank
never changes by itself, so that an index holds the order, and a claim reads only the rows it takes.
"""

from collections.abc import Mapping
from typing import Annotated, Final, LiteralString

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import BatchQuery, Listed, Query, array
from app.db.phrases import folded
from app.ids import uuid_or_none
from app.operations.tasks.listing import literal
from app.operations.tasks.task import ASKERS_TASK_JSON, PRIORITIES, Task
from app.rpc import AgentRequest, Context, Page, given, operation
from app.types import (
    NO_NUL,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    QUERY_CHARACTERS_MAX,
    Id,
    PageLimit,
    TaskPriority,
)
from app.writes.write import calls

# Whether everything that blocks `t` is closed. Derived and never kept: what is not stored cannot be wrong.
UNBLOCKED: Final = """NOT EXISTS (
        SELECT FROM task_relations b
          JOIN tasks k ON k.workspace_id = b.workspace_id AND k.id = b.from_task_id
         WHERE b.workspace_id = t.workspace_id AND b.to_task_id = t.id AND b.kind = 'blocks' AND k.is_open)"""

# What the caller asks for: `i.queue_max`, `i.priority_min`, and `i.words` or null.
_WANTED: Final = """
           t.queue <= i.queue_max AND t.priority >= i.priority_min
           AND (i.words IS NULL OR (
                SELECT x.words LIKE i.words FROM task_search x WHERE x.workspace_id = t.workspace_id AND x.task_id = t.id))"""


def ready_walks(
    own: LiteralString, shared: LiteralString, end: LiteralString, state: LiteralString = UNBLOCKED
) -> LiteralString:
    """Three walks along the queues, each in order and ended by `end`: rows of (id, queue, claim_rank, assignee_id, is_shared).

    Each is one range of an index, so that what is not the caller's is not even looked at. `own` narrows further what is
    the caller's, `shared` what stands in channels, where everyone there finds the same. `state` is what a task must be
    besides.
    """
    return f"""
        (SELECT w.*
           FROM (SELECT t.id, t.queue, t.claim_rank, t.assignee_id, false AS is_shared
                   FROM tasks t
                  WHERE t.workspace_id = i.workspace_id AND t.assignee_id = i.actor_id AND t.queue IS NOT NULL
                    AND (i.channel_id IS NULL OR t.channel_id = i.channel_id)
                    AND {_WANTED} AND {state} {own}
                  ORDER BY t.queue, t.claim_rank, t.id
                  {end}) w)
         UNION ALL
        (SELECT w.*
           FROM channel_members m
          CROSS JOIN LATERAL (
                SELECT t.id, t.queue, t.claim_rank, t.assignee_id, true AS is_shared
                  FROM tasks t
                 WHERE t.workspace_id = i.workspace_id AND t.channel_id = m.channel_id AND t.assignee_id IS NULL
                   AND t.queue IS NOT NULL AND {_WANTED} AND {state} {shared}
                 ORDER BY t.queue, t.claim_rank, t.id
                 {end}) w
          WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.role <> 'reader'
            AND (i.channel_id IS NULL OR m.channel_id = i.channel_id))
         UNION ALL
        (SELECT w.*
           FROM (SELECT t.id, t.queue, t.claim_rank, t.assignee_id, false AS is_shared
                   FROM tasks t
                  WHERE t.workspace_id = i.workspace_id AND t.channel_id IS NULL AND t.assignee_id IS NULL
                    AND t.queue IS NOT NULL AND i.channel_id IS NULL
                    AND (t.created_by_id = i.actor_id
                         OR EXISTS (SELECT FROM task_participants p
                                     WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = t.id))
                    AND {_WANTED} AND {state} {own}
                  ORDER BY t.queue, t.claim_rank, t.id
                  {end}) w)"""


_BEHIND: Final = "AND (t.queue, t.claim_rank, t.id) > (i.after_queue, i.after_rank, i.after_id)"
_WALKS: Final = ready_walks(_BEHIND, _BEHIND, "LIMIT i.count")

READY = Query(
    Listed[Task],
    f"""
    WITH i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid        AS workspace_id,
               %(actor_id)s::uuid            AS actor_id,
               %(queue_max)s::smallint       AS queue_max,
               %(priority_min)s::smallint    AS priority_min,
               %(channel_id)s::uuid          AS channel_id,
               {folded("%(search)s::text")} AS words,
               %(after_queue)s::smallint     AS after_queue,
               %(after_rank)s::bigint        AS after_rank,
               %(after_id)s::uuid            AS after_id,
               %(limit)s::int                AS count
    ), page AS (
        SELECT w.id, w.queue, w.claim_rank
          FROM i
         CROSS JOIN LATERAL ({_WALKS}) w
         ORDER BY w.queue, w.claim_rank, w.id
         LIMIT %(limit)s
    )
    SELECT {ASKERS_TASK_JSON}, t.queue || '.' || t.claim_rank || '.' || t.id
      FROM page
      JOIN tasks t ON t.workspace_id = %(workspace_id)s::uuid AND t.id = page.id
     ORDER BY t.queue, t.claim_rank, t.id
    """,
)


class AnyRow(msgspec.Struct):
    """That something is ready for one caller."""

    ord: int


# Many ask it at once, when their waits end together: so it is a batch statement, and needs no connection of its own.
_ANY: Final = ready_walks("", "", "LIMIT 1")

ANY_READY = BatchQuery(
    AnyRow,
    f"""
    WITH i AS MATERIALIZED (
        SELECT c.*, {folded("c.search")} AS words
          FROM ({calls("queue_max smallint, priority_min smallint, channel_id uuid, search text")}) c
    )
    SELECT i.ord FROM i WHERE EXISTS (SELECT FROM ({_ANY}) w)
    """,
)

BEFORE_ALL: Final = "-1.0.00000000-0000-0000-0000-000000000000"


class ReadyFilter(AgentRequest):
    """What kind of ready work is asked for."""

    channel_id: Annotated[Id | None | UnsetType, Meta(description="Only tasks bound to this channel.")] = (
        UNSET
    )
    priority_at_least: Annotated[
        TaskPriority | None | UnsetType, Meta(description="Only tasks of this priority or higher.")
    ] = UNSET
    query: Annotated[
        Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX, extra_json_schema=NO_NUL)] | None | UnsetType,
        Meta(description="Only tasks with these words in title or description. In any case."),
    ] = UNSET
    include_backlog: Annotated[bool, Meta(description="Also from the backlog, behind `todo`.")] = False


class ListReadyTasks(ReadyFilter):
    """What to list."""

    limit: PageLimit = UNSET
    cursor: Annotated[
        Annotated[
            str, Meta(pattern="^[01]\\.-?[0-9]{1,18}\\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\\n)")
        ]
        | None
        | UnsetType,
        Meta(description="The `pagination.cursor` of the page before."),
    ] = UNSET


@operation(scope="task-read", read_only=True)
async def list_ready_tasks(ctx: Context, req: ListReadyTasks) -> Page[Task]:
    """See what is ready for you, in the order in which it is given out.

    Ready is what is `todo`, nobody's or yours, in one of your channels or in none, and waits for no other task.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    if (channel := given(req.channel_id)) is not None and uuid_or_none(channel) is None:
        return Page(array([]))
    rows = await _ready(ctx, wanted(req), limit + 1, given(req.cursor) or BEFORE_ALL)
    return Page[Task].cut(rows, limit)


def wanted(req: ReadyFilter) -> dict[str, object]:
    """The filters as the statements take them."""
    words = given(req.query)
    return {
        "queue_max": 1 if req.include_backlog else 0,
        "priority_min": PRIORITIES.index(given(req.priority_at_least) or "none"),
        "channel_id": given(req.channel_id),
        "search": f"%{literal(words)}%" if words else None,
    }


async def anything_ready(ctx: Context, asked: Mapping[str, object]) -> bool:
    """Whether there is anything to claim, locked or not."""
    return await ctx.ask(ANY_READY, **asked) is not None


async def _ready(ctx: Context, asked: Mapping[str, object], limit: int, cursor: str) -> list[Listed[Task]]:
    queue, _, rest = cursor.partition(".")
    rank, _, id = rest.partition(".")
    return await ctx.all(
        READY, **asked, after_queue=int(queue), after_rank=int(rank), after_id=id, limit=limit
    )
