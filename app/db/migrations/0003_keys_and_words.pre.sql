-- Let calls with the same idempotency key take turns, so that the second raises no error in the database.
CREATE OR REPLACE FUNCTION take_key(workspace_id uuid, identity_id uuid, key text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2 || ' ' || $3, 0));
    RETURN NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.workspace_id = $1 AND k.identity_id = $2 AND k.key = $3);
END $$;
