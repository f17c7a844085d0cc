"""Forgets idempotency keys when their time is over."""

from typing import Final

from app.config import Config
from app.db import Command, Database, One

KEYS_MAX: Final = 1000  # in one portion: about ten milliseconds, so that nobody waits for its locks


REAP = Command(
    One[int],
    """
    WITH old AS (
        SELECT workspace_id, identity_id, key
          FROM idempotency_keys
         WHERE created_at < now() - make_interval(hours => %(hours)s::int)
         ORDER BY created_at
         LIMIT %(limit)s
           FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM idempotency_keys k
         USING old
         WHERE k.workspace_id = old.workspace_id AND k.identity_id = old.identity_id AND k.key = old.key
        RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
    everywhere=True,
)


async def run_once(db: Database, config: Config) -> int:
    """Delete up to 1000 keys that are IDEMPOTENCY_HOURS old."""
    row = await db.one(REAP, hours=config.idempotency_hours, limit=KEYS_MAX)
    return row.value if row else 0
