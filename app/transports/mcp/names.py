"""What the ids in an answer are called: `@scout`, `#general`, `T-42`. One look-up for all that a result is told with."""

from collections.abc import Iterable
from typing import Final

import msgspec

from app.db import Database, Query
from app.ids import uuid_or_none
from app.rpc import Actor
from app.transports.mcp.results import Names, Noun

NAMES_MAX: Final = 200  # in one answer; what is behind that keeps its id alone


class NameRow(msgspec.Struct):
    """An id, and what it is called."""

    noun: Noun
    id: str
    name: str


# An answer holds only ids that its reader may know, and what may be known by its id may be known by its name.
NAMES = Query(
    NameRow,
    """
    SELECT 'identity', a.id::text, '@' || a.handle
      FROM identities a
     WHERE a.workspace_id = %(workspace_id)s::uuid AND a.id = ANY(%(identities)s::uuid[])
     UNION ALL
    SELECT 'channel', c.id::text, '#' || c.name
      FROM channels c
     WHERE c.workspace_id = %(workspace_id)s::uuid AND c.id = ANY(%(channels)s::uuid[])
     UNION ALL
    SELECT 'task', t.id::text, 'T-' || t.number
      FROM tasks t
     WHERE t.workspace_id = %(workspace_id)s::uuid AND t.id = ANY(%(tasks)s::uuid[])
    """,
    pipelined=True,
)


class Directory:
    """Looks names up."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, reader: Actor, ids: Iterable[tuple[Noun, str]]) -> Names:
        """What these ids are called in the reader's workspace. An answer without ids costs nothing."""
        wanted = [(noun, id) for noun, id in dict.fromkeys(ids) if uuid_or_none(id)][:NAMES_MAX]
        if not wanted:
            return {}
        rows = await self._db.all(
            NAMES,
            workspace_id=reader.workspace_id,
            identities=[id for noun, id in wanted if noun == "identity"],
            channels=[id for noun, id in wanted if noun == "channel"],
            tasks=[id for noun, id in wanted if noun == "task"],
        )
        return {(row.noun, row.id): row.name for row in rows}
