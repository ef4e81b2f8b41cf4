//! What callers have read, on the way of a call: known before it is decided, added before its result is given.

use super::{Pipeline, Way};
use crate::{
    audit::Record,
    call::Call,
    catalog::Target,
    consent::Hold,
    error::Error,
    policy::{Denial, Permit, Standing},
};

impl Pipeline {
    /// By what the call is decided. What its caller has read is looked up only where a rule asks.
    pub(super) async fn standing(&self, call: &Call) -> Result<Standing, Error> {
        let standing = self.policy.standing();
        if !standing.reads_labels() {
            return Ok(standing);
        }
        let mut labels = self.labels.carried(call).await?;
        labels.extend(self.consents.labels(call).await?);
        Ok(standing.carrying(labels))
    }

    pub(super) fn denied(&self, record: &mut Record, denial: Denial) -> Error {
        record.decision(&self.audit, &denial.decided);
        denial.error
    }

    /// Lets the caller carry the labels of the result that it is about to be given.
    pub(super) async fn carry(
        &self,
        call: &Call,
        record: &mut Record,
        target: &Target,
    ) -> Result<(), Error> {
        let policy = self.policy.current();
        if !policy.reads_labels() {
            return Ok(());
        }
        let labels = target.entry().labels(&policy);
        drop(policy);
        if labels.is_empty() {
            return Ok(());
        }
        record.labels(&labels);
        self.labels.carry(call, labels).await
    }

    /// A refusal, once its caller carries the labels of the earlier result that it tells, if it tells one.
    pub(super) async fn refuse(&self, call: &Call, record: &mut Record, refusal: Error) -> Error {
        if !tells_a_result(&refusal) {
            return refusal;
        }
        let carried = match self.catalog.resolve(&call.caller, &call.tool_id) {
            Ok(target) => self.carry(call, record, &target).await,
            // What it was about is not known any more.
            Err(error) if self.policy.current().reads_labels() => Err(error),
            Err(_) => Ok(()),
        };
        carried.err().unwrap_or(refusal)
    }

    /// Decides again about a call that waited: there may be other rules by now, and its caller may have read something.
    pub(super) async fn decided_again(
        &self,
        way: &mut Way<'_>,
        permit: &Permit,
    ) -> Result<Standing, Error> {
        let standing = self.standing(way.call).await?;
        self.policy
            .confirm(way.call, permit, &standing)
            .map_err(|denial| self.denied(&mut way.record, denial))?;
        Ok(standing)
    }

    /// Decides again about a call that goes on where an earlier one waited, with what that one's caller had read.
    pub(super) async fn confirmed(
        &self,
        way: &mut Way<'_>,
        permit: &Permit,
        hold: &Hold,
        standing: &Standing,
    ) -> Result<(), Error> {
        if !standing.reads_labels() {
            return Ok(());
        }
        let then = self.consents.labels_of(hold).await?;
        let now = permit.decided().labels.clone().unwrap_or_default();
        if then.is_subset(&now) {
            return Ok(());
        }
        let standing = standing
            .clone()
            .carrying(now.union(&then).cloned().collect());
        self.policy
            .confirm(way.call, permit, &standing)
            .map_err(|denial| self.denied(&mut way.record, denial))
    }
}

/// Whether a refusal tells what came of an earlier call of the tool: its result, or what its provider said.
fn tells_a_result(error: &Error) -> bool {
    let told = |name| {
        error
            .details()
            .get(name)
            .is_some_and(|told| !told.is_null())
    };
    told("result") || told("detail")
}
