-- What was done and is not in an audit log yet, in JSON. Written with what was done, taken away once a log has it.
CREATE TABLE acts (
    id  TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    at  INTEGER NOT NULL,
    act TEXT    NOT NULL
) STRICT;

CREATE INDEX acts_by_age ON acts (at);
