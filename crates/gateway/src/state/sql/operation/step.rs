//! Steps in SQL: each is one conditional `UPDATE` that says what [`Machine::step`] says.

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;

use super::{
    super::{
        super::{
            StateError,
            act::Untold,
            ledger::ATTEMPTS,
            machine::{Claim, Effect, Event, Owner, Settlement, Status},
            operation::{Step, Stepped},
        },
        Change, Session, Statement,
        act::leave,
        row, statement, writing,
    },
    Scope,
    statement::{HELD_BACK, STANDING},
};

/// One step: $1 tenant, $2 operation, $3 now, $4 owner, $5 fence, $6 until, $7 effect, then the note.
macro_rules! step {
    ($set:literal if $condition:literal) => {
        step!($set, "", $condition, " RETURNING state, effect, owner, fence, lease_until, expires_at")
    };
    // A final state keeps neither lease nor arguments nor token.
    (final $set:literal if $condition:literal) => {
        step!($set, ", lease_until = NULL, args_sealed = NULL, token_sealed = NULL", $condition,
            " RETURNING state, effect, owner, fence, lease_until, expires_at")
    };
    // Who holds a claim knows where it leads: to answer it would cost SQLite a table, and a journal of the statement.
    (held $set:literal if $condition:literal) => {
        step!($set, "", $condition, " AND owner = $4 AND fence = $5")
    };
    (held final $set:literal if $condition:literal) => {
        step!($set, ", lease_until = NULL, args_sealed = NULL, token_sealed = NULL", $condition, " AND owner = $4 AND fence = $5")
    };
    ($set:literal, $always:literal, $condition:literal, $end:literal) => {
        statement!(
            "UPDATE operations SET "
            $set
            $always
            ", updated_at = $3, redeemed_policy_version = coalesce($8, redeemed_policy_version), \
             confirmed_by = coalesce($9, confirmed_by), result_sealed = coalesce($10, result_sealed), \
             result_bytes = coalesce($11, result_bytes), detail_sealed = coalesce($12, detail_sealed), retain_until = "
            (greatest)
            "(retain_until, coalesce($13, retain_until)) WHERE tenant = $1 AND operation_id = $2 AND ("
            $condition
            ")"
            $end
        )
    };
}

/// The statement that makes an event happen, if it is possible.
pub(super) const fn moving(event: &Event) -> Statement {
    match event {
        Event::Confirm => step!("state = 'confirmed'" if "state = 'reserved' AND expires_at > $3"),
        Event::Redeem { .. } => {
            step!("state = 'claimed', owner = $4, fence = fence + 1, lease_until = $6"
            if "state IN ('reserved', 'confirmed') AND expires_at > $3")
        }
        Event::Claim { .. } => {
            step!("state = 'claimed', owner = $4, fence = fence + 1, lease_until = $6"
            if "state = 'confirmed' AND expires_at > $3")
        }
        Event::Intend { .. } => step!(held "state = 'intended', lease_until = $6"
            if "state = 'claimed' AND lease_until > $3"),
        Event::Renew { .. } => step!(held "lease_until = $6"
            if "state IN ('claimed', 'intended') AND lease_until > $3"),
        Event::Release { .. } => {
            step!(held "state = 'confirmed', owner = NULL, lease_until = NULL" if "state = 'claimed'")
        }
        Event::Answer { .. } => step!(held final "state = 'completed'" if "state = 'claimed'"),
        Event::Complete { .. } => step!(held final "state = 'completed'"
            if "state IN ('intended', 'unknown')"),
        Event::Fail { .. } => step!(held final "state = 'failed', effect = $7"
            if "state IN ('intended', 'unknown') OR (state = 'claimed' AND $7 = 'none')"),
        Event::Doubt { .. } => {
            step!(held "state = 'unknown', lease_until = NULL" if "state = 'intended'")
        }
        Event::Recover => {
            step!("state = CASE state WHEN 'claimed' THEN 'confirmed' ELSE 'unknown' END, \
            owner = CASE state WHEN 'claimed' THEN NULL ELSE owner END, lease_until = NULL"
            if "state IN ('claimed', 'intended') AND lease_until <= $3")
        }
        Event::Expire => step!(final "state = 'expired'"
            if "state IN ('reserved', 'confirmed') AND expires_at <= $3"),
        Event::Decline => step!(final "state = 'declined'"
            if "state IN ('reserved', 'confirmed') AND expires_at > $3"),
        Event::Cancel => {
            step!(final "state = 'cancelled'"
            if "state = 'reserved' OR state = 'confirmed' OR state = 'claimed'")
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
            Event::Release { claim }
            | Event::Answer { claim }
            | Event::Complete { claim }
            | Event::Doubt { claim } => claimed(claim),
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
        session: &'a mut dyn Session,
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
                match scope.holder(session).await? {
                    Some(row) if row.id == self.id => {}
                    Some(row) if row.machine.keeps_key(self.now, row.retain_until) => {
                        return Ok(Stepped::KeyTaken(row.id));
                    }
                    Some(row) => {
                        scope.take_from(&row, self.now, session).await?;
                        new_key = Some(scope);
                    }
                    None => new_key = Some(scope),
                }
            }
            let word = self.word(session).await?;
            let stepped = self.take(session).await?;
            if let (Stepped::Moved(_) | Stepped::Held, Some(scope)) = (&stepped, new_key) {
                scope.bind(&self.id, session).await?;
            }
            if let (Stepped::Held, Some(word)) = (&stepped, word) {
                leave(&word, session).await?;
            }
            if let (Event::Recover, Stepped::Moved(machine)) = (&self.event, &stepped)
                && machine.status() == Status::Unknown
            {
                leave(&Untold::recovered(&self.id, self.now), session).await?;
            }
            Ok(stepped)
        })
    }

    fn is_one_statement(&self) -> bool {
        self.note.key.is_none() && self.note.word.is_none() && !matches!(self.event, Event::Recover)
    }
}

impl Step {
    /// Moves the operation, or says why not.
    async fn take(&self, session: &mut dyn Session) -> Result<Stepped, StateError> {
        for _ in 0..ATTEMPTS {
            if let Some(moved) = self.update(session).await? {
                return Ok(moved);
            }
            if let Some(refusal) = self.refusal(session).await? {
                return Ok(refusal);
            }
        }
        Err(StateError::Contended)
    }

    async fn update(&self, session: &mut dyn Session) -> Result<Option<Stepped>, StateError> {
        let Parameters {
            owner,
            fence,
            until,
            effect,
        } = Parameters::of(&self.event);
        let note = &self.note;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let values = [
            self.tenant.as_str().into(),
            self.id.as_str().into(),
            self.now.into(),
            owner.map(Owner::as_str).into(),
            fence.map(number).into(),
            until.into(),
            effect.map(Effect::as_str).into(),
            note.policy_version.as_deref().into(),
            note.confirmed_by.as_deref().into(),
            note.result_sealed.as_deref().into(),
            note.result_bytes.map(number).into(),
            note.detail_sealed.as_deref().into(),
            note.retain_until.into(),
        ];
        let moving = moving(&self.event);
        if self.event.claim().is_some() {
            let moved = session.execute(moving, &values).await.map_err(writing)?;
            return Ok((moved > 0).then_some(Stepped::Held));
        }
        let moved = session.rows(moving, &values).await.map_err(writing)?;
        let moved = moved.first().map(row::machine).transpose()?;
        Ok(moved.map(Stepped::Moved))
    }

    /// What the log hears if this is the end of what nobody knew the outcome of.
    async fn word(&self, session: &mut dyn Session) -> Result<Option<Untold>, StateError> {
        let Some(name) = &self.note.word else {
            return Ok(None);
        };
        let values = [self.tenant.as_str().into(), self.id.as_str().into()];
        let found = session.rows(HELD_BACK, &values).await.map_err(writing)?;
        let unknown = found
            .first()
            .map(|row| row.column::<&str>("state"))
            .transpose()?
            .is_some_and(|state| state == Status::Unknown.as_str());
        Ok(unknown.then(|| Untold::ended(name.clone(), &self.id, self.now)))
    }

    /// Why nothing was updated, in the machine's words; nothing when a rival moved the operation to where the event is
    /// possible, between the two statements.
    async fn refusal(&self, session: &mut dyn Session) -> Result<Option<Stepped>, StateError> {
        let values = [self.tenant.as_str().into(), self.id.as_str().into()];
        let found = session.rows(STANDING, &values).await.map_err(writing)?;
        let Some(row) = found.first() else {
            return Ok(Some(Stepped::Missing));
        };
        let refused = row::machine(row)?.step(&self.event, self.now).err();
        Ok(refused.map(Stepped::Refused))
    }
}
