-- Remember who was deactivated, how long what is done with is kept, and where retention took entries out of the log.

-- step
ALTER TABLE identities ADD COLUMN IF NOT EXISTS deactivated_at timestamptz;

-- step
ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS retention_days integer;
ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS swept_xid xid8;
ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS swept_seq bigint;

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS task_events_removed ON task_events (workspace_id, xid, seq) WHERE kind = 'removed';
