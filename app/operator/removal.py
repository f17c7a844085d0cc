"""Deleting a workspace: everything of it, in portions, while the service goes on for the others."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Final

from app.auth import REFUSED_WITHIN_SECONDS
from app.db import Command, Database, One, Query, Referred
from app.errors import Conflict
from app.operator.names import Made
from app.operator.tenants import TENANTS
from app.operator.workspaces import Workspace

logger = logging.getLogger("baton.delete")

PORTION_ROWS: Final = 1000  # in one statement: some ten milliseconds
SETTLE_SECONDS: Final = 2 * REFUSED_WITHIN_SECONDS
"""From the revocation of the keys to the first deletion. Processes must find a revoked key to forget it, and what they
had let in before gets the time to end."""


class Contents(Made):
    """What is in a workspace, in short."""

    users: int
    agents: int
    channels: int
    tasks: int


class Deleted(Made):
    """A workspace that is gone."""

    workspace_slug: str
    rows: int


CONTENTS = Query(
    Contents,
    """
    SELECT (SELECT count(*) FROM identities a WHERE a.workspace_id = %(workspace_id)s AND a.kind = 'user')::int,
           (SELECT count(*) FROM identities a WHERE a.workspace_id = %(workspace_id)s AND a.kind = 'agent')::int,
           (SELECT count(*) FROM channels c WHERE c.workspace_id = %(workspace_id)s)::int,
           coalesce((SELECT n.last_number FROM task_counters n WHERE n.workspace_id = %(workspace_id)s), 0)
    """,
)

LOCK_OUT = Command(
    One[int],
    """
    WITH revoked AS (
        UPDATE api_keys k SET revoked_at = now()
         WHERE k.workspace_id = %(workspace_id)s AND k.revoked_at IS NULL
        RETURNING 1
    )
    SELECT count(*)::int FROM revoked
    """,
)

DELETE_WORKSPACE = Command(
    One[int],
    """
    WITH gone AS (DELETE FROM workspaces w WHERE w.id = %(workspace_id)s RETURNING 1)
    SELECT count(*)::int FROM gone
    """,
)


async def contents(db: Database, workspace: Workspace) -> Contents:
    """What a workspace holds, for whoever is about to delete it."""
    found = await db.one(CONTENTS, workspace_id=workspace.id)
    assert found is not None, "a SELECT without FROM has a row"
    return found


async def delete_workspace(
    db: Database, workspace: Workspace, *, settle_seconds: float = SETTLE_SECONDS
) -> Deleted:
    """Delete a workspace with everything in it. If it is interrupted, nobody is in it any more, and it can be done again.

    All tables are gone through until nothing is found: a call that was let in before the keys were revoked may have written
    something meanwhile, which then also keeps what it refers to.
    """
    locked_out = await db.one(LOCK_OUT, workspace_id=workspace.id)
    if locked_out is not None and locked_out.value:
        await asyncio.sleep(settle_seconds)
    rows = 0
    while True:
        before = rows
        try:
            async for removed in _portions(db, workspace):
                rows += removed
            if rows == before:
                gone = await db.one(DELETE_WORKSPACE, workspace_id=workspace.id)
                return Deleted(workspace_slug=workspace.slug, rows=rows + (gone.value if gone else 0))
        except Referred as e:
            if rows == before:
                message = f"Something that is not Baton's refers to `{workspace.slug}`: see the constraint {e.constraint}."
                raise Conflict(message) from None


async def _portions(db: Database, workspace: Workspace) -> AsyncGenerator[int]:
    """Empty one table after the other; say of each portion how many rows it had."""
    for name, tenant in TENANTS.items():
        here, removed = 0, 1
        while removed:  # of a tree those at its ends go first, so a small portion need not be the last
            began = time.monotonic()
            row = await db.one(tenant.empty, workspace_id=workspace.id, limit=PORTION_ROWS)
            assert row is not None, "an aggregate has a row"
            removed = row.value
            here += removed
            yield removed
            await asyncio.sleep(time.monotonic() - began)  # as much time for everybody else
        if here:
            logger.info("%s: %d rows", name, here)
