-- The feed, and what the states lacked for it.

-- The user's sid; none where there is no such user (any more). What created it, and when it was last deleted.
ALTER TABLE states ADD COLUMN user BLOB;
ALTER TABLE states ADD COLUMN created_by TEXT;
ALTER TABLE states ADD COLUMN deleted_at INTEGER;

UPDATE states SET user =
    (SELECT sid FROM users WHERE users.service = states.service AND users.identity = states.identity);

-- Earlier versions marked the connections of a deleted user: with leases that never end, and with the time of the deletion
-- as their own end.
UPDATE states SET deleted_at =
    (SELECT max(value ->> '$.e.a') FROM json_each(presence, '$.c') WHERE value ->> '$.o.a' = 9223372036854775807)
    WHERE user IS NULL;

-- Users of whom nothing but the profile was written have a state too: one that was never written.
INSERT INTO states (service, identity, revision, as_of, presence, user)
SELECT service, identity, 0, -9223372036854775808, '{}', sid FROM users WHERE NOT EXISTS
    (SELECT 1 FROM states WHERE states.service = users.service AND states.identity = users.identity);

-- Each row is a write that leads to something, written in the same transaction. Ids grow like the time in milliseconds.
CREATE TABLE feed (
    id         INTEGER PRIMARY KEY,
    service    BLOB NOT NULL,
    identity   TEXT,
    -- JSON; none where nobody is to be told of anything.
    notice     TEXT,
    -- JSON; none where nothing is to be done.
    follow_ups TEXT
);

-- The row up to which everything was delivered, and the last row that was deleted.
CREATE TABLE feed_position (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    delivered INTEGER NOT NULL,
    deleted   INTEGER NOT NULL
);

INSERT INTO feed_position (id, delivered, deleted) VALUES (1, 0, 0);
