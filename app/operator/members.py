"""Who is in a channel, and of whom is remembered how they left it."""

from uuid import UUID

from app.db import Command, Database, One, Query
from app.db.phrases import moment
from app.errors import InvalidInput, LastAdmin, NotFound
from app.operator.channels import find_channels
from app.operator.identities import check_active, find_identity
from app.operator.names import Made
from app.operator.workspaces import Workspace
from app.types import IdentityKind, Timestamp


class Membership(Made):
    """Who may do what in a channel."""

    channel_id: UUID
    channel: str
    identity_id: UUID
    handle: str
    role: str


class Member(Made):
    """Someone in a channel, or of whom is remembered how they left it."""

    handle: str
    kind: IdentityKind
    standing: str
    removed_by: str | None
    since: Timestamp


class Readmission(Made):
    """Someone who may come back to a channel like anyone else."""

    channel: str
    handle: str
    was: str


LOCK_CHANNEL = Query(
    One[str],
    """
    SELECT name FROM channels
     WHERE workspace_id = %(workspace_id)s::uuid AND id = %(channel_id)s::uuid
       FOR NO KEY UPDATE
    """,
)


# A channel keeps an admin as long as somebody is in it. Of who is in it again nothing is remembered.
JOIN_CHANNEL = Command(
    One[str],
    """
    WITH joined AS (
        INSERT INTO channel_members AS m (workspace_id, channel_id, identity_id, role)
        VALUES (%(workspace_id)s, %(channel_id)s, %(identity_id)s, %(role)s)
        ON CONFLICT (workspace_id, identity_id, channel_id) DO UPDATE SET role = excluded.role
         WHERE m.role <> 'admin' OR excluded.role = 'admin'
            OR EXISTS (SELECT FROM channel_members o
                        WHERE o.workspace_id = m.workspace_id AND o.channel_id = m.channel_id
                          AND o.identity_id <> m.identity_id AND o.role = 'admin'
                          AND EXISTS (SELECT FROM identities x
                                       WHERE x.workspace_id = o.workspace_id AND x.id = o.identity_id
                                         AND x.deactivated_at IS NULL))
        RETURNING role
    ), forgotten AS (
        DELETE FROM channel_standings
         WHERE workspace_id = %(workspace_id)s AND channel_id = %(channel_id)s AND identity_id = %(identity_id)s
    )
    SELECT role FROM joined
    """,
)


LIST_MEMBERS = Query(
    Member,
    f"""
    SELECT a.handle, a.kind, m.role, NULL, {moment("m.joined_at")}
      FROM channel_members m
      JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid
     UNION ALL
    SELECT a.handle, a.kind, CASE s.standing WHEN 'reader' THEN 'left as a reader' ELSE 'removed' END, r.handle,
           {moment("s.since")}
      FROM channel_standings s
      JOIN identities a ON a.workspace_id = s.workspace_id AND a.id = s.identity_id
      LEFT JOIN identities r ON r.workspace_id = s.workspace_id AND r.id = s.removed_by_id
     WHERE s.workspace_id = %(workspace_id)s::uuid AND s.channel_id = %(channel_id)s::uuid
     ORDER BY 1
    """,
)


FORGET_STANDING = Command(
    One[str],
    """
    DELETE FROM channel_standings
     WHERE workspace_id = %(workspace_id)s::uuid AND channel_id = %(channel_id)s::uuid AND identity_id = %(identity_id)s::uuid
    RETURNING standing
    """,
)


async def join_channel(
    db: Database, workspace: Workspace, name: str, handle: str, *, role: str = "poster"
) -> Membership:
    """Make an identity a member of a channel, or give it another role there."""
    if role not in {"reader", "poster", "admin"}:
        message = "A role is reader, poster or admin."
        raise InvalidInput(message, field="role")
    [channel] = await find_channels(db, workspace, [name])
    identity = await find_identity(db, workspace, handle)
    check_active(identity, workspace)
    if identity.kind == "agent" and role == "admin":
        message = "An agent can be reader or poster, never admin."
        raise InvalidInput(message, field="role")
    async with db.transaction() as tx:
        await tx.one(LOCK_CHANNEL, workspace_id=workspace.id, channel_id=channel.id)
        joined = await tx.one(
            JOIN_CHANNEL, workspace_id=workspace.id, channel_id=channel.id, identity_id=identity.id, role=role
        )
    if joined is None:
        raise LastAdmin
    return Membership(
        channel_id=channel.id,
        channel=channel.name,
        identity_id=identity.id,
        handle=identity.handle,
        role=role,
    )


async def list_members(db: Database, workspace: Workspace, name: str) -> list[Member]:
    """Who is in a channel, and who is remembered to have left it as a reader, or to have been taken out."""
    [channel] = await find_channels(db, workspace, [name])
    return await db.all(LIST_MEMBERS, workspace_id=workspace.id, channel_id=channel.id)


async def readmit(db: Database, workspace: Workspace, name: str, handle: str) -> Readmission:
    """Forget how someone left a channel: they may come back like anyone else."""
    [channel] = await find_channels(db, workspace, [name])
    identity = await find_identity(db, workspace, handle)
    was = await db.one(
        FORGET_STANDING, workspace_id=workspace.id, channel_id=channel.id, identity_id=identity.id
    )
    if was is None:
        message = f"Nothing is remembered of `{identity.handle}` in #{channel.name}: nothing keeps them from joining."
        raise NotFound(message)
    return Readmission(channel=channel.name, handle=identity.handle, was=was.value)
