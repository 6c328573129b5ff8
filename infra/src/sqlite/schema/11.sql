-- Dead letters know their queue, can be retried, and have ids of their own, which are never used again. Before, one of a message
-- had the message's id, which one of a webhook could have by then.
ALTER TABLE dead_letters RENAME TO older_dead_letters;

CREATE TABLE dead_letters (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 0 for events and timers, 1 for pushes, 2 for webhooks.
    queue    INTEGER NOT NULL,
    died_at  INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    body     TEXT NOT NULL,
    -- 1 if the server is to put it back into its queue; none otherwise.
    retry    INTEGER
);

INSERT INTO dead_letters (id, queue, died_at, reason, body)
SELECT id, CASE
        WHEN NOT json_valid(body) THEN 0
        WHEN body ->> '$.queued_at' IS NOT NULL THEN 2
        WHEN body ->> '$.type' IN
            ('probe', 'deliver', 'sweep', 'sweep_bindings', 'announce', 'announce_user', 'feedback') THEN 1
        ELSE 0
    END, died_at, reason, body
FROM older_dead_letters ORDER BY id;

DROP TABLE older_dead_letters;

CREATE INDEX dead_letters_by_time ON dead_letters (died_at);

CREATE INDEX dead_letters_to_retry ON dead_letters (queue) WHERE retry = 1;
