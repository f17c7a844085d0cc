"""get-task, list-tasks and list-my-tasks: reading tasks.

A list starts from the narrowest thing it is asked for. Three statements find candidates by rare words, by
assignee or by parent and keep those the caller sees. The fourth, `WALK`, serves everything else: it walks, newest
first, over what the caller takes part in and over each of their channels, and stops when the page is full. So a
list costs what the caller sees or asks for, and the same in a workspace of a million.
"""

import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import BatchQuery, Encoded, Query, array
from app.errors import InvalidInput, TaskNotFound, VersionNotFound
from app.operations.tasks.history import task_at
from app.operations.tasks.task import (
    CLOSED,
    DIGITS_MAX,
    ONE_ASSIGNEE,
    PRIORITIES,
    TASK_JSON,
    VISIBLE,
    EncodedTask,
    Task,
    task_id,
    uuid_or_none,
)
from app.rpc import AgentRequest, Context, Page, Step, given, operation
from app.types import (
    FIELDS_MAX,
    NO_NUL,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    QUERY_CHARACTERS_MAX,
    Cursor,
    Id,
    Limit,
    StatusFilter,
    TaskPriority,
    Version,
    When,
)


class FoundRow(msgspec.Struct):
    """One task."""

    ord: int
    task: EncodedTask


class TaskRow(msgspec.Struct):
    """A task in a list, and the cursor that continues behind it."""

    item: EncodedTask
    cursor: str


class PageRow(msgspec.Struct):
    """A page of tasks, and the cursor that continues behind it if there are more."""

    tasks: Encoded[list[Task]]
    cursor: str | None


class CountRow(msgspec.Struct):
    """How many tasks match."""

    count: int


GET_TASK = BatchQuery(
    FoundRow,
    f"""
    WITH i AS MATERIALIZED (
        SELECT (e->>'ord')::int          AS ord,
               (e->>'workspaceId')::uuid AS workspace_id,
               (e->>'actorId')::uuid     AS actor_id,
               (e->>'taskId')::uuid      AS task_id
          FROM jsonb_array_elements(%(items)s::jsonb) AS e
    )
    SELECT i.ord, {TASK_JSON}
      FROM i
      JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id
     WHERE {VISIBLE}
    """,
)

# Each statement below says where to start; two things hold the planner to it, whatever it knows of the values. `i` is
# MATERIALIZED unless they must show in the conditions of an index scan that ends early. And a subquery with OFFSET 0
# is taken as it is: looked into row by row, in the order in which the rows come.

# The caller and every filter, by name: null does not filter. `opens` has the values of is_open that can match.
_INPUT: Final = """
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
               lower(%(words)s::text)       AS words,
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
    TaskRow,
    f"""
    {_WALK}
    SELECT {TASK_JSON}, t.id::text
      FROM page
      JOIN tasks t ON t.workspace_id = %(workspace_id)s::uuid AND t.id = page.id
     ORDER BY t.id DESC
    """,
)

COUNT_WALK = Query(CountRow, f"""{_WALK} SELECT count(*) FROM page""")

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

BY_WORDS = Query(TaskRow, f"""{_BY_WORDS} SELECT {TASK_JSON}, t.id::text FROM page t ORDER BY t.id DESC""")
COUNT_BY_WORDS = Query(CountRow, f"""{_BY_WORDS} SELECT count(*) FROM page""")

# How many of them there are, up to a limit.
COUNT_CANDIDATES = Query(
    CountRow,
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
    TaskRow, f"""{_BY_ASSIGNEE} SELECT {TASK_JSON}, t.id::text FROM page t ORDER BY t.id DESC"""
)
COUNT_BY_ASSIGNEE = Query(CountRow, f"""{_BY_ASSIGNEE} SELECT count(*) FROM page""")

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

BY_PARENT = Query(TaskRow, f"""{_BY_PARENT} SELECT {TASK_JSON}, t.id::text FROM page t ORDER BY t.id DESC""")
COUNT_BY_PARENT = Query(CountRow, f"""{_BY_PARENT} SELECT count(*) FROM page""")

# The queue of one assignee. (urgency, id) is the order of the index, so a page is read straight off it. It comes
# as one value, for this is the list that agents ask for all the time: taking it row by row costs the service more
# than making it one costs Postgres.
LIST_MINE = Query(
    PageRow,
    f"""
    SELECT coalesce(json_agg({TASK_JSON}) FILTER (WHERE t.place <= %(limit)s::int), '[]'),
           CASE WHEN count(*) > %(limit)s::int
                THEN max(t.urgency || '-' || t.id) FILTER (WHERE t.place = %(limit)s::int) END
      FROM (SELECT t.*, row_number() OVER () AS place
              FROM (SELECT t.*
                      FROM tasks t
                     WHERE t.workspace_id = %(workspace_id)s::uuid AND t.assignee_id = %(actor_id)s::uuid
                       AND (t.urgency, t.id) > (%(after_urgency)s::smallint, %(after_id)s::uuid)
                       AND t.urgency BETWEEN %(urgency_min)s::smallint AND %(urgency_max)s::smallint
                       AND (%(statuses)s::text[] IS NULL OR t.status = ANY(%(statuses)s::text[]))
                     ORDER BY t.urgency, t.id
                     LIMIT %(limit)s::int + 1) t) t
    """,
    pipelined=True,
)

COUNT_MINE = Query(
    CountRow,
    """
    SELECT count(*)
      FROM tasks t
     WHERE t.workspace_id = %(workspace_id)s::uuid AND t.assignee_id = %(actor_id)s::uuid
       AND t.urgency BETWEEN %(urgency_min)s::smallint AND %(urgency_max)s::smallint
       AND (%(statuses)s::text[] IS NULL OR t.status = ANY(%(statuses)s::text[]))
    """,
)

URGENCY_CLOSED_MIN: Final = 5  # tasks.urgency: open ones are 0 to 4, closed ones 5 to 9
URGENCY_MAX: Final = 9
LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
TRIGRAM_CHARACTERS: Final = 3  # the index over words knows nothing shorter
RARE_ROWS_MAX: Final = 5_000  # words in more tasks are common: who sees many tasks soon meets a page of them
COUNT_ROWS_MAX: Final = (
    2_000_000  # a total counts up to here; more would take longer than a caller should wait
)

TaskField = Literal[
    "id", "identifier", "workspaceId", "title", "description", "status", "priority", "version", "dueAt",
    "assigneeUserId", "assigneeAgentId", "createdByUserId", "createdByAgentId", "parentTaskId", "channelId",
    "originMessageId", "originExtractionId", "startedAt", "completedAt", "cancelledAt", "archivedAt",
    "createdAt", "updatedAt", "deletedAt",
]  # fmt: skip

Statuses = StatusFilter | Annotated[list[StatusFilter], Meta(max_length=20)]
Fields = Annotated[list[TaskField], Meta(min_length=1, max_length=FIELDS_MAX)]


class GetTask(AgentRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    at_version: Annotated[
        Version | None | UnsetType,
        Meta(description="The version to show; the latest unless told."),
    ] = UNSET
    fields: Annotated[Fields | UnsetType, Meta(description="Only these keys, to save tokens.")] = UNSET


class ListTasks(AgentRequest):
    """What to list. Filters add up: a task must pass all of them."""

    rules: ClassVar = ONE_ASSIGNEE

    status: Annotated[
        Statuses | UnsetType,
        Meta(description="One status or several; `open` means neither done nor cancelled."),
    ] = UNSET
    priority: Annotated[TaskPriority | UnsetType, Meta(description="Only this priority.")] = UNSET
    assignee_agent_id: Annotated[Id | UnsetType, Meta(description="Only tasks of this agent.")] = UNSET
    assignee_user_id: Annotated[Id | UnsetType, Meta(description="Only tasks of this user.")] = UNSET
    channel_id: Annotated[Id | UnsetType, Meta(description="Only tasks bound to this channel.")] = UNSET
    parent_task_id: Annotated[
        Id | UnsetType, Meta(description="Only parts of this task, by id or as `T-42`.")
    ] = UNSET
    created_by_me: Annotated[bool, Meta(description="Only tasks you created.")] = False
    updated_since: Annotated[
        When | UnsetType, Meta(description="Only tasks changed at or after this moment.")
    ] = UNSET
    query: Annotated[
        Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX, extra_json_schema=NO_NUL)] | UnsetType,
        Meta(
            description="Words to find in title or description, in any case, or an identifier such as `T-42`."
        ),
    ] = UNSET
    fields: Annotated[
        Fields | UnsetType, Meta(description="Only these keys of each task, to save tokens.")
    ] = UNSET
    include_total: Annotated[bool, Meta(description="Also count all that match, which costs time.")] = False
    limit: Annotated[
        Limit | UnsetType, Meta(description="How many at most: 50 unless told, never more than 100.")
    ] = UNSET
    cursor: Annotated[
        Cursor | None | UnsetType,
        Meta(description="The `pagination.cursor` of the page before."),
    ] = UNSET


class ListMyTasks(AgentRequest):
    """What to list of your own tasks."""

    status: Annotated[
        Statuses | UnsetType,
        Meta(description="One status or several; `open` means neither done nor cancelled."),
    ] = UNSET
    fields: Annotated[
        Fields | UnsetType, Meta(description="Only these keys of each task, to save tokens.")
    ] = UNSET
    include_total: Annotated[bool, Meta(description="Also count all that match, which costs time.")] = False
    limit: Annotated[
        Limit | UnsetType, Meta(description="How many at most: 50 unless told, never more than 100.")
    ] = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^[0-9]-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=38)]
        | None
        | UnsetType,
        Meta(description="The `pagination.cursor` of the page before."),
    ] = UNSET


@operation(
    scope="task-read",
    read_only=True,
    errors=(TaskNotFound, VersionNotFound),
    core=Step(40, "Read what you only know from a list, and note its `version`."),
    resource="task://{taskId}",
)
async def get_task(ctx: Context, req: GetTask) -> Encoded[Task]:
    """Read one task, by its id or as `T-42`.

    Use it before an update, for the `version`.

    With `atVersion` it shows the task as it once was.
    """
    id = await task_id(ctx, req.task_id)
    if version := given(req.at_version):
        task = await task_at(ctx, id, version)
    else:
        row = await ctx.db.ask(GET_TASK, {**ctx.who, "taskId": id})
        task = row and row.task
    if task is None:
        raise TaskNotFound(req.task_id)
    return task.only(frozenset(req.fields)) if req.fields else task


@operation(scope="task-read", read_only=True, errors=(InvalidInput,))
async def list_tasks(ctx: Context, req: ListTasks) -> Page[Task]:
    """List the tasks you can see, newest first.

    You see tasks you created, were assigned, commented on or are mentioned in, and all tasks of your channels. To
    see only what is assigned to you, use list-my-tasks. Page with `cursor`.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    try:
        filters = await _filters(ctx, req)
    except NothingMatches:
        return Page(array([]), total=0 if req.include_total else None)
    query, count = await _statement(ctx, req, filters)
    rows = await ctx.db.all(query, **filters, before=given(req.cursor) or LAST_ID, limit=limit + 1)
    total = (
        await ctx.db.one(count, **filters, before=LAST_ID, limit=COUNT_ROWS_MAX)
        if req.include_total
        else None
    )
    return _trimmed(Page[Task].cut(rows, limit, total and total.count), req.fields)


@operation(scope="task-read", read_only=True)
async def list_my_tasks(ctx: Context, req: ListMyTasks) -> Page[Task]:
    """List the tasks assigned to you: open before closed, most urgent first, then oldest.

    The first one with `status=open` is what to do next. Page with `cursor`.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    after_urgency, _, after_id = (given(req.cursor) or f"0-{FIRST_ID}").partition("-")
    statuses, opens = _statuses(req.status)
    filters = {
        "workspace_id": ctx.actor.workspace_id,
        "actor_id": ctx.actor.id,
        "statuses": statuses,
        "urgency_min": 0 if True in opens else URGENCY_CLOSED_MIN,
        "urgency_max": URGENCY_MAX if False in opens else URGENCY_CLOSED_MIN - 1,
    }
    page = await ctx.db.one(
        LIST_MINE, **filters, after_urgency=int(after_urgency), after_id=after_id, limit=limit
    )
    assert page is not None, "an aggregate has a row"
    total = await ctx.db.one(COUNT_MINE, **filters) if req.include_total else None
    return _trimmed(Page(page.tasks, page.cursor, total and total.count), req.fields)


class NothingMatches(Exception):
    """A filter names something that cannot exist, so the list is empty."""


async def _statement(
    ctx: Context, req: ListTasks, filters: dict[str, object]
) -> tuple[Query[TaskRow], Query[CountRow]]:
    """The statement that starts from the narrowest thing asked for."""
    if req.query and len(req.query) >= TRIGRAM_CHARACTERS:
        found = await ctx.db.one(COUNT_CANDIDATES, **filters, before=LAST_ID, limit=RARE_ROWS_MAX + 1)
        if found is not None and found.count <= RARE_ROWS_MAX:
            return BY_WORDS, COUNT_BY_WORDS
    if req.parent_task_id:
        return BY_PARENT, COUNT_BY_PARENT
    if req.assignee_agent_id or req.assignee_user_id:
        return BY_ASSIGNEE, COUNT_BY_ASSIGNEE
    return WALK, COUNT_WALK


async def _filters(ctx: Context, req: ListTasks) -> dict[str, object]:
    if req.assignee_agent_id and req.assignee_user_id:
        message = "Filter by assigneeAgentId or assigneeUserId, not by both: a task has one assignee at most."
        raise InvalidInput(message, field="assigneeAgentId")
    statuses, opens = _statuses(req.status)
    numbers = await _numbers(ctx, req.query or "")
    try:
        parent = await task_id(ctx, req.parent_task_id) if req.parent_task_id else None
    except TaskNotFound:
        raise NothingMatches from None
    return {
        "workspace_id": ctx.actor.workspace_id,
        "actor_id": ctx.actor.id,
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


def _statuses(sent: Statuses | UnsetType) -> tuple[list[str] | None, list[bool]]:
    """The statuses to match, or None for all of a kind; and whether matching tasks can be open, closed or both."""
    if sent is UNSET or sent == []:
        return None, [True, False]
    asked = {sent} if isinstance(sent, str) else set(sent)
    if asked == {"open"}:
        return None, [True]
    if "open" in asked:
        asked |= {"triage", "backlog", "todo", "in_progress", "blocked", "in_review"}
    opens = [is_open for is_open in (True, False) if any((s not in CLOSED) is is_open for s in asked)]
    return sorted(asked - {"open"}), opens


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
        if await ctx.db.ask(GET_TASK, {**ctx.who, "taskId": id}):
            return [range(int(digits), int(digits) + 1)]
    tens = [10**more for more in range(DIGITS_MAX - len(digits) + 1)]
    return [range(int(digits) * ten, (int(digits) + 1) * ten) for ten in tens]


def literal(text: str) -> str:
    """Text in which LIKE finds nothing special."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _trimmed(page: Page[Task], fields: Fields | UnsetType) -> Page[Task]:
    if not fields:
        return page
    return Page(page.items.only(frozenset(fields)), page.cursor, page.total)
