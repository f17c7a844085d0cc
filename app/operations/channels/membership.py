"""Who is in a channel: join, leave; add, remove, and set the role of members.

Posters may add others, only admins do the rest. Whoever changes who is in a channel first locks its row, so that two who
leave at once do not both find the other one still there, nor two admins who make each other posters.

How somebody left is remembered in channel_standings: a reader comes back as a reader, and who was taken out comes back
only if an admin adds them, or who took them out.
"""

from typing import Annotated, ClassVar, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.db import One, Query
from app.errors import (
    ChannelArchived,
    ChannelNotAdmin,
    ChannelNotFound,
    ChannelNotMember,
    IdentityNotFound,
    InvalidInput,
    LastAdmin,
    MemberNotFound,
    MemberRemoved,
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
from app.operations.identities import not_named
from app.rpc import AgentWrite, Answer, Context, Outcome, operation
from app.types import Id, IdentityKind
from app.writes.access import CALLER, KNOWN_IDENTITY
from app.writes.write import Write


class Departure(Answer):
    """Who is no longer in which channel."""

    news: ClassVar[tuple[str, ...]] = ("channelId", "memberId")

    channel_id: Annotated[str, Meta(description="The channel.")]
    member_id: Annotated[str, Meta(description="Who is no longer in it.")]


class Standing(msgspec.Struct):
    """What stands between somebody and a channel that they are not in."""

    standing: Literal["reader", "removed"]


class MemberNow(msgspec.Struct):
    """A member, as it matters for whether they can be changed or taken out."""

    kind: IdentityKind
    role: Role
    admins: int
    members: int


# Of who is in the channel again nothing is remembered.
_FORGOTTEN: Final = """
    forgotten AS (
        DELETE FROM channel_standings s
         USING entered e
         WHERE s.workspace_id = e.workspace_id AND s.channel_id = e.channel_id AND s.identity_id = e.identity_id
    )"""

# Who is in a channel is changed by one at a time.
_LOCK: Final = """
    SELECT i.ord
      FROM i
      JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
       FOR NO KEY UPDATE OF c"""

JOIN = Write[Channel](
    takes="channel_id uuid",
    first=_LOCK,
    does=f"""
    entered AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT i.workspace_id, i.channel_id, i.actor_id, coalesce(s.standing, 'poster')
          FROM i
          JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
          LEFT JOIN channel_standings s
            ON s.workspace_id = i.workspace_id AND s.channel_id = i.channel_id AND s.identity_id = i.actor_id
         WHERE c.kind = 'public' AND c.archived_at IS NULL AND s.standing IS DISTINCT FROM 'removed'
        ON CONFLICT DO NOTHING
        RETURNING workspace_id, channel_id, identity_id
    ), {_FORGOTTEN}""",
    answers=f"""
        SELECT i.ord, {CHANNEL_JSON} AS answer
          FROM i
          JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
         WHERE c.archived_at IS NULL AND {CHANNEL_KNOWN}
           AND NOT EXISTS (SELECT FROM channel_standings s
                            WHERE s.workspace_id = i.workspace_id AND s.channel_id = i.channel_id
                              AND s.identity_id = i.actor_id AND s.standing = 'removed')""",
)

# What is answered of a membership `m` with the `ord` of its call.
_MEMBER_ANSWERS: Final = f"""
        SELECT m.ord, {MEMBERSHIP_JSON} AS answer
          FROM m
          JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id"""

# `m` sees the membership as it was before: an old one stays as it is, a new one comes from `entered`.
ADD = Write[Membership](
    takes="channel_id uuid, member_id uuid, role text",
    first=_LOCK,
    does=f"""
    may AS MATERIALIZED (
        SELECT i.* FROM i WHERE {CHANNEL_OPEN} AND (i.role <> 'admin' OR {CHANNEL_MANAGED})
    ), entered AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT i.workspace_id, i.channel_id, a.id,
               CASE WHEN s.standing = 'reader' AND NOT {CHANNEL_MANAGED} THEN 'reader' ELSE i.role END
          FROM may i
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.member_id
          LEFT JOIN channel_standings s
            ON s.workspace_id = i.workspace_id AND s.channel_id = i.channel_id AND s.identity_id = i.member_id
         WHERE a.deactivated_at IS NULL AND {KNOWN_IDENTITY} AND (a.kind = 'user' OR i.role <> 'admin')
           AND (s.standing IS DISTINCT FROM 'removed' OR s.removed_by_id = i.actor_id OR {CHANNEL_MANAGED})
        ON CONFLICT DO NOTHING
        RETURNING *
    ), {_FORGOTTEN}, m AS (
        SELECT i.ord, e.*
          FROM may i
          JOIN entered e ON e.workspace_id = i.workspace_id AND e.channel_id = i.channel_id AND e.identity_id = i.member_id
         UNION ALL
        SELECT i.ord, m.*
          FROM may i
          JOIN channel_members m ON m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id
                                AND m.identity_id = i.member_id
    )""",
    answers=_MEMBER_ANSWERS,
)

# A channel keeps an admin as long as somebody is in it. Who was deactivated is none.
_ANOTHER_ADMIN: Final = """EXISTS (
        SELECT FROM channel_members o
          JOIN identities x ON x.workspace_id = o.workspace_id AND x.id = o.identity_id
         WHERE o.workspace_id = i.workspace_id AND o.channel_id = i.channel_id AND o.identity_id <> i.member_id
           AND o.role = 'admin' AND x.deactivated_at IS NULL)"""

SET_ROLE = Write[Membership](
    takes="channel_id uuid, member_id uuid, role text",
    first=_LOCK,
    does=f"""
    m AS (
        UPDATE channel_members m
           SET role = i.role
          FROM i
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.member_id
         WHERE m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = i.member_id
           AND (a.kind = 'user' OR i.role <> 'admin') AND {CHANNEL_MANAGED}
           AND (i.role = 'admin' OR m.role <> 'admin' OR {_ANOTHER_ADMIN})
        RETURNING m.*, i.ord
    )""",
    answers=_MEMBER_ANSWERS,
)

# Admins take anyone out, owners their agents, everyone themselves; but never the last one, nor the last admin.
REMOVE = Write[Departure](
    takes="channel_id uuid, member_id uuid",
    first=_LOCK,
    does=f"""
    gone AS (
        DELETE FROM channel_members m
         USING i
         WHERE m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = i.member_id
           AND EXISTS (SELECT FROM channel_members o
                        WHERE o.workspace_id = i.workspace_id AND o.channel_id = i.channel_id AND o.identity_id <> i.member_id)
           AND (m.role <> 'admin' OR {_ANOTHER_ADMIN})
           AND (i.member_id = i.actor_id OR {CHANNEL_MANAGED}
                OR {CHANNEL_KNOWN} AND EXISTS (
                       SELECT FROM identities a
                        WHERE a.workspace_id = i.workspace_id AND a.id = i.member_id AND a.owner_id = i.actor_id))
        RETURNING i.*, m.role
    ), remembered AS (
        INSERT INTO channel_standings (workspace_id, channel_id, identity_id, standing, removed_by_id)
        SELECT i.workspace_id, i.channel_id, i.member_id, CASE WHEN i.member_id = i.actor_id THEN 'reader' ELSE 'removed' END,
               nullif(i.actor_id, i.member_id)
          FROM gone i
         WHERE i.role = 'reader' OR i.member_id <> i.actor_id
        ON CONFLICT (workspace_id, channel_id, identity_id) DO UPDATE
           SET standing = excluded.standing, removed_by_id = excluded.removed_by_id, since = now()
    )""",
    answers="""
        SELECT i.ord, row_to_json((SELECT w FROM (SELECT i.channel_id AS "channelId", i.member_id AS "memberId") w)) AS answer
          FROM gone i""",
)

FIND_STANDING = Query(
    Standing,
    """
    SELECT s.standing
      FROM channel_standings s
     WHERE s.workspace_id = %(workspace_id)s::uuid AND s.channel_id = %(channel_id)s::uuid
       AND s.identity_id = %(member_id)s::uuid
    """,
    pipelined=True,
)

FIND_MEMBER = Query(
    MemberNow,
    """
    SELECT a.kind, m.role, c.admins, c.members
      FROM channel_members m
      JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
     CROSS JOIN LATERAL (
           SELECT count(*) FILTER (WHERE o.role = 'admin') AS admins, count(*) AS members
             FROM channel_members o
            WHERE o.workspace_id = m.workspace_id AND o.channel_id = m.channel_id) c
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
        Id, Meta(description="A public channel. get-channels with `includePublic` lists them.")
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
    role: Annotated[
        Role, Meta(description="A reader only reads. Only an admin can make a human an admin.")
    ] = "poster"


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
            description="A reader only reads, a poster also writes, an admin also manages. Agents cannot be admins."
        ),
    ]


@operation(scope="channel-write", errors=(ChannelNotFound, MemberRemoved, ChannelArchived))
async def join_channel(ctx: Context, req: JoinChannel) -> Outcome[Channel]:
    """Join a public channel as a poster. Joining twice is harmless.

    If you left it as a reader, you come back as one. If you were removed, you must be added by an admin; to a private
    channel, by one of its members.
    """
    if (joined := await ctx.write(JOIN, channel_id=uuid_or_none(req.channel_id))) is not None:
        return joined
    channel = await look(ctx, req.channel_id)
    if await _was_removed(ctx, channel, ctx.actor.id):
        raise MemberRemoved
    if channel.archived:
        raise ChannelArchived(channel.name)
    raise ChannelNotFound(req.channel_id)  # made, opened or entered only since the statement


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, SoleMember, LastAdmin),
)
async def leave_channel(ctx: Context, req: LeaveChannel) -> Outcome[Departure]:
    """Leave a channel. From then on you see nothing of it but what you have a part in.

    The only member cannot leave, nor can the only admin.
    """
    left = await ctx.write(REMOVE, channel_id=uuid_or_none(req.channel_id), member_id=ctx.actor.id)
    if left is not None:
        return left
    channel = await readable(ctx, req.channel_id)
    member = await _member(ctx, channel, ctx.actor.id)
    raise LastAdmin if member and member.members > 1 else SoleMember


@operation(
    scope="channel-write",
    errors=(
        InvalidInput,
        ChannelNotFound,
        ChannelNotMember,
        ChannelNotAdmin,
        MemberRemoved,
        ChannelArchived,
        IdentityNotFound,
    ),
)
async def add_channel_member(ctx: Context, req: AddChannelMember) -> Outcome[Membership]:
    """Let a user or agent into a channel that you may post in.

    Existing members keep their role; set-channel-member-role changes it. Someone who was removed can only be added by
    an admin or by whoever removed them. Someone who left as a reader comes back as a reader, unless an admin adds
    them.
    """
    id, member = uuid_or_none(req.channel_id), uuid_or_none(req.member_id)
    if (added := await ctx.write(ADD, channel_id=id, member_id=member, role=req.role)) is not None:
        return added
    if req.role == "admin":
        await managed(ctx, req.channel_id)
    channel = await refuse_posting(ctx, req.channel_id)
    if req.role == "admin" and member is not None and await ctx.one(FIND_AGENT, member_id=member):
        raise _no_admin()
    if member is not None and await _was_removed(ctx, channel, member):
        raise MemberRemoved
    raise await not_named(ctx, req.member_id, field="memberId")


@operation(
    scope="channel-write",
    errors=(
        ChannelNotFound,
        ChannelNotMember,
        ChannelNotAdmin,
        MemberNotFound,
        SoleMember,
        LastAdmin,
    ),
)
async def remove_channel_member(ctx: Context, req: RemoveChannelMember) -> Outcome[Departure]:
    """Remove someone from a channel. For its admins, and for the owner of an agent.

    From their next call on they see nothing of it but what they have a part in. They come back only if an admin adds
    them, or whoever removed them.
    """
    id, member = uuid_or_none(req.channel_id), uuid_or_none(req.member_id)
    if (removed := await ctx.write(REMOVE, channel_id=id, member_id=member)) is not None:
        return removed
    channel = await readable(ctx, req.channel_id)
    found = None if member is None else await _member(ctx, channel, member)
    if found is None:
        raise MemberNotFound(req.member_id)
    if member != ctx.actor.id:
        raise ChannelNotAdmin
    raise LastAdmin if found.members > 1 else SoleMember


@operation(
    scope="channel-write",
    errors=(
        InvalidInput,
        ChannelNotFound,
        ChannelNotMember,
        ChannelNotAdmin,
        MemberNotFound,
        LastAdmin,
    ),
)
async def set_channel_member_role(ctx: Context, req: SetChannelMemberRole) -> Outcome[Membership]:
    """Set what a member may do in a channel: read, also write, or also manage. For its admins.

    You cannot demote the only admin: make someone else an admin first.
    """
    id, member = uuid_or_none(req.channel_id), uuid_or_none(req.member_id)
    if (changed := await ctx.write(SET_ROLE, channel_id=id, member_id=member, role=req.role)) is not None:
        return changed
    channel = await managed(ctx, req.channel_id)
    found = None if member is None else await _member(ctx, channel, member)
    if found is None:
        raise MemberNotFound(req.member_id)
    raise _no_admin() if found.kind == "agent" else LastAdmin


async def _member(ctx: Context, channel: Look, member_id: UUID) -> MemberNow | None:
    """A member of a channel; None if they are none."""
    return await ctx.one(FIND_MEMBER, channel_id=channel.id, member_id=member_id)


async def _was_removed(ctx: Context, channel: Look, member_id: UUID) -> bool:
    """Whether somebody was taken out of a channel."""
    row = await ctx.one(FIND_STANDING, channel_id=channel.id, member_id=member_id)
    return row is not None and row.standing == "removed"


def _no_admin() -> InvalidInput:
    return InvalidInput("An agent can be reader or poster, never admin.", field="role")
