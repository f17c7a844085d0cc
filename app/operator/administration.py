"""What an operator does: workspaces, identities, keys, channels and tokens. The command line calls these.

Each function is one statement on a Database and answers with a struct that says what was made. Names that do
not exist or are taken raise the same errors that operations raise.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import Final, get_args
from uuid import UUID

import msgspec

from app.auth import KEY_VISIBLE_CHARACTERS, hash_of, new_key
from app.db import Command, Database, Query, Transaction
from app.db.phrases import moment
from app.errors import AlreadyExists, ChannelNotFound, IdentityNotFound, InvalidInput, LastAdmin, NotFound
from app.ids import TICK_NOW, id_at, new_id
from app.types import IdentityKind, Scope, Timestamp, shows_something

GENERAL: Final = "general"
ALL_SCOPES: Final[tuple[str, ...]] = get_args(Scope)
OPERATOR: Final = "operator"  # to interfere with others' work; in no preset, so that a key has it only where asked for by name
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "all": tuple(scope for scope in ALL_SCOPES if scope != OPERATOR),
    "read-and-post": ("channel-read", "channel-write", "task-read", "task-write"),
    "read-only": ("channel-read", "task-read"),
}
"""Bundles of scopes by name (contract section 2). A new identity gets `all` unless told otherwise; that is all but `operator`."""

VERIFY_TOKEN_MINUTES: Final = 10
LOCK: Final = 4_242_002  # advisory lock under which one of several starting servers fills an empty database
LABEL_CHARACTERS_MAX: Final = 200  # a display name or a purpose is one line
EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")  # only mail itself can tell more

NAMES: Final = {
    "slug": (
        re.compile("[a-z][a-z0-9-]{0,62}"),
        "workspaces start with a letter and have lowercase letters, digits and hyphens, 63 at most",
    ),
    "handle": (
        re.compile("[a-z0-9][a-z0-9-]{0,62}"),
        "handles have lowercase letters, digits and hyphens, 63 at most",
    ),
    "channel": (
        re.compile("[a-z][a-z0-9-]{0,79}"),
        "channels start with a letter and have lowercase letters, digits and hyphens, 80 at most",
    ),
}
"""What names may look like, and the same in words; the CHECKs of schema.sql say it again."""


class Made(msgspec.Struct, kw_only=True, rename="camel"):
    """Base of what these functions answer with; printed as camelCase JSON."""


class Workspace(Made):
    """A workspace."""

    id: UUID
    slug: str
    name: str
    created_at: Timestamp


class History(Made):
    """How far back the messages of a workspace can be read."""

    workspace_slug: str
    history_days: int | None


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


class NewKey(Made):
    """A key just made: the only time it is seen."""

    id: UUID
    handle: str
    prefix: str
    scopes: list[str]
    api_key: str


class Channel(Made):
    """A channel."""

    id: UUID
    name: str
    kind: str
    workspace_id: UUID


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


class VerifyToken(Made):
    """A one-shot token for verify-connection."""

    token: str
    agent_id: UUID
    handle: str
    expires_at: Timestamp


class _Workspace(msgspec.Struct):
    id: UUID
    slug: str
    name: str
    created_at: str


class _History(msgspec.Struct):
    history_days: int | None


class _Identity(msgspec.Struct):
    id: UUID
    kind: IdentityKind
    handle: str


class _Key(msgspec.Struct):
    id: UUID
    handle: str
    prefix: str
    scopes: list[str]
    state: str
    created_at: str
    last_used_at: str | None
    expires_at: str | None
    revoked_at: str | None


class _Channel(msgspec.Struct):
    id: UUID
    name: str
    kind: str


class _Newcomer(msgspec.Struct):
    handle: str
    slug: str


class _Member(msgspec.Struct):
    handle: str
    kind: IdentityKind
    standing: str
    removed_by: str | None
    since: str


class _Moment(msgspec.Struct):
    at: str


class _Name(msgspec.Struct):
    name: str


class _Scopes(msgspec.Struct):
    scopes: list[str]


CREATE_WORKSPACE = Command(
    _Workspace,
    f"""
    WITH created AS (
        INSERT INTO workspaces (id, slug, name) VALUES (%(id)s, %(slug)s, %(name)s)
        ON CONFLICT ON CONSTRAINT workspaces_slug_key DO NOTHING
        RETURNING *
    ), counter AS (
        INSERT INTO task_counters (workspace_id) SELECT id FROM created
    ), general AS (
        INSERT INTO channels (workspace_id, id, name) SELECT id, %(channel_id)s, 'general' FROM created
    )
    SELECT id, slug, name, {moment("created_at")} FROM created
    """,
    everywhere=True,
)

ANY_WORKSPACE = Query(_Name, "SELECT slug FROM workspaces LIMIT 1", everywhere=True)

FIRST_START_LOCK = Query(
    _Name,
    "SELECT 'first start' FROM (SELECT pg_advisory_xact_lock(%(lock)s::bigint)) AS taken",
    everywhere=True,
)

SET_HISTORY = Command(
    _History,
    """
    UPDATE workspaces SET history_days = %(days)s::int WHERE id = %(workspace_id)s RETURNING history_days
    """,
)

FIND_WORKSPACE = Query(
    _Workspace,
    f"""
    SELECT id, slug, name, {moment("created_at")} FROM workspaces WHERE slug = %(slug)s
    """,
    everywhere=True,
)

FIND_IDENTITY = Query(
    _Identity,
    """
    SELECT id, kind, handle FROM identities WHERE workspace_id = %(workspace_id)s AND handle = %(handle)s
    """,
)

FIND_CHANNELS = Query(
    _Channel,
    """
    SELECT id, name, kind FROM channels
     WHERE workspace_id = %(workspace_id)s AND archived_at IS NULL
       AND (name = ANY(%(names)s::text[]) OR id::text = ANY(%(names)s::text[]))
    """,
)

# The identity, its memberships and its first key: one statement, so there is never one without the other.
CREATE_IDENTITY = Command(
    _Identity,
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
    SELECT id, kind, handle FROM created
    """,
)

# Without scopes of its own a key gets those of the newest before it: rotating a narrow key must not widen it.
CREATE_KEY = Command(
    _Scopes,
    """
    INSERT INTO api_keys (workspace_id, id, identity_id, hash, prefix, scopes, expires_at)
    SELECT a.workspace_id, %(id)s, a.id, %(hash)s, %(prefix)s,
           coalesce(%(scopes)s::text[],
                    (SELECT k.scopes FROM api_keys k
                      WHERE k.workspace_id = a.workspace_id AND k.identity_id = a.id
                      ORDER BY k.created_at DESC, k.id DESC LIMIT 1)),
           now() + make_interval(days => %(days)s::int)
      FROM identities a
     WHERE a.workspace_id = %(workspace_id)s AND a.id = %(identity_id)s
    RETURNING scopes
    """,
)

NEVER_ENTERED = Query(
    _Newcomer,
    """
    SELECT a.handle, w.slug
      FROM identities a
      JOIN workspaces w ON w.id = a.workspace_id
     WHERE NOT EXISTS (SELECT FROM api_keys k WHERE k.last_used_at IS NOT NULL)
     ORDER BY a.kind, a.id
     LIMIT 1
    """,
    everywhere=True,
)

LIST_KEYS = Query(
    _Key,
    f"""
    SELECT k.id, a.handle, k.prefix, k.scopes,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END,
           {moment("k.created_at")},
           {moment("k.last_used_at")},
           {moment("k.expires_at")},
           {moment("k.revoked_at")}
      FROM api_keys k
      JOIN identities a ON a.workspace_id = k.workspace_id AND a.id = k.identity_id
     WHERE k.workspace_id = %(workspace_id)s AND (%(handle)s::text IS NULL OR a.handle = %(handle)s)
     ORDER BY k.created_at, k.id
    """,
)

REVOKE_KEY = Command(
    _Key,
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
           {moment("k.revoked_at")}
      FROM revoked k
      JOIN identities a ON a.workspace_id = k.workspace_id AND a.id = k.identity_id
    """,
)

CREATE_CHANNEL = Command(
    _Channel,
    """
    INSERT INTO channels (workspace_id, id, name, kind, purpose)
    SELECT %(workspace_id)s::uuid, %(id)s::uuid, %(name)s::text, %(kind)s::text, %(purpose)s::text
     WHERE NOT EXISTS (SELECT FROM channels c WHERE c.workspace_id = %(workspace_id)s::uuid AND c.name = %(name)s::text)
    ON CONFLICT (workspace_id, name) WHERE kind = 'public' DO NOTHING
    RETURNING id, name, kind
    """,
)

LOCK_CHANNEL = Query(
    _Name,
    """
    SELECT name FROM channels
     WHERE workspace_id = %(workspace_id)s::uuid AND id = %(channel_id)s::uuid
       FOR NO KEY UPDATE
    """,
)

# A channel keeps an admin as long as somebody is in it. Of who is in it again nothing is remembered.
JOIN_CHANNEL = Command(
    _Name,
    """
    WITH joined AS (
        INSERT INTO channel_members AS m (workspace_id, channel_id, identity_id, role)
        VALUES (%(workspace_id)s, %(channel_id)s, %(identity_id)s, %(role)s)
        ON CONFLICT (workspace_id, identity_id, channel_id) DO UPDATE SET role = excluded.role
         WHERE m.role <> 'admin' OR excluded.role = 'admin'
            OR EXISTS (SELECT FROM channel_members o
                        WHERE o.workspace_id = m.workspace_id AND o.channel_id = m.channel_id
                          AND o.identity_id <> m.identity_id AND o.role = 'admin')
        RETURNING role
    ), forgotten AS (
        DELETE FROM channel_standings
         WHERE workspace_id = %(workspace_id)s AND channel_id = %(channel_id)s AND identity_id = %(identity_id)s
    )
    SELECT role FROM joined
    """,
)

LIST_MEMBERS = Query(
    _Member,
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
    _Name,
    """
    DELETE FROM channel_standings
     WHERE workspace_id = %(workspace_id)s::uuid AND channel_id = %(channel_id)s::uuid AND identity_id = %(identity_id)s::uuid
    RETURNING standing
    """,
)

CREATE_VERIFY_TOKEN = Command(
    _Moment,
    f"""
    INSERT INTO verify_tokens (workspace_id, hash, agent_id, expires_at)
    VALUES (%(workspace_id)s, %(hash)s, %(agent_id)s, now() + make_interval(mins => %(minutes)s::int))
    RETURNING {moment("expires_at")}
    """,
)


async def create_workspace(db: Database | Transaction, slug: str, *, name: str | None = None) -> Workspace:
    """Make a workspace with its #general."""
    _check_name("slug", slug)
    _check_text("name", name)
    row = await db.one(CREATE_WORKSPACE, id=new_id(), slug=slug, name=name or slug, channel_id=new_id())
    if row is None:
        raise AlreadyExists("workspace", slug)
    return Workspace(id=row.id, slug=row.slug, name=row.name, created_at=row.created_at)


async def set_history(db: Database, workspace: Workspace, days: int | None) -> History:
    """Hide messages older than this many days from everyone; None shows all. They are kept in any case."""
    row = await db.one(SET_HISTORY, workspace_id=workspace.id, days=days)
    assert row is not None, "the workspace was found, and none is ever deleted"
    return History(workspace_slug=workspace.slug, history_days=row.history_days)


async def first_start(db: Database) -> Identity | None:
    """Give a database without a workspace one, with a human and an agent, so that there is something to start with.

    All of it or nothing, and only one of several starting servers: the answer is the agent, with its key, or None.
    """
    async with db.transaction() as tx:
        await tx.one(FIRST_START_LOCK, lock=LOCK)
        if await tx.one(ANY_WORKSPACE):
            return None
        workspace = await create_workspace(tx, "default", name="Default")
        await create_identity(tx, workspace, kind="user", handle="human", name="Human")
        return await create_identity(tx, workspace, kind="agent", handle="agent", name="Agent", owner="human")


async def never_entered(db: Database) -> tuple[str, str] | None:
    """While no key was ever used, somebody who has one, and their workspace.

    A start can be killed when it has made the first key and before it was shown.
    """
    row = await db.one(NEVER_ENTERED)
    return None if row is None else (row.handle, row.slug)


async def find_workspace(db: Database, slug: str) -> Workspace:
    """The workspace with this slug."""
    row = await db.one(FIND_WORKSPACE, slug=slug)
    if row is None:
        message = f"There is no workspace `{slug}`. Make it with `workspace create {slug}`."
        raise NotFound(message)
    return Workspace(id=row.id, slug=row.slug, name=row.name, created_at=row.created_at)


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

    Unless told otherwise it joins #general, but for a private agent, which everyone there would see.
    """
    handle = handle.removeprefix("@")
    _check_name("handle", handle)
    _check_text("name", name)
    _check_text("agent type", agent_type)
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
        owner_id = found.id
    if channels is None:
        channels = () if private else (GENERAL,)
    joined = await _channels(db, workspace, channels)
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
        id=row.id,
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


async def find_identity(db: Database | Transaction, workspace: Workspace, handle: str) -> _Identity:
    """The user or agent with this handle."""
    row = await db.one(FIND_IDENTITY, workspace_id=workspace.id, handle=handle.removeprefix("@"))
    if row is None:
        raise IdentityNotFound(handle, field="handle")
    return row


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
    assert row is not None, "every identity is made with a key"
    return NewKey(
        id=id, handle=identity.handle, prefix=key[:KEY_VISIBLE_CHARACTERS], scopes=row.scopes, api_key=key
    )


async def list_keys(db: Database, workspace: Workspace, handle: str | None = None) -> list[Key]:
    """All keys of a workspace, or of one identity, oldest first."""
    if handle is not None:
        handle = (await find_identity(db, workspace, handle)).handle
    rows = await db.all(LIST_KEYS, workspace_id=workspace.id, handle=handle)
    return [_key(row) for row in rows]


async def revoke_key(db: Database, workspace: Workspace, key: str) -> Key:
    """Revoke a key, named by its id or its visible prefix. Every process refuses it within a second."""
    row = await db.one(REVOKE_KEY, workspace_id=workspace.id, key=key)
    if row is None:
        message = f"There is no key `{key}` in this workspace. `key list` shows ids and prefixes."
        raise NotFound(message)
    return _key(row)


async def create_channel(
    db: Database, workspace: Workspace, name: str, *, private: bool = False, purpose: str | None = None
) -> Channel:
    """Make a channel, without members."""
    name = name.removeprefix("#")
    _check_name("channel", name)
    _check_text("purpose", purpose)
    kind = "private" if private else "public"
    row = await db.one(
        CREATE_CHANNEL, workspace_id=workspace.id, id=new_id(), name=name, kind=kind, purpose=purpose
    )
    if row is None:
        raise AlreadyExists("channel", name)
    return Channel(id=row.id, name=row.name, kind=row.kind, workspace_id=workspace.id)


async def join_channel(
    db: Database, workspace: Workspace, name: str, handle: str, *, role: str = "poster"
) -> Membership:
    """Make an identity a member of a channel, or give it another role there."""
    if role not in {"reader", "poster", "admin"}:
        message = "A role is reader, poster or admin."
        raise InvalidInput(message, field="role")
    [channel] = await _channels(db, workspace, [name])
    identity = await find_identity(db, workspace, handle)
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
    [channel] = await _channels(db, workspace, [name])
    rows = await db.all(LIST_MEMBERS, workspace_id=workspace.id, channel_id=channel.id)
    return [Member(**msgspec.structs.asdict(row)) for row in rows]


async def readmit(db: Database, workspace: Workspace, name: str, handle: str) -> Readmission:
    """Forget how someone left a channel: they may come back like anyone else."""
    [channel] = await _channels(db, workspace, [name])
    identity = await find_identity(db, workspace, handle)
    row = await db.one(
        FORGET_STANDING, workspace_id=workspace.id, channel_id=channel.id, identity_id=identity.id
    )
    if row is None:
        message = f"Nothing is remembered of `{identity.handle}` in #{channel.name}: nothing keeps them from joining."
        raise NotFound(message)
    return Readmission(channel=channel.name, handle=identity.handle, was=row.name)


async def create_verify_token(db: Database, workspace: Workspace, handle: str) -> VerifyToken:
    """Make a token that an agent echoes with verify-connection: once, within ten minutes."""
    identity = await find_identity(db, workspace, handle)
    token = "verify_" + secrets.token_urlsafe(24)
    row = await db.one(
        CREATE_VERIFY_TOKEN,
        workspace_id=workspace.id,
        hash=hashlib.sha256(token.encode()).digest(),
        agent_id=identity.id,
        minutes=VERIFY_TOKEN_MINUTES,
    )
    assert row is not None, "an insert with RETURNING has a row"
    return VerifyToken(token=token, agent_id=identity.id, handle=identity.handle, expires_at=row.at)


def parse_scopes(text: str) -> list[str]:
    """Scopes from a list split on white space or commas, where a preset stands for its scopes (contract section 2)."""
    scopes: list[str] = []
    for word in text.replace(",", " ").split():
        if word not in PRESETS and word not in ALL_SCOPES:
            message = f"There is no scope `{word}`. There are the presets {', '.join(PRESETS)}, and {', '.join(ALL_SCOPES)}."
            raise InvalidInput(message, field="scopes")
        scopes += PRESETS.get(word, (word,))
    if not scopes:
        message = "A key needs at least one scope."
        raise InvalidInput(message, field="scopes")
    return [scope for scope in ALL_SCOPES if scope in scopes]


async def _channels(db: Database | Transaction, workspace: Workspace, names: Iterable[str]) -> list[_Channel]:
    wanted = list(dict.fromkeys(name.removeprefix("#") for name in names))
    rows = await db.all(FIND_CHANNELS, workspace_id=workspace.id, names=wanted)
    found = {name: [row for row in rows if name in {row.name, str(row.id)}] for name in wanted}
    for name, channels in found.items():
        if not channels:
            raise ChannelNotFound(name, field="channel")
        if len(channels) > 1:
            ids = ", ".join(f"{channel.id} ({channel.kind})" for channel in channels)
            message = f"There are {len(channels)} channels `{name}`. Name one by its id: {ids}."
            raise InvalidInput(message, field="channel")
    return [found[name][0] for name in wanted]


def _key(row: _Key) -> Key:
    return Key(**{name: getattr(row, name) for name in row.__struct_fields__})


def _check_name(field: str, name: str) -> None:
    """Refuse a name that the schema would refuse, with the rule in words."""
    pattern, rule = NAMES[field]
    if not pattern.fullmatch(name):
        raise InvalidInput(f"`{name[:80]}` cannot be a {field}: {rule}.", field=field)


def _check_text(field: str, text: str | None) -> None:
    if text is not None and not (shows_something(text) and len(text) <= LABEL_CHARACTERS_MAX):
        raise InvalidInput(
            f"A {field} has 1 to {LABEL_CHARACTERS_MAX} characters, something to see, and no control characters.",
            field=field,
        )
