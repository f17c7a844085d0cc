-- Holds the place of a migration on another branch.
SELECT true;
