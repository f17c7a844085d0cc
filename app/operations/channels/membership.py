"""Who is in a channel: join, leave; add, remove, and set the role of members.

Posters may add others, only admins do the rest. What takes someone out first locks the channel's row, so that two
who leave at once do not both find the other one still there.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from app.db import Encoded, Query
from app.errors import (
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    MemberNotFound,
    SoleMember,
)
from app.operations.channels.channel import (
    CHANNEL_JSON,
    CHANNEL_OPEN,
    Channel,
    Look,
    Role,
    look,
    managed,
    refuse_posting,
)
from app.operations.channels.directory import MEMBERSHIP_JSON, Membership
from app.operations.channels.management import ChannelRow, Locked
from app.operations.tasks.task import KNOWN_IDENTITY, uuid_or_none
from app.rpc import AgentWrite, Answer, Context, operation
from app.types import Id, IdentityKind


class MembershipRow(msgspec.Struct):
    """A membership after what was done to it."""

    membership: Encoded[Membership]


class Gone(msgspec.Struct):
    """Someone who was taken out of a channel."""

    member_id: str


class Kind(msgspec.Struct):
    """Whether someone is a user or an agent."""

    kind: IdentityKind


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
        await managed(ctx, req.channel_id)
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
    channel = await managed(ctx, req.channel_id)
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
    await managed(ctx, req.channel_id)
    if member is not None and await _kind_of_member(ctx, channel, member) == "agent":
        raise _no_admin()
    raise MemberNotFound(req.member_id)


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
