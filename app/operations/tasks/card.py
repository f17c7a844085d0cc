"""Task cards: one small message from Baton into the bound channel, when a task is created, assigned or changes its status.

A card speaks to nobody, so it waits for nobody and is not found by search; machines read its metadata.
"""

from typing import Final

from app.operations.messages.message import SYSTEM

# Whom a task was given to. An agent that is private is not named in front of the whole channel.
_TO: Final = """'assigned to ' || CASE WHEN a.is_private THEN 'a private agent' ELSE '@' || a.handle END"""

# Titles have up to 500 characters; a card is a line.
_TITLE: Final = """CASE WHEN length(m.title) > 120 THEN left(m.title, 119) || '…' ELSE m.title END"""

# The cards of the tasks that `moved`, as app/operations/messages/message.py posts what is said.
CARDS: Final = f"""
    card AS (
        SELECT m.workspace_id, m.channel_id, m.ord, m.message_id AS id, NULL::uuid AS parent_id,
               '{SYSTEM}'::uuid AS sender_id, 'system' AS sender_type, 'task_card' AS kind,
               'T-' || m.number || ' ' || concat_ws(', ',
                   CASE WHEN m.kind = 'created' THEN 'created'
                        WHEN NOT m.difference ? 'status' THEN NULL
                        WHEN m.status = 'done' THEN 'completed'
                        ELSE (m.difference->'status'->>0) || ' → ' || m.status END,
                   {_TO}) || ': ' || {_TITLE} AS content,
               jsonb_build_object('taskId', m.id, 'identifier', 'T-' || m.number, 'version', m.version,
                   'event', CASE WHEN m.kind = 'created' THEN 'created'
                                 WHEN NOT m.difference ? 'status' THEN 'assigned'
                                 WHEN m.status = 'done' THEN 'completed' ELSE 'status_changed' END,
                   'status', m.status, 'actorId', m.actor_id) AS metadata
          FROM moved m
          -- Only who was just assigned is looked up: with null nothing is.
          LEFT JOIN identities a ON a.workspace_id = m.workspace_id
           AND a.id = CASE WHEN m.difference ?| ARRAY['assigneeUserId', 'assigneeAgentId'] THEN m.assignee_id END
         WHERE m.channel_id IS NOT NULL AND (m.difference ? 'status' OR a.id IS NOT NULL)
    )"""
