"""list-tasks: the tasks a caller sees, newest first, through any filter.

A list starts from the narrowest thing it is asked for. Three statements find candidates by rare words, by
assignee or by parent and keep those the caller sees. The fourth, `WALK`, serves everything else: it walks, newest
first, over what the caller takes part in and over each of their channels, and stops when the page is full. So a
list costs what the caller sees or asks for, and the same in a workspace of a million.
"""

import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from app.db import Listed, One, Query, array
from app.db.phrases import folded
from app.errors import TaskNotFound
from app.ids import LAST_ID, uuid_or_none
from app.operations.tasks.comment import SEES_TASK
from app.operations.tasks.reading import look_up
from app.operations.tasks.selection import (
    IncludeTotal,
    OfStatus,
    OnlyFields,
    cost_of_total,
    statuses_in,
    trimmed,
)
from app.operations.tasks.task import (
    ASKERS_TASK_JSON,
    DIGITS_MAX,
    PRIORITIES,
    Task,
    task_id,
)
from app.rpc import AgentRequest, Context, Page, given, operation
from app.types import (
    NO_NUL,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    QUERY_CHARACTERS_MAX,
    Id,
    PageCursor,
    PageLimit,
    TaskPriority,
    When,
)
from app.writes.access import VISIBLE

TRIGRAM_CHARACTERS: Final = 3  # the index over words knows nothing shorter
RARE_ROWS_MAX: Final = 5_000  # words in more tasks are common: who sees many tasks soon meets a page of them
COUNT_ROWS_MAX: Final = (
    2_000_000  # a total counts up to here; more would take longer than a caller should wait
)


# Each statement below says where to start; two things hold the planner to it, whatever it knows of the values. `i` is
# MATERIALIZED unless they must show in the conditions of an index scan that ends early. And a subquery with OFFSET 0
# is taken as it is: looked into row by row, in the order in which the rows come.

# The caller and every filter, by name: null does not filter. `opens` has the values of is_open that can match.
_INPUT: Final = f"""
        SELECT %(workspace_id)s::uuid       AS workspace_id,
               %(actor_id)s::uuid           AS actor_id,
               %(statuses)s::text[]         AS statuses,
               %(opens)s::boolean[]         AS opens,
               %(priority)s::smallint       AS priority,
               %(assignee_id)s::uuid        AS assignee_id,
               %(assignee_kind)s::text      AS assignee_kind,
               %(channel_id)s::uuid         AS channel_id,
               %(parent_task_id)s::uuid     AS parent_task_id,
               %(created_by_id)s::uuid      AS created_by_id,
               to_timestamp(%(updated_since)s::float8) AS updated_since,
               {folded("%(words)s::text")} AS words,
               %(numbers_from)s::int[]      AS numbers_from,
               %(numbers_to)s::int[]        AS numbers_to,
               %(before)s::uuid             AS before"""

_MATCHES: Final = """
               t.id < i.before
           AND t.is_open = ANY(i.opens)
           AND (i.statuses IS NULL OR t.status = ANY(i.statuses))
           AND (i.priority IS NULL OR t.priority = i.priority)
           AND (i.assignee_id IS NULL OR (t.assignee_id = i.assignee_id AND t.assignee_kind = i.assignee_kind))
           AND (i.channel_id IS NULL OR t.channel_id = i.channel_id)
           AND (i.parent_task_id IS NULL OR t.parent_task_id = i.parent_task_id)
           AND (i.created_by_id IS NULL OR t.created_by_id = i.created_by_id)
           AND (i.updated_since IS NULL OR t.updated_at >= i.updated_since)"""

# Words or an identifier, for the statements that do not start from them.
_HAS_WORDS: Final = """(
               i.words IS NULL
               OR EXISTS (SELECT FROM task_search x
                           WHERE x.workspace_id = i.workspace_id AND x.task_id = t.id AND x.words LIKE i.words OFFSET 0)
               OR EXISTS (SELECT FROM unnest(i.numbers_from, i.numbers_to) AS n (first, last)
                           WHERE t.number BETWEEN n.first AND n.last OFFSET 0))"""

# Newest first over what the caller takes part in, and over each of their channels: each a walk along an index
# that ends after a page. The same task can come along both ways, so the ends are joined with UNION.
_WALK: Final = f"""
    WITH i AS NOT MATERIALIZED ({_INPUT}
    ), page AS (
        (SELECT p.task_id AS id
           FROM i
           JOIN task_participants p ON p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id < i.before
          CROSS JOIN LATERAL (
                SELECT
                  FROM tasks t
                 WHERE t.workspace_id = i.workspace_id AND t.id = p.task_id AND {_MATCHES} AND {_HAS_WORDS}
                OFFSET 0) it
          ORDER BY p.task_id DESC
          LIMIT %(limit)s)
         UNION
        (SELECT found.id
           FROM i
           JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id
            AND (i.channel_id IS NULL OR m.channel_id = i.channel_id)
          CROSS JOIN unnest(i.opens) AS w (open)
          CROSS JOIN LATERAL (
                SELECT t.id
                  FROM tasks t
                 WHERE t.workspace_id = i.workspace_id AND t.channel_id = m.channel_id AND t.is_open = w.open
                   AND {_MATCHES} AND {_HAS_WORDS}
                 ORDER BY t.id DESC
                 LIMIT %(limit)s) found)
         ORDER BY id DESC
         LIMIT %(limit)s
    )"""

WALK = Query(
    Listed[Task],
    f"""
    {_WALK}
    SELECT {ASKERS_TASK_JSON}, t.id::text
      FROM page
      JOIN tasks t ON t.workspace_id = %(workspace_id)s::uuid AND t.id = page.id
     ORDER BY t.id DESC
    """,
)

COUNT_WALK = Query(One[int], f"""{_WALK} SELECT count(*) FROM page""")

# Tasks with these words, or whose identifier starts like this, whoever may see them.
_CANDIDATES: Final = """
        SELECT t.id
          FROM i
         CROSS JOIN unnest(i.numbers_from, i.numbers_to) AS n (first, last)
         CROSS JOIN LATERAL (                             -- a fence: without it the planner reads the workspace and filters
               SELECT t.id FROM tasks t
                WHERE t.workspace_id = i.workspace_id AND t.number BETWEEN n.first AND n.last OFFSET 0) t
         UNION ALL
        SELECT x.task_id
          FROM i JOIN task_search x ON x.workspace_id = i.workspace_id AND x.words LIKE i.words"""

_BY_WORDS: Final = f"""
    WITH i AS MATERIALIZED ({_INPUT}
    ), candidate AS MATERIALIZED (
        SELECT DISTINCT id FROM ({_CANDIDATES}) found
    ), page AS (
        SELECT t.*
          FROM i CROSS JOIN candidate
         CROSS JOIN LATERAL (
               SELECT * FROM tasks t
                WHERE t.workspace_id = i.workspace_id AND t.id = candidate.id AND {_MATCHES} AND {VISIBLE} OFFSET 0) t
         ORDER BY candidate.id DESC
         LIMIT %(limit)s
    )"""

BY_WORDS = Query(
    Listed[Task], f"""{_BY_WORDS} SELECT {ASKERS_TASK_JSON}, t.id::text FROM page t ORDER BY t.id DESC"""
)
COUNT_BY_WORDS = Query(One[int], f"""{_BY_WORDS} SELECT count(*) FROM page""")

# How many of them there are, up to a limit.
COUNT_CANDIDATES = Query(
    One[int],
    f"""
    WITH i AS MATERIALIZED ({_INPUT}
    ), candidate AS MATERIALIZED (
        SELECT FROM ({_CANDIDATES}) found LIMIT %(limit)s
    )
    SELECT count(*) FROM candidate
    """,
)

_BY_ASSIGNEE: Final = f"""
    WITH i AS MATERIALIZED ({_INPUT}
    ), page AS (
        SELECT t.*
          FROM i
          JOIN tasks t ON t.workspace_id = i.workspace_id AND t.assignee_id = %(assignee_id)s::uuid
         WHERE {_MATCHES} AND {_HAS_WORDS} AND {VISIBLE}
         ORDER BY t.id DESC
         LIMIT %(limit)s
    )"""

BY_ASSIGNEE = Query(
    Listed[Task], f"""{_BY_ASSIGNEE} SELECT {ASKERS_TASK_JSON}, t.id::text FROM page t ORDER BY t.id DESC"""
)
COUNT_BY_ASSIGNEE = Query(One[int], f"""{_BY_ASSIGNEE} SELECT count(*) FROM page""")

_BY_PARENT: Final = f"""
    WITH i AS MATERIALIZED ({_INPUT}
    ), page AS (
        SELECT t.*
          FROM i
          JOIN tasks t ON t.workspace_id = i.workspace_id AND t.parent_task_id = %(parent_task_id)s::uuid
         WHERE {_MATCHES} AND {_HAS_WORDS} AND {VISIBLE}
         ORDER BY t.id DESC
         LIMIT %(limit)s
    )"""

BY_PARENT = Query(
    Listed[Task], f"""{_BY_PARENT} SELECT {ASKERS_TASK_JSON}, t.id::text FROM page t ORDER BY t.id DESC"""
)
COUNT_BY_PARENT = Query(One[int], f"""{_BY_PARENT} SELECT count(*) FROM page""")


class ListTasks(AgentRequest):
    """What to list. Filters add up: a task must pass all of them."""

    status: OfStatus = UNSET
    priority: Annotated[TaskPriority | UnsetType, Meta(description="Only this priority.")] = UNSET
    assignee_agent_id: Annotated[Id | UnsetType, Meta(description="Only tasks of this agent.")] = UNSET
    assignee_user_id: Annotated[Id | UnsetType, Meta(description="Only tasks of this user.")] = UNSET
    channel_id: Annotated[Id | UnsetType, Meta(description="Only tasks bound to this channel.")] = UNSET
    parent_task_id: Annotated[
        Id | UnsetType, Meta(description="Only subtasks of this task, by id or as `T-42`.")
    ] = UNSET
    created_by_me: Annotated[bool, Meta(description="Only tasks you created.")] = False
    updated_since: Annotated[
        When | UnsetType, Meta(description="Only tasks changed at or after this time.")
    ] = UNSET
    query: Annotated[
        Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX, extra_json_schema=NO_NUL)] | UnsetType,
        Meta(
            description="Words to find in title or description, in any case, or an identifier such as `T-42`."
        ),
    ] = UNSET
    fields: OnlyFields = UNSET
    include_total: IncludeTotal = False
    limit: PageLimit = UNSET
    cursor: PageCursor = UNSET


WORDS_COST: Final = 10  # of looking for parts of words


def _cost_of(req: ListTasks) -> int:
    return cost_of_total(req) + (WORDS_COST if req.query else 0)


@operation(scope="task-read", read_only=True, more=_cost_of)
async def list_tasks(ctx: Context, req: ListTasks) -> Page[Task]:
    """List the tasks you can see, newest first.

    You see tasks you created, were assigned, commented on or are mentioned in, and all tasks of your channels. Page with
    `cursor`.

    To see only what is assigned to you, use list-my-tasks.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    try:
        filters = await _filters(ctx, req)
    except NothingMatches:
        return Page(array([]), total=0 if req.include_total else None)
    query, count = await _statement(ctx, req, filters)
    rows = await ctx.all(query, **filters, before=given(req.cursor) or LAST_ID, limit=limit + 1)
    total = (
        await ctx.one(count, **filters, before=LAST_ID, limit=COUNT_ROWS_MAX) if req.include_total else None
    )
    return trimmed(Page[Task].cut(rows, limit, total and total.value), req.fields)


class NothingMatches(Exception):
    """A filter names something that cannot exist, so the list is empty."""


async def _statement(
    ctx: Context, req: ListTasks, filters: dict[str, object]
) -> tuple[Query[Listed[Task]], Query[One[int]]]:
    """The statement that starts from the narrowest thing asked for."""
    if req.query and len(req.query) >= TRIGRAM_CHARACTERS:
        found = await ctx.one(COUNT_CANDIDATES, **filters, before=LAST_ID, limit=RARE_ROWS_MAX + 1)
        if found is not None and found.value <= RARE_ROWS_MAX:
            return BY_WORDS, COUNT_BY_WORDS
    if req.parent_task_id:
        return BY_PARENT, COUNT_BY_PARENT
    if req.assignee_agent_id or req.assignee_user_id:
        return BY_ASSIGNEE, COUNT_BY_ASSIGNEE
    return WALK, COUNT_WALK


async def _filters(ctx: Context, req: ListTasks) -> dict[str, object]:
    if req.assignee_agent_id and req.assignee_user_id:
        raise NothingMatches  # a task has one assignee at most
    statuses, opens = statuses_in(req.status)
    numbers = await _numbers(ctx, req.query or "")
    try:
        parent = await task_id(ctx, req.parent_task_id) if req.parent_task_id else None
    except TaskNotFound:
        raise NothingMatches from None
    # What a task is a part of is not to be guessed by those who do not see it.
    if parent and not await ctx.one(SEES_TASK, task_id=parent):
        raise NothingMatches
    return {
        "statuses": statuses,
        "opens": opens,
        "priority": PRIORITIES.index(req.priority) if req.priority else None,
        "assignee_id": _id(req.assignee_agent_id or req.assignee_user_id),
        "assignee_kind": "agent" if req.assignee_agent_id else "user",
        "channel_id": _id(req.channel_id),
        "parent_task_id": parent,
        "created_by_id": ctx.actor.id if req.created_by_me else None,
        "updated_since": req.updated_since.timestamp() if isinstance(req.updated_since, datetime) else None,
        "words": f"%{literal(req.query)}%" if req.query else None,
        "numbers_from": [numbers.start for numbers in numbers],
        "numbers_to": [numbers.stop - 1 for numbers in numbers],
    }


def _id(sent: str | UnsetType) -> object:
    if not sent:
        return None
    if (id := uuid_or_none(sent)) is None:
        raise NothingMatches
    return id


async def _numbers(ctx: Context, query: str) -> list[range]:
    """Which numbers a query means: `T-4` is that task, or if the caller sees none, the start of T-42 and T-400.

    As ranges, because those are read off an index: 40 to 49, 400 to 499, and so on.
    """
    match = re.fullmatch(r"T-([1-9][0-9]*)?", query.strip(), re.IGNORECASE)
    if match is None:
        return []
    digits = match[1]
    if digits is None:
        return [range(1, 10**DIGITS_MAX)]
    with suppress(TaskNotFound):
        id = await task_id(ctx, f"T-{digits}")
        if await look_up(ctx, id):
            return [range(int(digits), int(digits) + 1)]
    tens = [10**more for more in range(DIGITS_MAX - len(digits) + 1)]
    return [range(int(digits) * ten, (int(digits) + 1) * ten) for ten in tens]


def literal(text: str) -> str:
    """Text in which LIKE finds nothing special."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
