-- Who does what only one master does at a time, and until when by the server's clock.
CREATE TABLE enroll_duties (
    duty       text COLLATE "C" PRIMARY KEY,
    holder     uuid        NOT NULL,
    held_until timestamptz NOT NULL
) WITH (fillfactor = 25);
