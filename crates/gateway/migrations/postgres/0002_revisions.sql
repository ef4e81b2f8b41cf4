-- How often something has changed: what is kept in memory of it is read again when this number is another one.
CREATE TABLE revisions (
    subject TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    number  BIGINT NOT NULL CHECK (number >= 0)
);

INSERT INTO revisions (subject, number) VALUES ('manifests', 0);
