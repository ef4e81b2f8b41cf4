-- What was done and is not in an audit log yet, in JSON. Written with what was done, taken away once a log has it.
CREATE TABLE acts (
    id  TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    at  BIGINT NOT NULL,
    act TEXT COLLATE "C" NOT NULL
);

CREATE INDEX acts_by_age ON acts (at);
