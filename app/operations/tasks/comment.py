"""Remarks on tasks: written with comment-on-task, or along with a change that gives its reason; read with list-comments."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, LiteralString
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from app.db import Listed, One, Query
from app.db.phrases import agent, moment, user
from app.errors import IdentityNotFound, InvalidInput, TaskNotFound, TaskReadOnly
from app.ids import TICK_NOW, id_at, new_id, tick_of
from app.operations.mentions import GivenMention, Mention, addressed
from app.operations.tasks.task import task_id
from app.rpc import (
    UNTOLD,
    AgentRequest,
    AgentWrite,
    Answer,
    Context,
    Outcome,
    Page,
    Step,
    given,
    operation,
)
from app.types import (
    MENTIONS_MAX,
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    Id,
    Markdown,
    PageCursor,
    PageLimit,
    Timestamp,
)
from app.writes.access import CALLER, REMARKABLE, SHARABLE, VISIBLE
from app.writes.write import Write


class TaskComment(Answer):
    """A remark on a task."""

    news: ClassVar[tuple[str, ...]] = ("id", "mentions")

    brief: ClassVar[tuple[str, ...]] = ("id", "authorUserId", "authorAgentId", "body", "createdAt")

    id: Annotated[str, Meta(description="Its id.")]
    task_id: Annotated[str, Meta(description="The task it is about.")]
    author_user_id: Annotated[str | None, Meta(description="The human who wrote it.")]
    author_agent_id: Annotated[str | None, Meta(description="The agent who wrote it.")]
    body: Annotated[str, Meta(description="What it says, in markdown.")]
    parent_comment_id: Annotated[str | None, Meta(description="Always null here.")]
    resolved_at: Annotated[Timestamp | None, Meta(description="Always null here.")]
    mentions: Annotated[list[Mention], Meta(description="Who is addressed.")]
    created_at: Annotated[Timestamp, Meta(description="When it was written.")]
    updated_at: Annotated[Timestamp, Meta(description="When it was last changed.")]
    deleted_at: Annotated[Timestamp | None, Meta(description="Always null here.")]


COMMENT_JSON: Final = f"""
    row_to_json((SELECT w FROM (SELECT
        c.id, c.task_id AS "taskId",
        {user("c.author")} AS "authorUserId",
        {agent("c.author")} AS "authorAgentId",
        c.body, NULL AS "parentCommentId", NULL AS "resolvedAt", c.mentions::json,
        {moment("c.created_at")} AS "createdAt",
        {moment("c.created_at")} AS "updatedAt",
        NULL AS "deletedAt") w))"""


def in_its_place(task_id: LiteralString, id: LiteralString, nth: LiteralString = "1") -> LiteralString:
    """SQL: an id behind all that was said about a task of row `r`. From here to the commit nobody else says anything there.

    The lock is asked for before the clock, so a comment that waited comes later. Whoever takes several takes them in the
    order of their tasks.
    """
    return id_at(
        f"""CASE WHEN pg_advisory_xact_lock(hashtextextended('remark ' || r.workspace_id || ' ' || {task_id}, 0)) IS NOT NULL
                         THEN greatest({TICK_NOW}, (SELECT {tick_of("c.id")}
                                                      FROM task_comments c
                                                     WHERE c.workspace_id = r.workspace_id AND c.task_id = {task_id}
                                                     ORDER BY c.id DESC
                                                     LIMIT 1)) + {nth} END""",
        id,
    )


# Writes the comments of `remark`, a CTE with `ord`, the task and its version, who speaks, and the comment; with each its
# event, and whoever now takes part: the author, everyone mentioned, and the owners of agents among them. What
# waited for the author on this task is answered; for everyone mentioned the comment waits.
#
# An author who may not bring others in (SHARABLE) mentions those who see the task anyway. To them others are just text.
COMMENT_CTES: Final = f"""
    remarked AS MATERIALIZED (
        SELECT r.*, {in_its_place("r.task_id", "r.comment->>'id'", "r.ord")} AS comment_id FROM remark r
    ), said_to AS MATERIALIZED (
        SELECT i.workspace_id, i.task_id, i.version, i.actor_id, i.actor_kind, i.request_id, i.comment, i.comment_id,
               CASE WHEN i.comment->'mentions' = '[]' OR {SHARABLE} THEN i.comment->'mentions'
                    ELSE (SELECT coalesce(jsonb_agg(e.m ORDER BY e.place), '[]')
                            FROM jsonb_array_elements(i.comment->'mentions') WITH ORDINALITY AS e (m, place)
                           WHERE EXISTS (SELECT FROM task_participants p
                                          WHERE p.workspace_id = i.workspace_id AND p.identity_id = (e.m->>'id')::uuid
                                            AND p.task_id = t.id)
                              OR EXISTS (SELECT FROM channel_members m
                                          WHERE m.workspace_id = i.workspace_id AND m.identity_id = (e.m->>'id')::uuid
                                            AND m.channel_id = t.channel_id)) END AS mentions
          FROM remarked i
          JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id
    ), comment AS (
        INSERT INTO task_comments (workspace_id, task_id, id, author_id, author_kind, body, mentions)
        SELECT workspace_id, task_id, comment_id, actor_id, actor_kind, comment->>'body', mentions
          FROM said_to
        RETURNING *
    ), comment_event AS (
        INSERT INTO task_events (workspace_id, task_id, version, subject_id, kind, actor_id, actor_kind, request_id)
        SELECT workspace_id, task_id, version, comment_id, 'commented', actor_id, actor_kind, request_id
          FROM remarked
    ), party AS (
        INSERT INTO task_participants (workspace_id, identity_id, task_id)
        SELECT r.workspace_id, p.id, r.task_id
          FROM said_to r
         CROSS JOIN LATERAL (
               SELECT r.actor_id AS id
                UNION ALL
               SELECT (m->>'id')::uuid FROM jsonb_array_elements(r.mentions) AS m) named
          JOIN identities a ON a.workspace_id = r.workspace_id AND a.id = named.id
         CROSS JOIN LATERAL (VALUES (a.id), (a.owner_id)) AS p (id)
         WHERE p.id IS NOT NULL
         ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING
    ), heard AS (
        DELETE FROM unread_mentions u
         USING remark r
         WHERE u.workspace_id = r.workspace_id AND u.identity_id = r.actor_id AND u.place_id = r.task_id
    ), told AS (
        INSERT INTO unread_mentions (workspace_id, identity_id, place_id, id, created_at, version)
        SELECT r.workspace_id, (m->>'id')::uuid, r.task_id, r.comment_id, now(), r.version
          FROM said_to r
         CROSS JOIN LATERAL jsonb_array_elements(r.mentions) AS m
         WHERE (m->>'id')::uuid <> r.actor_id
    )"""

ADD_COMMENT = Write[TaskComment](
    takes="task_id uuid, comment jsonb",
    does=f"""
    remark AS (
        SELECT i.*, t.version
          FROM i
          JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id
         WHERE {REMARKABLE}
    ), {COMMENT_CTES}""",
    answers=f"""
        SELECT r.ord, {COMMENT_JSON} AS answer
          FROM comment c
          JOIN remarked r ON r.comment_id = c.id""",
    locks="task_id",
)

SEES_TASK = Query(
    One[UUID],
    f"""
    WITH i AS ({CALLER})
    SELECT t.id
      FROM i
      JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = %(task_id)s::uuid
     WHERE {VISIBLE}
    """,
    pipelined=True,
)

LIST_COMMENTS = Query(
    Listed[TaskComment],
    f"""
    SELECT {COMMENT_JSON}, c.id::text
      FROM task_comments c
     WHERE c.workspace_id = %(workspace_id)s::uuid AND c.task_id = %(task_id)s::uuid
       AND c.id > %(after)s::uuid
     ORDER BY c.id
     LIMIT %(limit)s
    """,
)

NIL: Final = UUID(int=0)


class CommentOnTask(AgentWrite):
    """A remark."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    body: Annotated[
        Markdown,
        Meta(min_length=1, description="The comment, in markdown. `@handle` outside code addresses someone."),
    ]
    mentions: Annotated[
        Annotated[list[GivenMention], Meta(max_length=MENTIONS_MAX)] | None | UnsetType,
        Meta(description="Whom to address besides those the body names. At most 20 in all.", extra=UNTOLD),
    ] = UNSET


class ListComments(AgentRequest):
    """Which comments."""

    task_id: Annotated[Id, Meta(description="The task, by id or as `T-42`.")]
    limit: PageLimit = UNSET
    cursor: PageCursor = UNSET


@operation(
    scope="task-write",
    errors=(InvalidInput, TaskNotFound, TaskReadOnly, IdentityNotFound),
    core=Step(60, "say what you found, ask, answer."),
)
async def comment_on_task(ctx: Context, req: CommentOnTask) -> Outcome[TaskComment]:
    """Comment on a task: say what you found, ask something, answer.

    Whoever you address as `@handle` sees the task from
    then on.

    If you may not post in its channel, you address only those who see it already: `mentions` says whom.

    A comment never changes the task's version, so it cannot conflict with anything.
    """
    id = await task_id(ctx, req.task_id)
    comment = await new_comment(ctx, req.body, given(req.mentions) or ())
    if (added := await ctx.write(ADD_COMMENT, task_id=id, comment=comment)) is not None:
        return added
    if await ctx.one(SEES_TASK, task_id=id):
        raise TaskReadOnly
    raise TaskNotFound(req.task_id)


@operation(scope="task-read", read_only=True, errors=(TaskNotFound,))
async def list_comments(ctx: Context, req: ListComments) -> Page[TaskComment]:
    """Read the comments of a task, oldest first.

    Page with `cursor`.
    """
    id = await task_id(ctx, req.task_id)
    if not await ctx.one(SEES_TASK, task_id=id):
        raise TaskNotFound(req.task_id)
    limit = min(given(req.limit) or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
    after = given(req.cursor) or NIL
    rows = await ctx.all(LIST_COMMENTS, task_id=id, after=str(after), limit=limit + 1)
    return Page[TaskComment].cut(rows, limit)


async def new_comment(ctx: Context, body: str, mentions: Sequence[GivenMention] = ()) -> dict[str, object]:
    """A comment as the statements take it, with everyone it addresses looked up."""
    found = await addressed(ctx, body, mentions, field="mentions")
    return {"id": new_id(), "body": body, "mentions": [{"id": a.id, "type": a.kind} for a in found]}
