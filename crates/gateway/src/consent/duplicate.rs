//! Calls that repeat one that is at work: they may wait for it, and hold nothing meanwhile.

use std::time::Duration;

use super::{
    Consents,
    answer::{away, in_progress, unknown_outcome},
};
use crate::{
    call::Call,
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
    /// Whether it was done.
    Known(Option<Box<Report>>),
    /// It is at work.
    Busy(Busy),
}

impl Consents {
    /// Waits until nobody works on a call that another one repeats, its time is over, or nobody wants the answer any more.
    /// Ask again then with [`OnDuplicate::Tell`].
    ///
    /// # Errors
    ///
    /// [`Code::Unavailable`](crate::error::Code::Unavailable) when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait(&self, call: &Call, busy: &Busy) -> Result<(), Error> {
        let tenant = call.caller.tenant().unwrap_or_default();
        let attached = self.ledger.attach(tenant, &busy.operation_id, busy.wait);
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
        let Some(report) = self.ledger.recent(binding).await.map_err(away)? else {
            return Ok(Earlier::Known(None));
        };
        if let Some(busy) = self.busy(call, &report, duplicate) {
            return Ok(Earlier::Busy(busy));
        }
        match report.status {
            Status::Completed => Ok(Earlier::Known(Some(Box::new(report)))),
            Status::Unknown => Err(unknown_outcome(&report.operation_id)),
            status if status.is_running() => Err(in_progress(&report)),
            _ => Ok(Earlier::Known(None)),
        }
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
