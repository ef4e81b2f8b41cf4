//! What callers have read, on the way of a call: known before it is decided, added before its result is given.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pipeline, Way};
use crate::{
    audit::Record,
    call::{Call, Pending},
    catalog::{PastTool, Target},
    consent::Hold,
    error::{Code, Error},
    policy::{Denial, Permit, Standing},
    state::operation::OperationId,
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
        self.add(call, record, labels).await
    }

    async fn add(
        &self,
        call: &Call,
        record: &mut Record,
        labels: BTreeSet<String>,
    ) -> Result<(), Error> {
        if labels.is_empty() {
            return Ok(());
        }
        record.labels(&labels);
        self.labels.carry(call, labels).await
    }

    /// Lets the caller carry the labels of a stored result of `operation`: those that it had when it came about, and those
    /// that results of its tool have by now. A manifest that names fewer washes nothing that was read before, one that names
    /// more says what was not known then.
    pub(super) async fn carry_again(
        &self,
        call: &Call,
        record: &mut Record,
        (target, operation): (Option<&Target>, Option<&OperationId>),
    ) -> Result<(), Error> {
        if !self.policy.current().reads_labels() {
            return Ok(());
        }
        let binding = match operation {
            Some(id) => self.consents.binding_of(id).await?,
            None => None,
        };
        let unlabelled = || {
            let refused = Error::new(
                Code::Conflict,
                "What the result of this earlier call is about is not known any more, so it is not told; call the tool anew",
            );
            match operation {
                Some(id) => refused.with_detail("operation_id", id.as_str()),
                None => refused,
            }
        };
        let binding = binding.ok_or_else(unlabelled)?;
        let policy = self.policy.current();
        let then = PastTool::read(&binding.tool).map(|tool| tool.labels(&policy));
        let now = target.map(|target| target.entry().labels(&policy));
        drop(policy);
        // Of operations from before this was kept, only the definition tells.
        let unchanged = target.is_some_and(|t| t.definition_hash() == binding.definition_hash);
        if then.is_none() && !unchanged {
            return Err(unlabelled());
        }
        let labels = then.into_iter().chain(now).flatten().collect();
        self.add(call, record, labels).await
    }

    /// Lets the caller carry the labels of an earlier result that the question whether to do it again tells. Where it cannot,
    /// the question does not tell the result.
    pub(super) async fn tell_before(
        &self,
        call: &Call,
        record: &mut Record,
        permit: &Permit,
        pending: &mut Pending,
    ) {
        let Some(before) = &mut pending.done_before else {
            return;
        };
        let earlier = (Some(permit.target()), Some(&before.operation_id));
        if before.result.is_some() && self.carry_again(call, record, earlier).await.is_err() {
            before.result = None;
        }
    }

    /// A refusal, once the record names the operation that it is about, and its caller carries the labels of the earlier
    /// result that it tells, if it tells one.
    pub(super) async fn refuse(&self, call: &Call, record: &mut Record, refusal: Error) -> Error {
        let told = refusal.details().get("operation_id");
        let operation = told
            .and_then(Value::as_str)
            .and_then(|id| OperationId::parse(id).ok());
        if let Some(id) = &operation {
            record.operation(id);
        }
        if !tells_a_result(&refusal) {
            return refusal;
        }
        let target = self.catalog.resolve(&call.caller, &call.tool_id).ok();
        let earlier = (target.as_ref(), operation.as_ref());
        let carried = self.carry_again(call, record, earlier).await;
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

    /// Decides again about a call that goes on where an earlier one waited, with what that one's caller had read and what
    /// the caller has read by now.
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
        let Some(standing) = joined(standing, then) else {
            return Ok(());
        };
        self.policy
            .confirm(way.call, permit, &standing)
            .map_err(|denial| self.denied(&mut way.record, denial))
    }
}

/// By what a call is decided whose caller carries what `standing` says, and which goes on where a caller waited who had
/// read `then`. `None` where that is what it was decided by a moment ago.
fn joined(standing: &Standing, mut then: BTreeSet<String>) -> Option<Standing> {
    let now = standing.labels().cloned().unwrap_or_default();
    if then.is_subset(&now) {
        return None;
    }
    then.extend(now);
    Some(standing.clone().carrying(then))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_guard::clock::SystemClock;
    use fastmcp_policy::Sources;

    use super::*;
    use crate::policy::Policy;

    fn labels(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_goes_on_is_judged_by_what_both_had_read() {
        let policy = Policy::load(&Sources::built_in(), Arc::new(SystemClock)).unwrap();
        // What was carried when the call came does not matter any more: only what is carried now.
        let fresh = policy.standing().carrying(labels(&["secret"]));
        let both = joined(&fresh, labels(&["pii"])).expect("there is more to judge by");
        assert_eq!(both.labels(), Some(&labels(&["pii", "secret"])));
        assert!(joined(&fresh, labels(&["secret"])).is_none());
        assert!(joined(&fresh, labels(&[])).is_none());
        let none = joined(&policy.standing(), labels(&["pii"])).expect("there is more");
        assert_eq!(none.labels(), Some(&labels(&["pii"])));
    }
}
