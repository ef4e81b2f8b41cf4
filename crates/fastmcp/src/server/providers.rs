//! Sources of components that a server starts and stops.

use std::{
    mem::take,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{FastMcp, Lifespan, Server};
use crate::{
    engine::{Engine, life::Begin},
    error::Result,
    provider::{Driven, Provider, ProviderStatus, SourceId},
    transform::Host,
};

/// How long the first call waits for providers that are slow to start; they go on starting then.
pub(super) const WAIT_WITHIN: Duration = Duration::from_secs(5);

/// The providers of a server that is not running yet.
#[derive(Debug, Default)]
pub(super) struct Providers {
    given: Vec<Arc<dyn Provider>>,
    attached: Arc<Mutex<Vec<Driven>>>,
}

impl Providers {
    /// Starts all of them at the same time, and stops them in the end. One that fails, fails for itself.
    pub(super) fn begin(&self) -> Option<Begin> {
        if self.given.is_empty() {
            return None;
        }
        let attached = Arc::clone(&self.attached);
        Some(Box::new(move |life| {
            let driven = take(&mut *attached.lock().unwrap_or_else(PoisonError::into_inner));
            Box::pin(serve(driven, life))
        }))
    }

    /// Gives each its place among the sources.
    pub(super) fn attach(&mut self, engine: &Arc<Engine>, host: &Host) -> Result<()> {
        for provider in take(&mut self.given) {
            let driven = Driven::attach(provider, engine, host.clone())?;
            let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
            attached.push(driven);
        }
        Ok(())
    }
}

async fn serve(driven: Vec<Driven>, life: Lifespan) -> Result<()> {
    let (tracker, mut stops, mut tried) = (TaskTracker::new(), Vec::new(), Vec::new());
    for one in driven {
        stops.push(one.stop().clone());
        let (says_tried, was_tried) = oneshot::channel();
        drop(tracker.spawn(one.run(says_tried)));
        tried.push(was_tried);
    }
    life.on_end(move || async move {
        stops.iter().for_each(|stop| stop.cancel());
        tracker.close();
        tracker.wait().await;
    });
    if tokio::time::timeout(WAIT_WITHIN, join_all(tried))
        .await
        .is_err()
    {
        tracing::warn!(
            server = life.server_name(),
            "some providers are slow to start; the others are served"
        );
    }
    Ok(())
}

impl FastMcp {
    /// Shows what `provider` has, from its start on; see [`crate::provider`]. The server starts it, with all
    /// others at the same time, and waits at most 5 s for the first try of each.
    ///
    /// Where a name is taken, it stays taken: by the server's own components, then by mounts, then by providers
    /// in the order of their addition.
    #[must_use]
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.composition.providers.given.push(Arc::new(provider));
        self
    }
}

impl Server {
    /// Adds a provider while the server runs, and waits until it was tried for the first time, at most 5 s. How
    /// that went, [`Self::providers`] tells; one that failed is tried again.
    ///
    /// # Errors
    ///
    /// When the server cannot show another source.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the provider may have been added.
    pub async fn add_provider(&self, provider: impl Provider) -> Result<SourceId> {
        let host = Host::of(&self.engine);
        let driven = Driven::attach(Arc::new(provider), &self.engine, host)?;
        let id = driven.id();
        serve(vec![driven], self.engine.life.lifespan().clone()).await?;
        Ok(id)
    }

    /// Stops a provider and shows what it has no longer; whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Self::unmount`].
    pub fn remove_provider(&self, id: SourceId) -> Result<bool> {
        self.unmount(id)
    }

    /// How the providers and mounts are, in the order in which they count.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderStatus> {
        self.engine.registry.statuses()
    }
}
