//! Work that blocks, off the runtime: bounded in number, bounded in time, stopped when nobody waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{Effect, ProviderError};

/// How long past its deadline work may take to notice it and to answer by itself.
const GRACE: Duration = Duration::from_secs(2);

/// No call waits longer than this, whatever it was given.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Until when work may run.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    at: Instant,
    total: Duration,
    stop: Arc<AtomicBool>,
}

impl Deadline {
    /// The deadline `timeout` from now.
    pub(super) fn after(timeout: Duration) -> Self {
        let total = timeout.min(LONGEST);
        Self {
            at: Instant::now() + total,
            total,
            stop: Arc::default(),
        }
    }

    /// An earlier one: half of the time that is left. Stops when this one is stopped.
    pub(super) fn half(&self) -> Self {
        let total = self.left() / 2;
        Self {
            at: Instant::now() + total,
            total,
            stop: Arc::clone(&self.stop),
        }
    }

    /// How long the work had from the start.
    pub(super) const fn total(&self) -> Duration {
        self.total
    }

    /// How much time is left.
    pub(super) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether work must end now: the time is up, or nobody waits for it.
    pub(super) fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.at
    }
}

/// Stops the work when the future that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Places at which blocking work is done.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    places: Arc<Semaphore>,
    what: &'static str,
}

impl Workers {
    /// `count` places for work on `what`.
    pub(super) fn new(what: &'static str, count: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))),
            what,
        }
    }

    /// Does `work` on a thread that may block.
    ///
    /// `late` is what holds when the work does not come back in time or panics: whether it may have had an effect.
    ///
    /// # Errors
    ///
    /// The error of `work`; or when no place was free in time, or the work did not return.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the work is told to stop through its [`Deadline`]; its place is free when it did.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        late: Effect,
        work: impl FnOnce(&Deadline) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let what = self.what;
        let deadline = Deadline::after(timeout);
        let place = timeout_at(deadline.at, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let message = format!("{what} is busy: no place became free in time; try again later");
            return Err(ProviderError::failed(Effect::None, message));
        };
        let _stop = StopOnDrop(Arc::clone(&deadline.stop));
        let inner = deadline.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&inner)
        });
        match timeout_at(deadline.at + GRACE, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                let message = format!("{what} failed internally");
                Err(ProviderError::failed(late, message).with_detail(error.to_string()))
            }
            Err(_) => {
                let message = format!("{what} did not answer in time");
                Err(ProviderError::failed(late, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_is_told_when_nobody_waits() {
        let workers = Workers::new("the test", 1);
        let (started, has_started) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        let mut call =
            Box::pin(
                workers.run(Duration::from_secs(60), Effect::None, move |deadline| {
                    started.send(()).unwrap();
                    while !deadline.over() {
                        std::thread::yield_now();
                    }
                    ended.send(()).unwrap();
                    Ok(())
                }),
            );
        assert!(futures_util::poll!(&mut call).is_pending());
        has_started.recv().unwrap();
        drop(call);
        has_ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    #[tokio::test]
    async fn a_full_house_refuses_in_time_and_nothing_happened() {
        let workers = Workers::new("the test", 1);
        let _all = Arc::clone(&workers.places).acquire_owned().await.unwrap();
        let error = workers
            .run(Duration::from_millis(1), Effect::Maybe, |_| Ok(()))
            .await
            .unwrap_err();
        assert_eq!(error.effect, Effect::None);
        assert!(error.message.starts_with("the test is busy"), "{error}");
    }

    #[tokio::test]
    async fn a_panic_ends_that_call_only() {
        let workers = Workers::new("the test", 1);
        let error = workers
            .run(
                Duration::from_secs(5),
                Effect::Maybe,
                |_| -> Result<(), _> { panic!("deliberate") },
            )
            .await
            .unwrap_err();
        assert_eq!(error.effect, Effect::Maybe);
        let again = workers
            .run(Duration::from_secs(5), Effect::Maybe, |_| Ok(7))
            .await;
        assert_eq!(again.unwrap(), 7);
    }
}
