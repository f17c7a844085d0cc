"""A task with what hangs below it: read level by level, and put together."""

from typing import Final
from uuid import UUID

import msgspec

from app.db import Encoded, Query
from app.operations.records.task import RECORD_JSON, TaskRecord
from app.operations.runs.run import RUN_VISIBLE, sees_all
from app.rpc import Context
from app.writes.access import CALLER

CHILDREN_DEPTH_MAX: Final = 8  # levels of children in an answer; deeper ones are read from their own parent
CHILDREN_COUNT_MAX: Final = 500  # children of all levels in an answer, nearest first: some 500 kB


class NodeRow(msgspec.Struct):
    """A run, and where it hangs in the tree that is asked for."""

    id: UUID
    parent_id: UUID | None
    depth: int
    task: Encoded[TaskRecord]
    version: int


# Level by level: the walk stops as soon as it has enough, however much hangs below.
TREE = Query(
    NodeRow,
    f"""
    WITH RECURSIVE i AS MATERIALIZED (
        {CALLER}, %(sees_all)s::boolean AS sees_all
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
    SELECT node.id, node.parent_id, node.depth, {RECORD_JSON}, r.version
      FROM node
      JOIN runs r ON r.workspace_id = %(workspace_id)s::uuid AND r.id = node.id
     ORDER BY node.depth, node.id
    """,
)


async def tree(ctx: Context, run_ids: list[UUID], *, depth_max: int = CHILDREN_DEPTH_MAX) -> list[NodeRow]:
    """Runs with what hangs below them, nearest first."""
    return await ctx.all(
        TREE,
        sees_all=sees_all(ctx),
        run_ids=run_ids,
        depth_max=depth_max,
        count_max=CHILDREN_COUNT_MAX + len(run_ids),
    )


class _Parent(msgspec.Struct):
    children: msgspec.Raw


async def children(ctx: Context, run_id: UUID) -> str | None:
    """What hangs below a run, as JSON; None if nothing does."""
    nodes = await tree(ctx, [run_id])
    if len(nodes) <= 1:
        return None
    return bytes(msgspec.json.decode(nested(nodes)[run_id].raw, type=_Parent).children).decode()


def nested(nodes: list[NodeRow]) -> dict[UUID, Encoded[TaskRecord]]:
    """Every run by id, with its children spliced in: deepest first, so that each is whole when it is put into its parent."""
    below: dict[UUID, list[bytes]] = {}
    whole: dict[UUID, Encoded[TaskRecord]] = {}
    for node in reversed(nodes):
        task = node.task
        if children := below.get(node.id):
            keys = msgspec.json.decode(task.raw, type=dict[str, msgspec.Raw])
            keys["children"] = msgspec.Raw(b"[%b]" % b",".join(reversed(children)))
            task = Encoded[TaskRecord](msgspec.json.encode(keys))
        if node.depth > 0 and node.parent_id is not None:
            below.setdefault(node.parent_id, []).append(task.raw)
        if node.depth == 0:
            whole[node.id] = task
    return whole
