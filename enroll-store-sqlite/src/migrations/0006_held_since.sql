-- Since when a duty is held: who holds it since a time that is to come has it by a clock that went
-- back since.
ALTER TABLE enroll_duties ADD COLUMN held_since INTEGER NOT NULL DEFAULT 0;
