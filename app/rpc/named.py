"""Names in the place of ids: `@scout` for a user or agent, `#general` for a channel, wherever a request has such an id.

A model knows who it works with by name. So the pipeline puts the id in the place of a name before a handler sees it. It
looks for names by their first character, which no id has; a request without names pays for that look alone.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from app.db import Query
from app.errors import ChannelNotFound, IdentityNotFound
from app.rpc.context import Context
from app.types import IdentityKind
from app.writes.access import CALLER, NAMED_IDENTITY

S = TypeVar("S", bound=msgspec.Struct)

_CHANNEL: Final = re.compile(r"(\w+_)?channel_id")
_MEMBER: Final = re.compile(r"member_id")
_OF_A_KIND: Final = re.compile(r"(\w+)_(agent|user)_id")
_SIGNS: Final = ("@", "#")


class Place(NamedTuple):
    """A field that holds an id which has a name."""

    field: str
    wire: str
    noun: Literal["identity", "channel"]
    kind: IdentityKind | None = None
    other: str | None = None
    """The field for an identity of the other kind."""


class NamedRow(msgspec.Struct):
    """What a name stands for."""

    name: str
    id: str
    kind: IdentityKind | None


# Whoever the caller may name, and the channels that the caller is in or could join.
NAMED = Query(
    NamedRow,
    f"""
    WITH i AS ({CALLER})
    SELECT '@' || a.handle, a.id::text, a.kind
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id AND a.handle = ANY(%(handles)s::text[])
     WHERE {NAMED_IDENTITY}
     UNION ALL
    SELECT '#' || c.name, c.id::text, NULL
      FROM i
      JOIN channels c ON c.workspace_id = i.workspace_id AND c.name = ANY(%(channels)s::text[])
     WHERE c.kind = 'public'
        OR EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = i.workspace_id AND m.channel_id = c.id AND m.identity_id = i.actor_id)
    """,
    pipelined=True,
)


@cache
def places_of(request: type[msgspec.Struct]) -> tuple[Place, ...]:
    """The fields of a request that hold ids which have names."""
    fields = request.__struct_fields__
    found: list[Place] = []
    for field, wire in zip(fields, request.__struct_encode_fields__, strict=True):
        if _CHANNEL.fullmatch(field):
            found.append(Place(field, wire, "channel"))
        elif _MEMBER.fullmatch(field):
            found.append(Place(field, wire, "identity"))
        elif match := _OF_A_KIND.fullmatch(field):
            kind: IdentityKind = "agent" if match[2] == "agent" else "user"
            other = f"{match[1]}_{'user' if kind == 'agent' else 'agent'}_id"
            found.append(Place(field, wire, "identity", kind, other if other in fields else None))
    return tuple(found)


def names_in(req: msgspec.Struct, places: Iterable[Place]) -> list[str]:
    """The names that a request has in the place of ids."""
    return [
        value
        for place in places
        if isinstance(value := getattr(req, place.field), str) and value[:1] in _SIGNS
    ]


async def looked_up(ctx: Context, names: Sequence[str]) -> dict[str, NamedRow]:
    """What names stand for, as far as the caller knows them; in one look-up."""
    if not names:
        return {}
    handles = [_plain(name)[1:] for name in names if name[0] == "@"]
    channels = [_plain(name)[1:] for name in names if name[0] == "#"]
    rows = await ctx.all(NAMED, handles=handles, channels=channels)
    return {row.name: row for row in rows}


def with_ids(req: S, known: dict[str, NamedRow]) -> S:
    """The same request with ids in the place of names; an error names what the caller does not know.

    Whoever is meant by `@ada` is certain. So an agent's field takes the name of a user for what the user's field is for, if
    that is empty.
    """
    changed: dict[str, object] = {}
    for place in places_of(type(req)):
        value = getattr(req, place.field)
        if not isinstance(value, str) or value[:1] not in _SIGNS:
            continue
        row = known.get(_plain(value))
        if row is None or (row.kind is None) is not (place.noun == "channel"):
            if place.noun == "channel":
                raise ChannelNotFound(value, field=place.wire)
            raise IdentityNotFound(value, field=place.wire)
        if place.kind in {None, row.kind}:
            changed[place.field] = row.id
        elif place.other is not None and getattr(req, place.other) in {None, UNSET}:
            changed |= {place.field: UNSET, place.other: row.id}
        else:
            raise IdentityNotFound(value, field=place.wire)
    return msgspec.structs.replace(req, **changed) if changed else req


def _plain(name: str) -> str:
    """A name as it is kept: in lower case."""
    return name.strip().lower()
