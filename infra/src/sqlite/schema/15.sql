-- The final decisions about the users of a notification for those who are offline.
CREATE TABLE recipients (
    notification BLOB NOT NULL,
    identity     TEXT NOT NULL,
    document     TEXT NOT NULL,
    PRIMARY KEY (notification, identity)
) WITHOUT ROWID;
