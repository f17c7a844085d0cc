"""Users and agents who are there already: who they are, what they are called, and whether they still take part.

Whoever is deactivated stays: the history tells what they did, and calls them what they were called. But they have no key,
hold no claim, and take nothing new. Their memberships and assignments are left as they are, so `reactivate` undoes it all
but for the keys.
"""

import asyncio
from typing import Final
from uuid import UUID

from app.auth import REFUSED_WITHIN_SECONDS
from app.db import Command, Database, One, Query
from app.db.phrases import moment
from app.errors import InvalidInput, NotFound
from app.operations.messages.message import SYSTEM
from app.operations.runs.finish import FORCE_END, force_ended
from app.operator.identities import Known, find_identity
from app.operator.names import Made, check_text
from app.operator.workspaces import Workspace
from app.types import IdentityKind, Timestamp

REQUEST_ID: Final = "operator-deactivate"
"""What the events of claims that end with their holder's keys name as their request: it came from no caller."""

CLAIMS_MAX: Final = 100  # looked up at a time


class Person(Made):
    """A user or agent."""

    id: UUID
    handle: str
    name: str
    state: str
    email: str | None
    owner: str | None
    private: bool
    agent_type: str | None
    keys: int
    last_used_at: Timestamp | None
    claims: int
    open_tasks: int
    created_at: Timestamp
    deactivated_at: Timestamp | None


class Deactivation(Made):
    """What came of deactivating somebody, and what is left for others to do."""

    handle: str
    name: str
    keys_revoked: int
    claims_released: int
    open_tasks: int
    only_admin_of: list[str]
    agents: list[str]
    deactivated_at: Timestamp
    undo: str


class Left(Made):
    """What somebody who takes part no more still has: to be given to others."""

    open_tasks: int
    only_admin_of: list[str]
    agents: list[str]
    deactivated_at: Timestamp


LIST_PEOPLE = Query(
    Person,
    f"""
    SELECT a.id, a.handle, a.name, CASE WHEN a.deactivated_at IS NULL THEN 'active' ELSE 'deactivated' END,
           a.email, o.handle, a.is_private, CASE WHEN a.kind = 'agent' THEN a.agent_type END,
           k.usable, {moment("k.last_used_at")},
           (SELECT count(*) FROM runs r
             WHERE r.workspace_id = a.workspace_id AND r.holder_id = a.id AND r.ended_at IS NULL)::int,
           (SELECT count(*) FROM tasks t
             WHERE t.workspace_id = a.workspace_id AND t.assignee_id = a.id AND t.urgency < 5)::int,
           {moment("a.created_at")}, {moment("a.deactivated_at")}
      FROM identities a
      LEFT JOIN identities o ON o.workspace_id = a.workspace_id AND o.id = a.owner_id
     CROSS JOIN LATERAL (
           SELECT count(*) FILTER (WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()))::int AS usable,
                  max(k.last_used_at) AS last_used_at
             FROM api_keys k
            WHERE k.workspace_id = a.workspace_id AND k.identity_id = a.id) k
     WHERE a.workspace_id = %(workspace_id)s AND a.kind = %(kind)s AND (%(id)s::uuid IS NULL OR a.id = %(id)s::uuid)
     ORDER BY a.handle
    """,
)

RENAME = Command(
    One[str],
    """
    UPDATE identities SET name = %(name)s WHERE workspace_id = %(workspace_id)s AND id = %(id)s RETURNING name
    """,
)

DEACTIVATE = Command(
    One[str],
    """
    UPDATE identities a SET deactivated_at = coalesce(a.deactivated_at, now())
     WHERE a.workspace_id = %(workspace_id)s AND a.id = %(id)s
    RETURNING handle
    """,
)

# A statement of its own behind the one above: so it sees a key that somebody made until then. See CREATE_KEY.
REVOKE_ALL = Command(
    One[int],
    """
    WITH revoked AS (
        UPDATE api_keys k SET revoked_at = now()
         WHERE k.workspace_id = %(workspace_id)s AND k.identity_id = %(id)s AND k.revoked_at IS NULL
        RETURNING 1
    )
    SELECT count(*)::int FROM revoked
    """,
)

REACTIVATE = Command(
    One[str],
    """
    UPDATE identities SET deactivated_at = NULL WHERE workspace_id = %(workspace_id)s AND id = %(id)s RETURNING handle
    """,
)

LIVE_CLAIMS = Query(
    One[UUID],
    """
    SELECT r.id FROM runs r
     WHERE r.workspace_id = %(workspace_id)s AND r.holder_id = %(id)s AND r.ended_at IS NULL
     LIMIT %(limit)s
    """,
)

WHAT_IS_LEFT = Query(
    Left,
    f"""
    SELECT (SELECT count(*) FROM tasks t
             WHERE t.workspace_id = a.workspace_id AND t.assignee_id = a.id AND t.urgency < 5)::int,
           ARRAY(SELECT c.name
                   FROM channel_members m
                   JOIN channels c ON c.workspace_id = m.workspace_id AND c.id = m.channel_id AND c.archived_at IS NULL
                  WHERE m.workspace_id = a.workspace_id AND m.identity_id = a.id AND m.role = 'admin'
                    AND NOT EXISTS (
                        SELECT FROM channel_members o
                          JOIN identities x ON x.workspace_id = o.workspace_id AND x.id = o.identity_id
                         WHERE o.workspace_id = m.workspace_id AND o.channel_id = m.channel_id AND o.role = 'admin'
                           AND x.deactivated_at IS NULL)
                  ORDER BY c.name),
           ARRAY(SELECT x.handle FROM identities x
                  WHERE x.workspace_id = a.workspace_id AND x.owner_id = a.id AND x.deactivated_at IS NULL
                  ORDER BY x.handle),
           {moment("a.deactivated_at")}
      FROM identities a
     WHERE a.workspace_id = %(workspace_id)s AND a.id = %(id)s
    """,
)


async def list_people(db: Database, workspace: Workspace, kind: IdentityKind) -> list[Person]:
    """All users, or all agents, by handle."""
    return await db.all(LIST_PEOPLE, workspace_id=workspace.id, kind=kind, id=None)


async def rename(db: Database, workspace: Workspace, kind: IdentityKind, handle: str, name: str) -> Person:
    """Give somebody another display name. The handle is for life: texts say it, and nobody else may come to be meant."""
    check_text("name", name)
    found = await find(db, workspace, kind, handle)
    await db.one(RENAME, workspace_id=workspace.id, id=found.id, name=name)
    return await _person(db, workspace, found)


async def deactivate(
    db: Database,
    workspace: Workspace,
    kind: IdentityKind,
    handle: str,
    *,
    settle_seconds: float = 2 * REFUSED_WITHIN_SECONDS,
) -> Deactivation:
    """End somebody's part in a workspace: no key, no claim, nothing new. Doing it twice is harmless.

    Servers may let them in for a moment yet, so claims are looked for once more when that is over.
    """
    found = await find(db, workspace, kind, handle)
    async with db.transaction() as tx:
        await tx.one(DEACTIVATE, workspace_id=workspace.id, id=found.id)
        revoked = await tx.one(REVOKE_ALL, workspace_id=workspace.id, id=found.id)
    assert revoked is not None, "an aggregate has a row"
    released = await _release(db, workspace, found)
    await asyncio.sleep(settle_seconds)
    released += await _release(db, workspace, found)
    left = await db.one(WHAT_IS_LEFT, workspace_id=workspace.id, id=found.id)
    person = await _person(db, workspace, found)
    assert left is not None, "nobody is ever taken out of a workspace that goes on"
    return Deactivation(
        handle=person.handle,
        name=person.name,
        keys_revoked=revoked.value,
        claims_released=released,
        open_tasks=left.open_tasks,
        only_admin_of=left.only_admin_of,
        agents=left.agents,
        deactivated_at=left.deactivated_at,
        undo=f"{kind} reactivate {person.handle} --workspace {workspace.slug}",
    )


async def reactivate(db: Database, workspace: Workspace, kind: IdentityKind, handle: str) -> Person:
    """Let somebody take part again. Their old keys stay revoked: make a new one."""
    found = await find(db, workspace, kind, handle)
    await db.one(REACTIVATE, workspace_id=workspace.id, id=found.id)
    return await _person(db, workspace, found)


async def find(db: Database, workspace: Workspace, kind: IdentityKind, handle: str) -> Known:
    """The user, or the agent, with this handle."""
    found = await find_identity(db, workspace, handle)
    if found.kind != kind:
        message = f"`{found.handle}` is {'an agent' if found.kind == 'agent' else 'a user'}: use `{found.kind}` instead."
        raise InvalidInput(message, field="handle")
    return found


async def _release(db: Database, workspace: Workspace, holder: Known) -> int:
    """Give back all that somebody holds, each as force-release-run would; say how many claims that ended."""
    released = 0
    while claims := await db.all(LIVE_CLAIMS, workspace_id=workspace.id, id=holder.id, limit=CLAIMS_MAX):
        ended = 0
        for claim in claims:
            who = {
                "workspace_id": workspace.id,
                "actor_id": SYSTEM,
                "actor_kind": "system",
                "request_id": REQUEST_ID,
            }
            if await db.write(FORCE_END.plain, {**who, **force_ended(claim.value)}):
                ended += 1
        released += ended
        if not ended:  # they ended by themselves meanwhile, or their tasks are not theirs any more
            break
    return released


async def _person(db: Database, workspace: Workspace, found: Known) -> Person:
    person = await db.one(LIST_PEOPLE, workspace_id=workspace.id, kind=found.kind, id=found.id)
    if person is None:
        raise NotFound(f"There is no `{found.handle}` in this workspace any more.")
    return person
