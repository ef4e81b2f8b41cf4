//! The API keys in force, and what keeps them so.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fastmcp_audit::Status;
use fastmcp_auth::ApiKeyVerifier;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    open::blocking,
    watch::{Stamp, Watch},
};
use crate::{audit::Audit, error::told_of, keys::ApiKeyFile};

/// How often the file is looked at: the longest that a revocation goes unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file and whom it is read for.
#[derive(Clone, Debug)]
pub(super) struct WatchedKeys {
    file: ApiKeyFile,
    seen: Option<Stamp>,
    verifier: Arc<ApiKeyVerifier>,
}

impl WatchedKeys {
    /// Reads the file for `make`, which puts the keys in front of what else is believed.
    pub(super) async fn open(
        path: PathBuf,
        make: impl FnOnce(fastmcp_auth::api_key::ApiKeys) -> ApiKeyVerifier,
    ) -> Result<Self, Error> {
        // Taken before the file is read, so that what changes meanwhile is seen as a change.
        let seen = Stamp::of(&path);
        let file = ApiKeyFile::new(&path);
        let keys = blocking(&path, move |path| ApiKeyFile::new(path).table())
            .await?
            .map_err(Error::part("API_KEYS_FILE"))?;
        Ok(Self {
            file,
            seen,
            verifier: Arc::new(make(keys)),
        })
    }

    pub(super) fn verifier(&self) -> Arc<ApiKeyVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Loads the file whenever it changed or `asked` says so, until `shutdown` fires. A file that cannot be used changes nothing, and is
    /// tried again until it can; one that is gone holds no keys.
    pub(super) async fn watch(
        self,
        audit: Audit,
        asked: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let watch = Watch {
            seen: self.seen,
            every: LOOK_EVERY,
            asked,
            shutdown,
        };
        watch
            .run(
                || Stamp::of(self.file.path()),
                || self.reload(&audit),
                |error| {
                    tracing::error!(error, "API keys not loaded; those in force stay");
                    audit.event("api_keys.reloaded", Status::Failed, json!({"error": error}));
                },
            )
            .await;
    }

    async fn reload(&self, audit: &Audit) -> Result<(), String> {
        let read = blocking(self.file.path(), |path| ApiKeyFile::new(path).table()).await;
        let keys = read
            .and_then(|read| read.map_err(Error::part("API_KEYS_FILE")))
            .map_err(|error| told_of(&error))?;
        tracing::info!(keys = keys.len(), "API keys loaded");
        let details = json!({"keys": keys.len()});
        audit.event("api_keys.reloaded", Status::Success, details);
        self.verifier.replace(keys);
        Ok(())
    }
}
