//! Intents of before the start whose outcome the log does not have.
//!
//! Whoever was killed after it acted could not say so. What it did under a key or a confirmation the state may know; of all
//! else nobody knows whether it happened. Either is told, so that an intent without an outcome is one that is under way.

use std::{collections::BTreeMap, path::PathBuf};

use fastmcp_audit::{Draft, Filter, Phase, Record, Status as Outcome, VerifyError};

use crate::{
    audit::Audit,
    state::{
        StateError,
        act::RECOVERED,
        ledger::Ledger,
        machine::Status,
        operation::{OperationId, Report},
    },
};

/// How far back in the log is looked, in records: what is under way at a time is far less.
const LOOK_BACK: u64 = 20_000;
/// Why an outcome is told late that the state knows.
const KNOWN: &str = "the gateway that did it was ended before it recorded how";

/// Why they were not told.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("audit log cannot be read")]
    Log(#[from] VerifyError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] fastmcp_audit::AuditError),
    #[error("the look at the log broke off")]
    BrokeOff(#[from] tokio::task::JoinError),
}

/// The log and the state as they were when this process had opened them.
#[derive(Debug)]
pub(super) struct Unfinished {
    audit: Audit,
    ledger: Ledger,
    folder: PathBuf,
    /// Where this process's own records begin.
    size: u64,
}

impl Unfinished {
    pub(super) fn new(audit: Audit, ledger: Ledger, folder: PathBuf) -> Self {
        let size = audit.health().size;
        Self {
            audit,
            ledger,
            folder,
            size,
        }
    }

    /// Tells them, once.
    pub(super) async fn tell(self) {
        if let Err(error) = self.look().await {
            tracing::warn!(%error, "outcomes of calls before this start are not all recorded");
        }
    }

    async fn look(&self) -> Result<(), Untold> {
        let (folder, size) = (self.folder.clone(), self.size);
        let found = tokio::task::spawn_blocking(move || unfinished(&folder, size));
        for intent in found.await?? {
            if let Some(draft) = self.outcome(&intent).await? {
                self.audit.append(&draft).await?;
            }
        }
        Ok(())
    }

    /// What is told of an intent; nothing where it is under way, or recovery has yet to see it.
    async fn outcome(&self, intent: &Record) -> Result<Option<Draft>, StateError> {
        let id = intent.operation_id.as_deref().map(OperationId::parse);
        let row = match id {
            Some(Ok(id)) => self.ledger.row(&id).await?,
            _ => None,
        };
        let (status, reason) = match row.map(|row| row.machine.status()) {
            None => (Outcome::Unknown, Report::RECOVERED),
            Some(Status::Completed | Status::Declined | Status::Cancelled) => {
                (Outcome::Success, KNOWN)
            }
            Some(Status::Failed | Status::Expired) => (Outcome::Failed, KNOWN),
            Some(_) => return Ok(None),
        };
        let mut draft = Draft::event(RECOVERED, status);
        draft.phase = Phase::Outcome;
        draft.reason = Some(reason.to_owned());
        draft.corr_id.clone_from(&intent.corr_id);
        draft.resource_type.clone_from(&intent.resource_type);
        draft.resource_id.clone_from(&intent.resource_id);
        draft.operation_id.clone_from(&intent.operation_id);
        draft.tool_id.clone_from(&intent.tool_id);
        draft.sub.clone_from(&intent.sub);
        draft.tenant.clone_from(&intent.tenant);
        draft.policy_version.clone_from(&intent.policy_version);
        let details = draft.details.get_or_insert_default();
        details.text("intent", intent.action.as_str());
        details.put("intent_seq", &intent.seq.into());
        Ok(Some(draft))
    }
}

/// The intents before record `size` that have no outcome.
fn unfinished(folder: &std::path::Path, size: u64) -> Result<Vec<Record>, VerifyError> {
    let filter = Filter {
        from_seq: Some(size.saturating_sub(LOOK_BACK)),
        to_seq: Some(size),
        ..Filter::default()
    };
    let mut open = BTreeMap::new();
    for record in fastmcp_audit::read(folder, filter)? {
        let record = record?;
        let key = match &record.operation_id {
            Some(id) => id.clone(),
            None => format!("{:?}", record.corr_id),
        };
        match record.phase {
            Phase::Intent => drop(open.insert(key, record)),
            Phase::Outcome => drop(open.remove(&key)),
            _ => {}
        }
    }
    Ok(open.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_audit::{Log, Options, Signer, generate_key};
    use fastmcp_guard::clock::{Clock as _, SystemClock};

    use super::*;
    use crate::state::{
        contract_tests::{Fixture, after, binding, owner, row},
        machine::{Claim, Event, Machine},
        operation::Note,
    };

    #[tokio::test]
    async fn an_intent_of_before_gets_its_outcome_once() {
        let fixture = Fixture::memory().await;
        let (ledger, now) = (fixture.state.ledger(), fixture.clock.now());
        let claim = || Claim {
            owner: owner(),
            fence: 1,
        };
        let [done, at_work] = [(); 2].map(|()| {
            let claimed = Machine::claimed(owner(), after(now, 50), after(now, 1_000));
            row(binding(), claimed, now)
        });
        for row in [&done, &at_work] {
            fixture.create(row).await;
            let intend = Event::Intend {
                claim: claim(),
                until: after(now, 60),
            };
            ledger
                .step("acme", &row.id, intend, Note::default())
                .await
                .unwrap();
        }
        let complete = Event::Complete { claim: claim() };
        ledger
            .step("acme", &done.id, complete, Note::default())
            .await
            .unwrap();

        let folder = tempfile::tempdir().unwrap();
        let key = generate_key().unwrap();
        let open = || {
            let signer = Signer::for_instance("t", &key).unwrap();
            let log = Log::open(folder.path(), Options::new("t", signer)).unwrap();
            Audit::new(log, b"salt", Arc::new(SystemClock))
        };
        let audit = open();
        let unkeyed = "019a9f3c-2f6b-7cc1-9d53-0a4be2a1c7d4";
        let finished = "019a9f3c-2f6b-7cc1-9d53-0a4be2a1c7d5";
        let intents = [done.id.as_str(), at_work.id.as_str(), unkeyed, finished];
        let phases = intents.map(|id| (id, Phase::Intent));
        for (id, phase) in phases.into_iter().chain([(finished, Phase::Outcome)]) {
            let mut draft = Draft::event("tools.invoke", Outcome::Success);
            draft.phase = phase;
            draft.operation_id = Some(id.to_owned());
            draft.sub = Some("alice".to_owned());
            audit.append(&draft).await.unwrap();
        }
        audit.close_log().unwrap();
        drop(audit);
        for _ in 0..2 {
            let audit = open();
            let unfinished =
                Unfinished::new(audit.clone(), ledger.clone(), folder.path().to_owned());
            unfinished.tell().await;
            audit.close_log().unwrap();
        }
        let expected = [
            (done.id.as_str().to_owned(), Outcome::Success),
            (unkeyed.to_owned(), Outcome::Unknown),
        ];
        assert_eq!(told(folder.path()), BTreeMap::from(expected));
    }

    fn told(folder: &std::path::Path) -> BTreeMap<String, Outcome> {
        let filter = Filter {
            action: Some(RECOVERED.to_owned()),
            sub: Some("alice".to_owned()),
            ..Filter::default()
        };
        let records = fastmcp_audit::read(folder, filter).unwrap();
        records
            .map(|record| record.unwrap())
            .map(|record| (record.operation_id.unwrap(), record.status))
            .collect()
    }
}
