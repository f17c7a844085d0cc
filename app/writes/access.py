"""Who may see and touch what: the conditions that every statement on tasks, channels and people shares.

Fragments speak of `t`, a row of `tasks`, or `a`, a row of `identities`, and of `i`, the input that names the caller:
`i.workspace_id` and `i.actor_id`. All are constants, so that a statement built from them is still a constant.
"""

from typing import Final

CALLER: Final = "SELECT %(workspace_id)s::uuid AS workspace_id, %(actor_id)s::uuid AS actor_id"
"""The input of a statement that serves one call, `WITH i AS ({CALLER})`; more columns may follow."""

# Who sees a task: whoever takes part in it, and the members of its channel. The first two lines only save
# the look-ups that follow; creator and assignee are participants too.
VISIBLE: Final = """(
        t.created_by_id = i.actor_id OR t.assignee_id = i.actor_id
        OR EXISTS (SELECT FROM task_participants p
                    WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = t.id)
        OR EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = t.channel_id))"""

# Who may change it: the same, but being a mere reader of its channel is not enough (contract R12).
WRITABLE: Final = """(
        t.created_by_id = i.actor_id OR t.assignee_id = i.actor_id
        OR EXISTS (SELECT FROM task_participants p
                    WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = t.id)
        OR EXISTS (SELECT FROM channel_members m
                    WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = t.channel_id
                      AND m.role <> 'reader'))"""

# Which identities `a` the caller may know of: all but private agents of other owners (contract section 8).
KNOWN_IDENTITY: Final = """(
        NOT a.is_private OR a.owner_id = i.actor_id OR a.id = i.actor_id
        OR a.owner_id = (SELECT me.owner_id FROM identities me WHERE me.workspace_id = i.workspace_id AND me.id = i.actor_id))"""
