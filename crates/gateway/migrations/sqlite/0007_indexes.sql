-- A call that only has a key costs half. The tables are made anew, with all that is in them, since SQLite makes a table of its
-- own for each `IN` with more than two words whenever it evaluates it, and for each row: conditions are written out. An
-- operation's name is its key, without the tenant before it. What a repeated call is compared with are those that somebody
-- was asked about, which have a token; and what is at work is found by its lease, and enters the list of its state after it.
CREATE TABLE idempotency_keys_before (
    tenant       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    tool_id      TEXT NOT NULL,
    key          TEXT NOT NULL,
    operation_id TEXT NOT NULL
) STRICT;

INSERT INTO idempotency_keys_before (tenant, subject, tool_id, key, operation_id)
SELECT tenant, subject, tool_id, key, operation_id FROM idempotency_keys;

DROP TABLE idempotency_keys;

CREATE TABLE operations_now (
    operation_id            TEXT    NOT NULL PRIMARY KEY CHECK (length(operation_id) = 36),
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
    state                   TEXT    NOT NULL CHECK (state = 'claimed' OR state = 'completed' OR state = 'intended' OR state = 'reserved'
                                                    OR state = 'confirmed' OR state = 'failed' OR state = 'unknown'
                                                    OR state = 'declined' OR state = 'expired' OR state = 'cancelled'),
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
    -- What the caller carried when the operation was asked for, separated by spaces.
    labels                  TEXT    NOT NULL,
    -- The tool as it was then, in JSON: what rules about approving it read, and what its result is about. Empty for
    -- operations from before it was kept.
    tool                    TEXT    NOT NULL,
    -- Who acted for the caller then, the one at work first: a JSON array of `sub` and `iss`. Empty where nobody did.
    actors                  TEXT    NOT NULL,
    CHECK ((state IN ('claimed', 'intended')) = (lease_until IS NOT NULL)),
    CHECK (owner IS NOT NULL OR (state <> 'claimed' AND state <> 'intended' AND state <> 'unknown')),
    CHECK ((state = 'failed') = (effect IS NOT NULL)),
    CHECK (result_sealed IS NULL OR result_bytes IS NOT NULL)
) STRICT;

INSERT INTO operations_now (
    operation_id, tenant, subject, client, tool_id, definition_hash, args_digest, args_sealed, obligations, policy_version,
    redeemed_policy_version, token_hash, token_sealed, state, effect, owner, fence, lease_until, confirmed_by, created_at,
    updated_at, expires_at, retain_until, result_sealed, result_bytes, detail_sealed, labels, tool, actors
)
SELECT
    operation_id, tenant, subject, client, tool_id, definition_hash, args_digest, args_sealed, obligations, policy_version,
    redeemed_policy_version, token_hash, token_sealed, state, effect, owner, fence, lease_until, confirmed_by, created_at,
    updated_at, expires_at, retain_until, result_sealed, result_bytes, detail_sealed, labels, tool, actors
FROM operations
ORDER BY operation_id;

DROP TABLE operations;

ALTER TABLE operations_now RENAME TO operations;

CREATE UNIQUE INDEX operations_by_token ON operations (token_hash) WHERE token_hash IS NOT NULL;
CREATE INDEX operations_pending ON operations (tenant, subject, expires_at) WHERE state IN ('reserved', 'confirmed');
CREATE INDEX operations_expiring ON operations (expires_at) WHERE state IN ('reserved', 'confirmed');
CREATE INDEX operations_leased ON operations (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX operations_recent ON operations (tenant, subject, tool_id, args_digest, updated_at)
    WHERE token_hash IS NOT NULL;
CREATE INDEX operations_unknown ON operations (tenant, subject, tool_id, args_digest, updated_at)
    WHERE state = 'unknown';
CREATE INDEX operations_finished ON operations (retain_until)
    WHERE state = 'completed' OR state = 'failed' OR state = 'declined' OR state = 'expired' OR state = 'cancelled';
CREATE INDEX operations_by_state ON operations (state, updated_at) WHERE lease_until IS NULL;

CREATE TABLE idempotency_keys (
    tenant       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    tool_id      TEXT NOT NULL,
    key          TEXT NOT NULL,
    operation_id TEXT NOT NULL REFERENCES operations (operation_id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, subject, tool_id, key)
) STRICT, WITHOUT ROWID;

INSERT INTO idempotency_keys (tenant, subject, tool_id, key, operation_id)
SELECT tenant, subject, tool_id, key, operation_id FROM idempotency_keys_before
ORDER BY tenant, subject, tool_id, key;

DROP TABLE idempotency_keys_before;

CREATE INDEX idempotency_keys_by_operation ON idempotency_keys (operation_id);
