"""What a workspace no longer keeps: of tasks that were closed long ago, and of keys and tokens that let nobody in any more.

A workspace keeps everything unless an operator says after how many days it need not: `workspace set-retention`. The job
then reads the log from its beginning, each entry once, when it is old enough. Of the tasks that it meets there, and that
have been closed for as long, it removes

    entries of the log      but never the creation of a task, its current version, nor what was said about that
    steps of ended runs     but for one that says so
    ended runs              but for the last claim, which knows the count of attempts and what was handed over, and those that
                            have a State, are lost without their holder's knowledge, or have others hanging under them
    mentions that no longer wait: the entry that says so may go

Where entries went out of the log one of the kind `removed` takes the place of the last of them, in the same statement: at
its version, so that history and conflicts know what they do not know; and at its position, so that whoever reads the log
from further back is told. So nothing that reads the log needs to be told otherwise.

A portion is one transaction under the lock of the workspace's row, which keeps other processes from the same portion and nobody
from anything else.
"""

import asyncio
import time
from typing import Final
from uuid import UUID

import msgspec

from app.config import Config
from app.db import Command, Database, One, Query, Transaction
from app.errors import ApiError
from app.operations.messages.message import SYSTEM
from app.operations.messages.unread import COMMENT_WAITS

ENTRIES_READ_MAX: Final = 500  # of the log, in one portion
ROWS_MAX: Final = 2000  # removed by one statement: some 30 milliseconds

REQUEST_ID: Final = "job-retention"
"""What the entries of this job name as their request: nobody sent one."""

STEPS_REMOVED: Final = {
    "kind": "removed",
    "text": "The steps up to this one were removed, because the task was closed long ago.",
}


class Portion(msgspec.Struct):
    """How far the log is to be looked through, and the tasks of which something may go."""

    xid: str
    seq: int
    task_ids: list[str]


KEEPING = Query(
    One[UUID],
    """
    SELECT w.id FROM workspaces w, baton_schema s
     WHERE w.retention_days IS NOT NULL AND s.version >= 6  -- servers of the release before cannot read what it leaves
     ORDER BY w.id
    """,
    everywhere=True,
)

TAKE = Query(
    One[int],
    """
    SELECT retention_days FROM workspaces
     WHERE id = %(workspace_id)s AND retention_days IS NOT NULL
       FOR NO KEY UPDATE SKIP LOCKED
    """,
)

_CUTOFF: Final = "(now() - make_interval(days => %(days)s::int))"
_LONG_CLOSED: Final = f"""(
        NOT t.is_open
        AND coalesce(CASE t.status WHEN 'done' THEN t.completed_at ELSE t.cancelled_at END, t.updated_at) < {_CUTOFF})"""
_CLOSED_TASKS: Final = (
    f"""t.workspace_id = %(workspace_id)s AND t.id = ANY(%(task_ids)s::uuid[]) AND {_LONG_CLOSED}"""
)

# The next entries that are old enough, up to the first that is not. An entry of a task that is still open is passed over for
# good: when it closes, that is another entry. Registered readers of the log, when there are such, bound this by the position
# of the last of them.
NEXT = Query(
    Portion,
    f"""
    WITH entry AS (
        SELECT e.task_id, e.xid, e.seq, e.created_at
          FROM workspaces w
         CROSS JOIN LATERAL (                             -- in a cluster that counts from further back, after a restore: anew
               SELECT CASE WHEN w.swept_xid < pg_snapshot_xmax(pg_current_snapshot()) THEN w.swept_xid ELSE '0'::xid8 END AS xid,
                      CASE WHEN w.swept_xid < pg_snapshot_xmax(pg_current_snapshot()) THEN w.swept_seq ELSE 0 END AS seq) swept
         CROSS JOIN LATERAL (
               SELECT e.task_id, e.xid, e.seq, e.created_at
                 FROM task_events e
                WHERE e.workspace_id = %(workspace_id)s AND e.kind <> 'removed'
                  AND (e.xid, e.seq) > (swept.xid, swept.seq)
                ORDER BY e.xid, e.seq
                LIMIT %(limit)s::int) e
         WHERE w.id = %(workspace_id)s
    ), old AS (
        SELECT * FROM (SELECT e.*, bool_and(e.created_at < {_CUTOFF}) OVER (ORDER BY e.xid, e.seq) AS is_old FROM entry e) e
         WHERE e.is_old
    ), last AS (
        SELECT o.xid, o.seq FROM old o ORDER BY o.xid DESC, o.seq DESC LIMIT 1
    )
    SELECT last.xid::text, last.seq,
           ARRAY(SELECT t.id::text
                   FROM tasks t
                  WHERE t.workspace_id = %(workspace_id)s AND t.id IN (SELECT o.task_id FROM old o) AND {_LONG_CLOSED})
      FROM last
    """,
)

# Comments say whom they mention, so the rows are found by their key.
FORGET_MENTIONS = Command(
    One[int],
    f"""
    WITH gone AS (
        DELETE FROM unread_mentions u
         USING tasks t
          JOIN task_comments c ON c.workspace_id = t.workspace_id AND c.task_id = t.id
         CROSS JOIN LATERAL jsonb_array_elements(c.mentions) AS m
         WHERE {_CLOSED_TASKS} AND c.created_at < {_CUTOFF}
           AND u.workspace_id = c.workspace_id AND u.identity_id = (m->>'id')::uuid AND u.place_id = c.task_id AND u.id = c.id
           AND NOT {COMMENT_WAITS}
        RETURNING 1
    )
    SELECT count(*)::int FROM gone
    """,
)

# Rows are deleted where they lie, and marks looked for task by task (OFFSET 0): a plan that is made once for all must not
# come to go through the whole log, nor through the marks of all tasks.
FORGET_ENTRIES = Command(
    One[int],
    f"""
    WITH old AS MATERIALIZED (
        SELECT e.task_id, e.version, e.xid, e.seq, e.ctid AS place
          FROM tasks t
          JOIN task_events e ON e.workspace_id = t.workspace_id AND e.task_id = t.id
         WHERE {_CLOSED_TASKS} AND e.created_at < {_CUTOFF} AND e.kind <> 'removed'
           AND e.version < t.version
           AND NOT (e.version = 1 AND e.subject_id = '00000000-0000-0000-0000-000000000000')
         ORDER BY e.task_id, e.version, e.subject_id
         LIMIT %(limit)s::int
    ), gone AS (
        DELETE FROM task_events e
         WHERE e.workspace_id = %(workspace_id)s AND e.ctid = ANY(ARRAY(SELECT old.place FROM old))
        RETURNING 1
    ), mark_before AS MATERIALIZED (
        SELECT e.*
          FROM (SELECT DISTINCT old.task_id FROM old) o
         CROSS JOIN LATERAL (
               SELECT e.task_id, e.version, e.subject_id, e.xid, e.seq, e.kind, e.ctid AS place
                 FROM task_events e
                WHERE e.workspace_id = %(workspace_id)s AND e.task_id = o.task_id
               OFFSET 0) e
         WHERE e.kind = 'removed'
    ), mark AS MATERIALIZED (
        SELECT DISTINCT ON (m.task_id)
               m.task_id, max(m.version) OVER (PARTITION BY m.task_id) AS version, m.xid, m.seq,
               regexp_replace('ffffffffffffffff' || lpad(to_hex(m.seq), 16, '0'),
                              '(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})', '\\1-\\2-\\3-\\4-\\5')::uuid AS subject_id
          FROM (SELECT task_id, version, xid, seq FROM old UNION ALL SELECT task_id, version, xid, seq FROM mark_before) m
         ORDER BY m.task_id, m.xid DESC, m.seq DESC
    ), marked AS (
        INSERT INTO task_events (workspace_id, task_id, version, subject_id, kind, actor_id, actor_kind, request_id, xid, seq)
        OVERRIDING SYSTEM VALUE
        SELECT %(workspace_id)s, m.task_id, m.version, m.subject_id, 'removed', '{SYSTEM}', 'system', '{REQUEST_ID}', m.xid, m.seq
          FROM mark m
        ON CONFLICT DO NOTHING
    ), unmarked AS (
        DELETE FROM task_events e
         WHERE e.workspace_id = %(workspace_id)s
           AND e.ctid = ANY(ARRAY(
                   SELECT b.place
                     FROM mark_before b
                    WHERE NOT EXISTS (SELECT FROM mark m
                                       WHERE (m.task_id, m.version, m.subject_id) = (b.task_id, b.version, b.subject_id))))
    )
    SELECT count(*)::int FROM gone
    """,
)

FORGET_STEPS = Command(
    One[int],
    f"""
    WITH ended AS MATERIALIZED (
        SELECT r.id, r.log_length
          FROM tasks t
          JOIN runs r ON r.workspace_id = t.workspace_id AND r.work_item_id = t.id
         WHERE {_CLOSED_TASKS} AND r.ended_at < {_CUTOFF} AND r.log_length > 0
    ), old AS MATERIALIZED (
        SELECT l.run_id, l.number
          FROM ended r
          JOIN run_log l ON l.workspace_id = %(workspace_id)s AND l.run_id = r.id AND l.number < r.log_length
         ORDER BY l.run_id, l.number
         LIMIT %(limit)s::int
    ), gone AS (
        DELETE FROM run_log l
         USING old
         WHERE l.workspace_id = %(workspace_id)s AND l.run_id = old.run_id AND l.number = old.number
        RETURNING 1
    ), marked AS (
        UPDATE run_log l
           SET step = %(removed)s::jsonb
          FROM ended r
         WHERE l.workspace_id = %(workspace_id)s AND l.run_id = r.id AND l.number = r.log_length
           AND l.step <> %(removed)s::jsonb
    )
    SELECT count(*)::int FROM gone
    """,
)

# Of those that may go, the ones stay that something hangs under which stays.
FORGET_RUNS = Command(
    One[int],
    f"""
    WITH RECURSIVE old AS MATERIALIZED (
        SELECT r.id, r.parent_id
          FROM tasks t
          JOIN runs r ON r.workspace_id = t.workspace_id AND r.work_item_id = t.id
         WHERE {_CLOSED_TASKS} AND r.ended_at < {_CUTOFF}
           AND t.run_id IS DISTINCT FROM r.id AND r.state_id IS NULL AND r.loss_unseen IS NOT TRUE
           AND (r.holder_id IS NULL OR EXISTS (
                    SELECT FROM runs n
                     WHERE n.workspace_id = t.workspace_id AND n.work_item_id = t.id AND n.holder_id IS NOT NULL AND n.id > r.id))
    ), kept (id) AS (
        SELECT old.id
          FROM old
          JOIN runs k ON k.workspace_id = %(workspace_id)s AND k.parent_id = old.id
         WHERE k.id NOT IN (SELECT o.id FROM old o)
         UNION
        SELECT old.parent_id FROM kept JOIN old ON old.id = kept.id
    ), chosen AS MATERIALIZED (
        SELECT old.id, old.parent_id
          FROM old
         WHERE old.id NOT IN (SELECT k.id FROM kept k WHERE k.id IS NOT NULL)
         ORDER BY old.id DESC                             -- those that hang under others first: most are younger
         LIMIT %(limit)s::int
    ), gone AS (
        DELETE FROM runs r
         USING chosen
         WHERE r.workspace_id = %(workspace_id)s AND r.id = chosen.id
           AND NOT EXISTS (SELECT FROM old o WHERE o.parent_id = r.id AND o.id NOT IN (SELECT c.id FROM chosen c))
        RETURNING r.id
    ), steps AS (
        DELETE FROM run_log l USING gone WHERE l.workspace_id = %(workspace_id)s AND l.run_id = gone.id
    )
    SELECT count(*)::int FROM gone
    """,
)

# The newest key of everybody stays: another one is made with its scopes.
FORGET_KEYS = Command(
    One[int],
    f"""
    WITH gone AS (
        DELETE FROM api_keys x
         WHERE x.workspace_id = %(workspace_id)s
           AND x.id IN (SELECT k.id
                          FROM api_keys k
                         WHERE k.workspace_id = %(workspace_id)s AND (k.revoked_at < {_CUTOFF} OR k.expires_at < {_CUTOFF})
                           AND EXISTS (SELECT FROM api_keys n
                                        WHERE n.workspace_id = k.workspace_id AND n.identity_id = k.identity_id
                                          AND (n.created_at, n.id) > (k.created_at, k.id))
                         LIMIT %(limit)s::int)
        RETURNING 1
    ), tokens AS (
        DELETE FROM verify_tokens x
         WHERE x.workspace_id = %(workspace_id)s
           AND x.hash IN (SELECT v.hash
                            FROM verify_tokens v
                           WHERE v.workspace_id = %(workspace_id)s AND v.expires_at < {_CUTOFF}
                           LIMIT %(limit)s::int)
        RETURNING 1
    )
    SELECT count(*)::int FROM (SELECT FROM gone UNION ALL SELECT FROM tokens) x
    """,
)

SWEPT = Command(
    One[int],
    """
    UPDATE workspaces SET swept_xid = %(xid)s::text::xid8, swept_seq = %(seq)s::bigint
     WHERE id = %(workspace_id)s
    RETURNING 1
    """,
)


async def run_once(db: Database, config: Config) -> int:
    """Remove one portion in each workspace that does not keep everything; then leave others as much time as it took."""
    done = 0
    failed: ApiError | None = None
    for workspace in await db.all(KEEPING):
        began = time.monotonic()
        try:
            async with db.transaction() as tx:
                portion = await _portion(tx, workspace.value)
        except ApiError as e:  # one workspace must not keep the others from their turn
            failed = failed or e
            continue
        if portion:
            done += portion
            await asyncio.sleep(time.monotonic() - began)
    if failed is not None and not done:
        raise failed
    return done


async def _portion(tx: Transaction, workspace_id: UUID) -> int:
    """Remove one portion; say how much was done, 0 if there was nothing to do or another process is at it."""
    days = await tx.one(TAKE, workspace_id=workspace_id)
    if days is None:
        return 0
    done = await _count(tx, FORGET_KEYS, workspace_id=workspace_id, days=days.value, limit=ROWS_MAX)
    found = await tx.one(NEXT, workspace_id=workspace_id, days=days.value, limit=ENTRIES_READ_MAX)
    if found is None:
        return done
    of = {"workspace_id": workspace_id, "days": days.value, "task_ids": found.task_ids}
    if found.task_ids:
        done += await _count(tx, FORGET_MENTIONS, **of)
        for command, more in (
            (FORGET_ENTRIES, {}),
            (FORGET_STEPS, {"removed": msgspec.json.encode(STEPS_REMOVED).decode()}),
            (FORGET_RUNS, {}),
        ):
            removed = await _count(tx, command, **of, **more, limit=ROWS_MAX)
            done += removed
            if removed == ROWS_MAX:  # there may be more: the same entries once again
                return done
    await tx.one(SWEPT, workspace_id=workspace_id, xid=found.xid, seq=found.seq)
    return done + 1


async def _count(tx: Transaction, command: Command[One[int]], **parameters: object) -> int:
    row = await tx.one(command, **parameters)
    assert row is not None, "an aggregate has a row"
    return row.value
