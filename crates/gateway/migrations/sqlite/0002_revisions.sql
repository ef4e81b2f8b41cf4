-- How often something has changed: what is kept in memory of it is read again when this number is another one.
CREATE TABLE revisions (
    subject TEXT    NOT NULL PRIMARY KEY,
    number  INTEGER NOT NULL CHECK (number >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO revisions (subject, number) VALUES ('manifests', 0);
