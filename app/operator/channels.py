"""Channels, and how a command finds them."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from app.db import Command, Database, Query, Transaction
from app.errors import AlreadyExists, ChannelNotFound, InvalidInput
from app.ids import new_id
from app.operator.names import Made, check_name, check_text
from app.operator.workspaces import Workspace

GENERAL: Final = "general"


class Channel(Made):
    """A channel."""

    id: UUID
    name: str
    kind: str
    workspace_id: UUID


FIND_CHANNELS = Query(
    Channel,
    """
    SELECT id, name, kind, workspace_id FROM channels
     WHERE workspace_id = %(workspace_id)s AND archived_at IS NULL
       AND (name = ANY(%(names)s::text[]) OR id::text = ANY(%(names)s::text[]))
    """,
)


CREATE_CHANNEL = Command(
    Channel,
    """
    INSERT INTO channels (workspace_id, id, name, kind, purpose)
    SELECT %(workspace_id)s::uuid, %(id)s::uuid, %(name)s::text, %(kind)s::text, %(purpose)s::text
     WHERE NOT EXISTS (SELECT FROM channels c WHERE c.workspace_id = %(workspace_id)s::uuid AND c.name = %(name)s::text)
    ON CONFLICT (workspace_id, name) WHERE kind = 'public' DO NOTHING
    RETURNING id, name, kind, workspace_id
    """,
)


async def create_channel(
    db: Database, workspace: Workspace, name: str, *, private: bool = False, purpose: str | None = None
) -> Channel:
    """Make a channel, without members."""
    name = name.removeprefix("#")
    check_name("channel", name)
    check_text("purpose", purpose)
    kind = "private" if private else "public"
    made = await db.one(
        CREATE_CHANNEL, workspace_id=workspace.id, id=new_id(), name=name, kind=kind, purpose=purpose
    )
    if made is None:
        raise AlreadyExists("channel", name)
    return made


async def find_channels(
    db: Database | Transaction, workspace: Workspace, names: Iterable[str]
) -> list[Channel]:
    """The open channels that these names or ids mean, in their order."""
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
