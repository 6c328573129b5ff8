-- Sids are their 16 bytes, so that they are ordered as lists are. Times are milliseconds since 1970. Documents are JSON.

CREATE TABLE account (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
);

CREATE TABLE keys (
    sid      BLOB PRIMARY KEY,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE services (
    sid      BLOB PRIMARY KEY,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE users (
    service  BLOB NOT NULL,
    sid      BLOB NOT NULL,
    identity TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (service, sid)
) WITHOUT ROWID;

CREATE UNIQUE INDEX users_by_identity ON users (service, identity);

-- Apart from the profile, since it is written with every event. It outlives a deleted user for a while.
CREATE TABLE states (
    service  BLOB NOT NULL,
    identity TEXT NOT NULL,
    revision INTEGER NOT NULL,
    as_of    INTEGER NOT NULL,
    presence TEXT NOT NULL,
    PRIMARY KEY (service, identity)
) WITHOUT ROWID;

CREATE TABLE messages (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    due_at   INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    body     TEXT NOT NULL
);

CREATE INDEX messages_by_due ON messages (due_at);

CREATE TABLE dead_letters (
    id       INTEGER PRIMARY KEY,
    died_at  INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    body     TEXT NOT NULL
);
