-- Where identities were revoked or commands queued, in order: one ring by place. Written by the
-- triggers alone, so that no statement forgets it. What left the ring is removed every so often.
CREATE TABLE enroll_touched (
    seq     INTEGER PRIMARY KEY,
    node_id BLOB    NOT NULL
) STRICT;

CREATE TRIGGER enroll_touched_by_revocation AFTER UPDATE OF revoked_at ON enroll_identities
WHEN old.revoked_at IS NULL AND new.revoked_at IS NOT NULL
BEGIN
    INSERT INTO enroll_touched (node_id) VALUES (new.node_id);
END;

CREATE TRIGGER enroll_touched_by_command AFTER INSERT ON enroll_commands
BEGIN
    INSERT INTO enroll_touched (node_id) VALUES (new.node_id);
END;

CREATE TRIGGER enroll_touched_ring AFTER INSERT ON enroll_touched WHEN new.seq % 256 = 0
BEGIN
    DELETE FROM enroll_touched WHERE seq <= new.seq - 16384;
END;
