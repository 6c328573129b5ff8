-- What a user chose to show to others, as JSON; none where it chose nothing.
ALTER TABLE states ADD COLUMN disclosure TEXT;
