"""API keys and one-shot tokens. Whoever makes one sees it this once."""

import hashlib
import math
import secrets
from typing import Final
from uuid import UUID

from app.auth import KEY_VISIBLE_CHARACTERS, hash_of, new_key
from app.db import Command, Database, One, Query
from app.db.phrases import moment
from app.errors import NotFound
from app.ids import new_id
from app.operator.identities import check_active, find_identity
from app.operator.names import Made
from app.operator.scopes import parse_scopes
from app.operator.workspaces import Workspace
from app.types import Timestamp

VERIFY_TOKEN_MINUTES: Final = 10
BURST_SECONDS: Final = 10  # of what a key may ask for each second, at once


class Key(Made):
    """A key, as far as it may be known later."""

    id: UUID
    handle: str
    prefix: str
    scopes: list[str]
    state: str
    created_at: Timestamp
    last_used_at: Timestamp | None
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    calls_per_second: float | None
    calls_burst: int | None


class NewKey(Made):
    """A key just made: the only time it is seen."""

    id: UUID
    handle: str
    prefix: str
    scopes: list[str]
    api_key: str


class VerifyToken(Made):
    """A one-shot token for verify-connection."""

    token: str
    agent_id: UUID
    handle: str
    expires_at: Timestamp


# Without scopes of its own a key gets those of the newest before it, and its limit: rotating a narrow key must not widen it.
# Somebody who is being deactivated at this moment gets none: it waits for that, and sees it.
CREATE_KEY = Command(
    One[list[str]],
    """
    INSERT INTO api_keys (workspace_id, id, identity_id, hash, prefix, scopes, expires_at, calls_per_second, calls_burst)
    SELECT a.workspace_id, %(id)s, a.id, %(hash)s, %(prefix)s,
           coalesce(%(scopes)s::text[], newest.scopes),
           now() + make_interval(days => %(days)s::int),
           newest.calls_per_second, newest.calls_burst
      FROM identities a
      LEFT JOIN LATERAL (
           SELECT k.scopes, k.calls_per_second, k.calls_burst FROM api_keys k
            WHERE k.workspace_id = a.workspace_id AND k.identity_id = a.id
            ORDER BY k.created_at DESC, k.id DESC LIMIT 1) newest ON true
     WHERE a.workspace_id = %(workspace_id)s AND a.id = %(identity_id)s AND a.deactivated_at IS NULL
       FOR SHARE OF a
    RETURNING scopes
    """,
)


_KEY: Final = f"""
           k.id, a.handle, k.prefix, k.scopes,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END,
           {moment("k.created_at")},
           {moment("k.last_used_at")},
           {moment("k.expires_at")},
           {moment("k.revoked_at")},
           k.calls_per_second, k.calls_burst"""
"""The columns of a Key, of `api_keys k` and its owner, `identities a`."""

LIST_KEYS = Query(
    Key,
    f"""
    SELECT {_KEY}
      FROM api_keys k
      JOIN identities a ON a.workspace_id = k.workspace_id AND a.id = k.identity_id
     WHERE k.workspace_id = %(workspace_id)s AND (%(handle)s::text IS NULL OR a.handle = %(handle)s)
     ORDER BY k.created_at, k.id
    """,
)


REVOKE_KEY = Command(
    Key,
    f"""
    WITH revoked AS (
        UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, now())
         WHERE k.workspace_id = %(workspace_id)s AND (k.id::text = %(key)s OR k.prefix = %(key)s)
        RETURNING *
    )
    SELECT k.id, a.handle, k.prefix, k.scopes, 'revoked',
           {moment("k.created_at")},
           {moment("k.last_used_at")},
           {moment("k.expires_at")},
           {moment("k.revoked_at")},
           k.calls_per_second, k.calls_burst
      FROM revoked k
      JOIN identities a ON a.workspace_id = k.workspace_id AND a.id = k.identity_id
    """,
)


LIMIT_KEY = Command(
    Key,
    f"""
    WITH limited AS (
        UPDATE api_keys k
           SET calls_per_second = %(per_second)s::float8, calls_burst = %(burst)s::int, limited_at = now()
         WHERE k.workspace_id = %(workspace_id)s AND (k.id::text = %(key)s OR k.prefix = %(key)s)
        RETURNING *
    )
    SELECT {_KEY}
      FROM limited k
      JOIN identities a ON a.workspace_id = k.workspace_id AND a.id = k.identity_id
    """,
)


CREATE_VERIFY_TOKEN = Command(
    One[str],
    f"""
    INSERT INTO verify_tokens (workspace_id, hash, agent_id, expires_at)
    VALUES (%(workspace_id)s, %(hash)s, %(agent_id)s, now() + make_interval(mins => %(minutes)s::int))
    RETURNING {moment("expires_at")}
    """,
)


async def create_key(
    db: Database,
    workspace: Workspace,
    handle: str,
    *,
    scopes: str | None = None,
    expires_days: int | None = None,
) -> NewKey:
    """Make another key for an identity. Rotation is this, then revoking the old one."""
    identity = await find_identity(db, workspace, handle)
    check_active(identity, workspace)
    key, id = new_key(), new_id()
    row = await db.one(
        CREATE_KEY,
        workspace_id=workspace.id,
        id=id,
        identity_id=identity.id,
        hash=hash_of(key),
        prefix=key[:KEY_VISIBLE_CHARACTERS],
        scopes=None if scopes is None else parse_scopes(scopes),
        days=expires_days,
    )
    if row is None:  # deactivated since the look above
        check_active(await find_identity(db, workspace, handle), workspace)
    assert row is not None, "every identity is made with a key, and keeps its newest"
    return NewKey(
        id=id, handle=identity.handle, prefix=key[:KEY_VISIBLE_CHARACTERS], scopes=row.value, api_key=key
    )


async def list_keys(db: Database, workspace: Workspace, handle: str | None = None) -> list[Key]:
    """All keys of a workspace, or of one identity, oldest first."""
    if handle is not None:
        handle = (await find_identity(db, workspace, handle)).handle
    return await db.all(LIST_KEYS, workspace_id=workspace.id, handle=handle)


async def revoke_key(db: Database, workspace: Workspace, key: str) -> Key:
    """Revoke a key, named by its id or its visible prefix. Every process refuses it within a second."""
    revoked = await db.one(REVOKE_KEY, workspace_id=workspace.id, key=key)
    if revoked is None:
        raise _no_key(key)
    return revoked


async def limit_key(
    db: Database, workspace: Workspace, key: str, per_second: float | None, burst: int | None = None
) -> Key:
    """Say how much a key may ask for, or that it may as much as the settings say. Every process knows within a second."""
    if per_second is None:
        burst = None
    elif burst is None:
        burst = max(1, math.ceil(per_second * BURST_SECONDS))
    limited = await db.one(LIMIT_KEY, workspace_id=workspace.id, key=key, per_second=per_second, burst=burst)
    if limited is None:
        raise _no_key(key)
    return limited


def _no_key(key: str) -> NotFound:
    return NotFound(f"There is no key `{key}` in this workspace. `key list` shows ids and prefixes.")


async def create_verify_token(db: Database, workspace: Workspace, handle: str) -> VerifyToken:
    """Make a token that an agent echoes with verify-connection: once, within ten minutes."""
    identity = await find_identity(db, workspace, handle)
    check_active(identity, workspace)
    token = "verify_" + secrets.token_urlsafe(24)
    row = await db.one(
        CREATE_VERIFY_TOKEN,
        workspace_id=workspace.id,
        hash=hashlib.sha256(token.encode()).digest(),
        agent_id=identity.id,
        minutes=VERIFY_TOKEN_MINUTES,
    )
    assert row is not None, "an insert with RETURNING has a row"
    return VerifyToken(token=token, agent_id=identity.id, handle=identity.handle, expires_at=row.value)
