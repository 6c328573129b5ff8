-- What a user chose to show to others, as JSON; none where it chose nothing.
ALTER TABLE states ADD COLUMN disclosure TEXT;

-- A fetch of a user asks for the version of its service: here it is apart from the document, which takes more than one page.
CREATE INDEX services_by_version ON services (sid, version);
