"""Who is in a channel: join, leave; add, remove, and set the role of members.

Posters may add others, only admins do the rest. Those who leave take turns, so that two who do so at
once do not both find the other one still there.
"""

from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from app.db import One, Query
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
from app.ids import uuid_or_none
from app.operations.channels.channel import (
    CHANNEL_JSON,
    CHANNEL_KNOWN,
    CHANNEL_MANAGED,
    CHANNEL_OPEN,
    Channel,
    Look,
    Role,
    look,
    managed,
    readable,
    refuse_posting,
)
from app.operations.channels.directory import MEMBERSHIP_JSON, Membership
from app.rpc import AgentWrite, Answer, Context, Outcome, operation
from app.types import Id, IdentityKind
from app.writes.access import CALLER, KNOWN_IDENTITY
from app.writes.write import Write, one


class Departure(Answer):
    """Who is no longer in which channel."""

    channel_id: Annotated[str, Meta(description="The channel.")]
    member_id: Annotated[str, Meta(description="Who is no longer in it.")]


JOIN = Write[Channel](
    takes="channel_id uuid",
    does="""
    joined AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id)
        SELECT i.workspace_id, i.channel_id, i.actor_id
          FROM i
          JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
         WHERE c.kind = 'public' AND c.archived_at IS NULL
        ON CONFLICT DO NOTHING
    )""",
    answers=f"""
        SELECT i.ord, {CHANNEL_JSON} AS answer
          FROM i
          JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
         WHERE c.archived_at IS NULL AND {CHANNEL_KNOWN}""",
    locks="channel_id",
)

# What is answered of a membership `m` with the `ord` of its call.
_MEMBER_ANSWERS: Final = f"""
        SELECT m.ord, {MEMBERSHIP_JSON} AS answer
          FROM m
          JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id"""

# `m` sees the membership as it was before: an old one stays as it is, a new one comes from `added`.
ADD = Write[Membership](
    takes="channel_id uuid, member_id uuid, role text",
    does=f"""
    may AS MATERIALIZED (
        SELECT i.* FROM i WHERE {CHANNEL_OPEN} AND (i.role <> 'admin' OR {CHANNEL_MANAGED})
    ), added AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT i.workspace_id, i.channel_id, a.id, i.role
          FROM may i
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.member_id
         WHERE {KNOWN_IDENTITY} AND (a.kind = 'user' OR i.role <> 'admin')
        ON CONFLICT DO NOTHING
        RETURNING *
    ), m AS (
        SELECT i.ord, added.*
          FROM may i
          JOIN added ON added.workspace_id = i.workspace_id AND added.channel_id = i.channel_id
                    AND added.identity_id = i.member_id
         UNION ALL
        SELECT i.ord, m.*
          FROM may i
          JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id
                                AND m.identity_id = i.member_id
    )""",
    answers=_MEMBER_ANSWERS,
    locks="channel_id",
    one_per=one("channel_id"),
)

SET_ROLE = Write[Membership](
    takes="channel_id uuid, member_id uuid, role text",
    does=f"""
    m AS (
        UPDATE channel_members m
           SET role = i.role
          FROM i
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.member_id
         WHERE m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = i.member_id
           AND (a.kind = 'user' OR i.role <> 'admin') AND {CHANNEL_MANAGED}
        RETURNING m.*, i.ord
    )""",
    answers=_MEMBER_ANSWERS,
    locks="channel_id",
    one_per=one("channel_id"),
)

# Admins take anyone out, owners their agents, everyone themselves; but never the last one.
REMOVE = Write[Departure](
    takes="channel_id uuid, member_id uuid",
    does=f"""
    gone AS (
        DELETE FROM channel_members m
         USING i
         WHERE m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = i.member_id
           AND EXISTS (SELECT FROM channel_members o
                        WHERE o.workspace_id = i.workspace_id AND o.channel_id = i.channel_id AND o.identity_id <> i.member_id)
           AND (i.member_id = i.actor_id OR {CHANNEL_MANAGED}
                OR {CHANNEL_KNOWN} AND EXISTS (
                       SELECT FROM identities a
                        WHERE a.workspace_id = i.workspace_id AND a.id = i.member_id AND a.owner_id = i.actor_id))
        RETURNING i.*
    )""",
    answers="""
        SELECT i.ord, row_to_json((SELECT w FROM (SELECT i.channel_id AS "channelId", i.member_id AS "memberId") w)) AS answer
          FROM gone i""",
    turn="leave",
    alone=True,
)

FIND_MEMBER = Query(
    One[IdentityKind],
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
    One[IdentityKind],
    f"""
    WITH i AS ({CALLER})
    SELECT a.kind
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = %(member_id)s::uuid
     WHERE a.kind = 'agent' AND {KNOWN_IDENTITY}
    """,
    pipelined=True,
)


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
async def join_channel(ctx: Context, req: JoinChannel) -> Outcome[Channel]:
    """Become a poster of a public channel. Joining twice is harmless.

    Into a private channel someone who is in it has to add you.
    """
    if (joined := await ctx.write(JOIN, channel_id=uuid_or_none(req.channel_id))) is not None:
        return joined
    channel = await look(ctx, req.channel_id)
    if channel.archived:
        raise ChannelArchived(channel.name)
    raise ChannelNotFound(req.channel_id)  # made, opened or entered only since the statement


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, SoleMember),
)
async def leave_channel(ctx: Context, req: LeaveChannel) -> Outcome[Departure]:
    """Leave a channel. You see nothing more of it from then on, but for tasks you have a part in.

    The only member cannot leave.
    """
    left = await ctx.write(REMOVE, channel_id=uuid_or_none(req.channel_id), member_id=ctx.actor.id)
    if left is not None:
        return left
    await readable(ctx, req.channel_id)
    raise SoleMember


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
async def add_channel_member(ctx: Context, req: AddChannelMember) -> Outcome[Membership]:
    """Add a user or agent to a channel that you may post in.

    Someone who is in it already keeps their role; set-channel-member-role changes it.
    """
    channel, member = uuid_or_none(req.channel_id), uuid_or_none(req.member_id)
    if (added := await ctx.write(ADD, channel_id=channel, member_id=member, role=req.role)) is not None:
        return added
    if req.role == "admin":
        await managed(ctx, req.channel_id)
    await refuse_posting(ctx, req.channel_id)
    if req.role == "admin" and member is not None and await ctx.one(FIND_AGENT, member_id=member):
        raise _no_admin()
    # Somebody else may have added them at the same moment.
    if (added := await ctx.write(ADD, channel_id=channel, member_id=member, role=req.role)) is not None:
        return added
    raise IdentityNotFound(req.member_id, field="memberId")


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, MemberNotFound, SoleMember),
)
async def remove_channel_member(ctx: Context, req: RemoveChannelMember) -> Outcome[Departure]:
    """Take someone out of a channel. For its admins, and for owners of agents.

    They see nothing more of it from their next call on. Tasks of the channel that they have a part in stay theirs to see.
    """
    member = uuid_or_none(req.member_id)
    removed = await ctx.write(REMOVE, channel_id=uuid_or_none(req.channel_id), member_id=member)
    if removed is not None:
        return removed
    channel = await readable(ctx, req.channel_id)
    if member is None or await _kind_of_member(ctx, channel, member) is None:
        raise MemberNotFound(req.member_id)
    raise SoleMember if member == ctx.actor.id else ChannelNotAdmin


@operation(
    scope="channel-write",
    errors=(
        InvalidInput,
        ChannelNotFound,
        ChannelNotMember,
        ChannelNotAdmin,
        MemberNotFound,
    ),
)
async def set_channel_member_role(ctx: Context, req: SetChannelMemberRole) -> Outcome[Membership]:
    """Say what a member may do in a channel: read, also write, or also manage. For its admins."""
    channel_id, member = uuid_or_none(req.channel_id), uuid_or_none(req.member_id)
    changed = await ctx.write(SET_ROLE, channel_id=channel_id, member_id=member, role=req.role)
    if changed is not None:
        return changed
    channel = await managed(ctx, req.channel_id)
    if member is not None and await _kind_of_member(ctx, channel, member) == "agent":
        raise _no_admin()
    raise MemberNotFound(req.member_id)


async def _kind_of_member(ctx: Context, channel: Look, member_id: UUID) -> IdentityKind | None:
    """Whether a member of a channel is a user or an agent; None if they are not a member."""
    row = await ctx.one(FIND_MEMBER, channel_id=channel.id, member_id=member_id)
    return row.value if row else None


def _no_admin() -> InvalidInput:
    return InvalidInput("An agent can be reader or poster, never admin.", field="role")
