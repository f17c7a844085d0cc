"""Users and agents, each with a first key."""

import re
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import msgspec

from app.auth import KEY_VISIBLE_CHARACTERS, hash_of, new_key
from app.db import Command, Database, One, Query, Transaction
from app.errors import AlreadyExists, Conflict, IdentityNotFound, InvalidInput
from app.ids import TICK_NOW, id_at, new_id
from app.operator.channels import GENERAL, find_channels
from app.operator.names import Made, check_name, check_text
from app.operator.scopes import parse_scopes
from app.operator.workspaces import Workspace
from app.types import IdentityKind

EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")  # only mail itself can tell more


class Identity(Made):
    """A user or agent, with its first key: the only time the key is seen."""

    id: UUID
    kind: IdentityKind
    handle: str
    name: str
    workspace_id: UUID
    workspace_slug: str
    scopes: list[str]
    channels: list[str]
    key_id: UUID
    key_prefix: str
    api_key: str


class Known(msgspec.Struct):
    """A user or agent who is there already."""

    id: UUID
    kind: IdentityKind
    handle: str
    active: bool


FIND_IDENTITY = Query(
    Known,
    """
    SELECT id, kind, handle, deactivated_at IS NULL FROM identities WHERE workspace_id = %(workspace_id)s AND handle = %(handle)s
    """,
)


# The identity, its memberships and its first key: one statement, so there is never one without the other.
CREATE_IDENTITY = Command(
    One[UUID],
    f"""
    WITH created AS (
        INSERT INTO identities (workspace_id, id, kind, handle, name, email, owner_id, is_private, agent_type)
        VALUES (%(workspace_id)s, {id_at(TICK_NOW, "%(id)s::uuid")}, %(kind)s, %(handle)s, %(name)s, %(email)s,
                %(owner_id)s, %(is_private)s, %(agent_type)s)
        ON CONFLICT DO NOTHING
        RETURNING *
    ), joined AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id)
        SELECT c.workspace_id, c.id, created.id
          FROM created JOIN channels c ON c.workspace_id = created.workspace_id AND c.id = ANY(%(channel_ids)s::uuid[])
    ), key AS (
        INSERT INTO api_keys (workspace_id, id, identity_id, hash, prefix, scopes)
        SELECT workspace_id, %(key_id)s, id, %(hash)s, %(prefix)s, %(scopes)s::text[] FROM created
    )
    SELECT id FROM created
    """,
)


async def create_identity(
    db: Database | Transaction,
    workspace: Workspace,
    *,
    kind: IdentityKind,
    handle: str,
    name: str | None = None,
    email: str | None = None,
    owner: str | None = None,
    private: bool = False,
    agent_type: str = "local",
    scopes: str = "all",
    channels: Iterable[str] | None = None,
) -> Identity:
    """Make a user or agent with its memberships and its first key.

    By default it joins #general, but a private agent does not: everyone there would see it.
    """
    handle = handle.removeprefix("@")
    check_name("handle", handle)
    check_text("name", name)
    check_text("agent type", agent_type)
    if email is not None and not EMAIL.fullmatch(email):
        raise InvalidInput(f"`{email[:80]}` is not an email address.", field="email")
    if private and owner is None:
        message = "A private agent needs an owner: nobody else would ever see it. Add --owner HANDLE."
        raise InvalidInput(message, field="owner")
    owner_id = None
    if owner is not None:
        found = await find_identity(db, workspace, owner)
        if found.kind != "user":
            message = f"`{owner}` is an agent; only a user can own one."
            raise InvalidInput(message, field="owner")
        check_active(found, workspace)
        owner_id = found.id
    if channels is None:
        channels = () if private else (GENERAL,)
    joined = await find_channels(db, workspace, channels)
    allowed, key, id, key_id = parse_scopes(scopes), new_key(), new_id(), new_id()
    row = await db.one(
        CREATE_IDENTITY,
        workspace_id=workspace.id,
        id=id,
        kind=kind,
        handle=handle,
        name=name or handle,
        email=email,
        owner_id=owner_id,
        is_private=private,
        agent_type=agent_type,
        channel_ids=[channel.id for channel in joined],
        key_id=key_id,
        hash=hash_of(key),
        prefix=key[:KEY_VISIBLE_CHARACTERS],
        scopes=allowed,
    )
    if row is None:
        raise AlreadyExists("user or agent", f"{handle}{f' or email {email}' if email else ''}")
    return Identity(
        id=row.value,
        kind=kind,
        handle=handle,
        name=name or handle,
        workspace_id=workspace.id,
        workspace_slug=workspace.slug,
        scopes=allowed,
        channels=[channel.name for channel in joined],
        key_id=key_id,
        key_prefix=key[:KEY_VISIBLE_CHARACTERS],
        api_key=key,
    )


async def find_identity(db: Database | Transaction, workspace: Workspace, handle: str) -> Known:
    """The user or agent with this handle."""
    found = await db.one(FIND_IDENTITY, workspace_id=workspace.id, handle=handle.removeprefix("@"))
    if found is None:
        raise IdentityNotFound(handle, field="handle")
    return found


def check_active(identity: Known, workspace: Workspace) -> None:
    """Refuse to give something new to somebody who was deactivated."""
    if not identity.active:
        message = (
            f"`{identity.handle}` was deactivated and takes nothing new. To undo that: "
            f"`{identity.kind} reactivate {identity.handle} --workspace {workspace.slug}`."
        )
        raise Conflict(message, {"reason": "identity_deactivated"})
