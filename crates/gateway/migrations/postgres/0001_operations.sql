-- One row per operation: what awaits consent, what runs, what was done. Sealed columns are encrypted and bound to
-- their row and column. Times are milliseconds since 1970-01-01T00:00:00Z.
-- Texts are compared byte by byte, whatever the language of the database.
CREATE TABLE operations (
    operation_id            TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(operation_id) = 36),
    tenant                  TEXT COLLATE "C" NOT NULL,
    subject                 TEXT COLLATE "C" NOT NULL,
    client                  TEXT COLLATE "C",
    tool_id                 TEXT COLLATE "C" NOT NULL,
    definition_hash         BYTEA    NOT NULL CHECK (length(definition_hash) = 32),
    args_digest             BYTEA    NOT NULL CHECK (length(args_digest) = 32),
    args_sealed             BYTEA,
    obligations             TEXT COLLATE "C" NOT NULL,
    policy_version          TEXT COLLATE "C" NOT NULL,
    redeemed_policy_version TEXT COLLATE "C",
    token_hash              BYTEA    CHECK (length(token_hash) = 32),
    token_sealed            BYTEA,
    state                   TEXT COLLATE "C" NOT NULL CHECK (state IN ('reserved', 'confirmed', 'claimed', 'intended', 'completed',
                                                              'failed', 'unknown', 'declined', 'expired', 'cancelled')),
    effect                  TEXT COLLATE "C" CHECK (effect IN ('none', 'definite')),
    owner                   TEXT COLLATE "C",
    fence                   BIGINT NOT NULL CHECK (fence >= 0),
    lease_until             BIGINT,
    confirmed_by            TEXT COLLATE "C",
    created_at              BIGINT NOT NULL,
    updated_at              BIGINT NOT NULL,
    expires_at              BIGINT NOT NULL,
    retain_until            BIGINT NOT NULL,
    result_sealed           BYTEA,
    result_bytes            BIGINT,
    detail_sealed           BYTEA,
    PRIMARY KEY (tenant, operation_id),
    CHECK ((state IN ('claimed', 'intended')) = (lease_until IS NOT NULL)),
    CHECK (state NOT IN ('claimed', 'intended', 'unknown') OR owner IS NOT NULL),
    CHECK ((state = 'failed') = (effect IS NOT NULL)),
    CHECK (result_sealed IS NULL OR result_bytes IS NOT NULL)
);

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
    tenant       TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    tool_id      TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    operation_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, subject, tool_id, key),
    FOREIGN KEY (tenant, operation_id) REFERENCES operations (tenant, operation_id) ON DELETE CASCADE
);

CREATE INDEX idempotency_keys_by_operation ON idempotency_keys (tenant, operation_id);

CREATE TABLE manifests (
    tenant      TEXT COLLATE "C" NOT NULL,
    tool_id     TEXT COLLATE "C" NOT NULL,
    provider_id TEXT COLLATE "C" NOT NULL,
    manifest    TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant, tool_id)
);

-- What is touched to learn whether anything can be written.
CREATE TABLE heartbeat (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL
);

INSERT INTO heartbeat (id, at) VALUES (1, 0);
