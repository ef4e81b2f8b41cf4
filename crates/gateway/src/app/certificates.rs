//! Reads certificates again when their files change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fastmcp_audit::Status;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    stamp::{Stamp, told_of},
};
use crate::{audit::Audit, config::Config, tls::Tls};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// TLS and how its files were when it was read.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    tls: Arc<Tls>,
    seen: Vec<Option<Stamp>>,
}

impl Certificates {
    /// Reads the files that `config` names, if it names any.
    pub(super) async fn open(config: &Config) -> Result<Option<Self>, Error> {
        let Some(files) = config.tls.clone() else {
            return Ok(None);
        };
        let opened = tokio::task::spawn_blocking(move || {
            // Taken before the files are read, so that what changes meanwhile is seen as a change.
            let paths = [&files.certificate, &files.key];
            let paths = paths.into_iter().chain(files.client_ca.as_ref());
            let seen = paths.map(|path: &PathBuf| Stamp::of(path)).collect();
            let tls = Arc::new(Tls::open(files).map_err(Error::part("TLS"))?);
            Ok(Self { tls, seen })
        });
        opened.await.map_err(Error::part("worker"))?.map(Some)
    }

    pub(super) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Reads the files whenever one changed, until `shutdown` fires. What cannot be used changes nothing,
    /// and is tried again until it can.
    pub(super) async fn watch(mut self, audit: Audit, shutdown: CancellationToken) {
        let mut trouble = None;
        while shutdown
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            let now: Vec<_> = self.tls.paths().map(Stamp::of).collect();
            if now == self.seen {
                continue;
            }
            let failed = self.reload(&audit).await;
            if failed.is_none() {
                self.seen = now;
            } else if failed != trouble {
                // Said once, though it is tried each time.
                let error = failed.as_deref().unwrap_or_default();
                tracing::error!(error, "certificates not loaded; those in force stay");
                audit.event("tls.reloaded", Status::Failed, json!({"error": error}));
            }
            trouble = failed;
        }
    }

    /// Reads the files. Why that failed, if it did.
    async fn reload(&self, audit: &Audit) -> Option<String> {
        let tls = self.tls();
        let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
        match reloaded {
            Ok(Ok(())) => {
                tracing::info!("certificates loaded");
                audit.event("tls.reloaded", Status::Success, json!({}));
                None
            }
            Ok(Err(error)) => Some(told_of(&error)),
            Err(error) => Some(told_of(&error)),
        }
    }
}
