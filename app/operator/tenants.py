"""Every table that holds rows of workspaces: how an export reads it, and how a workspace leaves it.

tests/operator/test_whole_workspaces.py holds this list against the catalogue: a table that is missing here would be left
out of an export, and left behind by a deletion.
"""

from typing import Final, LiteralString, NamedTuple

from app.db import Command, Encoded, One, Query


class Tenant(NamedTuple):
    """A table with rows of workspaces."""

    empty: Command[One[int]]
    rows: Query[One[Encoded[dict[str, object]]]] | None
    why_not: str  # it is not exported


_NOTHING: Final[LiteralString] = "{}"


def _table(
    name: LiteralString,
    key: LiteralString = "id",
    *,
    without: LiteralString = _NOTHING,
    last: LiteralString = "true",
    not_exported: str = "",
) -> Tenant:
    """A table, by the rest of its key. `last` is what a row `y` must be to go: nothing that stays may hang on it."""
    order: LiteralString = ", ".join(f"x.{column}" for column in key.split(", "))
    newest: LiteralString = ", ".join(f"y.{column} DESC" for column in key.split(", "))
    return Tenant(
        Command(
            One[int],
            f"""
            WITH gone AS (
                DELETE FROM {name} x
                 WHERE x.workspace_id = %(workspace_id)s::uuid
                   AND x.ctid = ANY(ARRAY(
                           SELECT y.ctid FROM {name} y
                            WHERE y.workspace_id = %(workspace_id)s::uuid AND {last}
                            {"ORDER BY " + newest if last != "true" else ""}
                            LIMIT %(limit)s::int))
                RETURNING 1
            )
            SELECT count(*)::int FROM gone
            """,
        ),
        None
        if not_exported
        else Query(
            One[Encoded[dict[str, object]]],
            f"""
            SELECT (to_jsonb(x) - '{without}'::text[])::json
              FROM {name} x
             WHERE x.workspace_id = %(workspace_id)s::uuid
             ORDER BY {order}
            """,
        ),
        not_exported,
    )


TENANTS: Final[dict[str, Tenant]] = {
    "idempotency_keys": _table(
        "idempotency_keys",
        "identity_id, key",
        not_exported="first answers, kept for IDEMPOTENCY_HOURS: they mean something to the service that gave them alone",
    ),
    "unread_mentions": _table("unread_mentions", "identity_id, place_id, id", without="{xid,seq}"),
    "message_search": _table(
        "message_search", "message_id", not_exported="made of the messages, for searching"
    ),
    "messages": _table("messages", "channel_id, position"),
    "task_events": _table("task_events", "task_id, version, subject_id", without="{xid}"),
    "task_comments": _table("task_comments", "task_id, id"),
    "run_log": _table("run_log", "run_id, number"),
    "task_relations": _table("task_relations", "from_task_id, kind, to_task_id"),
    "task_search": _table("task_search", "task_id", not_exported="made of the tasks, for searching"),
    "task_participants": _table("task_participants", "identity_id, task_id"),
    "runs": _table(
        "runs",
        without="{lease_check_at}",
        last="NOT EXISTS (SELECT FROM runs z WHERE z.workspace_id = y.workspace_id AND z.parent_id = y.id)",
    ),
    "states": _table("states"),
    "tasks": _table(
        "tasks",
        without="{is_open,urgency,queue,claim_rank}",
        last="NOT EXISTS (SELECT FROM tasks z WHERE z.workspace_id = y.workspace_id AND z.parent_task_id = y.id)",
    ),
    "task_counters": _table("task_counters", "workspace_id"),
    "channel_members": _table("channel_members", "identity_id, channel_id"),
    "channel_standings": _table("channel_standings", "channel_id, identity_id"),
    "channels": _table("channels"),
    "verify_tokens": _table("verify_tokens", "agent_id, expires_at", without="{hash}"),
    "api_keys": _table("api_keys", without="{hash}"),
    "identities": _table(
        "identities",
        last="NOT EXISTS (SELECT FROM identities z WHERE z.workspace_id = y.workspace_id AND z.owner_id = y.id)",
    ),
}
"""All of them, those first that nothing refers to. What their rows leave out is derived, of this cluster, or lets somebody in."""
