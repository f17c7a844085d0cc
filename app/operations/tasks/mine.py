"""list-my-tasks: the queue of one assignee."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, One, Query
from app.ids import FIRST_ID
from app.operations.tasks.selection import (
    IncludeTotal,
    OfStatus,
    OnlyFields,
    cost_of_total,
    statuses_in,
    trimmed,
)
from app.operations.tasks.task import ASKERS_TASK_JSON, Task
from app.rpc import AgentRequest, Context, Page, given, operation
from app.types import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, PageLimit

URGENCY_CLOSED_MIN: Final = 5  # tasks.urgency: open ones are 0 to 4, closed ones 5 to 9
URGENCY_MAX: Final = 9


class PageRow(msgspec.Struct):
    """A page of tasks, and the cursor that continues behind it if there are more."""

    tasks: Encoded[list[Task]]
    cursor: str | None


# The queue of one assignee. (urgency, id) is the order of the index, so a page is read straight off it. It comes
# as one value, for this is the list that agents ask for all the time: taking it row by row costs the service more
# than making it one costs Postgres.
LIST_MINE = Query(
    PageRow,
    f"""
    SELECT coalesce(array_to_json(array_agg({ASKERS_TASK_JSON}) FILTER (WHERE t.place <= %(limit)s::int)), '[]'),
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
    One[int],
    """
    SELECT count(*)
      FROM tasks t
     WHERE t.workspace_id = %(workspace_id)s::uuid AND t.assignee_id = %(actor_id)s::uuid
       AND t.urgency BETWEEN %(urgency_min)s::smallint AND %(urgency_max)s::smallint
       AND (%(statuses)s::text[] IS NULL OR t.status = ANY(%(statuses)s::text[]))
    """,
)


class ListMyTasks(AgentRequest):
    """What to list of your own tasks."""

    status: OfStatus = UNSET
    fields: OnlyFields = UNSET
    include_total: IncludeTotal = False
    limit: PageLimit = UNSET
    cursor: Annotated[
        Annotated[str, Meta(pattern="^[0-9]-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=38)]
        | None
        | UnsetType,
        Meta(description="The `pagination.cursor` of the page before."),
    ] = UNSET


@operation(scope="task-read", read_only=True, more=cost_of_total)
async def list_my_tasks(ctx: Context, req: ListMyTasks) -> Page[Task]:
    """List all tasks assigned to you, open before closed, most urgent first; get-inbox shows the first of the open ones.

    The first one with `status=open` is what to do next. Page with `cursor`.
    """
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    after_urgency, _, after_id = (given(req.cursor) or f"0-{FIRST_ID}").partition("-")
    statuses, opens = statuses_in(req.status)
    filters = {
        "statuses": statuses,
        "urgency_min": 0 if True in opens else URGENCY_CLOSED_MIN,
        "urgency_max": URGENCY_MAX if False in opens else URGENCY_CLOSED_MIN - 1,
    }
    page = await ctx.one(
        LIST_MINE, **filters, after_urgency=int(after_urgency), after_id=after_id, limit=limit
    )
    assert page is not None, "an aggregate has a row"
    total = await ctx.one(COUNT_MINE, **filters) if req.include_total else None
    return trimmed(Page(page.tasks, page.cursor, total and total.value), req.fields)
