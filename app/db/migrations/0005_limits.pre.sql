-- Let an operator say how much a key may ask for.

-- step
ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS calls_per_second double precision;
ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS calls_burst integer;
ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS limited_at timestamptz;

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS api_keys_limited ON api_keys (limited_at) WHERE limited_at IS NOT NULL;
