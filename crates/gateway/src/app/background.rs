//! What goes on beside the calls, until the gateway ends.

use std::{sync::Arc, time::Duration};

use fastmcp::Server;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{App, sweep::Sweeper, trail, unfinished::Unfinished, watch::Stamp};
use crate::{
    mcp,
    pipeline::Pipeline,
    settlement::{Outbox, Recorder},
};

/// How often it is asked whether another replica has registered a manifest.
const CATALOG_EVERY: Duration = Duration::from_secs(1);

/// How long the start waits for the first look at intents of before it: the state may be away.
const LOOKED: Duration = Duration::from_secs(5);

/// How often policy files are looked at.
const POLICY_EVERY: Duration = Duration::from_secs(2);

impl App {
    /// What goes on beside the calls, until `shutdown` fires. Comes back when what the log and the state say of earlier calls
    /// was looked at, before a call of today can change it, or after a while.
    pub(super) async fn background(&self, shutdown: &CancellationToken) {
        let sweeper = Sweeper::new(self.state.clone(), &self.pipeline);
        self.tracker.spawn(sweeper.run(shutdown.clone()));
        let unfinished = Unfinished::new(
            self.pipeline.audit.clone(),
            self.state.ledger().clone(),
            self.config.audit_dir.clone(),
            self.pipeline.longest(),
        );
        let (first, looked) = oneshot::channel();
        self.tracker.spawn(unfinished.tell(shutdown.clone(), first));
        let (ledger, token) = (self.state.ledger().clone(), shutdown.clone());
        self.tracker
            .spawn(async move { ledger.record_late(token).await });
        let (limit, token) = (self.pipeline.limit.clone(), shutdown.clone());
        self.tracker.spawn(async move { limit.run(token).await });
        let (pipeline, server) = (Arc::clone(&self.pipeline), self.server.get().cloned());
        let token = shutdown.clone();
        self.tracker
            .spawn(async move { watch_catalog(&pipeline, server.as_ref(), token).await });
        let audit = &self.pipeline.audit;
        let watched = self.api_keys.clone();
        self.tracker
            .spawn(watched.watch(audit.clone(), self.asked.subscribe(), shutdown.clone()));
        let sealed = self.seal_keys.clone();
        self.tracker
            .spawn(sealed.watch(audit.clone(), self.asked.subscribe(), shutdown.clone()));
        let settlements = Recorder::new(
            Outbox::of(&self.config.data_dir),
            audit.clone(),
            self.config.audit_dir.clone(),
            self.state.ledger().clone(),
        );
        self.tracker.spawn(settlements.run(shutdown.clone()));
        if let Some(webhook) = self.webhook.clone() {
            let (telemetry, tracker) = (self.pipeline.telemetry.clone(), self.tracker.clone());
            let sending = webhook.run(audit.clone(), telemetry, tracker, shutdown.clone());
            self.tracker.spawn(sending);
        }
        if let Some(watched) = self.certificates.clone() {
            self.tracker.spawn(watched.watch(
                audit.clone(),
                self.asked.subscribe(),
                shutdown.clone(),
            ));
        }
        trail::keep(
            &self.tracker,
            &self.pipeline.audit,
            &self.config.trail,
            shutdown,
        );
        let (issuers, tracker) = (self.issuers.clone(), self.tracker.clone());
        let asked = self.asked.subscribe();
        self.tracker
            .spawn(issuers.watch(audit.clone(), tracker, asked, shutdown.clone()));
        // Dropped, not sent.
        let _ = tokio::time::timeout(LOOKED, looked).await;
    }

    /// Watches the files of policy and limits until `shutdown` fires, loading what changed.
    pub(super) async fn watch_policy(&self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(POLICY_EVERY))
            .await
            .is_some()
        {
            // Outcomes are logged, counted and recorded there.
            let _outcome = self
                .loaded
                .load_changed(|| self.policies.fingerprint(), || self.load_policy());
            let _outcome = self.limits_loaded.load_changed(
                || Stamp::of(&self.config.limits_path),
                || self.load_limits(),
            );
        }
    }
}

/// Takes over what other replicas register, until `shutdown` fires.
async fn watch_catalog(pipeline: &Pipeline, server: Option<&Server>, shutdown: CancellationToken) {
    while shutdown
        .run_until_cancelled(tokio::time::sleep(CATALOG_EVERY))
        .await
        .is_some()
    {
        match pipeline.catalog.refresh().await {
            Ok(false) => {}
            Ok(true) => {
                let tools = pipeline.catalog.all().len();
                pipeline.telemetry.count_tools(tools);
                if let Some(Err(error)) = server.map(|server| mcp::refresh(server, pipeline)) {
                    tracing::error!(error = error.message(), "catalogue could not be shown");
                }
            }
            // The sweep says what is the matter.
            Err(error) => tracing::debug!(%error, "catalogue could not be looked at"),
        }
    }
}
