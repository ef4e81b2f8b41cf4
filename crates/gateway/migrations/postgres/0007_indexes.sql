-- A call that only has a key costs less. An operation's name is its key, without the tenant before it. What a repeated call is
-- compared with are those that somebody was asked about, which have a token; and what is at work is found by its lease, and
-- enters the list of its state after it.
-- In the order in which calls take them, and all at once: replicas that are at work wait for the end of this.
SET LOCAL statement_timeout = 0;
LOCK TABLE operations, idempotency_keys IN ACCESS EXCLUSIVE MODE;

ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_tenant_operation_id_fkey;
ALTER TABLE operations DROP CONSTRAINT operations_pkey;
ALTER TABLE operations DROP CONSTRAINT operations_operation_id_key;
ALTER TABLE operations ADD PRIMARY KEY (operation_id);
ALTER TABLE idempotency_keys
    ADD FOREIGN KEY (operation_id) REFERENCES operations (operation_id) ON DELETE CASCADE;

DROP INDEX idempotency_keys_by_operation;
CREATE INDEX idempotency_keys_by_operation ON idempotency_keys (operation_id);

DROP INDEX operations_recent;
CREATE INDEX operations_recent ON operations (tenant, subject, tool_id, args_digest, updated_at)
    WHERE token_hash IS NOT NULL;

DROP INDEX operations_finished;
CREATE INDEX operations_finished ON operations (retain_until)
    WHERE state = 'completed' OR state = 'failed' OR state = 'declined' OR state = 'expired' OR state = 'cancelled';

DROP INDEX operations_by_state;
CREATE INDEX operations_by_state ON operations (state, updated_at) WHERE lease_until IS NULL;
