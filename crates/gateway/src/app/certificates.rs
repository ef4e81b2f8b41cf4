//! Reads certificates again when their files change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fastmcp_audit::Status;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    watch::{Stamp, Watch},
};
use crate::{audit::Audit, config::Config, error::told_of, tls::Tls};

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

    /// Reads the files whenever one changed or `asked` says so, until `shutdown` fires. What cannot be used changes nothing,
    /// and is tried again until it can.
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
                || self.tls.paths().map(Stamp::of).collect(),
                || reload(Arc::clone(&self.tls), &audit),
                |error| {
                    tracing::error!(error, "certificates not loaded; those in force stay");
                    audit.event("tls.reloaded", Status::Failed, json!({"error": error}));
                },
            )
            .await;
    }
}

async fn reload(tls: Arc<Tls>, audit: &Audit) -> Result<(), String> {
    let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
    reloaded
        .map_err(|error| told_of(&error))?
        .map_err(|error| told_of(&error))?;
    tracing::info!("certificates loaded");
    audit.event("tls.reloaded", Status::Success, json!({}));
    Ok(())
}
