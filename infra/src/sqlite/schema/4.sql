-- Events wait by service, so that none delays another's. None for messages of other lanes, and for what is not an event.
ALTER TABLE messages ADD COLUMN service BLOB;

UPDATE messages SET service =
    unhex(substr(coalesce(body ->> '$.event.service_sid', body ->> '$.service_sid'), 3))
    WHERE lane = 0 AND json_valid(body)
        AND length(coalesce(body ->> '$.event.service_sid', body ->> '$.service_sid')) = 34;

DROP INDEX messages_by_due;

CREATE INDEX messages_by_service ON messages (lane, service, due_at);

-- Changes with each flush that has nothing else to write.
ALTER TABLE feed_position ADD COLUMN flushes INTEGER NOT NULL DEFAULT 0;
