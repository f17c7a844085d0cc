-- Remember how somebody left a channel, and who made a State; let private channels share a name.

-- step
CREATE TABLE IF NOT EXISTS channel_standings (
    workspace_id  uuid        NOT NULL,
    channel_id    uuid        NOT NULL,
    identity_id   uuid        NOT NULL,
    standing      text        NOT NULL,
    removed_by_id uuid,
    since         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, channel_id, identity_id),
    FOREIGN KEY (workspace_id, channel_id) REFERENCES channels (workspace_id, id),
    FOREIGN KEY (workspace_id, identity_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT channel_standings_standing_check CHECK (standing IN ('reader', 'removed')),
    CONSTRAINT channel_standings_removed_check CHECK ((removed_by_id IS NULL) = (standing = 'reader'))
);

-- step
ALTER TABLE states ADD COLUMN IF NOT EXISTS author_id uuid;

-- step
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS channels_public_name_key ON channels (workspace_id, name) WHERE kind = 'public';

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_state ON runs (workspace_id, state_id) WHERE state_id IS NOT NULL;
