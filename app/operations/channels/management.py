"""Making channels and looking after them: create, rename, archive; join, leave; add, remove, set the role of members.

Who makes a channel is its admin; of an agent, its owner is, for agents are posters or readers. Posters may add
others, only admins do the rest. The operator's `channel join --role admin` helps where no admin is left.

What changes who is in a channel first locks the channel's row, so that two who leave at once do not both find
the other one still there.
"""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Query
from app.errors import (
    AlreadyExists,
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    MemberNotFound,
    SoleMember,
)
from app.ids import new_id
from app.operations.channels.channel import (
    CHANNEL_JSON,
    CHANNEL_OPEN,
    Channel,
    Look,
    Role,
    look,
    readable,
    refuse_posting,
)
from app.operations.channels.directory import MEMBERSHIP_JSON, Membership
from app.operations.tasks.task import KNOWN_IDENTITY, uuid_or_none
from app.rpc import AgentWrite, Answer, Context, operation
from app.types import Id, IdentityKind

ChannelName = Annotated[str, Meta(pattern="^#?[a-z][a-z0-9-]{0,62}$(?!\\n)")]
"""Lowercase letters, digits and hyphens, a letter first; a leading `#` is ignored. `$` alone also matches before a line feed."""

Purpose = Annotated[str, Meta(max_length=250, pattern="^[^\\u0000-\\u001f]*$(?!\\n)")]
"""One line."""


class ChannelRow(msgspec.Struct):
    """A channel after what was done to it."""

    channel: Encoded[Channel]


class MembershipRow(msgspec.Struct):
    """A membership after what was done to it."""

    membership: Encoded[Membership]


class Gone(msgspec.Struct):
    """Someone who was taken out of a channel."""

    member_id: str


class Kind(msgspec.Struct):
    """Whether someone is a user or an agent."""

    kind: IdentityKind


class Locked(msgspec.Struct):
    """A row that says only that the lock is held."""

    held: bool


CREATE = Query(
    ChannelRow,
    f"""
    WITH created AS (
        INSERT INTO channels (workspace_id, id, name, kind, purpose)
        VALUES (%(workspace_id)s::uuid, %(id)s::uuid, %(name)s, %(kind)s, %(purpose)s)
        ON CONFLICT ON CONSTRAINT channels_name_key DO NOTHING
        RETURNING *
    ), members AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT c.workspace_id, c.id, p.id, p.role
          FROM created c
          JOIN identities a ON a.workspace_id = c.workspace_id AND a.id = %(actor_id)s::uuid
         CROSS JOIN LATERAL (VALUES
               (a.id, CASE a.kind WHEN 'user' THEN 'admin' ELSE 'poster' END), (a.owner_id, 'admin')) AS p (id, role)
         WHERE p.id IS NOT NULL
    )
    SELECT {CHANNEL_JSON} FROM created c
    """,
)

# Whoever names a channel takes this first. The unique constraint would refuse a double too, but by raising.
NAME_LOCK = Query(
    Locked,
    """
    SELECT true FROM (SELECT pg_advisory_xact_lock(hashtextextended('name ' || %(workspace_id)s::text, 0))) AS taken
    """,
)

RENAME = Query(
    ChannelRow,
    f"""
    UPDATE channels c
       SET name = %(name)s, purpose = CASE WHEN %(keep_purpose)s::boolean THEN c.purpose ELSE %(purpose)s END
     WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = %(channel_id)s::uuid
       AND NOT EXISTS (SELECT FROM channels x
                        WHERE x.workspace_id = c.workspace_id AND x.name = %(name)s AND x.id <> c.id)
       AND EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = %(actor_id)s::uuid
                      AND m.role = 'admin')
    RETURNING {CHANNEL_JSON}
    """,
)

ARCHIVE = Query(
    ChannelRow,
    f"""
    UPDATE channels c
       SET archived_at = CASE WHEN %(archived)s::boolean THEN coalesce(c.archived_at, now()) END
     WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = %(channel_id)s::uuid
       AND EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = %(actor_id)s::uuid
                      AND m.role = 'admin')
    RETURNING {CHANNEL_JSON}
    """,
)

JOIN = Query(
    ChannelRow,
    f"""
    WITH joined AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id)
        SELECT c.workspace_id, c.id, %(actor_id)s::uuid
          FROM channels c
         WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = %(channel_id)s::uuid
           AND c.kind = 'public' AND c.archived_at IS NULL
        ON CONFLICT DO NOTHING
    )
    SELECT {CHANNEL_JSON}
      FROM channels c
     WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = %(channel_id)s::uuid AND c.archived_at IS NULL
       AND (c.kind = 'public' OR EXISTS (
               SELECT FROM channel_members m
                WHERE m.workspace_id = c.workspace_id AND m.channel_id = c.id AND m.identity_id = %(actor_id)s::uuid))
    """,
)

# The outer SELECT sees the membership as it was before: an old one stays as it is, a new one comes from `added`.
ADD = Query(
    MembershipRow,
    f"""
    WITH i AS (SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(channel_id)s::uuid AS channel_id),
    added AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT i.workspace_id, i.channel_id, a.id, %(role)s
          FROM i
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = %(member_id)s::uuid
         WHERE {KNOWN_IDENTITY} AND {CHANNEL_OPEN} AND (a.kind = 'user' OR %(role)s <> 'admin')
        ON CONFLICT DO NOTHING
        RETURNING *
    ), member AS (
        SELECT * FROM added
         UNION ALL
        SELECT m.*
          FROM i
          JOIN channel_members m
            ON m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = %(member_id)s::uuid
         WHERE {CHANNEL_OPEN}
    )
    SELECT {MEMBERSHIP_JSON}
      FROM member m
      JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
    """,
)

LOCK_CHANNEL = Query(
    Locked,
    """
    SELECT true FROM channels c
     WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = %(channel_id)s::uuid
       FOR NO KEY UPDATE
    """,
)

# Admins take anyone out, owners their agents, everyone themselves; but never the last one.
REMOVE = Query(
    Gone,
    """
    DELETE FROM channel_members m
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid
       AND m.identity_id = %(member_id)s::uuid
       AND EXISTS (SELECT FROM channel_members o
                    WHERE o.workspace_id = m.workspace_id AND o.channel_id = m.channel_id AND o.identity_id <> m.identity_id)
       AND (m.identity_id = %(actor_id)s::uuid
            OR EXISTS (SELECT FROM channel_members me
                        WHERE me.workspace_id = m.workspace_id AND me.channel_id = m.channel_id
                          AND me.identity_id = %(actor_id)s::uuid AND me.role = 'admin')
            OR EXISTS (SELECT FROM identities a
                        WHERE a.workspace_id = m.workspace_id AND a.id = m.identity_id AND a.owner_id = %(actor_id)s::uuid))
    RETURNING m.identity_id::text
    """,
)

SET_ROLE = Query(
    MembershipRow,
    f"""
    WITH changed AS (
        UPDATE channel_members m
           SET role = %(role)s
          FROM identities a
         WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid
       AND m.identity_id = %(member_id)s::uuid
           AND a.workspace_id = m.workspace_id AND a.id = m.identity_id AND (a.kind = 'user' OR %(role)s <> 'admin')
           AND EXISTS (SELECT FROM channel_members me
                        WHERE me.workspace_id = m.workspace_id AND me.channel_id = m.channel_id
                          AND me.identity_id = %(actor_id)s::uuid AND me.role = 'admin')
        RETURNING m.*
    )
    SELECT {MEMBERSHIP_JSON}
      FROM changed m
      JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
    """,
)


FIND_MEMBER = Query(
    Kind,
    """
    SELECT a.kind
      FROM channel_members m
      JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
     WHERE m.workspace_id = %(workspace_id)s::uuid AND m.channel_id = %(channel_id)s::uuid
       AND m.identity_id = %(member_id)s::uuid
    """,
    pipelined=True,
)

FIND_AGENT = Query(
    Kind,
    f"""
    WITH i AS (SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id)
    SELECT a.kind
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = %(member_id)s::uuid
     WHERE a.kind = 'agent' AND {KNOWN_IDENTITY}
    """,
    pipelined=True,
)


class Departure(Answer):
    """Who is no longer in which channel."""

    channel_id: Annotated[str, Meta(description="The channel.")]
    member_id: Annotated[str, Meta(description="Who is no longer in it.")]


class CreateChannel(AgentWrite):
    """The channel to make."""

    name: Annotated[
        ChannelName,
        Meta(description="Lowercase letters, digits and hyphens; it starts with a letter and is unique."),
    ]
    type: Annotated[
        Literal["public", "private"],
        Meta(description="`private` hides it from all but its members. Fixed for life."),
    ] = "public"
    purpose: Annotated[Purpose | None | UnsetType, Meta(description="What it is for, in one line.")] = UNSET


class RenameChannel(AgentWrite):
    """The channel, and its new name."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    name: Annotated[ChannelName, Meta(description="Its new name.")]
    purpose: Annotated[
        Purpose | None | UnsetType, Meta(description="What it is for from now on; null clears it.")
    ] = UNSET


class ArchiveChannel(AgentWrite):
    """The channel to archive."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    archived: Annotated[bool, Meta(description="`false` brings an archived channel back.")] = True


class JoinChannel(AgentWrite):
    """The channel to join."""

    channel_id: Annotated[
        Id, Meta(description="A public channel: get-channels with `includePublic` lists them.")
    ]


class LeaveChannel(AgentWrite):
    """The channel to leave."""

    channel_id: Annotated[Id, Meta(description="The channel.")]


class AddChannelMember(AgentWrite):
    """Whom to add where."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    member_id: Annotated[
        Id, Meta(description="The user or agent: resolve-identity finds the id behind a handle.")
    ]
    role: Annotated[Role, Meta(description="A reader only reads; only an admin can make a human admin.")] = (
        "poster"
    )


class RemoveChannelMember(AgentWrite):
    """Whom to remove from where."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    member_id: Annotated[Id, Meta(description="The user or agent.")]


class SetChannelMemberRole(AgentWrite):
    """Who is to be what from now on."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    member_id: Annotated[Id, Meta(description="The user or agent.")]
    role: Annotated[
        Role,
        Meta(
            description="A reader only reads, a poster also writes, an admin also manages; agents are no admins."
        ),
    ]


@operation(scope="channel-write", errors=(AlreadyExists,))
async def create_channel(ctx: Context, req: CreateChannel) -> Encoded[Channel]:
    """Make a channel. You are its first member.

    A human is its admin; of a channel that an agent makes, the agent's owner is.
    """
    name = req.name.removeprefix("#")
    async with ctx.db.transaction() as tx:
        await tx.one(NAME_LOCK, workspace_id=ctx.actor.workspace_id)
        row = await tx.one(
            CREATE,
            workspace_id=ctx.actor.workspace_id,
            actor_id=ctx.actor.id,
            id=new_id(),
            name=name,
            kind=req.type,
            purpose=req.purpose or None,
        )
    if row is None:
        raise AlreadyExists("channel", name)
    return row.channel


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, AlreadyExists),
)
async def rename_channel(ctx: Context, req: RenameChannel) -> Encoded[Channel]:
    """Give a channel another name, and another purpose if you send one. For its admins."""
    channel = await _managed(ctx, req.channel_id)
    name = req.name.removeprefix("#")
    async with ctx.db.transaction() as tx:
        await tx.one(NAME_LOCK, workspace_id=ctx.actor.workspace_id)
        row = await tx.one(
            RENAME,
            workspace_id=ctx.actor.workspace_id,
            actor_id=ctx.actor.id,
            channel_id=channel.id,
            name=name,
            keep_purpose=req.purpose is UNSET,
            purpose=req.purpose or None,
        )
    if row is None:
        await _managed(ctx, req.channel_id)
        raise AlreadyExists("channel", name)
    return row.channel


@operation(scope="channel-write", errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin))
async def archive_channel(ctx: Context, req: ArchiveChannel) -> Encoded[Channel]:
    """Close a channel: it can still be read, but it is left out of lists and takes nothing new. For its admins.

    Its name stays taken. With `archived: false` it opens again.
    """
    channel = await _managed(ctx, req.channel_id)
    row = await ctx.db.one(
        ARCHIVE,
        workspace_id=ctx.actor.workspace_id,
        actor_id=ctx.actor.id,
        channel_id=channel.id,
        archived=req.archived,
    )
    if row is None:  # no longer an admin since the statement before
        raise ChannelNotAdmin
    return row.channel


@operation(scope="channel-write", errors=(ChannelNotFound, ChannelArchived))
async def join_channel(ctx: Context, req: JoinChannel) -> Encoded[Channel]:
    """Become a poster of a public channel. Joining twice is harmless.

    Into a private channel someone who is in it has to add you.
    """
    channel = await look(ctx, req.channel_id)
    row = await ctx.db.one(
        JOIN, workspace_id=ctx.actor.workspace_id, actor_id=ctx.actor.id, channel_id=channel.id
    )
    if row is not None:
        return row.channel
    if channel.archived:
        raise ChannelArchived(channel.name)
    raise ChannelNotFound(req.channel_id)  # private, and left between the two statements


@operation(scope="channel-write", errors=(ChannelNotFound, ChannelNotMember, SoleMember))
async def leave_channel(ctx: Context, req: LeaveChannel) -> Departure:
    """Leave a channel. You see nothing more of it from then on, but for tasks you have a part in.

    The only member cannot leave.
    """
    channel = await look(ctx, req.channel_id)
    if channel.role is None or not await _remove(ctx, channel, ctx.actor.id):
        raise SoleMember if channel.role else ChannelNotMember(str(channel.id))
    return Departure(channel_id=str(channel.id), member_id=str(ctx.actor.id))


@operation(
    scope="channel-write",
    errors=(
        InvalidInput,
        ChannelNotFound,
        ChannelNotMember,
        ChannelNotAdmin,
        ChannelArchived,
        IdentityNotFound,
    ),
)
async def add_channel_member(ctx: Context, req: AddChannelMember) -> Encoded[Membership]:
    """Add a user or agent to a channel that you may post in.

    Someone who is in it already keeps their role; set-channel-member-role changes it.
    """
    if req.role == "admin":
        await _managed(ctx, req.channel_id)
    await refuse_posting(ctx, req.channel_id)
    member = uuid_or_none(req.member_id)
    row = await ctx.db.one(
        ADD,
        workspace_id=ctx.actor.workspace_id,
        actor_id=ctx.actor.id,
        channel_id=uuid_or_none(req.channel_id),
        member_id=member,
        role=req.role,
    )
    if row is not None:
        return row.membership
    await refuse_posting(ctx, req.channel_id)
    if (
        req.role == "admin"
        and member is not None
        and await ctx.db.one(
            FIND_AGENT, workspace_id=ctx.actor.workspace_id, actor_id=ctx.actor.id, member_id=member
        )
    ):
        raise _no_admin()
    raise IdentityNotFound(req.member_id, field="memberId")


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, MemberNotFound, SoleMember),
)
async def remove_channel_member(ctx: Context, req: RemoveChannelMember) -> Departure:
    """Take someone out of a channel. For its admins, and for owners of agents.

    They see nothing more of it from their next call on. Tasks of the channel that they have a part in stay theirs to see.
    """
    channel = await look(ctx, req.channel_id)
    member = uuid_or_none(req.member_id)
    if member is not None and await _remove(ctx, channel, member):
        return Departure(channel_id=str(channel.id), member_id=str(member))
    if channel.role is None:
        raise ChannelNotMember(str(channel.id))
    if member is None or await _kind_of_member(ctx, channel, member) is None:
        raise MemberNotFound(req.member_id)
    raise SoleMember if member == ctx.actor.id else ChannelNotAdmin


@operation(
    scope="channel-write",
    errors=(InvalidInput, ChannelNotFound, ChannelNotMember, ChannelNotAdmin, MemberNotFound),
)
async def set_channel_member_role(ctx: Context, req: SetChannelMemberRole) -> Encoded[Membership]:
    """Say what a member may do in a channel: read, also write, or also manage. For its admins."""
    channel = await _managed(ctx, req.channel_id)
    member = uuid_or_none(req.member_id)
    row = await ctx.db.one(
        SET_ROLE,
        workspace_id=ctx.actor.workspace_id,
        actor_id=ctx.actor.id,
        channel_id=channel.id,
        member_id=member,
        role=req.role,
    )
    if row is not None:
        return row.membership
    await _managed(ctx, req.channel_id)
    if member is not None and await _kind_of_member(ctx, channel, member) == "agent":
        raise _no_admin()
    raise MemberNotFound(req.member_id)


async def _managed(ctx: Context, sent: str) -> Look:
    """The channel that the caller named, if they are an admin of it."""
    channel = await readable(ctx, sent)
    if channel.role != "admin":
        raise ChannelNotAdmin
    return channel


async def _remove(ctx: Context, channel: Look, member_id: UUID) -> bool:
    """Take someone out of a channel, if the caller may and someone is left."""
    async with ctx.db.transaction() as tx:
        await tx.one(LOCK_CHANNEL, workspace_id=ctx.actor.workspace_id, channel_id=channel.id)
        return None is not await tx.one(
            REMOVE,
            workspace_id=ctx.actor.workspace_id,
            actor_id=ctx.actor.id,
            channel_id=channel.id,
            member_id=member_id,
        )


async def _kind_of_member(ctx: Context, channel: Look, member_id: UUID) -> IdentityKind | None:
    """Whether a member of a channel is a user or an agent; None if they are not a member."""
    row = await ctx.db.one(
        FIND_MEMBER, workspace_id=ctx.actor.workspace_id, channel_id=channel.id, member_id=member_id
    )
    return row.kind if row else None


def _no_admin() -> InvalidInput:
    return InvalidInput("An agent can be reader or poster, never admin.", field="role")
