-- Which table this is: the oids of its database and its own. No dump carries them, so that what is
-- restored from one, or copied with its database, is told from what it was taken of.
ALTER TABLE enroll_fence ADD COLUMN made text COLLATE "C";

UPDATE enroll_fence SET made = (SELECT oid FROM pg_database WHERE datname = current_database())::text
    || '.' || tableoid::text;

-- Since when a duty is held: who holds it since a time that is to come has it by a clock that went
-- back since.
ALTER TABLE enroll_duties ADD COLUMN held_since timestamptz NOT NULL DEFAULT '-infinity';
