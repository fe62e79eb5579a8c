-- Where identities were revoked or commands queued, by the number of the transaction that did it.
-- Transactions end in any order: whoever reads goes on from the oldest that was running then, and so
-- sees what was not committed yet. Written by the triggers alone, so that no statement forgets it.
-- Read by: touched, trim_touched.
CREATE TABLE enroll_touched (
    xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    node_id uuid NOT NULL,
    PRIMARY KEY (xid, node_id)
);

-- One row: all from `floor` on is kept. It becomes what `next_floor` was at the turn before.
CREATE TABLE enroll_touched_kept (
    one        integer     PRIMARY KEY CHECK (one = 1),
    floor      xid8        NOT NULL,
    next_floor xid8        NOT NULL,
    turned_at  timestamptz NOT NULL
);

INSERT INTO enroll_touched_kept (one, floor, next_floor, turned_at)
VALUES (1, pg_snapshot_xmin(pg_current_snapshot()), pg_snapshot_xmin(pg_current_snapshot()), now());

CREATE FUNCTION enroll_touch() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO enroll_touched (node_id) VALUES (NEW.node_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER enroll_touched_by_revocation AFTER UPDATE OF revoked_at ON enroll_identities
FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
EXECUTE FUNCTION enroll_touch();

CREATE TRIGGER enroll_touched_by_command AFTER INSERT ON enroll_commands
FOR EACH ROW EXECUTE FUNCTION enroll_touch();
