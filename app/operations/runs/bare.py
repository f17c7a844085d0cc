"""The second contract's face of a run: what its clients call a task, under /v1/tasks (contract sections 15 to 19).

Bare objects in which every key is always present. `PUT` merges: what is absent stays, null clears. The same keys,
scopes and rows as everywhere: the organization is the workspace, the author is whoever created it.

A run with a holder is a claim. It is shown here like any other and its holder may write results into it while the
claim lives; but its status and times are the claim's, and only the operations on claims change them.
"""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import BatchQuery, Encoded, Query, array
from app.errors import (
    ApiError,
    Contended,
    EtagMismatch,
    InvalidInput,
    LeaseLost,
    NotHolder,
    RunClaimed,
    RunNotFound,
    TaskNotFound,
    TaskReadOnly,
    TooManyParts,
)
from app.ids import new_id
from app.operations.runs.run import ERRORS_MAX, RUN_VISIBLE, NewRunProblem, RunError, RunStatus
from app.operations.tasks.change import ATTEMPTS_MAX, MOVE_LOCK
from app.operations.tasks.fence import why_not_live
from app.operations.tasks.task import VISIBLE, WRITABLE, task_id, uuid_or_none
from app.rpc import (
    IN_PATH,
    Answer,
    BareRequest,
    Context,
    IfMatch,
    Outcome,
    Page,
    changes,
    etag_of,
    given,
    operation,
    versions_in,
)
from app.types import (
    NAME_CHARACTERS_MAX,
    NO_NUL,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    TEXT_CHARACTERS_MAX,
    Cursor,
    Id,
    Limit,
    Markdown,
    Timestamp,
    When,
)

CHILDREN_DEPTH_MAX: Final = 8  # levels of children in an answer; deeper ones are read from their own parent
CHILDREN_COUNT_MAX: Final = 500  # children of all levels in an answer, nearest first: some 500 kB
DELETED_RUNS_MAX: Final = (
    1000  # with all that hangs below it; a call should not hold so many locks for longer
)

Kind = Annotated[
    str,
    # The last group refuses what `$` alone would let pass: a line feed at the end.
    Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$(?!\\n)"),
]
Link = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
Title = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX, extra_json_schema=NO_NUL)]
"""Here a title may be of any length, and empty: the second contract says nothing of it."""


class BareTask(Answer):
    """A task as the second contract has it: one attempt to do something. All keys are always there."""

    id: Annotated[str, Meta(description="Its id.")]
    kind: Annotated[
        str,
        Meta(description="What sort of task it is: `default`, `call_action`, `flow`, `claim`, or your own."),
    ]
    status: Annotated[RunStatus, Meta(description="Where it stands.")]
    title: Annotated[str | None, Meta(description="What it is, for people.")]
    description: Annotated[str | None, Meta(description="The rest of it.")]
    target_id: Annotated[str | None, Meta(description="The resource or action it is about.")]
    executor_id: Annotated[str | None, Meta(description="Who should handle it.")]
    input: Annotated[Any, Meta(description="Data for the run; any JSON.")]
    output: Annotated[Any, Meta(description="The result; any JSON.")]
    params: Annotated[dict[str, Any], Meta(description="Settings of this task.")]
    errors: Annotated[list[RunError], Meta(description="Problems met while running.")]
    parent_id: Annotated[str | None, Meta(description="The task it is a part of.")]
    children: Annotated[
        "list[BareTask]",
        Meta(
            description="Its parts, oldest first, with theirs: 8 levels and 500 tasks at most, nearest first."
        ),
    ]
    state_id: Annotated[str | None, Meta(description="The State it was created with.")]
    started_at: Annotated[Timestamp | None, Meta(description="When it started.")]
    ended_at: Annotated[Timestamp | None, Meta(description="When it ended.")]
    app_id: Annotated[str | None, Meta(description="The installed app concerned.")]
    author_id: Annotated[str, Meta(description="Who created it.")]
    organization_id: Annotated[str, Meta(description="The organization, which is the workspace.")]
    created_at: Annotated[Timestamp, Meta(description="When it was created.")]
    updated_at: Annotated[Timestamp, Meta(description="When it last changed.")]
    work_item_id: Annotated[
        str | None, Meta(description="The task of the workspace that it works on, if any.")
    ]


class Deleted(Answer):
    """What was deleted."""

    id: Annotated[str, Meta(description="Its id.")]


class BareRow(msgspec.Struct):
    """A run in this face, without children."""

    ord: int
    task: Encoded[BareTask]
    version: int


BARE_JSON: Final = """
    row_to_json((SELECT w FROM (SELECT
        r.id, r.kind, r.status, r.title, r.description, r.target_id AS "targetId", r.executor_id AS "executorId",
        r.input, r.output, r.params, r.errors, r.parent_id AS "parentId", '[]'::json AS children, r.state_id AS "stateId",
        to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "startedAt",
        to_char(r.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "endedAt",
        r.app_id AS "appId", r.author_id AS "authorId", r.workspace_id AS "organizationId",
        to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "createdAt",
        to_char(r.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "updatedAt",
        r.work_item_id AS "workItemId") w))"""

_INPUT: Final = """
    i AS MATERIALIZED (
        SELECT (e->>'ord')::int           AS ord,
               (e->>'workspaceId')::uuid  AS workspace_id,
               (e->>'actorId')::uuid      AS actor_id,
               e->>'actorKind'            AS actor_kind,
               (e->>'runId')::uuid        AS run_id,
               nullif(e->'versions', 'null') AS versions,
               e->'changes'               AS changes,
               (e->'changes'->>'parentId')::uuid   AS parent_id,
               (e->'changes'->>'workItemId')::uuid AS work_item_id
          FROM jsonb_array_elements(%(items)s::jsonb) AS e
    )"""

_PARENT_VISIBLE: Final = f"""EXISTS (
        SELECT FROM runs r WHERE r.workspace_id = i.workspace_id AND r.id = i.parent_id AND {RUN_VISIBLE})"""

_WORK_ITEM_WRITABLE: Final = f"""EXISTS (
        SELECT FROM tasks t WHERE t.workspace_id = i.workspace_id AND t.id = i.work_item_id AND {WRITABLE})"""

# A State that is asked for comes first: the run names it.
CREATE_RUN = BatchQuery(
    BareRow,
    f"""
    WITH {_INPUT}, usable AS (
        SELECT i.*
          FROM i
         WHERE (i.parent_id IS NULL OR {_PARENT_VISIBLE}) AND (i.work_item_id IS NULL OR {_WORK_ITEM_WRITABLE})
    ), state AS (
        INSERT INTO states (workspace_id, id, name, root_id)
        SELECT u.workspace_id, (u.changes->>'stateId')::uuid,
               left(coalesce(nullif(u.changes->>'title', ''), u.run_id::text), 500), (u.changes->>'rootId')::uuid
          FROM usable u
         WHERE u.changes ? 'stateId'
        RETURNING id
    ), r AS (
        INSERT INTO runs (workspace_id, id, kind, status, title, description, target_id, executor_id, input, output, params,
                          parent_id, state_id, app_id, work_item_id, author_id, author_kind, started_at, ended_at)
        SELECT u.workspace_id, u.run_id, u.changes->>'kind', n.status, u.changes->>'title', u.changes->>'description',
               u.changes->>'targetId', u.changes->>'executorId', nullif(u.changes->'input', 'null'),
               nullif(u.changes->'output', 'null'), coalesce(u.changes->'params', '{{}}'), u.parent_id, state.id,
               u.changes->>'appId', u.work_item_id, u.actor_id, u.actor_kind,
               CASE WHEN u.changes ? 'startedAt' THEN to_timestamp((u.changes->>'startedAt')::float8)
                    WHEN n.status = 'running' THEN now() END,
               CASE WHEN u.changes ? 'endedAt' THEN to_timestamp((u.changes->>'endedAt')::float8)
                    WHEN n.status IN ('completed', 'failed', 'cancelled') THEN now() END
          FROM usable u
          LEFT JOIN state ON state.id = (u.changes->>'stateId')::uuid
         CROSS JOIN LATERAL (SELECT coalesce(u.changes->>'status', 'created') AS status) n
        RETURNING *
    )
    SELECT i.ord, {BARE_JSON}, r.version
      FROM r
      JOIN i ON i.run_id = r.id
    """,
)

# The row as it shall be. The server stamps what the caller leaves unsaid (B8). A claim keeps its status and times.
_NEXT: Final = """
    CROSS JOIN LATERAL (SELECT
        CASE WHEN i.changes ? 'status' THEN i.changes->>'status' ELSE o.status END AS status,
        CASE WHEN i.changes ? 'title' THEN i.changes->>'title' ELSE o.title END AS title,
        CASE WHEN i.changes ? 'description' THEN i.changes->>'description' ELSE o.description END AS description,
        CASE WHEN i.changes ? 'executorId' THEN i.changes->>'executorId' ELSE o.executor_id END AS executor_id,
        CASE WHEN i.changes ? 'input' THEN nullif(i.changes->'input', 'null') ELSE o.input END AS input,
        CASE WHEN i.changes ? 'output' THEN nullif(i.changes->'output', 'null') ELSE o.output END AS output,
        CASE WHEN i.changes ? 'params' THEN coalesce(nullif(i.changes->'params', 'null'), '{}') ELSE o.params END AS params,
        CASE WHEN i.changes ? 'errors' THEN coalesce(nullif(i.changes->'errors', 'null'), '[]') ELSE o.errors END AS errors,
        CASE WHEN i.changes ? 'parentId' THEN i.parent_id ELSE o.parent_id END AS parent_id,
        CASE WHEN i.changes ? 'workItemId' THEN i.work_item_id ELSE o.work_item_id END AS work_item_id) n
    CROSS JOIN LATERAL (SELECT
        CASE WHEN i.changes ? 'startedAt' THEN to_timestamp((i.changes->>'startedAt')::float8)
             WHEN n.status = 'running' AND o.status <> 'running' THEN coalesce(o.started_at, now())
             ELSE o.started_at END AS started_at,
        CASE WHEN i.changes ? 'endedAt' THEN to_timestamp((i.changes->>'endedAt')::float8)
             WHEN n.status IN ('completed', 'failed', 'cancelled') AND o.status <> n.status THEN now()
             ELSE o.ended_at END AS ended_at) s"""

_DIFFERS: Final = """
    (n.status, n.title, n.description, n.executor_id, n.input, n.output, n.params, n.errors, n.parent_id, n.work_item_id,
     s.started_at, s.ended_at)
    IS DISTINCT FROM
    (o.status, o.title, o.description, o.executor_id, o.input, o.output, o.params, o.errors, o.parent_id, o.work_item_id,
     o.started_at, o.ended_at)"""

_MATCHES: Final = """(i.versions IS NULL OR i.versions @> to_jsonb(o.version))"""

# Who may write into it: into a claim its holder while it lives, and nothing that is the claim's own; into any
# other run whoever may write to the work item it belongs to, and everyone if it belongs to none.
_MAY_WRITE: Final = f"""(CASE WHEN o.holder_id IS NULL THEN
             o.work_item_id IS NULL
             OR EXISTS (SELECT FROM tasks t WHERE t.workspace_id = o.workspace_id AND t.id = o.work_item_id AND {WRITABLE})
        ELSE o.holder_id = i.actor_id AND o.ended_at IS NULL AND o.lease_expires_at > now()
             AND NOT i.changes ?| ARRAY['status', 'startedAt', 'endedAt', 'workItemId'] END)"""

# Whether the new parent is the run itself or stands below it. Callers that set a parent take MOVE_LOCK first.
_PARENT_BELOW: Final = """EXISTS (
        WITH RECURSIVE up AS (
            SELECT p.id, p.parent_id FROM runs p WHERE p.workspace_id = i.workspace_id AND p.id = i.parent_id
             UNION
            SELECT p.id, p.parent_id FROM up JOIN runs p ON p.workspace_id = i.workspace_id AND p.id = up.parent_id
        )
        SELECT FROM up WHERE up.id = o.id)"""

UPDATE_RUN = BatchQuery(
    BareRow,
    f"""
    WITH {_INPUT}, r AS (
        UPDATE runs r
           SET status = n.status, title = n.title, description = n.description, executor_id = n.executor_id,
               input = n.input, output = n.output, params = n.params, errors = n.errors, parent_id = n.parent_id,
               work_item_id = n.work_item_id, started_at = s.started_at, ended_at = s.ended_at,
               lease_expires_at = greatest(r.lease_expires_at, now() + make_interval(secs => r.lease_seconds)),
               version = r.version + 1, updated_at = now()
          FROM i
          JOIN runs o ON o.workspace_id = i.workspace_id AND o.id = i.run_id
         {_NEXT}
         WHERE r.workspace_id = i.workspace_id AND r.id = i.run_id
           AND r.version = o.version                      -- nobody came in between
           AND r.ended_at IS NOT DISTINCT FROM o.ended_at
           AND {_MATCHES}
           AND {RUN_VISIBLE}
           AND {_MAY_WRITE}
           AND (i.parent_id IS NULL OR i.parent_id = o.parent_id OR ({_PARENT_VISIBLE} AND NOT {_PARENT_BELOW}))
           AND (i.work_item_id IS NULL OR {_WORK_ITEM_WRITABLE})
           AND {_DIFFERS}
        RETURNING r.*, i.ord
    )
    SELECT r.ord, {BARE_JSON}, r.version FROM r
    """,
    one_per="runId",
)


class WhyRow(msgspec.Struct):
    """Why a run was not changed."""

    ord: int
    task: Encoded[BareTask]
    version: int
    matches: bool
    may_write: bool
    is_claim: bool
    differs: bool
    parent_ok: bool
    parent_below: bool
    work_item_ok: bool


WHY_RUN = BatchQuery(
    WhyRow,
    f"""
    WITH {_INPUT}
    SELECT i.ord, {BARE_JSON}, r.version, {_MATCHES}, {_MAY_WRITE}, o.holder_id IS NOT NULL, {_DIFFERS},
           i.parent_id IS NULL OR i.parent_id IS NOT DISTINCT FROM o.parent_id OR {_PARENT_VISIBLE},
           i.parent_id IS NOT NULL AND {_PARENT_BELOW},
           i.work_item_id IS NULL OR {_WORK_ITEM_WRITABLE}
      FROM i
      JOIN runs o ON o.workspace_id = i.workspace_id AND o.id = i.run_id
     CROSS JOIN LATERAL (SELECT o.*) r                    -- the same row, under the name the shared fragments use
     {_NEXT}
     WHERE {RUN_VISIBLE}
    """,
)


class NodeRow(msgspec.Struct):
    """A run, and where it hangs in the tree that is asked for."""

    id: UUID
    parent_id: UUID | None
    depth: int
    task: Encoded[BareTask]
    version: int


# Level by level: the walk stops as soon as it has enough, however much hangs below.
TREE = Query(
    NodeRow,
    f"""
    WITH RECURSIVE i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id
    ), tree AS (
        SELECT r.id, r.parent_id, 0 AS depth
          FROM i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = ANY(%(run_ids)s::uuid[])
         WHERE {RUN_VISIBLE}
         UNION ALL
        SELECT below.id, below.parent_id, tree.depth + 1
          FROM tree
         CROSS JOIN i
         CROSS JOIN LATERAL (
               SELECT r.id, r.parent_id
                 FROM runs r
                WHERE r.workspace_id = i.workspace_id AND r.parent_id = tree.id AND {RUN_VISIBLE}
                ORDER BY r.id
                LIMIT %(count_max)s) below
         WHERE tree.depth < %(depth_max)s
    ), node AS MATERIALIZED (
        SELECT * FROM tree LIMIT %(count_max)s
    )
    SELECT node.id, node.parent_id, node.depth, {BARE_JSON}, r.version
      FROM node
      JOIN runs r ON r.workspace_id = %(workspace_id)s::uuid AND r.id = node.id
     ORDER BY node.depth, node.id
    """,
)


class ListedRow(msgspec.Struct):
    """A run in a list."""

    id: UUID


_LIST_INPUT: Final = """
    i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid AS workspace_id,
               %(actor_id)s::uuid     AS actor_id,
               %(kind)s::text         AS kind,
               %(status)s::text       AS status,
               %(parent_id)s::uuid    AS parent_id,
               %(app_id)s::text       AS app_id,
               %(executor_id)s::text  AS executor_id,
               %(target_id)s::text    AS target_id,
               %(before)s::uuid       AS before
    )"""

_LISTED: Final = f"""
           r.id < i.before
           AND (i.kind IS NULL OR r.kind = i.kind)
           AND (i.status IS NULL OR r.status = i.status)
           AND (i.parent_id IS NULL OR r.parent_id = i.parent_id)
           AND (i.app_id IS NULL OR r.app_id = i.app_id)
           AND (i.executor_id IS NULL OR r.executor_id = i.executor_id)
           AND (i.target_id IS NULL OR r.target_id = i.target_id)
           AND {RUN_VISIBLE}
         ORDER BY r.id DESC
         LIMIT %(limit)s"""

LIST_ALL = Query(
    ListedRow,
    f"""
    WITH {_LIST_INPUT}
    SELECT r.id FROM i JOIN runs r ON r.workspace_id = i.workspace_id WHERE {_LISTED}
    """,
)

# What an executor polls with: its own runs that stand somewhere.
LIST_BY_EXECUTOR = Query(
    ListedRow,
    f"""
    WITH {_LIST_INPUT}
    SELECT r.id
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.executor_id = %(executor_id)s::text
     WHERE {_LISTED}
    """,
)

LIST_BY_PARENT = Query(
    ListedRow,
    f"""
    WITH {_LIST_INPUT}
    SELECT r.id
      FROM i JOIN runs r ON r.workspace_id = i.workspace_id AND r.parent_id = %(parent_id)s::uuid
     WHERE {_LISTED}
    """,
)


class DeletedRow(msgspec.Struct):
    """What a deletion came to."""

    matches: bool
    may_delete: bool
    holds_claim: bool
    version: int
    count: int
    deleted: bool


# Everything that hangs below goes along, and the States that were made with it. Nothing is deleted if anything in it
# is a claim, whose history belongs to its task, or if it is more than one call should delete.
DELETE_RUN = Query(
    DeletedRow,
    f"""
    WITH RECURSIVE i AS MATERIALIZED (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(versions)s::jsonb AS versions,
               '{{}}'::jsonb AS changes
    ), root AS (
        SELECT r.*
          FROM i
          JOIN runs r ON r.workspace_id = i.workspace_id AND r.id = %(run_id)s::uuid
         WHERE {RUN_VISIBLE}
           FOR UPDATE OF r
    ), tree AS (
        SELECT root.id FROM root
         UNION
        SELECT r.id FROM tree JOIN runs r ON r.workspace_id = %(workspace_id)s::uuid AND r.parent_id = tree.id
    ), counted AS MATERIALIZED (
        SELECT id FROM tree LIMIT %(count_max)s + 1
    ), may AS MATERIALIZED (
        SELECT {_MATCHES} AS matches,
               NOT EXISTS (SELECT FROM counted
                             JOIN runs o ON o.workspace_id = i.workspace_id AND o.id = counted.id
                            WHERE o.holder_id IS NOT NULL OR NOT {_MAY_WRITE}) AS may_delete,
               EXISTS (SELECT FROM counted
                         JOIN runs c ON c.workspace_id = i.workspace_id AND c.id = counted.id
                        WHERE c.holder_id IS NOT NULL) AS holds_claim,
               o.version, (SELECT count(*) FROM counted)::int AS count
          FROM i CROSS JOIN root o
    ), gone AS (
        DELETE FROM runs r
         USING counted, may
         WHERE r.workspace_id = %(workspace_id)s::uuid AND r.id = counted.id
           AND may.matches AND may.may_delete AND may.count <= %(count_max)s
        RETURNING r.id, r.state_id
    ), states_gone AS (
        DELETE FROM states s
         USING gone
         WHERE s.workspace_id = %(workspace_id)s::uuid AND s.id = gone.state_id
    ), log_gone AS (
        DELETE FROM run_log l
         USING gone
         WHERE l.workspace_id = %(workspace_id)s::uuid AND l.run_id = gone.id
    )
    SELECT matches, may_delete, holds_claim, version, count, EXISTS (SELECT FROM gone) FROM may
    """,
)


class CreateBareTask(BareRequest):
    """The task to create."""

    kind: Annotated[
        Kind, Meta(description="What sort of task: `default`, `call_action`, `flow`, or a name of your own.")
    ]
    status: Annotated[
        RunStatus | None | UnsetType, Meta(description="Where it starts: `created` unless told.")
    ] = UNSET
    title: Annotated[Title | None | UnsetType, Meta(description="What it is, for people.")] = UNSET
    description: Annotated[Markdown | None | UnsetType, Meta(description="The rest of it.")] = UNSET
    target_id: Annotated[Link | None | UnsetType, Meta(description="The resource or action it is about.")] = (
        UNSET
    )
    executor_id: Annotated[Link | None | UnsetType, Meta(description="Who should handle it.")] = UNSET
    input: Annotated[Any | UnsetType, Meta(description="Data for the run; any JSON.")] = UNSET
    output: Annotated[Any | UnsetType, Meta(description="The result; any JSON.")] = UNSET
    params: Annotated[dict[str, Any] | None | UnsetType, Meta(description="Settings of this task.")] = UNSET
    parent_id: Annotated[Link | None | UnsetType, Meta(description="The task it is a part of.")] = UNSET
    stateful: Annotated[bool | None | UnsetType, Meta(description="Whether to create a State with it.")] = (
        UNSET
    )
    started_at: Annotated[When | None | UnsetType, Meta(description="When it started, with an offset.")] = (
        UNSET
    )
    ended_at: Annotated[When | None | UnsetType, Meta(description="When it ended, with an offset.")] = UNSET
    app_id: Annotated[Link | None | UnsetType, Meta(description="The installed app concerned.")] = UNSET
    work_item_id: Annotated[
        Link | None | UnsetType,
        Meta(description="The task of the workspace it works on, by id or as `T-42`."),
    ] = UNSET


class UpdateBareTask(BareRequest):
    """What to change. An absent key stays as it is; null clears it."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]
    if_match: IfMatch = UNSET
    status: Annotated[RunStatus | None | UnsetType, Meta(description="Where it stands now.")] = UNSET
    title: Annotated[Title | None | UnsetType, Meta(description="What it is, for people.")] = UNSET
    description: Annotated[Markdown | None | UnsetType, Meta(description="The rest of it.")] = UNSET
    executor_id: Annotated[Link | None | UnsetType, Meta(description="Who should handle it.")] = UNSET
    input: Annotated[
        Any | UnsetType, Meta(description="Data for the run; any JSON, instead of what was there.")
    ] = UNSET
    output: Annotated[
        Any | UnsetType, Meta(description="The result; any JSON, instead of what was there.")
    ] = UNSET
    params: Annotated[
        dict[str, Any] | None | UnsetType, Meta(description="Settings of this task, instead of those it had.")
    ] = UNSET
    errors: Annotated[
        Annotated[list[NewRunProblem], Meta(max_length=ERRORS_MAX)] | None | UnsetType,
        Meta(description="Problems met while running, instead of those it had; at most 100."),
    ] = UNSET
    parent_id: Annotated[Link | None | UnsetType, Meta(description="The task to move it under.")] = UNSET
    started_at: Annotated[When | None | UnsetType, Meta(description="When it started, with an offset.")] = (
        UNSET
    )
    ended_at: Annotated[When | None | UnsetType, Meta(description="When it ended, with an offset.")] = UNSET
    work_item_id: Annotated[
        Link | None | UnsetType,
        Meta(description="The task of the workspace it works on, by id or as `T-42`."),
    ] = UNSET


class GetBareTask(BareRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]


class DeleteBareTask(BareRequest):
    """Which task."""

    task_id: Annotated[Id, Meta(description="The task.", extra=IN_PATH)]
    if_match: IfMatch = UNSET


class BarePagination(msgspec.Struct, rename="camel"):
    """Which page of a list."""

    limit: Annotated[
        Limit | None | UnsetType, Meta(description="How many at most: 50 unless told, never more than 100.")
    ] = UNSET
    cursor: Annotated[
        Cursor | None | UnsetType, Meta(description="The id of the last task of the page before.")
    ] = UNSET


class ListBareTasks(BareRequest):
    """What to list. Filters add up."""

    kind: Annotated[Kind | None | UnsetType, Meta(description="Only tasks of this sort.")] = UNSET
    status: Annotated[RunStatus | None | UnsetType, Meta(description="Only tasks that stand there.")] = UNSET
    parent_id: Annotated[Link | None | UnsetType, Meta(description="Only direct parts of this task.")] = UNSET
    app_id: Annotated[Link | None | UnsetType, Meta(description="Only tasks of this app.")] = UNSET
    executor_id: Annotated[Link | None | UnsetType, Meta(description="Only tasks of this executor.")] = UNSET
    target_id: Annotated[Link | None | UnsetType, Meta(description="Only tasks about this.")] = UNSET
    pagination: Annotated[BarePagination | None | UnsetType, Meta(description="Which page.")] = UNSET


WRITE_ERRORS: Final = (RunNotFound, TaskNotFound, TaskReadOnly)


@operation(scope="task-write", path="tasks", method="POST", status=201, errors=WRITE_ERRORS)
async def create_task(ctx: Context, req: CreateBareTask) -> Outcome[BareTask]:
    """Create a task: one attempt to do something.

    Only the kind is required. Nothing runs by itself: executors find it with listTasks and report with updateTask.
    """
    links = await _links(ctx, req)
    values = {
        **_values(req),
        **{name: value for name, value in changes(req, "target_id", "app_id").items() if value},
        "kind": req.kind,
        **({"stateId": new_id(), "rootId": new_id()} if req.stateful is True else {}),
        **links,
    }
    values = {
        name: value for name, value in values.items() if value is not None
    }  # on creation null means absent
    item = {**ctx.who, "runId": new_id(), "changes": values}
    for _ in range(ATTEMPTS_MAX):
        if (row := await ctx.db.write(CREATE_RUN, item)) is not None:
            return Outcome(row.task, version=row.version)
        if given(req.parent_id) and not await _node(ctx, links["parentId"]):
            raise RunNotFound(str(req.parent_id), field="parentId")
        if given(req.work_item_id):
            raise await _work_item_refusal(ctx, links["workItemId"], str(req.work_item_id))
    raise RunNotFound(str(req.parent_id), field="parentId")


@operation(
    scope="task-write",
    path="tasks/{taskId}",
    method="PUT",
    errors=(InvalidInput, *WRITE_ERRORS, EtagMismatch, RunClaimed, NotHolder, LeaseLost, Contended),
)
async def update_task(ctx: Context, req: UpdateBareTask) -> Outcome[BareTask]:
    """Change a task: report how it goes and what came of it.

    What you leave out stays; `{}` changes nothing. When the status moves and you give no times, `startedAt` and
    `endedAt` are filled in. Send the ETag you read as `If-Match` to be refused if it was changed since; without it the last
    write wins.
    """
    run_id = _run_id(req.task_id)
    links = await _links(ctx, req)
    versions = versions_in(req.if_match)
    item = {**ctx.who, "runId": run_id, "versions": versions, "changes": {**_values(req), **links}}
    for _ in range(ATTEMPTS_MAX):
        row = await _write_run(ctx, item, moves=links.get("parentId") is not None)
        if row is None:
            why = await ctx.db.ask(WHY_RUN, item)
            if why is None:
                raise RunNotFound(req.task_id, field="taskId")
            if (refusal := await _refusal(ctx, req, why, item)) is not None:
                raise refusal
            if why.differs:
                continue  # someone changed it between the two statements
            row = BareRow(0, why.task, why.version)
        return Outcome(await _with_children(ctx, run_id, row.task), version=row.version)
    raise Contended


@operation(scope="task-read", path="tasks/{taskId}", method="GET", read_only=True, errors=(RunNotFound,))
async def get_task(ctx: Context, req: GetBareTask) -> Outcome[BareTask]:
    """Read one task with its parts.

    The ETag is the version of the task itself: what its parts do does not change it.
    """
    run_id = _run_id(req.task_id)
    nodes = await _tree(ctx, [run_id])
    if not nodes:
        raise RunNotFound(req.task_id, field="taskId")
    return Outcome(_nested(nodes)[run_id], version=nodes[0].version)


@operation(scope="task-read", path="tasks/list", method="POST", read_only=True)
async def list_tasks(ctx: Context, req: ListBareTasks) -> Page[BareTask]:
    """List tasks, newest first, each with its parts.

    For the next page send the id of the last task as `pagination.cursor`; the list is over when a page is not full.
    """
    page = given(req.pagination) or BarePagination()
    parent = given(req.parent_id) or None
    if parent is not None and uuid_or_none(parent) is None:
        return Page(array([]))
    executor = given(req.executor_id) or None
    rows = await ctx.db.all(
        LIST_BY_PARENT if parent else LIST_BY_EXECUTOR if executor else LIST_ALL,
        workspace_id=ctx.actor.workspace_id,
        actor_id=ctx.actor.id,
        kind=given(req.kind),
        status=given(req.status),
        parent_id=parent,
        app_id=given(req.app_id) or None,
        executor_id=executor,
        target_id=given(req.target_id) or None,
        before=given(page.cursor) or LAST_ID,
        limit=min(given(page.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX),
    )
    if not rows:
        return Page(array([]))
    shown = _nested(await _tree(ctx, [row.id for row in rows]))
    return Page(array(shown[row.id] for row in rows if row.id in shown))


@operation(
    scope="task-write",
    path="tasks/{taskId}",
    method="DELETE",
    errors=(RunNotFound, EtagMismatch, RunClaimed, TaskReadOnly, TooManyParts),
)
async def delete_task(ctx: Context, req: DeleteBareTask) -> Deleted:
    """Delete a task with all its parts, and the States that were created with them.

    A claim of a task cannot be deleted: it is part of that task's history.
    """
    run_id = _run_id(req.task_id)
    done = await ctx.db.one(
        DELETE_RUN,
        workspace_id=ctx.actor.workspace_id,
        actor_id=ctx.actor.id,
        run_id=run_id,
        versions=_json(versions_in(req.if_match)),
        count_max=DELETED_RUNS_MAX,
    )
    if done is None:
        raise RunNotFound(req.task_id, field="taskId")
    if not done.matches:
        raise EtagMismatch(etag_of(done.version))
    if not done.may_delete:
        raise RunClaimed if done.holds_claim else TaskReadOnly
    if done.count > DELETED_RUNS_MAX:
        raise TooManyParts(DELETED_RUNS_MAX)
    return Deleted(id=str(run_id))


LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def _run_id(sent: str) -> UUID:
    if (id := uuid_or_none(sent)) is None:
        raise RunNotFound(sent, field="taskId")
    return id


def _values(req: CreateBareTask | UpdateBareTask) -> dict[str, object]:
    """What was sent, with times as epoch seconds. An empty link is an absent one (B17), and a status cannot be cleared."""
    sent = changes(
        req, "status", "title", "description", "input", "output", "params", "errors", "executor_id"
    )
    if sent.get("status") is None:
        sent.pop("status", None)
    if sent.get("executorId") == "":
        del sent["executorId"]
    for name, at in (("startedAt", req.started_at), ("endedAt", req.ended_at)):
        if at is not UNSET:
            sent[name] = at and at.timestamp()
    return sent


async def _links(
    ctx: Context, req: CreateBareTask | UpdateBareTask
) -> dict[str, Any]:  # Any: ids, or null to clear
    """The links that were sent, as ids."""
    links: dict[str, Any] = {}
    if req.parent_id is None:
        links["parentId"] = None
    elif req.parent_id:
        if (parent := uuid_or_none(req.parent_id)) is None:
            raise RunNotFound(req.parent_id, field="parentId")
        links["parentId"] = parent
    if req.work_item_id is None:
        links["workItemId"] = None
    elif req.work_item_id:
        links["workItemId"] = await task_id(ctx, req.work_item_id, field="workItemId")
    return links


def _json(versions: list[int] | None) -> str | None:
    return None if versions is None else msgspec.json.encode(versions).decode()


async def _write_run(ctx: Context, item: dict[str, object], *, moves: bool) -> BareRow | None:
    if not moves:
        return await ctx.db.write(UPDATE_RUN, item)
    async with ctx.db.transaction() as tx:
        await tx.one(MOVE_LOCK, workspace_id=ctx.actor.workspace_id)
        return await tx.write(UPDATE_RUN, item)


async def _refusal(  # noqa: PLR0911 -- a ladder
    ctx: Context, req: UpdateBareTask, why: WhyRow, item: dict[str, Any]
) -> ApiError | None:
    """The first thing that stands in the way, most fundamental first; None if nothing does."""
    if not why.may_write:
        if not why.is_claim:
            return TaskReadOnly()
        return await why_not_live(ctx, item["runId"]) or RunClaimed()
    if not why.matches:
        return EtagMismatch(etag_of(why.version))
    if not why.parent_ok:
        return RunNotFound(str(req.parent_id), field="parentId")
    if why.parent_below:
        message = "A task cannot be moved under itself or one of its own parts. Choose another parent."
        return InvalidInput(message, field="parentId")
    if not why.work_item_ok:
        return await _work_item_refusal(ctx, item["changes"]["workItemId"], str(req.work_item_id))
    return None


class SeenRow(msgspec.Struct):
    """A task of the workspace that the caller sees."""

    id: UUID


SEES_WORK_ITEM = Query(
    SeenRow,
    f"""
    WITH i AS (SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id)
    SELECT t.id
      FROM i
      JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = %(task_id)s::uuid
     WHERE {VISIBLE}
    """,
    pipelined=True,
)


async def _work_item_refusal(ctx: Context, id: UUID, sent: str) -> ApiError:
    seen = await ctx.db.one(
        SEES_WORK_ITEM, workspace_id=ctx.actor.workspace_id, actor_id=ctx.actor.id, task_id=id
    )
    return TaskReadOnly() if seen else TaskNotFound(sent, field="workItemId")


async def _node(ctx: Context, run_id: UUID) -> bool:
    return bool(await _tree(ctx, [run_id], depth_max=0))


async def _tree(ctx: Context, run_ids: list[UUID], *, depth_max: int = CHILDREN_DEPTH_MAX) -> list[NodeRow]:
    """Runs with what hangs below them, nearest first."""
    return await ctx.db.all(
        TREE,
        workspace_id=ctx.actor.workspace_id,
        actor_id=ctx.actor.id,
        run_ids=run_ids,
        depth_max=depth_max,
        count_max=CHILDREN_COUNT_MAX + len(run_ids),
    )


async def _with_children(ctx: Context, run_id: UUID, task: Encoded[BareTask]) -> Encoded[BareTask]:
    """A run just written, with what hangs below it."""
    nodes = await _tree(ctx, [run_id])
    for node in nodes:
        if node.depth == 0:
            node.task = task
    return _nested(nodes).get(run_id, task)


def _nested(nodes: list[NodeRow]) -> dict[UUID, Encoded[BareTask]]:
    """Every run by id, with its children spliced in: deepest first, so that each is whole when it is put into its parent."""
    below: dict[UUID, list[bytes]] = {}
    whole: dict[UUID, Encoded[BareTask]] = {}
    for node in reversed(nodes):
        task = node.task
        if children := below.get(node.id):
            keys = msgspec.json.decode(task.raw, type=dict[str, msgspec.Raw])
            keys["children"] = msgspec.Raw(b"[%b]" % b",".join(reversed(children)))
            task = Encoded[BareTask](msgspec.json.encode(keys))
        if node.depth > 0 and node.parent_id is not None:
            below.setdefault(node.parent_id, []).append(task.raw)
        if node.depth == 0:
            whole[node.id] = task
    return whole
