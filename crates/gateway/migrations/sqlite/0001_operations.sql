-- One row per operation: what awaits consent, what runs, what was done. Sealed columns are encrypted and bound to
-- their row and column. Times are milliseconds since 1970-01-01T00:00:00Z.
CREATE TABLE operations (
    operation_id            TEXT    NOT NULL UNIQUE CHECK (length(operation_id) = 36),
    tenant                  TEXT    NOT NULL,
    subject                 TEXT    NOT NULL,
    client                  TEXT,
    tool_id                 TEXT    NOT NULL,
    definition_hash         BLOB    NOT NULL CHECK (length(definition_hash) = 32),
    args_digest             BLOB    NOT NULL CHECK (length(args_digest) = 32),
    args_sealed             BLOB,
    obligations             TEXT    NOT NULL,
    policy_version          TEXT    NOT NULL,
    redeemed_policy_version TEXT,
    token_hash              BLOB    CHECK (length(token_hash) = 32),
    token_sealed            BLOB,
    state                   TEXT    NOT NULL CHECK (state IN ('reserved', 'confirmed', 'claimed', 'intended', 'completed',
                                                              'failed', 'unknown', 'declined', 'expired', 'cancelled')),
    effect                  TEXT    CHECK (effect IN ('none', 'definite')),
    owner                   TEXT,
    fence                   INTEGER NOT NULL CHECK (fence >= 0),
    lease_until             INTEGER,
    confirmed_by            TEXT,
    created_at              INTEGER NOT NULL,
    updated_at              INTEGER NOT NULL,
    expires_at              INTEGER NOT NULL,
    retain_until            INTEGER NOT NULL,
    result_sealed           BLOB,
    result_bytes            INTEGER,
    detail_sealed           BLOB,
    PRIMARY KEY (tenant, operation_id),
    CHECK ((state IN ('claimed', 'intended')) = (lease_until IS NOT NULL)),
    CHECK (state NOT IN ('claimed', 'intended', 'unknown') OR owner IS NOT NULL),
    CHECK ((state = 'failed') = (effect IS NOT NULL)),
    CHECK (result_sealed IS NULL OR result_bytes IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX operations_by_token ON operations (token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX operations_pending ON operations (tenant, subject, expires_at) WHERE state IN ('reserved', 'confirmed');
CREATE INDEX operations_expiring ON operations (expires_at) WHERE state IN ('reserved', 'confirmed');
CREATE INDEX operations_leased ON operations (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX operations_recent ON operations (tenant, subject, tool_id, args_digest, updated_at);
CREATE INDEX operations_unknown ON operations (tenant, subject, tool_id, args_digest, updated_at)
    WHERE state = 'unknown';
CREATE INDEX operations_finished ON operations (retain_until)
    WHERE state IN ('completed', 'failed', 'declined', 'expired', 'cancelled');
CREATE INDEX operations_by_state ON operations (state, updated_at);

-- The idempotency keys under which an operation is known: that of the call and that of its confirmation. One key
-- names one operation.
CREATE TABLE idempotency_keys (
    tenant       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    tool_id      TEXT NOT NULL,
    key          TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    PRIMARY KEY (tenant, subject, tool_id, key),
    FOREIGN KEY (tenant, operation_id) REFERENCES operations (tenant, operation_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_operation ON idempotency_keys (tenant, operation_id);

CREATE TABLE manifests (
    tenant      TEXT    NOT NULL,
    tool_id     TEXT    NOT NULL,
    provider_id TEXT    NOT NULL,
    manifest    TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, tool_id)
) STRICT;

-- What the writer touches to learn whether it can write again after a failure.
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;

INSERT INTO heartbeat (id, at) VALUES (1, 0);
