-- Channels, whose key is type:id, and who is online.
CREATE TABLE channels (
    service      BLOB NOT NULL,
    cid          TEXT NOT NULL,
    version      INTEGER NOT NULL,
    -- None where the owner created it.
    created_by   TEXT,
    member_count INTEGER NOT NULL,
    document     TEXT NOT NULL,
    PRIMARY KEY (service, cid)
) WITHOUT ROWID;

CREATE INDEX channels_by_creator ON channels (service, created_by) WHERE created_by IS NOT NULL;

CREATE TABLE members (
    service  BLOB NOT NULL,
    cid      TEXT NOT NULL,
    identity TEXT NOT NULL,
    PRIMARY KEY (service, cid, identity)
) WITHOUT ROWID;

CREATE INDEX members_by_identity ON members (service, identity, cid);

-- Who is online for others, as of the last write: 1, or none. Apart from the rest of the state, so that the index is written
-- only when it changes. The leases of some have run out since.
ALTER TABLE states ADD COLUMN shown_online INTEGER;

CREATE INDEX states_online ON states (service, identity) WHERE shown_online = 1;
