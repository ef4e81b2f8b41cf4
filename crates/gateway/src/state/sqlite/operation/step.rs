//! Steps in SQL: each is one conditional `UPDATE` that says what [`Machine::step`] says.

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;

use super::{
    super::{
        super::{
            StateError,
            machine::{Claim, Effect, Event, Machine, Owner, Settlement},
            operation::{Step, Stepped},
        },
        row::{self, millis},
        writer::Change,
        writing,
    },
    Scope,
};

/// One step: ?1 tenant, ?2 operation, ?3 now, ?4 owner, ?5 fence, ?6 until, ?7 effect, then the note.
macro_rules! step {
    ($set:literal if $condition:literal) => {
        step!($set, "", $condition)
    };
    // A final state keeps neither lease nor arguments nor token.
    (final $set:literal if $condition:literal) => {
        step!($set, ", lease_until = NULL, args_sealed = NULL, token_sealed = NULL", $condition)
    };
    ($set:literal, $always:literal, $condition:literal) => {
        concat!(
            "UPDATE operations SET ",
            $set,
            $always,
            ", updated_at = ?3, redeemed_policy_version = coalesce(?8, redeemed_policy_version), \
             confirmed_by = coalesce(?9, confirmed_by), result_sealed = coalesce(?10, result_sealed), \
             result_bytes = coalesce(?11, result_bytes), detail_sealed = coalesce(?12, detail_sealed), \
             retain_until = max(retain_until, coalesce(?13, retain_until)) \
             WHERE tenant = ?1 AND operation_id = ?2 AND (",
            $condition,
            ") RETURNING state, effect, owner, fence, lease_until, expires_at"
        )
    };
}

pub(super) const fn statement(event: &Event) -> &'static str {
    match event {
        Event::Confirm => step!("state = 'confirmed'" if "state = 'reserved' AND expires_at > ?3"),
        Event::Redeem { .. } => {
            step!("state = 'claimed', owner = ?4, fence = fence + 1, lease_until = ?6"
            if "state IN ('reserved', 'confirmed') AND expires_at > ?3")
        }
        Event::Claim { .. } => {
            step!("state = 'claimed', owner = ?4, fence = fence + 1, lease_until = ?6"
            if "state = 'confirmed' AND expires_at > ?3")
        }
        Event::Intend { .. } => step!("state = 'intended', lease_until = ?6"
            if "state = 'claimed' AND owner = ?4 AND fence = ?5 AND lease_until > ?3"),
        Event::Renew { .. } => step!("lease_until = ?6"
            if "state IN ('claimed', 'intended') AND owner = ?4 AND fence = ?5 AND lease_until > ?3"),
        Event::Release { .. } => step!("state = 'confirmed', owner = NULL, lease_until = NULL"
            if "state = 'claimed' AND owner = ?4 AND fence = ?5"),
        Event::Complete { .. } => step!(final "state = 'completed'"
            if "state IN ('intended', 'unknown') AND owner = ?4 AND fence = ?5"),
        Event::Fail { .. } => step!(final "state = 'failed', effect = ?7"
            if "(state IN ('intended', 'unknown') OR (state = 'claimed' AND ?7 = 'none')) AND owner = ?4 AND fence = ?5"),
        Event::Doubt { .. } => step!("state = 'unknown', lease_until = NULL"
            if "state = 'intended' AND owner = ?4 AND fence = ?5"),
        Event::Recover => {
            step!("state = CASE state WHEN 'claimed' THEN 'confirmed' ELSE 'unknown' END, \
            owner = CASE state WHEN 'claimed' THEN NULL ELSE owner END, lease_until = NULL"
            if "state IN ('claimed', 'intended') AND lease_until <= ?3")
        }
        Event::Expire => step!(final "state = 'expired'"
            if "state IN ('reserved', 'confirmed') AND expires_at <= ?3"),
        Event::Decline => step!(final "state = 'declined'"
            if "state IN ('reserved', 'confirmed') AND expires_at > ?3"),
        Event::Cancel => {
            step!(final "state = 'cancelled'" if "state IN ('reserved', 'confirmed', 'claimed')")
        }
        Event::Settle(Settlement::Completed) => {
            step!(final "state = 'completed'" if "state = 'unknown'")
        }
        Event::Settle(Settlement::Failed) => step!(final "state = 'failed', effect = 'definite'"
            if "state = 'unknown'"),
    }
}

/// What an event brings along.
#[derive(Default)]
struct Parameters<'a> {
    owner: Option<&'a Owner>,
    fence: Option<u64>,
    until: Option<Timestamp>,
    effect: Option<Effect>,
}

impl<'a> Parameters<'a> {
    fn of(event: &'a Event) -> Self {
        let claimed = |claim: &'a Claim| Self {
            owner: Some(&claim.owner),
            fence: Some(claim.fence),
            ..Self::default()
        };
        match event {
            Event::Redeem { owner, until } | Event::Claim { owner, until } => Self {
                owner: Some(owner),
                until: Some(*until),
                ..Self::default()
            },
            Event::Intend { claim, until } | Event::Renew { claim, until } => Self {
                until: Some(*until),
                ..claimed(claim)
            },
            Event::Release { claim } | Event::Complete { claim } | Event::Doubt { claim } => {
                claimed(claim)
            }
            Event::Fail { claim, effect } => Self {
                effect: Some(*effect),
                ..claimed(claim)
            },
            Event::Confirm
            | Event::Recover
            | Event::Expire
            | Event::Decline
            | Event::Cancel
            | Event::Settle(_) => Self::default(),
        }
    }
}

impl Change for Step {
    type Output = Stepped;

    fn apply<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Stepped, StateError>> {
        Box::pin(async move {
            let mut new_key = None;
            if let Some((subject, tool_id, key)) = &self.note.key {
                let scope = Scope {
                    tenant: &self.tenant,
                    subject,
                    tool_id,
                    key,
                };
                match scope.holder(connection).await? {
                    Some(row) if row.id == self.id => {}
                    Some(row) if row.machine.keeps_key(self.now, row.retain_until) => {
                        return Ok(Stepped::KeyTaken(row.id));
                    }
                    Some(_) => {
                        scope.free(connection).await?;
                        new_key = Some(scope);
                    }
                    None => new_key = Some(scope),
                }
            }
            let Some(machine) = self.update(connection).await? else {
                return self.refusal(connection).await;
            };
            if let Some(scope) = new_key {
                scope.bind(&self.id, connection).await?;
            }
            Ok(Stepped::Moved(machine))
        })
    }
}

impl Step {
    async fn update(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Machine>, StateError> {
        let Parameters {
            owner,
            fence,
            until,
            effect,
        } = Parameters::of(&self.event);
        let note = &self.note;
        sqlx::query(statement(&self.event))
            .bind(self.tenant.as_str())
            .bind(self.id.as_str())
            .bind(millis(self.now))
            .bind(owner.map(Owner::as_str))
            .bind(fence.map(|fence| i64::try_from(fence).unwrap_or(i64::MAX)))
            .bind(until.map(millis))
            .bind(effect.map(Effect::as_str))
            .bind(note.policy_version.as_deref())
            .bind(note.confirmed_by.as_deref())
            .bind(note.result_sealed.as_deref())
            .bind(
                note.result_bytes
                    .map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            )
            .bind(note.detail_sealed.as_deref())
            .bind(note.retain_until.map(millis))
            .fetch_optional(connection)
            .await
            .map_err(writing)?
            .map(|row| row::machine(&row))
            .transpose()
    }

    /// Why nothing was updated, in the machine's words.
    async fn refusal(&self, connection: &mut SqliteConnection) -> Result<Stepped, StateError> {
        let row = sqlx::query(
            "SELECT state, effect, owner, fence, lease_until, expires_at FROM operations \
             WHERE tenant = ?1 AND operation_id = ?2",
        )
        .bind(self.tenant.as_str())
        .bind(self.id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(writing)?;
        let Some(row) = row else {
            return Ok(Stepped::Missing);
        };
        match row::machine(&row)?.step(&self.event, self.now) {
            Err(refused) => Ok(Stepped::Refused(refused)),
            // The statement and the machine disagree: the row is not what the schema promises.
            Ok(_) => Err(StateError::Corrupt { column: "state" }),
        }
    }
}
