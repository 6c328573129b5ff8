-- Webhooks.

-- 1 if a REST request created the user that asked for webhooks.
ALTER TABLE states ADD COLUMN webhook_enabled INTEGER;

-- The names of the webhooks that tell the notice, as JSON; none where none does.
ALTER TABLE feed ADD COLUMN webhooks TEXT;

-- The position of the feed up to which webhooks were queued.
ALTER TABLE feed_position ADD COLUMN webhooks INTEGER NOT NULL DEFAULT 0;

-- Webhooks wait here until they are delivered or given up.
CREATE TABLE webhooks (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    service  BLOB NOT NULL,
    identity TEXT NOT NULL,
    -- None while an earlier webhook of the same user waits.
    due_at   INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    body     TEXT NOT NULL
);

CREATE INDEX webhooks_by_due ON webhooks (service, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX webhooks_by_user ON webhooks (service, identity);

CREATE INDEX webhooks_by_service ON webhooks (service);
