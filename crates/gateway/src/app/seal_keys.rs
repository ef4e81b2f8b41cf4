//! The keys of the seal, taken up while the gateway runs, and what the state was sealed with.

use std::{path::PathBuf, time::Duration};

use fastmcp::seal::{KeyId, KeyRing};
use fastmcp_audit::Status;
use serde_json::json;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    open::blocking,
    watch::{Stamp, Watch},
};
use crate::{
    audit::Audit,
    error::told_of,
    keys::{KeyError, Keys, SealFile},
    state::{State, ledger::Ledger},
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the state is searched again for what a missing key sealed, while one is missing.
const SEARCH_EVERY: Duration = Duration::from_secs(600);

/// The file and the ring that it fills.
#[derive(Clone, Debug)]
pub(super) struct SealWatch {
    data_dir: PathBuf,
    seen: Option<Stamp>,
    ring: KeyRing,
    ledger: Ledger,
}

impl SealWatch {
    /// Watches the file from which `keys` were read when it was as `seen` says.
    pub(super) fn new(data_dir: PathBuf, seen: Option<Stamp>, keys: &Keys, state: &State) -> Self {
        Self {
            data_dir,
            seen,
            ring: keys.seal(),
            ledger: state.ledger().clone(),
        }
    }

    /// Loads the file whenever it changed or `asked` says so, until `shutdown` fires. A file that cannot be used, or is
    /// gone, changes nothing, and is tried again until it can.
    pub(super) async fn watch(
        self,
        audit: Audit,
        asked: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let path = SealFile::path_in(&self.data_dir);
        let watch = Watch {
            seen: self.seen,
            every: LOOK_EVERY,
            asked,
            shutdown: shutdown.clone(),
        };
        let watching = watch.run(
            || Stamp::of(&path),
            || self.reload(&audit),
            |error| {
                tracing::error!(error, "seal keys not loaded; those in force stay");
                audit.event(
                    "seal_keys.reloaded",
                    Status::Failed,
                    json!({"error": error}),
                );
            },
        );
        let searching = shutdown.run_until_cancelled(self.keep_searching());
        tokio::join!(watching, searching);
    }

    async fn reload(&self, audit: &Audit) -> Result<(), String> {
        let (before, ring) = (shown(&self.ring.ids()), self.ring.clone());
        let loaded = blocking(&self.data_dir, move |data_dir| {
            let Some(file) = SealFile::existing(data_dir)? else {
                return Ok(false);
            };
            file.keys()?.put_into(&ring)?;
            Ok::<_, KeyError>(true)
        })
        .await
        .and_then(|loaded| loaded.map_err(Error::part("seal keys")))
        .map_err(|error| told_of(&error))?;
        if !loaded {
            let path = SealFile::path_in(&self.data_dir);
            return Err(format!("`{}` is gone; put it back", path.display()));
        }
        let keys = shown(&self.ring.ids());
        tracing::info!(keys = keys.join(" "), "seal keys loaded; the first seals");
        let details = json!({"keys": keys, "before": before});
        audit.event("seal_keys.reloaded", Status::Success, details);
        self.search().await;
        Ok(())
    }

    async fn keep_searching(&self) {
        self.search().await;
        loop {
            tokio::time::sleep(SEARCH_EVERY).await;
            if !self.ledger.missing_keys().is_empty() {
                self.search().await;
            }
        }
    }

    /// Finds out which keys the state was sealed with. `/ready` tells which are missing.
    async fn search(&self) {
        let (ledger, runtime) = (self.ledger.clone(), Handle::current());
        // It looks at every operation, by its own thread where the state is a file.
        let asked = tokio::task::spawn_blocking(move || runtime.block_on(ledger.sealed_with()));
        match asked.await {
            Ok(Ok(found)) => {
                let missing = found.iter().filter(|sealed| !self.ring.holds(sealed.key));
                missing.for_each(|sealed| complain(sealed.key, sealed.values));
            }
            Ok(Err(error)) => unknown(&error.to_string()),
            Err(error) => unknown(&error.to_string()),
        }
    }
}

fn complain(key: KeyId, values: u64) {
    tracing::error!(%key, values, "the state keeps what is sealed with a key that is not in `keys/seal.key`; put the file back that holds it");
}

fn unknown(error: &str) {
    tracing::debug!(error, "nobody knows which keys the state was sealed with");
}

fn shown(ids: &[KeyId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
