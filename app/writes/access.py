"""Who may see and touch what: the conditions that every statement on tasks, channels and people shares.

Fragments speak of `t`, a row of `tasks`, or `a`, a row of `identities`, and of `i`, the input that names the caller:
`i.workspace_id` and `i.actor_id`. All are constants, so that a statement built from them is still a constant.
"""

from typing import Final, LiteralString

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

# Being one of those whose task it is: who may post in its channel; of a task in no channel, who takes part in it.
_POSTS_THERE: Final = """EXISTS (
            SELECT FROM channel_members m
             WHERE m.workspace_id = i.workspace_id AND m.identity_id = i.actor_id AND m.channel_id = t.channel_id
               AND m.role <> 'reader')"""
_TAKES_PART: Final = """(t.created_by_id = i.actor_id OR EXISTS (
            SELECT FROM task_participants p
             WHERE p.workspace_id = i.workspace_id AND p.identity_id = i.actor_id AND p.task_id = t.id))"""

# Who may bring others in, by assigning it to them or mentioning them: those whose task it is.
SHARABLE: Final = f"""(t.channel_id IS NULL AND {_TAKES_PART} OR {_POSTS_THERE})"""

# Who may move it to another channel, into one, or out of one: who may post in the one it is in. One that is in none
# was shown to each who takes part in it, one by one: only its creator, or who answers for them, shows it to a channel.
MOVABLE: Final = f"""(CASE WHEN t.channel_id IS NOT NULL THEN {_POSTS_THERE}
        ELSE t.created_by_id = i.actor_id OR EXISTS (
            SELECT FROM identities a
             WHERE a.workspace_id = i.workspace_id AND a.id = t.created_by_id AND a.owner_id = i.actor_id) END)"""

# Who may change it: those whose task it is, its assignee, and who answers for the assignee (contract F5).
WRITABLE: Final = f"""(
        t.assignee_id = i.actor_id OR {SHARABLE}
        OR EXISTS (SELECT FROM identities a
                    WHERE a.workspace_id = i.workspace_id AND a.id = t.assignee_id AND a.owner_id = i.actor_id))"""

# Who may remark on it: everyone who sees it, but for mere readers of its channel (contract R12).
REMARKABLE: Final = f"""(t.assignee_id = i.actor_id OR {_TAKES_PART} OR {_POSTS_THERE})"""

# Which identities `a` the caller may know of: all but private agents of other owners (contract section 8).
KNOWN_IDENTITY: Final = """(
        NOT a.is_private OR a.owner_id = i.actor_id OR a.id = i.actor_id
        OR a.owner_id = (SELECT me.owner_id FROM identities me WHERE me.workspace_id = i.workspace_id AND me.id = i.actor_id))"""

# Which of them the caller may name: also those in a channel with the caller (contract section 8).
NAMED_IDENTITY: Final = f"""({KNOWN_IDENTITY}
        OR EXISTS (SELECT FROM channel_members mine
                     JOIN channel_members its ON its.workspace_id = mine.workspace_id AND its.channel_id = mine.channel_id
                    WHERE mine.workspace_id = i.workspace_id AND mine.identity_id = i.actor_id AND its.identity_id = a.id))"""


def seen_id(workspace: LiteralString, viewer: LiteralString, id: LiteralString) -> LiteralString:
    """SQL for the id of a task if the viewer sees that task, else null: for what one task says of another."""
    return f"""(
            SELECT t.id
              FROM (SELECT {workspace} AS workspace_id, {viewer} AS actor_id, {id} AS task_id) i
              JOIN tasks t ON t.workspace_id = i.workspace_id AND t.id = i.task_id
             WHERE {VISIBLE})"""
