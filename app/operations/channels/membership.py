"""Who is in a channel: join, leave; add, remove, and set the role of members.

Posters may add others, only admins do the rest. What takes someone out first locks the channel's row, so that two
who leave at once do not both find the other one still there.
"""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta

from app.db import Answered, BatchQuery, Encoded, One, Query
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
    ACTING,
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
from app.operations.channels.management import CHANNEL_ANSWERED
from app.rpc import AgentWrite, Answer, Context, operation
from app.types import Id, IdentityKind
from app.writes.access import CALLER, KNOWN_IDENTITY
from app.writes.fence import FENCE_ERRORS, UnderRun, under
from app.writes.receipts import KEPT, Keyed


class Departure(Answer):
    """Who is no longer in which channel."""

    channel_id: Annotated[str, Meta(description="The channel.")]
    member_id: Annotated[str, Meta(description="Who is no longer in it.")]


class Locked(msgspec.Struct):
    """A row that says only that the lock is held."""

    ord: int


JOIN = Keyed(
    BatchQuery(
        Answered[Channel],
        f"""{ACTING}, joined AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id)
        SELECT i.workspace_id, i.channel_id, i.actor_id
          FROM acting i
          JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
         WHERE c.kind = 'public' AND c.archived_at IS NULL
        ON CONFLICT DO NOTHING
    ), c AS (
        SELECT i.ord, c.*
          FROM acting i
          JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
         WHERE c.archived_at IS NULL AND {CHANNEL_KNOWN}
    ), {CHANNEL_ANSWERED}""",
    )
)

# The end of every statement that leaves a membership `m` with the `ord` of its item.
_MEMBER_ANSWERED: Final = f"""
    answered AS (
        SELECT i.ord, i.workspace_id, i.actor_id, i.request_id, i.keep, {MEMBERSHIP_JSON} AS answer, NULL::int AS merged_from
          FROM acting i
          JOIN m ON m.workspace_id = i.workspace_id AND m.ord = i.ord
          JOIN identities a ON a.workspace_id = m.workspace_id AND a.id = m.identity_id
    ), {KEPT}
    SELECT ord, answer FROM answered"""

# `m` sees the membership as it was before: an old one stays as it is, a new one comes from `added`.
ADD = Keyed(
    BatchQuery(
        Answered[Membership],
        f"""{ACTING}, may AS MATERIALIZED (
        SELECT i.*, i.changes->>'role' AS role
          FROM acting i
         WHERE {CHANNEL_OPEN} AND (i.changes->>'role' <> 'admin' OR {CHANNEL_MANAGED})
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
    ), {_MEMBER_ANSWERED}""",
        one_per="channelId",
    )
)

SET_ROLE = Keyed(
    BatchQuery(
        Answered[Membership],
        f"""{ACTING}, m AS (
        UPDATE channel_members m
           SET role = i.changes->>'role'
          FROM acting i
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.member_id
         WHERE m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = i.member_id
           AND (a.kind = 'user' OR i.changes->>'role' <> 'admin') AND {CHANNEL_MANAGED}
        RETURNING m.*, i.ord
    ), {_MEMBER_ANSWERED}""",
        one_per="channelId",
    )
)

LOCK_CHANNEL = BatchQuery(
    Locked,
    f"""{ACTING}
    SELECT i.ord
      FROM acting i
      JOIN channels c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
       FOR NO KEY UPDATE OF c""",
)

# Admins take anyone out, owners their agents, everyone themselves; but never the last one.
REMOVE = Keyed(
    BatchQuery(
        Answered[Departure],
        f"""{ACTING}, gone AS (
        DELETE FROM channel_members m
         USING acting i
         WHERE m.workspace_id = i.workspace_id AND m.channel_id = i.channel_id AND m.identity_id = i.member_id
           AND EXISTS (SELECT FROM channel_members o
                        WHERE o.workspace_id = i.workspace_id AND o.channel_id = i.channel_id AND o.identity_id <> i.member_id)
           AND (i.member_id = i.actor_id OR {CHANNEL_MANAGED}
                OR {CHANNEL_KNOWN} AND EXISTS (
                       SELECT FROM identities a
                        WHERE a.workspace_id = i.workspace_id AND a.id = i.member_id AND a.owner_id = i.actor_id))
        RETURNING i.*
    ), answered AS (
        SELECT i.ord, i.workspace_id, i.actor_id, i.request_id, i.keep, NULL::int AS merged_from,
               row_to_json((SELECT w FROM (SELECT i.channel_id AS "channelId", i.member_id AS "memberId") w)) AS answer
          FROM gone i
    ), {KEPT}
    SELECT ord, answer FROM answered""",
    )
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
    run_id: UnderRun = UNSET


class LeaveChannel(AgentWrite):
    """The channel to leave."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    run_id: UnderRun = UNSET


class AddChannelMember(AgentWrite):
    """Whom to add where."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    member_id: Annotated[
        Id, Meta(description="The user or agent: resolve-identity finds the id behind a handle.")
    ]
    role: Annotated[Role, Meta(description="A reader only reads; only an admin can make a human admin.")] = (
        "poster"
    )
    run_id: UnderRun = UNSET


class RemoveChannelMember(AgentWrite):
    """Whom to remove from where."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    member_id: Annotated[Id, Meta(description="The user or agent.")]
    run_id: UnderRun = UNSET


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
    run_id: UnderRun = UNSET


@operation(scope="channel-write", errors=(ChannelNotFound, ChannelArchived, *FENCE_ERRORS))
async def join_channel(ctx: Context, req: JoinChannel) -> Encoded[Channel]:
    """Become a poster of a public channel. Joining twice is harmless.

    Into a private channel someone who is in it has to add you.
    """
    item = _item(ctx, req)
    if (row := await ctx.db.write(JOIN.form(ctx.keep), item)) is not None:
        return row.answer
    await ctx.refuse_late(item["runId"])
    channel = await look(ctx, req.channel_id)
    if channel.archived:
        raise ChannelArchived(channel.name)
    raise ChannelNotFound(req.channel_id)  # made, opened or entered only since the statement


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, SoleMember, *FENCE_ERRORS),
)
async def leave_channel(ctx: Context, req: LeaveChannel) -> Encoded[Departure]:
    """Leave a channel. You see nothing more of it from then on, but for tasks you have a part in.

    The only member cannot leave.
    """
    row = await _remove(ctx, _item(ctx, req, ctx.actor.id))
    if row is not None:
        return row.answer
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
        *FENCE_ERRORS,
    ),
)
async def add_channel_member(ctx: Context, req: AddChannelMember) -> Encoded[Membership]:
    """Add a user or agent to a channel that you may post in.

    Someone who is in it already keeps their role; set-channel-member-role changes it.
    """
    item = _item(ctx, req, member := uuid_or_none(req.member_id), role=req.role)
    if (row := await ctx.db.write(ADD.form(ctx.keep), item)) is not None:
        return row.answer
    await ctx.refuse_late(item["runId"])
    if req.role == "admin":
        await managed(ctx, req.channel_id)
    await refuse_posting(ctx, req.channel_id)
    if req.role == "admin" and member is not None and await ctx.one(FIND_AGENT, member_id=member):
        raise _no_admin()
    # Somebody else may have added them at the same moment.
    if member is not None and (row := await ctx.db.write(ADD.form(ctx.keep), item)) is not None:
        return row.answer
    raise IdentityNotFound(req.member_id, field="memberId")


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, MemberNotFound, SoleMember, *FENCE_ERRORS),
)
async def remove_channel_member(ctx: Context, req: RemoveChannelMember) -> Encoded[Departure]:
    """Take someone out of a channel. For its admins, and for owners of agents.

    They see nothing more of it from their next call on. Tasks of the channel that they have a part in stay theirs to see.
    """
    row = await _remove(ctx, _item(ctx, req, member := uuid_or_none(req.member_id)))
    if row is not None:
        return row.answer
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
        *FENCE_ERRORS,
    ),
)
async def set_channel_member_role(ctx: Context, req: SetChannelMemberRole) -> Encoded[Membership]:
    """Say what a member may do in a channel: read, also write, or also manage. For its admins."""
    item = _item(ctx, req, member := uuid_or_none(req.member_id), role=req.role)
    if (row := await ctx.db.write(SET_ROLE.form(ctx.keep), item)) is not None:
        return row.answer
    await ctx.refuse_late(item["runId"])
    channel = await managed(ctx, req.channel_id)
    if member is not None and await _kind_of_member(ctx, channel, member) == "agent":
        raise _no_admin()
    raise MemberNotFound(req.member_id)


def _item(
    ctx: Context,
    req: JoinChannel | LeaveChannel | AddChannelMember | RemoveChannelMember | SetChannelMemberRole,
    member_id: UUID | None = None,
    **changes: object,
) -> dict[str, Any]:  # Any: what becomes JSON
    return {
        **ctx.who,
        "runId": under(req.run_id),
        "channelId": uuid_or_none(req.channel_id),
        "memberId": member_id,
        "changes": changes,
    }


async def _remove(ctx: Context, item: dict[str, Any]) -> Answered[Departure] | None:  # Any: see _item
    """Take someone out of a channel, if the caller may and someone is left."""
    async with ctx.db.transaction(ctx.whose) as tx:
        locked = await tx.write(LOCK_CHANNEL, item)
        row = await tx.write(REMOVE.form(ctx.keep), item) if locked else None
    if row is None:
        await ctx.refuse_late(item["runId"])
    return row


async def _kind_of_member(ctx: Context, channel: Look, member_id: UUID) -> IdentityKind | None:
    """Whether a member of a channel is a user or an agent; None if they are not a member."""
    row = await ctx.one(FIND_MEMBER, channel_id=channel.id, member_id=member_id)
    return row.value if row else None


def _no_admin() -> InvalidInput:
    return InvalidInput("An agent can be reader or poster, never admin.", field="role")
