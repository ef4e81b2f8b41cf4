//! Calls that repeat one that is at work: they may wait for it, and hold nothing meanwhile.

use std::time::Duration;

use super::{
    Consents,
    answer::{away, in_progress, unknown_outcome},
};
use crate::{
    call::Call,
    confirm::Issued,
    error::Error,
    state::{
        machine::Status,
        operation::{Binding, OperationId, Report},
    },
};

/// How long a repeated call waits for one that is being done, over MCP.
const ATTACH: Duration = Duration::from_secs(30);

/// A call that is at work, and how long its duplicate waits for it.
#[derive(Debug)]
pub struct Busy {
    pub(super) operation_id: OperationId,
    pub(super) wait: Duration,
}

impl Busy {
    /// Whether nothing is left of the time to wait, of which `waited` is gone.
    #[must_use]
    pub fn is_over(&self, waited: Duration) -> bool {
        self.wait <= waited
    }
}

/// What a call does that meets its duplicate at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// It waits, where it may.
    Wait,
    /// It is told: it has waited already.
    Tell,
}

/// What is known of the same call a short while ago.
pub(super) enum Earlier {
    /// Nobody works on it.
    Known(Known),
    /// It is at work.
    Busy(Busy),
}

/// How the same call stood a short while ago.
#[derive(Default)]
pub(super) struct Known {
    /// That it was done.
    pub(super) done: Option<Box<Report>>,
    /// As what it waits.
    waits: Option<OperationId>,
}

impl Consents {
    /// Waits until nobody works on a call that another one repeats, its time is over, of which `waited` is gone, or nobody wants
    /// the answer any more. Ask again then, with [`OnDuplicate::Tell`] where its time [is over](Busy::is_over).
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait(&self, call: &Call, busy: &Busy, waited: Duration) -> Result<(), Error> {
        let tenant = call.caller.tenant().unwrap_or_default();
        let left = busy.wait.saturating_sub(waited);
        let attached = self.ledger.attach(tenant, &busy.operation_id, left);
        let waited = call.cancel.run_until_cancelled(attached).await;
        waited.transpose().map(drop).map_err(away)
    }

    /// The same call of the same caller a short while ago: a client whose stream broke repeats the
    /// call without its ticket, and must not do it twice by accident.
    pub(super) async fn earlier(
        &self,
        call: &Call,
        binding: &Binding,
        duplicate: OnDuplicate,
    ) -> Result<Earlier, Error> {
        // A call with a key of its own is a call of its own.
        if call.idempotency_key.is_some() {
            return Ok(Earlier::Known(Known::default()));
        }
        let Some(report) = self.ledger.recent(binding).await.map_err(away)? else {
            return Ok(Earlier::Known(Known::default()));
        };
        if let Some(busy) = self.busy(call, &report, duplicate) {
            return Ok(Earlier::Busy(busy));
        }
        let mut known = Known::default();
        match report.status {
            Status::Completed => known.done = Some(Box::new(report)),
            Status::Unknown => return Err(unknown_outcome(&report.operation_id)),
            status if status.is_running() => return Err(in_progress(&report)),
            _ => known.waits = Some(report.operation_id),
        }
        Ok(Earlier::Known(known))
    }

    /// Looks once more after a call was given an operation to wait as: between the look before and that, another one may
    /// have acted, and nobody confirms this one without knowing. What was seen to wait has not acted.
    pub(super) async fn meanwhile(
        &self,
        (call, binding): (&Call, &Binding),
        known: Known,
        (issued, duplicate): (&Issued, OnDuplicate),
    ) -> Result<Earlier, Error> {
        if call.idempotency_key.is_some() || known.waits.as_ref() == Some(&issued.operation_id) {
            return Ok(Earlier::Known(known));
        }
        let earlier = self.earlier(call, binding, duplicate).await;
        if !issued.reused && !matches!(earlier, Ok(Earlier::Known(_))) {
            // Nobody was told of it yet.
            let (id, tenant) = (&issued.operation_id, &binding.tenant);
            let reason = "withdrawn: the same call is at work";
            if let Err(error) = self.confirm.cancel(id, tenant, reason).await {
                tracing::warn!(%error, operation_id = id.as_str(), "operation was not withdrawn; it will expire");
            }
        }
        earlier
    }

    /// Whether somebody works on an operation, and this call may wait for the end of that.
    pub(super) fn busy(
        &self,
        call: &Call,
        report: &Report,
        duplicate: OnDuplicate,
    ) -> Option<Busy> {
        let wait = if call.can_attach {
            ATTACH.max(self.wait)
        } else {
            self.wait
        };
        let waits = duplicate == OnDuplicate::Wait && !wait.is_zero();
        (waits && report.status.is_running()).then(|| Busy {
            operation_id: report.operation_id.clone(),
            wait,
        })
    }
}

#[cfg(test)]
mod tests;
