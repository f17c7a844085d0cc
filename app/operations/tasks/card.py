"""Task cards: one small message from Baton into the bound channel, when a task is created, assigned or changes its status.

Each fragment makes `said`, what app/operations/messages/message.py posts, in the same statement as the change. A
card speaks to nobody, so it waits for nobody and is not found by search; machines read its metadata.
"""

from typing import Final

# Whom a task was given to. An agent that is private is not named in front of the whole channel.
_TO: Final = """'assigned to ' || CASE WHEN a.is_private THEN 'a private agent' ELSE '@' || a.handle END"""

# Titles have up to 500 characters; a card is a line.
_TITLE: Final = """CASE WHEN length(c.title) > 120 THEN left(c.title, 119) || '…' ELSE c.title END"""

_SYSTEM: Final = """
               NULL::uuid AS parent_id, '00000000-0000-0000-0000-000000000000'::uuid AS sender_id,
               'system' AS sender_type, 'task_card' AS kind"""

CHANGE_CARDS: Final = f"""
    said AS (
        SELECT c.workspace_id, c.channel_id, c.ord, c.message_id AS id, {_SYSTEM},
               'T-' || c.number || ' ' || concat_ws(', ',
                   CASE WHEN NOT c.difference ? 'status' THEN NULL
                        WHEN c.status = 'done' THEN 'completed'
                        ELSE (c.difference->'status'->>0) || ' → ' || c.status END,
                   {_TO}) || ': ' || {_TITLE} AS content,
               jsonb_build_object('taskId', c.id, 'identifier', 'T-' || c.number, 'version', c.version,
                   'event', CASE WHEN NOT c.difference ? 'status' THEN 'assigned'
                                 WHEN c.status = 'done' THEN 'completed' ELSE 'status_changed' END,
                   'status', c.status, 'actorId', c.actor_id) AS metadata
          FROM changed c
          -- Only who was just assigned is looked up: with null nothing is.
          LEFT JOIN identities a ON a.workspace_id = c.workspace_id
           AND a.id = CASE WHEN c.difference ?| ARRAY['assigneeUserId', 'assigneeAgentId'] THEN c.assignee_id END
         WHERE c.channel_id IS NOT NULL AND (c.difference ? 'status' OR a.id IS NOT NULL)
    )"""

# `mentions` and `summary` are for a statement that also says a summary, which takes the place of the cards in its channel.
CREATE_CARDS: Final = f"""
        SELECT c.workspace_id, c.channel_id, i.ord, i.message_id AS id, {_SYSTEM},
               'T-' || c.number || ' ' || concat_ws(', ', 'created', {_TO}) || ': ' || {_TITLE} AS content,
               jsonb_build_object('taskId', c.id, 'identifier', 'T-' || c.number, 'version', 1,
                   'event', 'created', 'status', c.status, 'actorId', c.created_by_id) AS metadata,
               '[]'::jsonb AS mentions
          FROM created c
          JOIN i ON i.id = c.id
          LEFT JOIN identities a ON a.workspace_id = c.workspace_id AND a.id = c.assignee_id
         WHERE c.channel_id IS NOT NULL"""
