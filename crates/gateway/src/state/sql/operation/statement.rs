//! What is asked of the table of operations. Every statement finds its rows through an index; where SQLite's planner
//! would guess, it is told which.

use super::super::{Statement, statement};

/// Every column, or every column that a list shows; the rest names the rows.
macro_rules! select {
    (brief $($rest:tt)+) => {
        select!(as "NULL AS args_sealed, NULL AS token_sealed, NULL AS result_sealed", $($rest)+)
    };
    (as $large:literal, $($rest:tt)+) => {
        statement!(
            "SELECT o.operation_id, o.tenant, o.subject, o.client, o.tool_id, o.definition_hash, o.args_digest, \
             o.obligations, o.policy_version, o.redeemed_policy_version, o.token_hash, o.state, o.effect, o.owner, \
             o.fence, o.lease_until, o.confirmed_by, o.created_at, o.updated_at, o.expires_at, o.retain_until, \
             o.result_bytes, o.detail_sealed, o.labels, o.tool, o.actors, "
            $large
            " FROM operations AS o "
            $($rest)+
        )
    };
    ($($rest:tt)+) => {
        select!(as "o.args_sealed, o.token_sealed, o.result_sealed", $($rest)+)
    };
}

/// The operation that a key names, which then nobody else moves before the change is made.
pub(super) const HOLDER: Statement = select!(
    "JOIN idempotency_keys AS k ON k.operation_id = o.operation_id AND k.tenant = o.tenant \
     WHERE k.tenant = $1 AND k.subject = $2 AND k.tool_id = $3 AND k.key = $4"(for_change)
);

/// The operation that a key names, as it is.
pub(super) const KEYED: Statement = select!(
    "JOIN idempotency_keys AS k ON k.operation_id = o.operation_id AND k.tenant = o.tenant \
     WHERE k.tenant = $1 AND k.subject = $2 AND k.tool_id = $3 AND k.key = $4"
);

/// Takes a key from this operation, and from no other: a rival may have given it to one of its own meanwhile.
pub(super) const FREE_KEY: Statement = statement!(
    "DELETE FROM idempotency_keys WHERE tenant = $1 AND subject = $2 AND tool_id = $3 AND key = $4 \
     AND operation_id = $5"
);

/// Gives a key to an operation.
pub(super) const BIND_KEY: Statement = statement!(
    "INSERT INTO idempotency_keys (tenant, subject, tool_id, key, operation_id) VALUES ($1, $2, $3, $4, $5)"
);

/// Gives a key to an operation, unless it names one already: who comes at the same moment is waited for.
pub(super) const BIND_NEW_KEY: Statement = statement!(
    "INSERT INTO idempotency_keys (tenant, subject, tool_id, key, operation_id) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT DO NOTHING"
);

/// Takes back an operation that was made within the same change.
pub(super) const UNMAKE: Statement = statement!("DELETE FROM operations WHERE operation_id = $1");

/// How many operations of a subject wait for consent.
pub(super) const PENDING: Statement = statement!(
    "SELECT count(*) AS pending FROM operations" [operations_pending]
    "WHERE tenant = $1 AND subject = $2 AND state IN ('reserved', 'confirmed') AND expires_at > $3"
);

/// Makes an operation.
pub(super) const INSERT: Statement = statement!(
    "INSERT INTO operations (operation_id, tenant, subject, client, tool_id, definition_hash, args_digest, \
     args_sealed, obligations, policy_version, token_hash, token_sealed, state, effect, owner, fence, lease_until, \
     created_at, updated_at, expires_at, retain_until, labels, tool, actors) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $19, $20, $21, $22, $23)"
);

/// The operation of a token.
pub(super) const BY_TOKEN: Statement = select!("WHERE o.token_hash = $1");

/// The operation of a name.
pub(super) const BY_ID: Statement = select!("WHERE o.operation_id = $1");

/// Whether a key names this operation.
pub(super) const HAS_KEY: Statement = statement!(
    "SELECT count(*) AS named FROM idempotency_keys WHERE tenant = $1 AND subject = $2 AND tool_id = $3 \
     AND key = $4 AND operation_id = $5"
);

/// The newest operation of a call of which nobody knows whether it happened.
pub(super) const UNKNOWN: Statement = select!(
    [operations_unknown]
    "WHERE o.tenant = $1 AND o.subject = $2 AND o.tool_id = $3 AND o.args_digest = $4 \
     AND o.client IS NOT DISTINCT FROM $5 AND o.actors = $8 AND o.state = 'unknown' ORDER BY o.updated_at DESC LIMIT 1"
);

/// The newest operation of a call that was asked about and is at work or completed.
pub(super) const ACTED: Statement = select!(
    [operations_recent]
    "WHERE o.token_hash IS NOT NULL AND o.tenant = $1 AND o.subject = $2 AND o.tool_id = $3 AND o.args_digest = $4 \
     AND o.client IS NOT DISTINCT FROM $5 AND o.actors = $8 AND o.updated_at >= $6 AND o.state IN ('claimed', 'intended', 'completed') \
     ORDER BY o.updated_at DESC LIMIT 1"
);

/// The newest operation of a call that is open. What a key names is a call of its own.
pub(super) const OPEN: Statement = select!(
    [operations_recent]
    "WHERE o.token_hash IS NOT NULL AND o.tenant = $1 AND o.subject = $2 AND o.tool_id = $3 AND o.args_digest = $4 \
     AND o.client IS NOT DISTINCT FROM $5 AND o.actors = $8 AND o.updated_at >= $6 AND o.state IN ('reserved', 'confirmed') \
     AND o.expires_at > $7 AND NOT EXISTS (SELECT 1 FROM idempotency_keys AS k \
     WHERE k.operation_id = o.operation_id) ORDER BY o.updated_at DESC LIMIT 1"
);

/// Operations at work in one state, the one whose lease ends last first.
pub(super) const LIST_RUNNING: Statement = select!(brief
    [operations_leased]
    "WHERE o.lease_until IS NOT NULL AND o.state = $1 AND ($2 IS NULL OR o.tenant = $2) \
     ORDER BY o.lease_until DESC LIMIT $3"
);

/// Operations in one state in which nobody works on them, the one that moved last first.
pub(super) const LIST: Statement = select!(brief
    [operations_by_state]
    "WHERE o.lease_until IS NULL AND o.state = $1 AND ($2 IS NULL OR o.tenant = $2) ORDER BY o.updated_at DESC LIMIT $3"
);

/// What awaits a person's approval, the newest first. Source of the words: `fastmcp_policy::Obligation`.
pub(super) const APPROVALS: Statement = select!(brief
    [operations_by_state]
    "WHERE o.lease_until IS NULL AND o.state = 'reserved' AND o.tenant = $1 AND o.expires_at > $2 \
     AND (o.obligations LIKE '%confirm:person%' OR o.obligations LIKE '%confirm:other_person%') \
     ORDER BY o.updated_at DESC LIMIT $3"
);

/// How many operations await settlement.
pub(super) const UNSETTLED: Statement = statement!(
    "SELECT count(*) AS unsettled FROM operations" [operations_by_state]
    "WHERE state = 'unknown' AND lease_until IS NULL"
);

/// Recovery of what has no time left.
pub(super) const RECOVER: Statement = statement!(
    "UPDATE operations SET state = CASE state WHEN 'claimed' THEN 'confirmed' ELSE 'unknown' END, \
     owner = CASE state WHEN 'claimed' THEN NULL ELSE owner END, lease_until = NULL, updated_at = $1 WHERE"
    (among) "FROM operations" [operations_leased]
    "WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2" (end_among)
    " RETURNING state, operation_id"
);

/// Expiry of what nobody consented to.
pub(super) const EXPIRE: Statement = statement!(
    "UPDATE operations SET state = 'expired', args_sealed = NULL, token_sealed = NULL, updated_at = $1 WHERE"
    (among) "FROM operations" [operations_expiring]
    "WHERE state IN ('reserved', 'confirmed') AND expires_at <= $1 ORDER BY expires_at LIMIT $2" (end_among)
    " RETURNING state"
);

/// Removal of what need not be kept.
pub(super) const PURGE: Statement = statement!(
    "DELETE FROM operations WHERE"
    (among) "FROM operations" [operations_finished]
    "WHERE (state = 'completed' OR state = 'failed' OR state = 'declined' OR state = 'expired' OR state = 'cancelled') \
     AND retain_until <= $1 \
     ORDER BY retain_until LIMIT $2" (end_among)
    " RETURNING state"
);

/// What decides an operation's steps.
pub(super) const STANDING: Statement = statement!(
    "SELECT state, effect, owner, fence, lease_until, expires_at FROM operations \
     WHERE tenant = $1 AND operation_id = $2"
);

/// Where an operation stands, from where nobody else moves it before the change is made.
pub(super) const HELD_BACK: Statement = statement!(
    "SELECT o.state FROM operations AS o WHERE o.tenant = $1 AND o.operation_id = $2"(for_change)
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{
        contract_tests::owner,
        machine::{Claim, Effect, Event, Settlement},
        sql::{Engine as _, operation::step::moving},
        sqlite::Sqlite,
    };

    /// One of each kind.
    fn events() -> impl Iterator<Item = Event> {
        let claim = Claim {
            owner: owner(),
            fence: 1,
        };
        let until = fastmcp_guard::clock::Timestamp::MAX;
        [
            Event::Confirm,
            Event::Redeem {
                owner: owner(),
                until,
            },
            Event::Claim {
                owner: owner(),
                until,
            },
            Event::Intend {
                claim: claim.clone(),
                until,
            },
            Event::Renew {
                claim: claim.clone(),
                until,
            },
            Event::Release {
                claim: claim.clone(),
            },
            Event::Answer {
                claim: claim.clone(),
            },
            Event::Complete {
                claim: claim.clone(),
            },
            Event::Fail {
                claim: claim.clone(),
                effect: Effect::None,
            },
            Event::Doubt { claim },
            Event::Recover,
            Event::Expire,
            Event::Decline,
            Event::Cancel,
            Event::Settle(Settlement::Completed),
            Event::Settle(Settlement::Failed),
        ]
        .into_iter()
    }

    #[tokio::test]
    async fn no_statement_reads_a_whole_table() {
        let sqlite = Sqlite::memory().await.unwrap();
        let queries = [
            HOLDER,
            KEYED,
            FREE_KEY,
            PENDING,
            BY_TOKEN,
            BY_ID,
            HAS_KEY,
            UNKNOWN,
            ACTED,
            OPEN,
            LIST,
            LIST_RUNNING,
            APPROVALS,
            UNSETTLED,
            RECOVER,
            EXPIRE,
            PURGE,
            STANDING,
            HELD_BACK,
            UNMAKE,
        ];
        let mut reader = sqlite.reader().await.unwrap();
        for sql in queries
            .into_iter()
            .chain(events().map(|event| moving(&event)))
        {
            let explain = format!("EXPLAIN QUERY PLAN {}", sql.sqlite);
            let plan = reader.ask(move |connection| {
                let mut explain = connection.prepare(&explain)?;
                let plan = explain.raw_query().mapped(|row| row.get("detail"));
                plan.collect::<rusqlite::Result<Vec<String>>>()
            });
            let plan = plan.await.unwrap();
            let reads = |word: &str| {
                plan.iter()
                    .any(|line| line.starts_with(word) && !line.contains("CONSTANT ROW"))
            };
            assert!(reads("SEARCH"), "{sql:?}: {plan:#?}");
            assert!(!reads("SCAN"), "{sql:?}: {plan:#?}");
            assert!(
                !plan.iter().any(|line| line.contains("TEMP B-TREE")),
                "{sql:?}: {plan:#?}"
            );
        }
    }

    /// How many tables of its own SQLite makes for a statement.
    async fn tables_made_for(sqlite: &Sqlite, statement: Statement) -> usize {
        let explain = format!("EXPLAIN {}", statement.sqlite);
        let mut reader = sqlite.reader().await.unwrap();
        let made = reader.ask(move |connection| {
            let mut explain = connection.prepare(&explain)?;
            let steps = explain.raw_query().mapped(|row| row.get("opcode"));
            let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>()?;
            Ok(steps.iter().filter(|step| *step == "OpenEphemeral").count())
        });
        made.await.unwrap()
    }

    #[tokio::test]
    async fn a_call_makes_no_tables_to_compare_words() {
        let sqlite = Sqlite::memory().await.unwrap();
        for statement in [HOLDER, INSERT, BIND_KEY, BIND_NEW_KEY] {
            assert_eq!(
                tables_made_for(&sqlite, statement).await,
                0,
                "{statement:?}"
            );
        }
        for event in events() {
            let (step, answers) = (moving(&event), event.claim().is_none());
            let made = tables_made_for(&sqlite, step).await;
            assert_eq!(made, usize::from(answers), "{step:?}");
        }
    }
}
