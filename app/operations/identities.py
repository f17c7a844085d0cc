"""Why somebody cannot be named: the caller knows of nobody like that, or an operator has deactivated them."""

from app.db import One, Query
from app.errors import IdentityDeactivated, IdentityNotFound
from app.ids import uuid_or_none
from app.rpc import Context
from app.writes.access import CALLER, NAMED_IDENTITY

WHO_LEFT = Query(
    One[str],
    f"""
    WITH i AS ({CALLER})
    SELECT a.handle
      FROM i
      JOIN identities a ON a.workspace_id = i.workspace_id AND (a.id = %(id)s::uuid OR a.handle = %(handle)s::text)
     WHERE a.deactivated_at IS NOT NULL AND {NAMED_IDENTITY}
    """,
)


async def not_named(ctx: Context, sent: str, *, field: str) -> IdentityNotFound:
    """What to tell a caller of somebody whom they named by id or as `@handle`, and who takes nothing."""
    handle = sent[1:].lower() if sent.startswith("@") else None
    left = await ctx.one(WHO_LEFT, id=uuid_or_none(sent), handle=handle)
    return (
        IdentityNotFound(sent, field=field) if left is None else IdentityDeactivated(left.value, field=field)
    )
