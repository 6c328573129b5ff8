-- Entries of the feed can report a device, by a webhook.
ALTER TABLE feed ADD COLUMN report TEXT;
