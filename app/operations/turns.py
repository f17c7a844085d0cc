"""Changes that take turns within a workspace.

Two links may each close no circle, and together they do; the same holds for two moves in a tree. No row stands for
what they decide on, so whoever makes such a change first takes a lock of their kind in the workspace, and holds it to
the commit.
"""

from typing import Final, Literal, TypeAlias

from app.db import One, Query
from app.db.database import Transaction
from app.rpc import Context
from app.writes.receipts import UNDER_WAY

Turn: TypeAlias = Literal["link", "move"]


# The key's lock comes first, so that get-request-outcome can tell that a call is under way while it waits its turn.
_TAKE_TURN: Final = Query(
    One[bool],
    f"""
    WITH i AS (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(keep)s::jsonb AS keep
    )
    SELECT pg_advisory_xact_lock(hashtextextended(%(turn)s::text || ' ' || i.workspace_id, 0)) IS NOT NULL
      FROM i
     WHERE {UNDER_WAY}
    """,
)


async def take_turn(ctx: Context, tx: Transaction, turn: Turn) -> None:
    """Wait until no other transaction makes a change of this kind in the caller's workspace; none does until this one ends."""
    await tx.one(
        _TAKE_TURN,
        **ctx.caller,
        keep=ctx.keep_json,
        turn=turn,
    )
