-- Who does what only one master does at a time, and until when by this host's clock.
CREATE TABLE enroll_duties (
    duty       TEXT    NOT NULL PRIMARY KEY,
    holder     BLOB    NOT NULL,
    held_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
