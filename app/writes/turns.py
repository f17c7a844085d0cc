"""Changes that take turns within a workspace.

Two links may each close no circle, and together they do; the same holds for two moves in a tree. No row stands for
what they decide on, so whoever makes such a change first takes a lock of their kind in the workspace, and holds it to
the commit.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from app.db import One, Query, Transaction
from app.writes.receipts import UNDER_WAY, Identity, Receipt

Turn: TypeAlias = Literal["link", "move"]

# The key's lock comes first, so that get-request-outcome can tell that a call is under way while it waits its turn.
_TAKE: Final = Query(
    One[bool],
    f"""
    WITH i AS (
        SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id, %(receipt)s::jsonb AS receipt
    )
    SELECT pg_advisory_xact_lock(hashtextextended(%(turn)s::text || ' ' || i.workspace_id, 0)) IS NOT NULL
      FROM i
     WHERE i.receipt IS NULL OR {UNDER_WAY}
    """,
)


async def take_turn(tx: Transaction, caller: Identity, receipt: Receipt | None, turn: Turn) -> None:
    """Wait until no other transaction makes a change of this kind in the workspace; none does until this one ends."""
    await tx.one(
        _TAKE,
        workspace_id=caller.workspace_id,
        actor_id=caller.identity_id,
        receipt=None if receipt is None else msgspec.json.encode(receipt).decode(),
        turn=turn,
    )
