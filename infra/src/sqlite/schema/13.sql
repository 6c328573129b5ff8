-- A user has one timer.

-- When it is due; none where no timer is known.
ALTER TABLE states ADD COLUMN next_timer INTEGER;

-- The identity of the user whose timer a message is; none for all other messages.
ALTER TABLE messages ADD COLUMN timer_of TEXT;

-- Before, each connection had timers, in any number. The first one sees to the user, and to the next timer.
UPDATE messages SET timer_of = body ->> '$.identity'
    WHERE lane = 0 AND service IS NOT NULL AND json_valid(body) AND body ->> '$.type' = 'check';

DELETE FROM messages WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY service, timer_of ORDER BY due_at, id) AS place
        FROM messages WHERE timer_of IS NOT NULL
    ) WHERE place > 1
);

CREATE UNIQUE INDEX messages_by_timer ON messages (service, timer_of) WHERE timer_of IS NOT NULL;
