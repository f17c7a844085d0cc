"""Making channels, and what only their admins do with them: create, rename, archive. Who is in them: membership.py.

Who makes a channel is its admin; of an agent, its owner is, for agents are posters or readers. The operator's
`channel join --role admin` helps where no admin is left.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from app.db import Answered, BatchQuery, Duplicate, Encoded
from app.errors import AlreadyExists, ChannelNotAdmin, ChannelNotFound, ChannelNotMember
from app.ids import new_id, uuid_or_none
from app.operations.channels.channel import ACTING, CHANNEL_JSON, CHANNEL_MANAGED, Channel, managed
from app.rpc import EMPTIED, AgentWrite, Context, changes, operation
from app.types import Id
from app.writes.fence import FENCE_ERRORS, UnderRun, under
from app.writes.receipts import KEPT, Keyed

ChannelName = Annotated[str, Meta(pattern="^#?[a-z][a-z0-9-]{0,62}$(?!\\n)")]
"""Lowercase letters, digits and hyphens, a letter first; a leading `#` is ignored. `$` alone also matches before a line feed."""

Purpose = Annotated[str, Meta(max_length=250, pattern="^[^\\u0000-\\u001f]*$(?!\\n)")]
"""One line."""


# The end of every statement that leaves a channel `c` with the `ord` of its item.
CHANNEL_ANSWERED: Final = f"""
    answered AS (
        SELECT i.ord, i.workspace_id, i.actor_id, i.request_id, i.keep, {CHANNEL_JSON} AS answer, NULL::int AS merged_from
          FROM acting i
          JOIN c ON c.workspace_id = i.workspace_id AND c.ord = i.ord
    ), {KEPT}
    SELECT ord, answer FROM answered"""

# Whether another channel has the name: a public one, or a private one that the caller is in. Of others a refusal would tell
# that they exist, so their names are free.
_NAME_TAKEN: Final = """EXISTS (
        SELECT FROM channels x
         WHERE x.workspace_id = i.workspace_id AND x.name = i.changes->>'name' AND x.id <> i.channel_id
           AND (x.kind = 'public' OR EXISTS (
                    SELECT FROM channel_members m
                     WHERE m.workspace_id = i.workspace_id AND m.channel_id = x.id AND m.identity_id = i.actor_id)))"""

CREATE = Keyed(
    BatchQuery(
        Answered[Channel],
        f"""{ACTING}, created AS (
        INSERT INTO channels (workspace_id, id, name, kind, purpose)
        SELECT i.workspace_id, i.channel_id, i.changes->>'name', i.changes->>'kind', i.changes->>'purpose'
          FROM acting i
         WHERE NOT {_NAME_TAKEN}
        ON CONFLICT (workspace_id, name) WHERE kind = 'public' DO NOTHING
        RETURNING *
    ), c AS (
        SELECT i.ord, created.*
          FROM acting i
          JOIN created ON created.workspace_id = i.workspace_id AND created.id = i.channel_id
    ), members AS (
        INSERT INTO channel_members (workspace_id, channel_id, identity_id, role)
        SELECT c.workspace_id, c.id, p.id, p.role
          FROM acting i
          JOIN c ON c.workspace_id = i.workspace_id AND c.ord = i.ord
          JOIN identities a ON a.workspace_id = i.workspace_id AND a.id = i.actor_id
         CROSS JOIN LATERAL (VALUES
               (a.id, CASE a.kind WHEN 'user' THEN 'admin' ELSE 'poster' END), (a.owner_id, 'admin')) AS p (id, role)
         WHERE p.id IS NOT NULL
    ), {CHANNEL_ANSWERED}""",
    )
)

RENAME = Keyed(
    BatchQuery(
        Answered[Channel],
        f"""{ACTING}, c AS (
        UPDATE channels c
           SET name = i.changes->>'name',
               purpose = CASE WHEN i.changes ? 'purpose' THEN nullif(i.changes->>'purpose', '') ELSE c.purpose END
          FROM acting i
         WHERE c.workspace_id = i.workspace_id AND c.id = i.channel_id AND {CHANNEL_MANAGED}
           AND NOT {_NAME_TAKEN}
        RETURNING c.*, i.ord
    ), {CHANNEL_ANSWERED}""",
        one_per="channelId",
    )
)

ARCHIVE = Keyed(
    BatchQuery(
        Answered[Channel],
        f"""{ACTING}, c AS (
        UPDATE channels c
           SET archived_at = CASE WHEN (i.changes->>'archived')::boolean THEN coalesce(c.archived_at, now()) END
          FROM acting i
         WHERE c.workspace_id = i.workspace_id AND c.id = i.channel_id AND {CHANNEL_MANAGED}
        RETURNING c.*, i.ord
    ), {CHANNEL_ANSWERED}""",
        one_per="channelId",
    )
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
    run_id: UnderRun = UNSET


class RenameChannel(AgentWrite):
    """The channel, and its new name."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    name: Annotated[ChannelName, Meta(description="Its new name.")]
    purpose: Annotated[
        Purpose | None | UnsetType,
        Meta(description="What it is for from now on; null clears it.", extra=EMPTIED),
    ] = UNSET
    run_id: UnderRun = UNSET


class ArchiveChannel(AgentWrite):
    """The channel to archive."""

    channel_id: Annotated[Id, Meta(description="The channel.")]
    archived: Annotated[bool, Meta(description="`false` brings an archived channel back.")] = True
    run_id: UnderRun = UNSET


@operation(scope="channel-write", errors=(AlreadyExists, *FENCE_ERRORS))
async def create_channel(ctx: Context, req: CreateChannel) -> Encoded[Channel]:
    """Make a channel. You are its first member.

    A human is its admin; of a channel that an agent makes, the agent's owner is.
    """
    name, run_id = req.name.removeprefix("#"), under(req.run_id)
    made = {"name": name, "kind": req.type, "purpose": req.purpose or None}
    item = {**ctx.who, "runId": run_id, "channelId": new_id(), "changes": made}
    try:
        if (row := await ctx.db.write(CREATE.form(ctx.keep), item)) is not None:
            return row.answer
    except Duplicate as e:
        _refuse_other(e)
    await ctx.refuse_late(run_id)
    raise AlreadyExists("channel", name)


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, AlreadyExists, *FENCE_ERRORS),
)
async def rename_channel(ctx: Context, req: RenameChannel) -> Encoded[Channel]:
    """Give a channel another name, and another purpose if you send one. For its admins."""
    name = req.name.removeprefix("#")
    try:
        if (row := await _change(ctx, RENAME, req, {**changes(req, "purpose"), "name": name})) is not None:
            return row.answer
    except Duplicate as e:  # somebody gave this name to another at the same moment
        _refuse_other(e)
    raise AlreadyExists("channel", name)


@operation(
    scope="channel-write",
    errors=(ChannelNotFound, ChannelNotMember, ChannelNotAdmin, *FENCE_ERRORS),
)
async def archive_channel(ctx: Context, req: ArchiveChannel) -> Encoded[Channel]:
    """Close a channel: it can still be read, but it is left out of lists and takes nothing new. For its admins.

    Its name stays taken. With `archived: false` it opens again.
    """
    row = await _change(ctx, ARCHIVE, req, {"archived": req.archived})
    if row is None:  # an admin, but only since the statement
        raise ChannelNotAdmin
    return row.answer


def _refuse_other(error: Duplicate) -> None:
    """Raise what is no collision of names. A database whose migration is not complete still has the rule of 0.1.0."""
    if error.constraint not in {"channels_public_name_key", "channels_name_key"}:
        raise error


async def _change(
    ctx: Context,
    statement: Keyed[BatchQuery[Answered[Channel]]],
    req: RenameChannel | ArchiveChannel,
    said: dict[str, object],
) -> Answered[Channel] | None:
    """Change a channel that the caller manages. None if something else than that stands in the way."""
    id, run_id = uuid_or_none(req.channel_id), under(req.run_id)
    row = await ctx.db.write(
        statement.form(ctx.keep), {**ctx.who, "runId": run_id, "channelId": id, "changes": said}
    )
    if row is None:
        await ctx.refuse_late(run_id)
        await managed(ctx, req.channel_id)
    return row
