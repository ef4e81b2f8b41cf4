//! Intents of before the start whose outcome the log does not have.
//!
//! Whoever was killed after it acted could not say so. What it did under a key or a confirmation the state may know; of all
//! else nobody knows whether it happened. Either is told, so that an intent without an outcome is one that is under way.

mod outcome;
mod search;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use fastmcp_audit::{AuditError, Draft, Phase, Record, VerifyError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::outcome::{Told, is_call, outcome};
use crate::{
    audit::Audit,
    state::{StateError, act::RECOVERED, ledger::Ledger},
};

/// The pause between rounds: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often what could not be told is tried: for about an hour.
const ROUNDS: u32 = 64;

/// Why they were not told.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("audit log cannot be read")]
    Log(#[from] VerifyError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] AuditError),
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
    /// How long a call may take from its intent to its outcome.
    longest: Duration,
    /// Those that are not told yet, once they were searched for.
    left: Option<Vec<Record>>,
}

impl Unfinished {
    pub(super) fn new(audit: Audit, ledger: Ledger, folder: PathBuf, longest: Duration) -> Self {
        let size = audit.health().size;
        Self {
            audit,
            ledger,
            folder,
            size,
            longest,
            left: None,
        }
    }

    /// Tells each once. What cannot be told now is tried again for a while, until `shutdown` fires. After the first look `first`
    /// is dropped.
    pub(super) async fn tell(mut self, shutdown: CancellationToken, first: oneshot::Sender<()>) {
        let (mut pause, longest) = PAUSE;
        let mut first = Some(first);
        for _ in 0..ROUNDS {
            if let Err(error) = self.look(&shutdown).await {
                tracing::warn!(%error, "outcomes of calls before this start are not all recorded; tried again");
            }
            drop(first.take());
            if self.left.as_ref().is_some_and(Vec::is_empty) {
                return;
            }
            let paused = shutdown.run_until_cancelled(tokio::time::sleep(pause));
            if paused.await.is_none() {
                return;
            }
            pause = (pause * 2).min(longest);
        }
        let left = self.left.map(|left| left.len());
        tracing::error!(
            left,
            "outcomes of calls before this start are not all recorded; the next start looks again"
        );
    }

    /// Tells what can be told, and says what was the trouble with the rest.
    async fn look(&mut self, shutdown: &CancellationToken) -> Result<(), Untold> {
        let intents = match self.left.take() {
            Some(left) => left,
            None => self.search().await?,
        };
        let (mut left, mut looked) = (Vec::new(), Ok(()));
        for intent in intents {
            if shutdown.is_cancelled() {
                left.push(intent);
                continue;
            }
            match self.told(&intent).await {
                Ok(true) => {}
                Ok(false) => left.push(intent),
                Err(Untold::Audit(error @ AuditError::Draft { .. })) => {
                    let seq = intent.seq;
                    tracing::error!(%error, seq, "outcome of an intent cannot be recorded");
                }
                // It holds up none behind it.
                Err(error) => {
                    left.push(intent);
                    looked = Err(error);
                }
            }
        }
        self.left = Some(left);
        looked
    }

    async fn search(&self) -> Result<Vec<Record>, Untold> {
        let (folder, size, longest) = (self.folder.clone(), self.size, self.longest);
        let found = tokio::task::spawn_blocking(move || search::search(&folder, size, longest));
        Ok(found.await??)
    }

    /// Tells of one, and whether nothing is left to be told of it.
    async fn told(&self, intent: &Record) -> Result<bool, Untold> {
        let (status, reason) = match outcome(&self.ledger, intent).await? {
            Told::Now(status, reason) => (status, reason),
            Told::Later => return Ok(false),
            Told::Elsewhere => return Ok(true),
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
        self.audit.append(&draft).await?;
        Ok(true)
    }
}
