-- Keep what an answer said beside its data, claims that were lost, and when a mention was made; let keys carry a corrected request.

-- step
ALTER TABLE idempotency_keys ADD COLUMN IF NOT EXISTS told json;

-- step
CREATE OR REPLACE FUNCTION take_key(workspace_id uuid, identity_id uuid, key text, fingerprint text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    refused boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2 || ' ' || $3, 0));
    SELECT k.error IS NOT NULL AND k.fingerprint <> decode($4, 'hex') INTO refused
      FROM idempotency_keys k WHERE k.workspace_id = $1 AND k.identity_id = $2 AND k.key = $3;
    IF refused THEN
        DELETE FROM idempotency_keys k WHERE k.workspace_id = $1 AND k.identity_id = $2 AND k.key = $3;
    END IF;
    RETURN refused IS NOT FALSE;
END $$;

-- step
ALTER TABLE runs ADD COLUMN IF NOT EXISTS loss_unseen boolean;

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_lost ON runs (workspace_id, holder_id, id) WHERE loss_unseen;

-- step
CREATE SEQUENCE IF NOT EXISTS unread_mentions_seq;

-- step
ALTER TABLE unread_mentions ADD COLUMN IF NOT EXISTS version integer;
ALTER TABLE unread_mentions ADD COLUMN IF NOT EXISTS xid xid8 NOT NULL DEFAULT pg_current_xact_id();
ALTER TABLE unread_mentions ADD COLUMN IF NOT EXISTS seq bigint;
-- squawk-ignore prefer-robust-stmts -- it bears being run twice
ALTER TABLE unread_mentions ALTER COLUMN seq SET DEFAULT nextval('unread_mentions_seq');
