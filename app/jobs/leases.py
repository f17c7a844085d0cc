"""Leases that ran out: the run has failed, the task is free again, and what the holder left is kept for the next.

A sign of life moves the end of a lease and nothing else, so the end stands in no index. What does is the moment at
which to look next: when it has come the job either finds that the lease was renewed and puts it off until the new
end, or ends the claim. So a claim costs one change of that index per lease, however many heartbeats it had.

Time is the database's, and a lease is judged on the row as it is under lock: a heartbeat that arrives first wins.
"""

from typing import Final

import msgspec

from app.config import Config
from app.db import Command, Database, One
from app.ids import new_id
from app.operations.messages.message import SYSTEM
from app.operations.runs.finish import END_CTES
from app.operations.runs.run import FAILURES_MAX

PORTION_ROWS: Final = 100  # a few milliseconds of locks

REQUEST_ID: Final = "job-leases"
"""What the events of this job name as their request: nobody sent one."""


PUT_OFF = Command(
    One[int],
    """
    WITH due AS (
        SELECT workspace_id, id
          FROM runs
         WHERE holder_id IS NOT NULL AND ended_at IS NULL AND lease_check_at <= now() AND lease_expires_at > now()
         ORDER BY lease_check_at
         LIMIT %(limit)s
           FOR NO KEY UPDATE SKIP LOCKED
    ), put_off AS (
        UPDATE runs r
           SET lease_check_at = r.lease_expires_at
          FROM due
         WHERE r.workspace_id = due.workspace_id AND r.id = due.id
        RETURNING 1
    )
    SELECT count(*) FROM put_off
    """,
    everywhere=True,
)


# Locks tasks first and runs second, as everyone does. It is nobody's doing: the event and the comment name the service
# itself, and the late holder hears of it as of what others did.
class Expired(msgspec.Struct):
    """How many claims were ended, and how many of their tasks were parked for it."""

    value: int
    parked: int


EXPIRE = Command(
    Expired,
    f"""
    WITH held AS MATERIALIZED (
        SELECT r.workspace_id, r.id AS run_id, r.holder_id, r.holder_kind, h.status AS old_status,
               h.assignee_id AS old_assignee_id, h.assignee_kind AS old_assignee_kind, h.failures AS old_failures,
               h.completed_at AS old_completed_at, r.id AS old_run_id
          FROM runs r
          JOIN tasks h ON h.workspace_id = r.workspace_id AND h.id = r.work_item_id AND h.run_id = r.id
         WHERE r.holder_id IS NOT NULL AND r.ended_at IS NULL AND r.lease_check_at <= now() AND r.lease_expires_at <= now()
         ORDER BY r.lease_check_at
         LIMIT %(limit)s
           FOR NO KEY UPDATE OF h SKIP LOCKED
    ), numbered AS (
        SELECT held.*, row_number() OVER ()::int AS ord FROM held
    ), ended AS (
        UPDATE runs r
           SET status = 'failed', end_reason = 'lease_expired', ended_at = now(), updated_at = now(), version = r.version + 1,
               loss_unseen = true,
               errors = r.errors || jsonb_build_array(jsonb_build_object('code', 'lease_expired', 'message',
                   'No sign of life for ' || r.lease_seconds || ' seconds.'))
          FROM numbered n
         WHERE r.workspace_id = n.workspace_id AND r.id = n.run_id
           AND r.ended_at IS NULL AND r.lease_expires_at <= now()   -- judged again on the row as it is now
        RETURNING r.*, n.ord, %(system)s::uuid AS actor_id, 'system' AS actor_kind, %(request_id)s::text AS request_id,
                  'retry' AS goal, %(failures_max)s::smallint AS failures_max, (%(comment_ids)s::uuid[])[n.ord] AS comment_id,
                  (%(message_ids)s::uuid[])[n.ord] AS message_id,
                  n.old_status, n.old_assignee_id, n.old_assignee_kind, n.old_failures, n.old_completed_at, n.old_run_id
    ), {END_CTES}
    SELECT count(*), count(*) FILTER (WHERE parked) FROM moved
    """,
    everywhere=True,
)


async def run_once(db: Database, config: Config) -> int:
    """Put off the claims that were renewed, and end those that were not."""
    put_off = await db.one(PUT_OFF, limit=PORTION_ROWS)
    expired = await db.one(
        EXPIRE,
        limit=PORTION_ROWS,
        system=SYSTEM,
        request_id=REQUEST_ID,
        failures_max=FAILURES_MAX,
        comment_ids=[new_id() for _ in range(PORTION_ROWS)],
        message_ids=[new_id() for _ in range(PORTION_ROWS)],
    )
    assert put_off is not None and expired is not None, "an aggregate has one row"
    if db.tally is not None:
        db.tally.expired(expired.value)
        db.tally.parked(expired.parked)
    return put_off.value + expired.value
