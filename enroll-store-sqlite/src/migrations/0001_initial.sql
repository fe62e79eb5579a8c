-- Conventions: instants are milliseconds since the Unix epoch; ids are the 16 bytes of a UUIDv7, so
-- that rows made together lie together; digests are the 32 bytes of a SHA-256. What is long stands
-- last in a row, so that the rest is read without it. Each index names the statements that read it;
-- there is none that no statement reads.

CREATE TABLE enroll_tokens (
    id          TEXT    NOT NULL PRIMARY KEY,
    digest      BLOB    NOT NULL,
    bound_to    TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    max_uses    INTEGER NOT NULL,
    uses        INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    description TEXT,
    revoked_at  INTEGER,
    replaced_at INTEGER,
    -- The last line of defence: whatever a statement gets wrong, no token is spent beyond its uses.
    CHECK (max_uses = 0 OR uses <= max_uses)
) STRICT, WITHOUT ROWID;

-- Read by: replace_unspent, revoke_bound.
CREATE INDEX enroll_tokens_bound_to ON enroll_tokens (bound_to) WHERE bound_to IS NOT NULL;

-- Read by: list_live.
CREATE INDEX enroll_tokens_expires_at ON enroll_tokens (expires_at);

-- Nodes that are not deleted. A rowid table, because facts make its rows long. The primary key is
-- read by: node_by_id, record_beat, set_labels, transition, renewable, queue_command. The unique
-- name by: node_by_name, list_nodes, take_free, take_pending, take_held, set_cordon, delete_node,
-- list_commands.
CREATE TABLE enroll_nodes (
    id           BLOB    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    state        TEXT    NOT NULL,
    cordoned     INTEGER NOT NULL,
    method       TEXT,
    created_at   INTEGER NOT NULL,
    enrolled_at  INTEGER,
    last_seen_at INTEGER,
    fuse         TEXT,
    labels       TEXT    NOT NULL,
    facts        TEXT    NOT NULL
) STRICT;

-- When the last holder of a name was deleted. Kept when the name is taken again.
CREATE TABLE enroll_deleted_names (
    name       TEXT    NOT NULL PRIMARY KEY,
    deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Redemptions stay when their node is deleted.
CREATE TABLE enroll_redemptions (
    id        BLOB    NOT NULL PRIMARY KEY,
    token_id  TEXT    REFERENCES enroll_tokens (id),
    method    TEXT    NOT NULL,
    node_id   BLOB    NOT NULL,
    node_name TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    source_ip TEXT,
    claim     BLOB,
    closed_at INTEGER
) STRICT, WITHOUT ROWID;

-- Read by: prior_redemption, close_under_name.
CREATE INDEX enroll_redemptions_name ON enroll_redemptions (node_name, claim);

-- Read by: list_redemptions, close_of_token.
CREATE INDEX enroll_redemptions_token ON enroll_redemptions (token_id)
    WHERE token_id IS NOT NULL;

-- Identities stay, revoked, when their node is deleted. A rowid table, because certificates make
-- its rows long. The primary key is read by: use_identity, revoke_identity, renewable,
-- identity_by_id.
CREATE TABLE enroll_identities (
    id             BLOB    NOT NULL PRIMARY KEY,
    node_id        BLOB    NOT NULL,
    node_name      TEXT    NOT NULL,
    redemption_id  BLOB    NOT NULL REFERENCES enroll_redemptions (id),
    predecessor    BLOB    REFERENCES enroll_identities (id),
    kind           TEXT    NOT NULL,
    serial         BLOB,
    key_digest     BLOB,
    api_key_digest BLOB,
    external_id    TEXT,
    issued_at      INTEGER NOT NULL,
    expires_at     INTEGER,
    first_used_at  INTEGER,
    revoked_at     INTEGER,
    certificate    BLOB
) STRICT;

-- Read by: identity_by_serial.
CREATE UNIQUE INDEX enroll_identities_serial ON enroll_identities (serial)
    WHERE serial IS NOT NULL;

-- Read by: identity_by_api_key.
CREATE UNIQUE INDEX enroll_identities_api_key ON enroll_identities (api_key_digest)
    WHERE api_key_digest IS NOT NULL;

-- Read by: revoke_identities_of_node, revoke_replaced, identities_of_redemption.
CREATE INDEX enroll_identities_node ON enroll_identities (node_id) WHERE revoked_at IS NULL;

-- Read by: successor, revoke_unused_successor.
CREATE INDEX enroll_identities_predecessor ON enroll_identities (predecessor)
    WHERE predecessor IS NOT NULL;

-- A rowid table, because payloads make its rows long, and because its places are the order in which
-- commands were queued. The primary key is read by: command_by_id, mark_delivered, finish_command.
CREATE TABLE enroll_commands (
    id           BLOB    NOT NULL PRIMARY KEY,
    node_id      BLOB    NOT NULL,
    node_name    TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    queued_by    TEXT    NOT NULL,
    queued_at    INTEGER NOT NULL,
    delivered_at INTEGER,
    finished_at  INTEGER,
    payload      TEXT    NOT NULL,
    output       TEXT
) STRICT;

-- Read by: list_commands, trim_commands, delete_commands.
CREATE INDEX enroll_commands_node ON enroll_commands (node_id, id, finished_at);

-- Read by: open_commands, queue_command.
CREATE INDEX enroll_commands_open ON enroll_commands (node_id) WHERE finished_at IS NULL;

CREATE TABLE enroll_admins (
    name       TEXT    NOT NULL PRIMARY KEY,
    role       TEXT    NOT NULL,
    digest     BLOB    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE enroll_settings (
    key     TEXT    NOT NULL PRIMARY KEY,
    value   TEXT    NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Attempts that proved something, or were accepted: bounded per name.
CREATE TABLE enroll_attempts (
    id        BLOB    NOT NULL PRIMARY KEY,
    at        INTEGER NOT NULL,
    node_name TEXT,
    outcome   TEXT    NOT NULL,
    source_ip TEXT,
    token_id  TEXT
) STRICT, WITHOUT ROWID;

-- Read by: list_attempts, trim_attempts.
CREATE INDEX enroll_attempts_name ON enroll_attempts (node_name);

-- Attempts that proved nothing: one ring by place, so that a stranger cannot push a node's own out.
CREATE TABLE enroll_unproven_attempts (
    seq       INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL UNIQUE,
    at        INTEGER NOT NULL,
    node_name TEXT,
    outcome   TEXT    NOT NULL,
    source_ip TEXT,
    token_id  TEXT
) STRICT;

-- Read by: list_attempts.
CREATE INDEX enroll_unproven_attempts_name ON enroll_unproven_attempts (node_name, id);

-- One ring by place. The event is JSON with a stable tag, so that old ones stay readable.
CREATE TABLE enroll_events (
    seq   INTEGER PRIMARY KEY,
    event TEXT NOT NULL
) STRICT;

-- One row, written to see whether writing works.
CREATE TABLE enroll_probe (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    writes INTEGER NOT NULL
) STRICT;

INSERT INTO enroll_probe (one, writes) VALUES (1, 0);
