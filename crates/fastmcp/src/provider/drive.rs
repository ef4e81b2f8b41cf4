//! One provider of one server, from its start to its end.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::BoxStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Provider, ProviderState, SourceId};
use crate::{
    call::Change,
    component::Component,
    engine::Engine,
    error::{Error, Result},
    registry::State,
    transform::Host,
};

/// How long a provider may take to start, and to say what it has.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long the first pause before another try is; the next ones are twice as long each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long a pause is at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How many changes are looked at together.
const MAX_TOGETHER: usize = 256;

/// A provider, and where what it has goes.
pub(crate) struct Driven {
    provider: Arc<dyn Provider>,
    engine: Weak<Engine>,
    host: Host,
    id: SourceId,
    state: State,
    stop: CancellationToken,
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl Driven {
    /// Gives `provider` its place among the sources of the server.
    pub(crate) fn attach(
        provider: Arc<dyn Provider>,
        engine: &Arc<Engine>,
        host: Host,
    ) -> Result<Self> {
        let (state, stop) = (
            State::new(ProviderState::Starting),
            engine.shutdown.child_token(),
        );
        let (_, id) = engine.registry.rearrange(|sources| {
            Ok(sources.attach(&provider.name(), state.clone(), stop.clone(), None))
        })?;
        Ok(Self {
            provider,
            engine: Arc::downgrade(engine),
            host,
            id,
            state,
            stop,
        })
    }

    /// What it is taken away by.
    pub(crate) const fn id(&self) -> SourceId {
        self.id
    }

    /// What ends it.
    pub(crate) const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Serves it until it is stopped. `tried` hears when it was tried for the first time, whatever came of it.
    #[expect(
        clippy::cognitive_complexity,
        reason = "the macros are complex, not what is written"
    )]
    pub(crate) async fn run(self, tried: oneshot::Sender<()>) {
        let (mut tried, mut pause, mut attempts) = (Some(tried), FIRST_PAUSE, 0_u32);
        loop {
            let begun = tokio::select! {
                () = self.stop.cancelled() => break,
                begun = within(self.begin()) => begun,
            };
            let ended = match begun {
                Ok(changes) => {
                    (pause, attempts) = (FIRST_PAUSE, 0);
                    self.state.set(ProviderState::Ready);
                    tell(&mut tried);
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        ended = self.follow(changes) => ended,
                    }
                }
                Err(error) => error,
            };
            attempts = attempts.saturating_add(1);
            tracing::warn!(
                provider = %self.provider.name(), error = %ended, attempts, ?pause,
                "a provider failed; the others are served, and it is tried again"
            );
            self.state.set(ProviderState::Failed {
                why: ended.message().to_owned(),
                attempts,
            });
            tell(&mut tried);
            self.end().await;
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(MAX_PAUSE);
        }
        self.state.set(ProviderState::Stopped);
        self.end().await;
    }

    async fn begin(&self) -> Result<BoxStream<'static, Change>> {
        self.provider.start().await?;
        // Before the lists are read, so that no change falls in between.
        let changes = self.provider.changes();
        self.publish().await?;
        Ok(changes)
    }

    async fn end(&self) {
        if tokio::time::timeout(STOP_WITHIN, self.provider.stop())
            .await
            .is_err()
        {
            tracing::warn!(provider = %self.provider.name(), "a provider did not stop in time");
        }
    }

    /// Shows what the provider has now.
    async fn publish(&self) -> Result<()> {
        let components = self.provider.components().await?;
        let components = self.transformed(components)?;
        let engine = self.engine()?;
        let published = engine.registry.rearrange(|sources| {
            sources.publish(self.id, components);
            Ok(())
        });
        published.map(drop)
    }

    fn transformed(&self, components: Vec<Arc<Component>>) -> Result<Vec<Arc<Component>>> {
        let transforms = self.provider.transforms();
        transforms
            .iter()
            .try_fold(components, |all, one| one.apply(all, &self.host))
    }

    /// Goes by what changes, until the provider is gone or fails.
    async fn follow(&self, mut changes: BoxStream<'static, Change>) -> Error {
        while let Some(first) = changes.next().await {
            // Many changes at once are one look at the lists.
            let mut together = vec![first];
            while together.len() < MAX_TOGETHER
                && let Some(Some(next)) = changes.next().now_or_never()
            {
                together.push(next);
            }
            let lists = together.iter().any(|one| matches!(one, Change::List(_)));
            if lists && let Err(error) = within(self.publish()).await {
                return error;
            }
            for change in together {
                if let Err(error) = self.tell(change) {
                    return error;
                }
            }
        }
        Error::internal("it is gone")
    }

    /// Tells subscribers of contents that changed. Lists that changed were told of when they were shown.
    fn tell(&self, change: Change) -> Result<()> {
        if let Change::Resource(uri) = change {
            let transforms = self.provider.transforms();
            let uri = transforms.iter().fold(uri, |uri, one| one.uri(uri));
            self.engine()?.registry.notify(Change::Resource(uri));
        }
        Ok(())
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        let engine = self.engine.upgrade();
        engine.ok_or_else(|| Error::internal("the server is gone"))
    }
}

/// Says that it was tried, once.
fn tell(tried: &mut Option<oneshot::Sender<()>>) {
    if let Some(tried) = tried.take() {
        // Nobody waiting for it is no failure.
        let _waiting = tried.send(());
    }
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(START_WITHIN, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Error::internal("it panicked")),
        Err(_) => Err(Error::internal(format!(
            "it did not answer within {} s",
            START_WITHIN.as_secs()
        ))),
    }
}
