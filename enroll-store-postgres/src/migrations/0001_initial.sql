-- Conventions: instants are milliseconds since the Unix epoch; ids are UUIDv7, so that rows made
-- together lie together; digests are the 32 bytes of a SHA-256. Words are compared by their bytes
-- (COLLATE "C"), as every master does. JSON is kept as text, because the types json and jsonb cannot
-- hold every string that JSON can; free text that a person or a machine wrote is escaped, because
-- the type text cannot hold NUL. Room is left in pages whose rows are written again, so that such a
-- write touches no index. Each index names the statements that read it.

-- One row: which server wrote what is here. Whoever finds another server, or the same one on another
-- timeline, raises the epoch; tokens of an epoch below the floor are void.
CREATE TABLE enroll_fence (
    one             integer PRIMARY KEY CHECK (one = 1),
    system_id       text    COLLATE "C" NOT NULL,
    timeline        text    COLLATE "C" NOT NULL,
    epoch           bigint  NOT NULL,
    floor           bigint  NOT NULL,
    previous_floor  bigint  NOT NULL,
    raised_at       bigint,
    acknowledged_at bigint
);

CREATE TABLE enroll_tokens (
    id          text    COLLATE "C" PRIMARY KEY,
    digest      bytea   NOT NULL,
    bound_to    text    COLLATE "C",
    created_at  bigint  NOT NULL,
    expires_at  bigint  NOT NULL,
    max_uses    bigint  NOT NULL,
    uses        bigint  NOT NULL,
    created_by  text    NOT NULL,
    description text,
    revoked_at  bigint,
    replaced_at bigint,
    epoch       bigint  NOT NULL,
    -- The last line of defence: whatever a statement gets wrong, no token is spent beyond its uses.
    CHECK (max_uses = 0 OR uses <= max_uses)
) WITH (fillfactor = 80);

-- Read by: replace_unspent, revoke_bound.
CREATE INDEX enroll_tokens_bound_to ON enroll_tokens (bound_to) WHERE bound_to IS NOT NULL;

-- Read by: list_live.
CREATE INDEX enroll_tokens_expires_at ON enroll_tokens (expires_at);

-- The uses of a token without a limit and without a name of its own, counted in several rows so that
-- those who use it at the same moment do not wait for each other. A redemption locks and writes one
-- of them; whoever takes the token back locks all.
CREATE TABLE enroll_token_shards (
    token_id text     COLLATE "C" NOT NULL,
    shard    smallint NOT NULL,
    uses     bigint   NOT NULL,
    PRIMARY KEY (token_id, shard)
) WITH (fillfactor = 25);

-- Tokens as they are shown: with all their uses, and those below the floor as revoked.
CREATE VIEW enroll_tokens_shown AS
SELECT id, digest, bound_to, created_at, expires_at, max_uses,
    uses + coalesce((SELECT sum(shards.uses)::bigint FROM enroll_token_shards AS shards
        WHERE shards.token_id = tokens.id), 0) AS uses,
    created_by, description,
    CASE WHEN revoked_at IS NULL AND replaced_at IS NULL AND (max_uses = 0 OR uses < max_uses)
            AND epoch < (SELECT floor FROM enroll_fence)
        THEN (SELECT raised_at FROM enroll_fence) ELSE revoked_at END AS revoked_at,
    replaced_at
FROM enroll_tokens AS tokens;

-- Nodes that are not deleted. The primary key is read by: node_by_id, lock_nodes, set_labels,
-- transition. The unique name by: node_by_name, list_nodes, set_cordon, delete_node, list_commands.
CREATE TABLE enroll_nodes (
    id           uuid    PRIMARY KEY,
    name         text    COLLATE "C" NOT NULL CONSTRAINT enroll_nodes_name UNIQUE,
    state        text    COLLATE "C" NOT NULL,
    cordoned     boolean NOT NULL,
    labels       text    NOT NULL,
    facts        text    NOT NULL,
    arch         text    COLLATE "C",
    method       text    COLLATE "C",
    created_at   bigint  NOT NULL,
    enrolled_at  bigint,
    last_seen_at bigint,
    fuse         text,
    fuse_attempt uuid
) WITH (fillfactor = 70);

-- When the last holder of a name was deleted. Kept when the name is taken again.
CREATE TABLE enroll_deleted_names (
    name       text   COLLATE "C" PRIMARY KEY,
    deleted_at bigint NOT NULL
);

-- Redemptions stay when their node is deleted. The token is no foreign key: checking it would lock
-- the token's row for each of its redemptions, and tokens are never deleted.
CREATE TABLE enroll_redemptions (
    id        uuid   PRIMARY KEY,
    token_id  text   COLLATE "C",
    method    text   COLLATE "C" NOT NULL,
    node_id   uuid   NOT NULL,
    node_name text   COLLATE "C" NOT NULL,
    at        bigint NOT NULL,
    source_ip text,
    claim     bytea,
    closed_at bigint
) WITH (fillfactor = 80);

-- Read by: prior_redemption, close_under_name.
CREATE INDEX enroll_redemptions_name ON enroll_redemptions (node_name, id);

-- Read by: list_redemptions, close_of_token.
CREATE INDEX enroll_redemptions_token ON enroll_redemptions (token_id, id)
    WHERE token_id IS NOT NULL;

-- Redemptions whose connection was lost in the middle and which, being looked for, were not there:
-- what still arrives of them is refused.
CREATE TABLE enroll_abandoned (
    redemption_id uuid PRIMARY KEY,
    since         timestamptz NOT NULL DEFAULT now()
);

-- Identities stay, revoked, when their node is deleted.
CREATE TABLE enroll_identities (
    id             uuid   PRIMARY KEY,
    node_id        uuid   NOT NULL,
    node_name      text   COLLATE "C" NOT NULL,
    redemption_id  uuid   NOT NULL REFERENCES enroll_redemptions (id),
    predecessor    uuid   REFERENCES enroll_identities (id),
    kind           text   COLLATE "C" NOT NULL,
    serial         bytea,
    key_digest     bytea,
    certificate    bytea,
    api_key_digest bytea,
    external_id    text,
    issued_at      bigint NOT NULL,
    expires_at     bigint,
    first_used_at  bigint,
    revoked_at     bigint
);

-- Read by: identity_by_serial.
CREATE UNIQUE INDEX enroll_identities_serial ON enroll_identities (serial)
    WHERE serial IS NOT NULL;

-- Read by: identity_by_api_key.
CREATE UNIQUE INDEX enroll_identities_api_key ON enroll_identities (api_key_digest)
    WHERE api_key_digest IS NOT NULL;

-- Read by: revoke_identities_of_node, revoke_replaced, look_up.
CREATE INDEX enroll_identities_node ON enroll_identities (node_id) WHERE revoked_at IS NULL;

-- Read by: successor, revoke_unused_successor.
CREATE INDEX enroll_identities_predecessor ON enroll_identities (predecessor)
    WHERE predecessor IS NOT NULL;

-- The places are the order in which the commands of a node were queued.
CREATE TABLE enroll_commands (
    id           uuid   PRIMARY KEY,
    place        bigint GENERATED ALWAYS AS IDENTITY,
    node_id      uuid   NOT NULL,
    node_name    text   COLLATE "C" NOT NULL,
    kind         text   NOT NULL,
    payload      text   NOT NULL,
    class        text   COLLATE "C" NOT NULL,
    status       text   COLLATE "C" NOT NULL,
    queued_by    text   NOT NULL,
    queued_at    bigint NOT NULL,
    delivered_at bigint,
    finished_at  bigint,
    output       text
);

-- Read by: list_commands, delete_commands.
CREATE INDEX enroll_commands_node ON enroll_commands (node_id, id);

-- Read by: open_commands, queue_command.
CREATE INDEX enroll_commands_open ON enroll_commands (node_id, place) WHERE finished_at IS NULL;

-- Read by: trim_commands.
CREATE INDEX enroll_commands_finished ON enroll_commands (node_id, id)
    WHERE finished_at IS NOT NULL;

CREATE TABLE enroll_admins (
    name       text   COLLATE "C" PRIMARY KEY,
    role       text   COLLATE "C" NOT NULL,
    digest     bytea  NOT NULL CONSTRAINT enroll_admins_digest UNIQUE,
    created_at bigint NOT NULL
);

CREATE TABLE enroll_settings (
    key     text   COLLATE "C" PRIMARY KEY,
    value   text   NOT NULL,
    version bigint NOT NULL
);

-- Attempts that proved something, or were accepted: bounded per name. No name is the empty one.
CREATE TABLE enroll_attempts (
    id        uuid   PRIMARY KEY,
    at        bigint NOT NULL,
    node_name text   COLLATE "C" NOT NULL,
    outcome   text   COLLATE "C" NOT NULL,
    source_ip text,
    token_id  text   COLLATE "C"
);

-- Read by: list_attempts, trim_attempts.
CREATE INDEX enroll_attempts_name ON enroll_attempts (node_name, id);

-- Attempts that proved nothing: one ring by place, so that a stranger cannot push a node's own out.
CREATE TABLE enroll_unproven_attempts (
    place     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id        uuid   NOT NULL UNIQUE,
    at        bigint NOT NULL,
    node_name text   COLLATE "C" NOT NULL,
    outcome   text   COLLATE "C" NOT NULL,
    source_ip text,
    token_id  text   COLLATE "C"
);

-- Read by: list_attempts.
CREATE INDEX enroll_unproven_attempts_name ON enroll_unproven_attempts (node_name, id);

-- Events as they were written, not yet in their places: places are given to what is committed, by
-- whoever reads, one at a time. So no event ever comes in behind a reader, and writers do not wait.
CREATE TABLE enroll_unplaced_events (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event text   NOT NULL
);

-- Events in their places, one ring. The event is JSON with a stable tag, so that old ones stay
-- readable.
CREATE TABLE enroll_events (
    seq   bigint PRIMARY KEY,
    event text   NOT NULL
);

-- One row: the last place that was given.
CREATE TABLE enroll_journal (
    one      integer PRIMARY KEY CHECK (one = 1),
    last_seq bigint  NOT NULL
);

INSERT INTO enroll_journal (one, last_seq) VALUES (1, 0);

-- One row, written to see whether writing works.
CREATE TABLE enroll_probe (
    one    integer PRIMARY KEY CHECK (one = 1),
    writes bigint  NOT NULL
);

INSERT INTO enroll_probe (one, writes) VALUES (1, 0);
