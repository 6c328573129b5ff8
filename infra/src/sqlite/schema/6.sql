-- The sockets that the server holds. Those of earlier runs are ended at the start.
CREATE TABLE sockets (
    connection TEXT PRIMARY KEY,
    service    BLOB NOT NULL,
    identity   TEXT NOT NULL
) WITHOUT ROWID;
