"""Making channels, and what only their admins do with them: create, rename, archive. Who is in them: membership.py.

Who makes a channel is its admin; of an agent, its owner is, for agents are posters or readers. The operator's
`channel join --role admin` helps where no admin is left.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Encoded, Query
from app.errors import AlreadyExists, ChannelNotAdmin, ChannelNotFound, ChannelNotMember
from app.ids import new_id
from app.operations.channels.channel import CHANNEL_JSON, Channel, managed
from app.rpc import AgentWrite, Context, operation
from app.types import Id

ChannelName = Annotated[str, Meta(pattern="^#?[a-z][a-z0-9-]{0,62}$(?!\\n)")]
"""Lowercase letters, digits and hyphens, a letter first; a leading `#` is ignored. `$` alone also matches before a line feed."""

Purpose = Annotated[str, Meta(max_length=250, pattern="^[^\\u0000-\\u001f]*$(?!\\n)")]
"""One line."""


class ChannelRow(msgspec.Struct):
    """A channel after what was done to it."""

    channel: Encoded[Channel]


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
    channel = await managed(ctx, req.channel_id)
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
        await managed(ctx, req.channel_id)
        raise AlreadyExists("channel", name)
    return row.channel


@operation(scope="channel-write", errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin))
async def archive_channel(ctx: Context, req: ArchiveChannel) -> Encoded[Channel]:
    """Close a channel: it can still be read, but it is left out of lists and takes nothing new. For its admins.

    Its name stays taken. With `archived: false` it opens again.
    """
    channel = await managed(ctx, req.channel_id)
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
