"""Making channels, and what only their admins do with them: create, rename, archive. Who is in them: membership.py.

Who makes a channel is its admin; of an agent, its owner is, for agents are posters or readers. The operator's
`channel join --role admin` helps where no admin is left.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from app.db import Duplicate
from app.errors import AlreadyExists, ChannelNotAdmin, ChannelNotFound, ChannelNotMember
from app.ids import new_id, uuid_or_none
from app.operations.channels.channel import CHANNEL_JSON, CHANNEL_MANAGED, Channel, managed
from app.rpc import EMPTIED, AgentWrite, Context, Outcome, changes, operation
from app.types import CHANNEL_NAME, Id
from app.writes.write import Write, one

ChannelName = Annotated[str, Meta(pattern=f"^#?{CHANNEL_NAME}$(?!\\n)")]
"""Lowercase letters, digits and hyphens, a letter first; a leading `#` is ignored. `$` alone also matches before a line feed."""

Purpose = Annotated[str, Meta(max_length=250, pattern="^[^\\u0000-\\u001f]*$(?!\\n)")]
"""One line."""


# Whether another channel has the name: a public one, or a private one that the caller is in. Of others a refusal would tell
# that they exist, so their names are free.
_NAME_TAKEN: Final = """EXISTS (
        SELECT FROM channels x
         WHERE x.workspace_id = i.workspace_id AND x.name = i.name AND x.id <> i.channel_id
           AND (x.kind = 'public' OR EXISTS (
                    SELECT FROM channel_members m
                     WHERE m.workspace_id = i.workspace_id AND m.channel_id = x.id AND m.identity_id = i.actor_id)))"""

CREATE = Write[Channel](
    takes="channel_id uuid, name text, kind text, purpose text",
    does=f"""
    c AS (
        INSERT INTO channels (workspace_id, id, name, kind, purpose)
        SELECT i.workspace_id, i.channel_id, i.name, i.kind, i.purpose
          FROM i
         WHERE NOT {_NAME_TAKEN}
        ON CONFLICT (workspace_id, name) WHERE kind = 'public' DO NOTHING
        RETURNING *
    ), members AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT c.workspace_id, c.id, p.id, p.role
          FROM i
          JOIN c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.actor_id
         CROSS JOIN LATERAL (VALUES
               (a.id, CASE a.kind WHEN 'user' THEN 'admin' ELSE 'poster' END), (a.owner_id, 'admin')) AS p (id, role)
         WHERE p.id IS NOT NULL
    )""",
    answers=f"SELECT i.ord, {CHANNEL_JSON} AS answer FROM i JOIN c ON c.workspace_id = i.workspace_id AND c.id = i.channel_id",
    locks="channel_id",
)

RENAME = Write[Channel](
    takes="channel_id uuid, name text, changes jsonb",
    does=f"""
    c AS (
        UPDATE channels c
           SET name = i.name,
               purpose = CASE WHEN i.changes ? 'purpose' THEN nullif(i.changes->>'purpose', '') ELSE c.purpose END
          FROM i
         WHERE c.workspace_id = i.workspace_id AND c.id = i.channel_id AND {CHANNEL_MANAGED} AND NOT {_NAME_TAKEN}
        RETURNING c.*, i.ord
    )""",
    answers=f"SELECT c.ord, {CHANNEL_JSON} AS answer FROM c",
    locks="channel_id",
    one_per=one("channel_id"),
)

ARCHIVE = Write[Channel](
    takes="channel_id uuid, archived boolean",
    does=f"""
    c AS (
        UPDATE channels c
           SET archived_at = CASE WHEN i.archived THEN coalesce(c.archived_at, now()) END
          FROM i
         WHERE c.workspace_id = i.workspace_id AND c.id = i.channel_id AND {CHANNEL_MANAGED}
        RETURNING c.*, i.ord
    )""",
    answers=f"SELECT c.ord, {CHANNEL_JSON} AS answer FROM c",
    locks="channel_id",
    one_per=one("channel_id"),
)


class CreateChannel(AgentWrite):
    """The channel to make."""

    name: Annotated[
        ChannelName,
        Meta(
            description="Lowercase letters, digits and hyphens; it starts with a letter, and no channel you see has it."
        ),
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
        Purpose | None | UnsetType,
        Meta(description="What it is for from now on; null clears it.", extra=EMPTIED),
    ] = UNSET


class ArchiveChannel(AgentWrite):
    """The channel to archive."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    archived: Annotated[bool, Meta(description="`false` brings an archived channel back.")] = True


@operation(scope="channel-write", errors=(AlreadyExists,))
async def create_channel(ctx: Context, req: CreateChannel) -> Outcome[Channel]:
    """Make a channel. You are its first member.

    A human is its admin; of a channel that an agent makes, the agent's owner is.
    """
    name = req.name.removeprefix("#")
    made = {"name": name, "kind": req.type, "purpose": req.purpose or None}
    try:
        if (channel := await ctx.write(CREATE, channel_id=new_id(), **made)) is not None:
            return channel
    except Duplicate as e:
        _refuse_other(e)
    raise AlreadyExists("channel", name)


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, AlreadyExists),
)
async def rename_channel(ctx: Context, req: RenameChannel) -> Outcome[Channel]:
    """Give a channel another name, and another purpose if you send one. For its admins."""
    id, name = uuid_or_none(req.channel_id), req.name.removeprefix("#")
    try:
        renamed = await ctx.write(RENAME, channel_id=id, name=name, changes=changes(req, "purpose"))
    except Duplicate as e:  # somebody gave this name to another at the same moment
        _refuse_other(e)
    else:
        if renamed is not None:
            return renamed
        await managed(ctx, req.channel_id)  # says why not, if that is why
    raise AlreadyExists("channel", name)


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin),
)
async def archive_channel(ctx: Context, req: ArchiveChannel) -> Outcome[Channel]:
    """Close a channel: it can still be read, but it is left out of lists and nothing is added. For its admins.

    Its name stays taken. With `archived: false` it opens again.
    """
    archived = await ctx.write(ARCHIVE, channel_id=uuid_or_none(req.channel_id), archived=req.archived)
    if archived is not None:
        return archived
    await managed(ctx, req.channel_id)
    raise ChannelNotAdmin  # an admin, but only since the statement


def _refuse_other(error: Duplicate) -> None:
    """Raise what is no collision of names. A database whose migration is not complete still has the rule of 0.1.0."""
    if error.constraint not in {"channels_public_name_key", "channels_name_key"}:
        raise error
