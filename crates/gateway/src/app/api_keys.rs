//! The API keys in force, and what keeps them so.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fastmcp_audit::Status;
use fastmcp_auth::ApiKeyVerifier;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    open::blocking,
    stamp::{Stamp, told_of},
};
use crate::{audit::Audit, keys::ApiKeyFile};

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

    /// Loads the file whenever it changed, until `shutdown` fires. A file that cannot be used changes nothing, and is
    /// tried again until it can; one that is gone holds no keys.
    pub(super) async fn watch(mut self, audit: Audit, shutdown: CancellationToken) {
        let mut trouble = None;
        while shutdown
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            let now = Stamp::of(self.file.path());
            if now == self.seen {
                continue;
            }
            let failed = self.reload(&audit).await;
            if failed.is_none() {
                self.seen = now;
            } else if failed != trouble {
                // Said once, though it is tried each time: somebody who was meant to be shut out may not be yet.
                let error = failed.as_deref().unwrap_or_default();
                tracing::error!(error, "API keys not loaded; those in force stay");
                audit.event("api_keys.reloaded", Status::Failed, json!({"error": error}));
            }
            trouble = failed;
        }
    }

    /// Reads the file. Why that failed, if it did.
    async fn reload(&self, audit: &Audit) -> Option<String> {
        let read = blocking(self.file.path(), |path| ApiKeyFile::new(path).table()).await;
        match read.map(|read| read.map_err(Error::part("API_KEYS_FILE"))) {
            Ok(Ok(keys)) => {
                tracing::info!(keys = keys.len(), "API keys loaded");
                let details = json!({"keys": keys.len()});
                audit.event("api_keys.reloaded", Status::Success, details);
                self.verifier.replace(keys);
                None
            }
            Ok(Err(error)) | Err(error) => Some(told_of(&error)),
        }
    }
}
