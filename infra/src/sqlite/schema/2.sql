-- Push registrations, credentials and notifications.

-- JSON; none where there never was a registration.
ALTER TABLE states ADD COLUMN registrations TEXT;

CREATE TABLE bindings (
    service  BLOB NOT NULL,
    sid      BLOB NOT NULL,
    channel  TEXT NOT NULL,
    identity TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (service, sid)
) WITHOUT ROWID;

CREATE INDEX bindings_by_identity ON bindings (service, identity);

CREATE TABLE credentials (
    sid      BLOB PRIMARY KEY,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE notifications (
    sid      BLOB PRIMARY KEY,
    service  BLOB NOT NULL,
    made_at  INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX notifications_by_time ON notifications (made_at);

CREATE TABLE deliveries (
    notification BLOB NOT NULL,
    sid          BLOB NOT NULL,
    document     TEXT NOT NULL,
    PRIMARY KEY (notification, sid)
) WITHOUT ROWID;

-- What waits for push providers (1) waits apart from events (0).
ALTER TABLE messages ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;

DROP INDEX messages_by_due;

CREATE INDEX messages_by_due ON messages (lane, due_at);
