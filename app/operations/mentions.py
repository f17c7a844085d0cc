"""Addressing someone: `@handle` in a text, outside code, or an id that is mentioned on purpose.

Messages and comments share this. What is addressed to someone waits for them in `unread_mentions` until they
answer; get-unread-mentions reads it.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.db import Query
from app.errors import IdentityNotFound, InvalidInput
from app.ids import uuid_or_none
from app.rpc import Answer, Context
from app.types import MENTIONS_MAX, Id, IdentityKind
from app.writes.access import CALLER, NAMED_IDENTITY


class Mention(Answer):
    """Someone who is addressed."""

    id: Annotated[str, Meta(description="The user or agent.")]
    type: Annotated[IdentityKind, Meta(description="Which of the two.")]


class GivenMention(msgspec.Struct, rename="camel"):
    """Someone to address, whether or not the body names them."""

    id: Annotated[Id, Meta(description="The user or agent.")]
    type: Annotated[IdentityKind | UnsetType, Meta(description="Which of the two; may be left out.")] = UNSET


class Addressed(msgspec.Struct):
    """Someone whom a text or an explicit mention names."""

    id: UUID
    kind: IdentityKind


# Handles that are written in a text, and ids that are mentioned on purpose. A private agent can be named by
# whoever may know of it, and by anyone who shares a channel with it.
FIND_ADDRESSED = Query(
    Addressed,
    f"""
    WITH i AS ({CALLER})
    SELECT a.id, a.kind
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id
       AND (a.handle = ANY(%(handles)s::text[]) OR a.id = ANY(%(ids)s::uuid[]))
     WHERE {NAMED_IDENTITY}
     ORDER BY a.id
    """,
    pipelined=True,
)


async def addressed(
    ctx: Context, text: str, mentions: Sequence[GivenMention] = (), *, field: str
) -> list[Addressed]:
    """Everyone whom a text addresses, and everyone mentioned besides. An unknown handle is just text."""
    handles = handles_in(text)
    ids = [id for mention in mentions if (id := uuid_or_none(mention.id))]
    found: list[Addressed] = []
    if handles or ids:
        found = await ctx.db.all(
            FIND_ADDRESSED,
            workspace_id=ctx.actor.workspace_id,
            actor_id=ctx.actor.id,
            handles=handles,
            ids=ids,
        )
    kinds = {str(someone.id): someone.kind for someone in found}
    for mention in mentions:
        kind = kinds.get(str(uuid_or_none(mention.id)))
        if kind is None or mention.type not in {kind, UNSET}:
            raise IdentityNotFound(mention.id, field=field)
    if len(found) > MENTIONS_MAX:
        message = (
            f"One text addresses at most {MENTIONS_MAX} users and agents; this one addresses {len(found)}."
        )
        raise InvalidInput(message, field=field)
    return found


_CODE: Final = re.compile(r"(`{3,}|~{3,}).*?(?:\1|\Z)|(?<!`)(`+)(?!`).*?(?<!`)\2(?!`)", re.DOTALL)
_HANDLE: Final = re.compile(r"(?<![\w@./-])@([a-zA-Z0-9][a-zA-Z0-9-]{0,62}+)(?![\w@-])")
HANDLES_READ_MAX: Final = 200  # of one body; a text with more @words is data, not an address


def handles_in(text: str) -> list[str]:
    """The handles that a markdown text addresses: `@handle` outside code, each once, in lower case."""
    if "@" not in text:
        return []
    found = dict.fromkeys(match[1].lower().rstrip("-") for match in _HANDLE.finditer(_CODE.sub(" ", text)))
    return list(found)[:HANDLES_READ_MAX]
