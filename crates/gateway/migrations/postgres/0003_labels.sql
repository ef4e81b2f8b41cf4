-- What callers have read: the labels of the results that they were given, each until it is forgotten. A holder is the
-- SHA-256 of tenant and subject, a session that of its id, or empty for what every session of the caller carries.
CREATE TABLE labels (
    holder     TEXT COLLATE "C" NOT NULL CHECK (length(holder) = 64),
    session    TEXT COLLATE "C" NOT NULL CHECK (length(session) IN (0, 64)),
    label      TEXT COLLATE "C" NOT NULL CHECK (length(label) BETWEEN 1 AND 64),
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (holder, session, label)
);

CREATE INDEX labels_expiring ON labels (expires_at);

-- What the caller carried when the operation was asked for, separated by spaces.
ALTER TABLE operations ADD COLUMN labels TEXT COLLATE "C" NOT NULL DEFAULT '';
