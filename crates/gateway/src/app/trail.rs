//! What goes on beside the calls for the audit log: old records go, peers are looked at.

use std::time::Duration;

use fastmcp_audit::Retention;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::{
        Audit,
        peers::{Peers, Watch},
    },
    config::Trail,
};

/// How often old records are looked for: a day ends once a day, and an hour later is soon enough.
const ARCHIVE_EVERY: Duration = Duration::from_secs(3_600);

/// Does what `trail` asks for until `shutdown` fires.
pub(super) fn keep(
    tracker: &TaskTracker,
    audit: &Audit,
    trail: &Trail,
    shutdown: &CancellationToken,
) {
    if let Some(retention) = trail.retention.clone() {
        let (audit, token) = (audit.clone(), shutdown.clone());
        tracker.spawn(async move { archive(audit, retention, token).await });
    }
    if let Some(peers) = trail.peers.clone() {
        let (audit, token) = (audit.clone(), shutdown.clone());
        tracker.spawn(async move { watch(audit, peers, token).await });
    }
}

async fn archive(audit: Audit, retention: Retention, shutdown: CancellationToken) {
    loop {
        let (working, asked) = (audit.clone(), retention.clone());
        // On a thread of its own, and to its end: files of a day may be long.
        let done = tokio::task::spawn_blocking(move || working.archive(&asked)).await;
        let trouble = match done {
            Ok(Ok(archive)) if !archive.files.is_empty() => {
                let (files, records) = (archive.files.len(), archive.records());
                tracing::info!(files, records, "audit records archived");
                // A bounded number goes at once: perhaps there are more.
                continue;
            }
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "audit records cannot be archived");
                Some(error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        audit.note_trouble("retention", trouble);
        let pause = tokio::time::sleep(ARCHIVE_EVERY);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn watch(audit: Audit, peers: Peers, shutdown: CancellationToken) {
    let mut watch = Watch::new(peers);
    loop {
        let looked = watch.look(&audit).await;
        if let Err(error) = &looked {
            tracing::warn!(%error, "checkpoints of peers cannot be exchanged");
        }
        audit.note_trouble("peers", looked.err().map(|error| error.to_string()));
        let pause = tokio::time::sleep(watch.every());
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}
