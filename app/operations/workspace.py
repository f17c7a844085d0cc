"""Who and where am I: get-me, get-workspace-info, resolve-identity and verify-connection."""

import hashlib
from typing import Annotated, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Command, Encoded, One, Query
from app.db.phrases import moment
from app.errors import IdentityNotFound, InvalidInput
from app.rpc import AgentRequest, Answer, Context, operation
from app.types import NAME_CHARACTERS_MAX, NO_NUL, Handle, IdentityKind, Scope, Timestamp
from app.writes.access import CALLER, KNOWN_IDENTITY, NAMED_IDENTITY


class MyChannel(Answer):
    """A channel you are a member of."""

    id: Annotated[str, Meta(description="Its id, for `channelId`.")]
    name: Annotated[str, Meta(description="Its name, without `#`.")]
    role: Annotated[
        Literal["reader", "poster", "admin"], Meta(description="What you may do there; a reader only reads.")
    ]


class Me(Answer):
    """The identity behind an API key."""

    brief: ClassVar[tuple[str, ...]] = ("id", "kind", "handle", "workspaceSlug", "scopes", "channels")

    id: Annotated[str, Meta(description="Your id, for `assigneeAgentId` or `assigneeUserId`.")]
    kind: Annotated[IdentityKind, Meta(description="Whether you are a user or an agent.")]
    handle: Annotated[str, Meta(description="Your handle: others address you as `@handle`.")]
    name: Annotated[str, Meta(description="Your display name.")]
    workspace_id: Annotated[str, Meta(description="The workspace your key belongs to.")]
    workspace_slug: Annotated[str, Meta(description="Its short name.")]
    owner_id: Annotated[str | None, Meta(description="For an agent, the user who owns it.")]
    scopes: Annotated[list[Scope], Meta(description="What your key allows.")]
    channels: Annotated[list[MyChannel], Meta(description="Your channels.")]


class WorkspaceInfo(Answer):
    """A workspace and how many live in it."""

    id: Annotated[str, Meta(description="Its id.")]
    name: Annotated[str, Meta(description="Its name.")]
    slug: Annotated[str, Meta(description="Its short name.")]
    created_at: Annotated[Timestamp, Meta(description="When it was created.")]
    member_count: Annotated[int, Meta(description="How many humans.")]
    channel_count: Annotated[
        int, Meta(description="How many channels you may know of that are not archived.")
    ]
    agent_count: Annotated[int, Meta(description="How many agents you may know of.")]


class ResolvedIdentity(Answer):
    """A user or agent."""

    id: Annotated[str, Meta(description="The id.")]
    kind: Annotated[IdentityKind, Meta(description="Whether it is a user or an agent.")]
    display_name: Annotated[str, Meta(description="What to call it.")]
    handle: Annotated[str, Meta(description="Address it as `@handle`.")]


class VerifyConnectionResult(Answer, omit_defaults=True):
    """Whether a connection works. Also when it does not, the answer is a 200."""

    ok: Annotated[bool, Meta(description="Whether the token was good.")]
    message: Annotated[str, Meta(description="The same for people.")]
    reason: Annotated[
        Literal["invalid_token", "expired", "already_used", "agent_mismatch"] | UnsetType,
        Meta(description="Why not."),
    ] = UNSET
    verified_at: Annotated[Timestamp | None | UnsetType, Meta(description="When it was verified.")] = UNSET
    agent_id: Annotated[str | UnsetType, Meta(description="The agent that was verified.")] = UNSET
    workspace_id: Annotated[str | UnsetType, Meta(description="Its workspace.")] = UNSET


class MeRow(msgspec.Struct):
    """The caller."""

    name: str
    owner_id: UUID | None
    workspace_slug: str
    channels: list[MyChannel]


class TokenRow(msgspec.Struct):
    """A verification token before this call."""

    agent_id: UUID
    is_callers: bool
    used: bool
    expired: bool
    verified_at: str | None


ME = Query(
    MeRow,
    """
    SELECT a.name, a.owner_id, w.slug,
           (SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'name', c.name, 'role', m.role) ORDER BY c.name), '[]')
              FROM channel_members m
              JOIN channels c ON c.workspace_id = m.workspace_id AND c.id = m.channel_id AND c.archived_at IS NULL
             WHERE m.workspace_id = a.workspace_id AND m.identity_id = a.id)
      FROM identities a
      JOIN workspaces w ON w.id = a.workspace_id
     WHERE a.workspace_id = %(workspace_id)s AND a.id = %(actor_id)s
    """,
)

INFO = Query(
    One[Encoded[WorkspaceInfo]],
    f"""
    WITH i AS ({CALLER})
    SELECT row_to_json((SELECT r FROM (SELECT
           w.id, w.name, w.slug,
           {moment("w.created_at")} AS "createdAt",
           (SELECT count(*) FROM identities a WHERE a.workspace_id = w.id AND a.kind = 'user' AND a.deactivated_at IS NULL)
               AS "memberCount",
           (SELECT count(*) FROM channels c
             WHERE c.workspace_id = w.id AND c.archived_at IS NULL
               AND (c.kind = 'public' OR EXISTS (
                        SELECT FROM channel_members m
                         WHERE m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = i.actor_id)))
               AS "channelCount",
           (SELECT count(*) FROM identities a
             WHERE a.workspace_id = w.id AND a.kind = 'agent' AND a.deactivated_at IS NULL AND {NAMED_IDENTITY})
               AS "agentCount") r))
      FROM i
      JOIN workspaces w ON w.id = i.workspace_id
    """,
)

RESOLVE = Query(
    One[Encoded[ResolvedIdentity]],
    f"""
    WITH i AS ({CALLER})
    SELECT row_to_json((SELECT r FROM (SELECT a.id, a.kind, a.name AS "displayName", a.handle) r))
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id
     WHERE (a.handle = lower(%(handle)s::text) OR lower(a.email) = lower(%(email)s::text))
       AND (%(handle)s::text IS NULL OR a.handle = lower(%(handle)s::text))
       AND (%(email)s::text IS NULL OR lower(a.email) = lower(%(email)s::text))
       AND {KNOWN_IDENTITY}
    """,
)

# One statement finds the token and spends it, so that of two echoes only one succeeds. The outer SELECT sees the
# token as it was before; `spent` says whether this call is the one.
SPEND_TOKEN = Command(
    TokenRow,
    f"""
    WITH spent AS (
        UPDATE verify_tokens v
           SET used_at = now()
         WHERE v.workspace_id = %(workspace_id)s AND v.hash = %(hash)s AND v.agent_id = %(actor_id)s
           AND v.used_at IS NULL AND v.expires_at > now()
        RETURNING {moment("v.used_at")} AS verified_at
    )
    SELECT v.agent_id, v.agent_id = %(actor_id)s, v.used_at IS NOT NULL, v.expires_at <= now(),
           (SELECT verified_at FROM spent)
      FROM verify_tokens v
     WHERE v.workspace_id = %(workspace_id)s AND v.hash = %(hash)s
    """,
)


class GetMe(AgentRequest):
    """Nothing to say."""


class GetWorkspaceInfo(AgentRequest):
    """Nothing to say."""


class ResolveIdentity(AgentRequest):
    """Whom to look up: by one of the two, or by both if both must fit."""

    rules: ClassVar = {
        "not": {"properties": {"handle": {"type": "null"}, "email": {"type": "null"}}}
    }  # not without both

    query_needs: ClassVar = ("handle",)  # no document can say of parameters that one of two is enough

    handle: Annotated[
        Handle | UnsetType, Meta(description="A user's or agent's handle, with or without `@`.")
    ] = UNSET
    email: Annotated[Handle | UnsetType, Meta(description="A user's email address.")] = UNSET


class VerifyConnection(AgentRequest):
    """The token to echo."""

    token: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=NAME_CHARACTERS_MAX,
            extra_json_schema=NO_NUL,
            description="The token an operator gave you.",
        ),
    ]


@operation(
    scope=None,
    read_only=True,
    resource="workspace://me",
)
async def get_me(ctx: Context, req: GetMe) -> Me:
    """See who you are: your id and handle, your workspace, what your key allows, and your channels.

    A good first call for an agent that starts with an empty memory.
    """
    actor = ctx.actor
    row = await ctx.one(ME)
    assert row is not None, "a key belongs to an identity, by foreign key"
    return Me(
        id=str(actor.id),
        kind=actor.kind,
        handle=actor.handle,
        name=row.name,
        workspace_id=str(actor.workspace_id),
        workspace_slug=row.workspace_slug,
        owner_id=str(row.owner_id) if row.owner_id else None,
        scopes=msgspec.convert(sorted(actor.scopes), list[Scope]),
        channels=msgspec.convert(row.channels, list[MyChannel]),
    )


@operation(scope="workspace-read", read_only=True, resource="workspace://info")
async def get_workspace_info(ctx: Context, req: GetWorkspaceInfo) -> Encoded[WorkspaceInfo]:
    """See which workspace this is, and how many users, agents and channels it has."""
    row = await ctx.one(INFO)
    assert row is not None, "a key belongs to a workspace, by foreign key"
    return row.value


@operation(scope="workspace-read", read_only=True, errors=(InvalidInput, IdentityNotFound))
async def resolve_identity(ctx: Context, req: ResolveIdentity) -> Encoded[ResolvedIdentity]:
    """Find a user or agent by handle, or a user by email.

    Use it to turn `@ada` into the id that assignments need.
    """
    if not req.handle and not req.email:
        message = "Send a handle or an email."
        raise InvalidInput(message, field="handle")
    handle = req.handle.removeprefix("@") if req.handle else None
    row = await ctx.one(
        RESOLVE,
        handle=handle,
        email=req.email or None,
    )
    if row is None:
        raise IdentityNotFound(str(req.handle or req.email), field="handle" if req.handle else "email")
    return row.value


@operation(scope=None, read_only=True, uses_up=True)
async def verify_connection(ctx: Context, req: VerifyConnection) -> VerifyConnectionResult:
    """Prove that your connection works, by echoing a token that an operator gave you.

    A token works once, for about ten minutes. The answer is always a success; look at `ok`.
    """
    actor = ctx.actor
    digest = hashlib.sha256(req.token.encode()).digest()
    row = await ctx.one(SPEND_TOKEN, hash=digest)
    if row is None:
        return VerifyConnectionResult(
            ok=False, reason="invalid_token", message="This token is not known here."
        )
    if not row.is_callers:
        return VerifyConnectionResult(
            ok=False, reason="agent_mismatch", message="This token was made for another agent."
        )
    if row.verified_at is not None:
        return VerifyConnectionResult(
            ok=True,
            message="The connection works.",
            verified_at=row.verified_at,
            agent_id=str(actor.id),
            workspace_id=str(actor.workspace_id),
        )
    if row.expired and not row.used:
        return VerifyConnectionResult(
            ok=False, reason="expired", message="This token has expired. Ask for a new one."
        )
    return VerifyConnectionResult(
        ok=False, reason="already_used", message="This token was used before. Ask for a new one."
    )
