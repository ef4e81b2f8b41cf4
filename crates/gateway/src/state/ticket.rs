//! The right to do something once.
//!
//! A [`Ticket`] is a claim that has not acted; only `confirm` and `once` make one. [`Ticket::intend`] turns it into
//! [`Acting`], the proof that the effect may happen now; only that one can complete. Whoever drops either says
//! nothing: the lease runs out, and recovery gives a ticket back and doubts what was acting.
//!
//! A call that only reads acts never: its ticket is [answered](Ticket::answer), and if that does not come to pass it is
//! given back and read again. That is one write to the state less.

use std::time::Duration;

use fastmcp_guard::clock::Timestamp;

use super::{
    StateError,
    ledger::{End, Ledger, lease_of, may_pass},
    machine::{Claim, Effect, Event, Machine, Refused, Status},
    operation::{Note, OperationId, Stepped},
};

/// A claim does not hold any more, or its step could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// Its time was over, it was cancelled, or another claim took over.
    #[error("operation `{operation_id}` is not held any more")]
    Taken {
        /// Which.
        operation_id: OperationId,
        /// Why.
        #[source]
        source: Refused,
    },
    /// The operation is gone from the store.
    #[error("operation `{operation_id}` is gone")]
    Gone {
        /// Which.
        operation_id: OperationId,
    },
    /// Its end could not be recorded yet, which is tried on for an hour.
    #[error("end of operation `{operation_id}` is not recorded yet")]
    Late {
        /// Which.
        operation_id: OperationId,
        /// Why.
        #[source]
        source: StateError,
    },
    /// The state could not be written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// One claim of one operation, and how to move it.
#[derive(Debug)]
struct Hold {
    ledger: Ledger,
    tenant: String,
    operation_id: OperationId,
    claim: Claim,
    until: Timestamp,
}

impl Hold {
    async fn step(&self, event: Event, note: Note) -> Result<(), Lost> {
        let operation_id = self.operation_id.clone();
        match self
            .ledger
            .step(&self.tenant, &self.operation_id, event, note)
            .await?
        {
            Stepped::Moved(_) | Stepped::Held => Ok(()),
            Stepped::Refused(source) => Err(Lost::Taken {
                operation_id,
                source,
            }),
            Stepped::KeyTaken(_) | Stepped::Missing => Err(Lost::Gone { operation_id }),
        }
    }

    async fn renew(&mut self, lease: Duration) -> Result<(), Lost> {
        let until = self.ledger.now().saturating_add(lease);
        self.step(
            Event::Renew {
                claim: self.claim.clone(),
                until,
            },
            Note::default(),
        )
        .await?;
        self.until = until;
        Ok(())
    }

    async fn fail(self, effect: Effect, reason: &str) -> Result<(), Lost> {
        let note = self.ledger.detail(&self.operation_id, reason)?;
        let note = Note {
            retain_until: Some(self.ledger.retain_until()),
            ..note
        };
        let claim = self.claim.clone();
        self.end(Status::Failed, Event::Fail { claim, effect }, note)
            .await
    }

    /// Records an end, after which the operation is `status`.
    async fn end(self, status: Status, event: Event, note: Note) -> Result<(), Lost> {
        let end = End {
            tenant: self.tenant,
            id: self.operation_id,
            status,
            event,
            note,
            until: self.until,
            not_told: None,
        };
        self.ledger.end(end).await
    }
}

/// The right to act once, not used yet.
///
/// A ticket cannot complete: what has not recorded its intent has not acted.
///
/// ```compile_fail,E0599
/// async fn done(ticket: fastmcp_gateway::state::ticket::Ticket) {
///     let _ = ticket.complete(b"").await;
/// }
/// ```
///
/// And it acts once:
///
/// ```compile_fail,E0382
/// async fn twice(ticket: fastmcp_gateway::state::ticket::Ticket, lease: std::time::Duration) {
///     let _ = ticket.intend(lease).await;
///     let _ = ticket.intend(lease).await;
/// }
/// ```
#[derive(Debug)]
#[must_use = "a ticket that is dropped blocks its operation until the lease is over"]
pub struct Ticket {
    hold: Hold,
}

impl Ticket {
    /// The ticket of a claim that a store has accepted; `None` when `machine` is not claimed. A ticket made of anything
    /// else could do nothing, since the store compares the claim at every step.
    pub(crate) fn of(
        ledger: &Ledger,
        tenant: &str,
        id: &OperationId,
        machine: Machine,
    ) -> Option<Self> {
        let (claim, until) = lease_of(machine)?;
        let hold = Hold {
            ledger: ledger.clone(),
            tenant: tenant.to_owned(),
            operation_id: id.clone(),
            claim,
            until,
        };
        Some(Self { hold })
    }

    /// The operation; also the idempotency key for a provider that takes one.
    #[must_use]
    pub fn operation_id(&self) -> &OperationId {
        &self.hold.operation_id
    }

    /// The number of this claim within its operation; it rises with each.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.hold.claim.fence
    }

    /// When the claim ends unless it acts before.
    #[must_use]
    pub fn lease_until(&self) -> Timestamp {
        self.hold.until
    }

    /// Takes more time before acting: `lease` from now.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the claim does not hold any more.
    ///
    /// # Cancel safety
    ///
    /// Safe; the time may have been taken.
    pub async fn renew(&mut self, lease: Duration) -> Result<(), Lost> {
        self.hold.renew(lease).await
    }

    /// Checks that the claim still holds and has time left, and records that the effect comes next. `lease` is how
    /// long it may take; beyond it recovery calls the outcome unknown.
    ///
    /// # Errors
    ///
    /// [`Lost`]: nothing may be done.
    ///
    /// # Cancel safety
    ///
    /// Dropped once it began, nothing was done: what is tried later gives the claim back or, where the intent is
    /// recorded, ends the operation as failed without effect. So it does where the state did not answer.
    pub async fn intend(self, lease: Duration) -> Result<Acting, Lost> {
        let Self { mut hold } = self;
        let until = hold.ledger.now().saturating_add(lease);
        let claim = hold.claim.clone();
        let not_told = End::not_told(&hold.tenant, &hold.operation_id, &claim);
        let owing = hold.ledger.owing(not_told);
        let intended = hold
            .step(Event::Intend { claim, until }, Note::default())
            .await;
        match &intended {
            Err(Lost::State(error)) if may_pass(error) => drop(owing),
            _ => owing.settle(),
        }
        intended?;
        hold.until = until;
        Ok(Acting { hold })
    }

    /// Gives the claim back without having acted, so that the call can be made again.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the claim does not hold any more, which is as good.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have given it back; if not, the lease ends it.
    pub async fn release(self) -> Result<(), Lost> {
        let claim = self.hold.claim.clone();
        self.hold
            .step(Event::Release { claim }, Note::default())
            .await
    }

    /// Records what a call has read that changes nothing; it is kept for replay up to
    /// [`MAX_RESULT_BYTES`](super::ledger::MAX_RESULT_BYTES).
    ///
    /// # Errors
    ///
    /// [`Lost`] when it could not be recorded: it can be read again.
    ///
    /// # Cancel safety
    ///
    /// Dropped once it began, it is recorded later; if not, the lease gives the claim back.
    pub async fn answer(self, result: &[u8]) -> Result<(), Lost> {
        let note = self.hold.ledger.result(&self.hold.operation_id, result)?;
        let claim = self.hold.claim.clone();
        self.hold
            .end(Status::Completed, Event::Answer { claim }, note)
            .await
    }

    /// Ends the operation as failed without effect: what came before the effect failed.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the claim does not hold any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped once it began, it is recorded later; if not, the lease gives the claim back.
    pub async fn fail(self, reason: &str) -> Result<(), Lost> {
        self.hold.fail(Effect::None, reason).await
    }
}

/// The proof that the effect may happen now.
#[derive(Debug)]
#[must_use = "what acted and is dropped becomes unknown when the lease is over"]
pub struct Acting {
    hold: Hold,
}

impl Acting {
    /// The operation; also the idempotency key for a provider that takes one.
    #[must_use]
    pub fn operation_id(&self) -> &OperationId {
        &self.hold.operation_id
    }

    /// When recovery may call the outcome unknown. The outcome can be recorded afterwards too.
    #[must_use]
    pub fn lease_until(&self) -> Timestamp {
        self.hold.until
    }

    /// Takes more time: `lease` from now.
    ///
    /// # Errors
    ///
    /// [`Lost`] when the time was over.
    ///
    /// # Cancel safety
    ///
    /// Safe; the time may have been taken.
    pub async fn renew(&mut self, lease: Duration) -> Result<(), Lost> {
        self.hold.renew(lease).await
    }

    /// Records that it is done, with its result, which is kept for replay up to
    /// [`MAX_RESULT_BYTES`](super::ledger::MAX_RESULT_BYTES).
    ///
    /// # Errors
    ///
    /// [`Lost`] when it could not be recorded; recovery or a person then finds it unknown. [`Lost::Late`] says that it
    /// is tried on, which can end that doubt.
    ///
    /// # Cancel safety
    ///
    /// Dropped once it began, it is recorded later.
    pub async fn complete(self, result: &[u8]) -> Result<(), Lost> {
        let note = self.hold.ledger.result(&self.hold.operation_id, result)?;
        let claim = self.hold.claim.clone();
        self.hold
            .end(Status::Completed, Event::Complete { claim }, note)
            .await
    }

    /// Records that it was definitely not done.
    ///
    /// # Errors
    ///
    /// As [`Acting::complete`].
    ///
    /// # Cancel safety
    ///
    /// As [`Acting::complete`].
    pub async fn fail(self, effect: Effect, reason: &str) -> Result<(), Lost> {
        self.hold.fail(effect, reason).await
    }

    /// Records that nobody knows whether it was done: a timeout, a reset, a broken reply.
    ///
    /// # Errors
    ///
    /// As [`Acting::complete`].
    ///
    /// # Cancel safety
    ///
    /// Dropped once it began, it is recorded later; if not, recovery does.
    pub async fn unknown(self, reason: &str) -> Result<(), Lost> {
        let note = self.hold.ledger.detail(&self.hold.operation_id, reason)?;
        let claim = self.hold.claim.clone();
        self.hold
            .end(Status::Unknown, Event::Doubt { claim }, note)
            .await
    }
}
