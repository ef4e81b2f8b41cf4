//! The keys of the seal, taken up while the gateway runs, and what the state was sealed with.

use std::{path::PathBuf, time::Duration};

use fastmcp::seal::{KeyId, KeyRing};
use fastmcp_audit::Status;
use serde_json::json;
use tokio::sync::watch;
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
/// How soon it is searched again where that failed; each time twice as late, up to [`SEARCH_EVERY`].
const SEARCH_AGAIN: Duration = Duration::from_secs(10);

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
        // Where it fails, what goes on beside it searches again.
        self.search().await;
        Ok(())
    }

    async fn keep_searching(&self) {
        let mut pause = SEARCH_AGAIN;
        while !self.search().await {
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(SEARCH_EVERY);
        }
        loop {
            tokio::time::sleep(SEARCH_EVERY).await;
            if !self.ledger.missing_keys().is_empty() {
                self.search().await;
            }
        }
    }

    /// Finds out which keys the state was sealed with, and says whether that went well. `/ready` tells which are missing, and
    /// that nobody knows.
    async fn search(&self) -> bool {
        match self.ledger.sealed_with().await {
            Ok(found) => {
                let missing = found.iter().filter(|sealed| !self.ring.holds(sealed.key));
                missing.for_each(|sealed| complain(sealed.key, sealed.values));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "nobody knows which keys the state was sealed with");
                false
            }
        }
    }
}

fn complain(key: KeyId, values: u64) {
    tracing::error!(%key, values, "the state keeps what is sealed with a key that is not in `keys/seal.key`; put the file back that holds it");
}

fn shown(ids: &[KeyId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::{
        Location,
        contract_tests::{Fixture, binding},
    };

    /// Waits until `/ready` would say so, by a clock that goes on only where everybody waits for it.
    async fn told(ledger: &Ledger, wanted: &str) {
        let telling = async {
            while !ledger.missing_told().is_some_and(|t| t.contains(wanted)) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let told = tokio::time::timeout(SEARCH_EVERY, telling).await;
        assert!(told.is_ok(), "{wanted}: {:?}", ledger.missing_told());
    }

    #[tokio::test]
    async fn a_search_that_failed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let location = Location::File(path.clone());
        let ring = |key| Arc::new(KeyRing::new(&[[key; 32]]).unwrap());
        let before = Fixture::open(location.clone(), ring(1)).await;
        let confirm = crate::confirm::Confirm::new(
            before.state.ledger().clone(),
            crate::confirm::Config::default(),
        );
        let reserved = confirm.unwrap().reserve(&binding(), b"{}", None).await;
        reserved.unwrap();
        before.state.close().await;
        // The key is lost, and for a while nobody can look at what it sealed.
        let now = Fixture::open(location, ring(2)).await;
        let rename = |from: &str, to: &str| {
            let other = rusqlite::Connection::open(&path).unwrap();
            let renamed = format!("ALTER TABLE {from} RENAME TO {to}");
            other.execute_batch(&renamed).unwrap();
        };
        rename("operations", "hidden");
        let watch = SealWatch {
            data_dir: folder.path().to_owned(),
            seen: None,
            ring: KeyRing::clone(&now.keys),
            ledger: now.state.ledger().clone(),
        };
        assert_eq!(watch.ledger.missing_told(), None, "nothing has failed yet");
        tokio::time::pause();
        let searching = watch.keep_searching();
        tokio::pin!(searching);
        tokio::select! {
            () = &mut searching => panic!("it never ends"),
            () = told(&watch.ledger, "could not be searched") => {}
        }
        rename("hidden", "operations");
        let lost = KeyId::of(&[1; 32]).to_string();
        tokio::select! {
            () = &mut searching => panic!("it never ends"),
            () = told(&watch.ledger, &lost) => {}
        }
        assert!(
            watch
                .ledger
                .missing_told()
                .is_some_and(|told| !told.contains("searched"))
        );
    }
}
