-- Hold the days of retention to their rule.

-- step
ALTER TABLE workspaces DROP CONSTRAINT IF EXISTS workspaces_retention_check;
ALTER TABLE workspaces ADD CONSTRAINT workspaces_retention_check CHECK (retention_days BETWEEN 1 AND 36500) NOT VALID;

-- step
ALTER TABLE workspaces VALIDATE CONSTRAINT workspaces_retention_check;
