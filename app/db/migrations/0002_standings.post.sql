-- Let go of the rule that every channel has a name of its own.

ALTER TABLE channels DROP CONSTRAINT IF EXISTS channels_name_key;
