//! Work that blocks, off the runtime: bounded in number, bounded in time, stopped when nobody waits.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
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

/// The most pieces of work that wait for a place.
const MAX_WAITING: usize = 10_000;

/// Where a piece of work is.
const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Whether a piece of work has begun: it and its caller agree on that once.
#[derive(Clone, Debug, Default)]
struct Stage(Arc<AtomicU8>);

impl Stage {
    fn begin(&self) -> bool {
        self.leave(BEGUN)
    }

    /// Whether it was still waiting, and so will never begin.
    fn withdraw(&self) -> bool {
        self.leave(WITHDRAWN)
    }

    fn leave(&self, to: u8) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(WAITS, to, success, failure).is_ok()
    }
}

/// Takes the work back, or stops it, when the future that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>, Stage);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.withdraw();
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// What waits, and the threads that do it.
///
/// Threads of their own, and not the runtime's: while there is work they take one piece after the other, and nobody has
/// to wake them for it.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// Of those, threads that were told of some and have not come back yet.
    told: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what there is to do, until the workers are gone.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.work.pop_front() {
                drop(state);
                work();
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                state.told = state.told.saturating_sub(1);
            }
        }
    }
}

/// Lets the threads end with the last of the workers.
struct Owner(Arc<Queue>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

/// Places at which blocking work is done.
#[derive(Clone)]
pub(super) struct Workers {
    owner: Arc<Owner>,
    places: usize,
    what: &'static str,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("what", &self.what)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// `count` places for work on `what`.
    pub(super) fn new(what: &'static str, count: usize) -> Self {
        Self {
            owner: Arc::new(Owner(Arc::default())),
            places: count.max(1),
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
    /// Dropped, work that has begun is told to stop through its [`Deadline`], its place is free when it did; other work
    /// is never begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        late: Effect,
        work: impl FnOnce(&Deadline) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let what = self.what;
        let deadline = Deadline::after(timeout);
        let stage = Stage::default();
        let _stop = StopOnDrop(Arc::clone(&deadline.stop), stage.clone());
        let (done, mut answer) = oneshot::channel();
        let (inner, begins) = (deadline.clone(), stage.clone());
        let queued = self.push(Box::new(move || {
            if begins.begin() {
                let ended = catch_unwind(AssertUnwindSafe(|| work(&inner)));
                // Nobody may be waiting any more.
                let _ = done.send(ended);
            }
        }));
        if let Err(cause) = queued {
            let message = format!("{what} is busy: no place became free in time; try again later");
            return Err(ProviderError::failed(Effect::None, message).with_detail(cause));
        }
        let mut answered = timeout_at(deadline.at, &mut answer).await;
        if answered.is_err() {
            if stage.withdraw() {
                let message =
                    format!("{what} is busy: no place became free in time; try again later");
                return Err(ProviderError::failed(Effect::None, message));
            }
            answered = timeout_at(deadline.at + GRACE, &mut answer).await;
        }
        match answered {
            Ok(Ok(Ok(result))) => result,
            Ok(_) => Err(ProviderError::failed(
                late,
                format!("{what} failed internally"),
            )),
            Err(_) => Err(ProviderError::failed(
                late,
                format!("{what} did not answer in time"),
            )),
        }
    }

    /// Puts work into the queue, and sees to it that a thread takes it.
    fn push(&self, work: Work) -> Result<(), String> {
        let queue = &self.owner.0;
        let mut state = queue.lock();
        if state.work.len() >= MAX_WAITING {
            return Err(format!("{MAX_WAITING} calls wait already"));
        }
        state.work.push_back(work);
        if state.idle > state.told {
            state.told += 1;
            drop(state);
            queue.work.notify_one();
            return Ok(());
        }
        if state.threads == self.places {
            return Ok(());
        }
        let serving = Arc::clone(queue);
        match thread::Builder::new()
            .name(format!("fastmcp {}", self.what))
            .spawn(move || serving.serve())
        {
            Ok(_) => state.threads += 1,
            // Those that there are will come to it.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                state.work.pop_back();
                return Err(error.to_string());
            }
        }
        Ok(())
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
        let (started, has_started) = oneshot::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let first = workers.run(Duration::from_secs(60), Effect::None, move |_| {
            started.send(()).unwrap();
            may_end.recv().unwrap();
            Ok(())
        });
        let second = async {
            has_started.await.unwrap();
            let begun = Arc::new(AtomicBool::new(false));
            let begins = Arc::clone(&begun);
            let late = workers.run(Duration::from_millis(1), Effect::Maybe, move |_| {
                begins.store(true, Ordering::Relaxed);
                Ok(())
            });
            let error = late.await.unwrap_err();
            assert_eq!(error.effect, Effect::None);
            assert!(error.message.starts_with("the test is busy"), "{error}");
            end.send(()).unwrap();
            // What was withdrawn is not done when its turn comes.
            let next = workers.run(Duration::from_secs(60), Effect::None, |_| Ok(()));
            next.await.unwrap();
            assert!(!begun.load(Ordering::Relaxed));
        };
        let (first, ()) = futures_util::future::join(first, second).await;
        first.unwrap();
    }

    #[tokio::test]
    async fn many_calls_share_few_threads() {
        let workers = Workers::new("the test", 3);
        let names = Arc::new(Mutex::new(std::collections::HashSet::new()));
        let call = |number: u32| {
            let names = Arc::clone(&names);
            workers.run(Duration::from_secs(60), Effect::None, move |_| {
                names.lock().unwrap().insert(thread::current().id());
                Ok(number)
            })
        };
        let done = futures_util::future::join_all((0..500).map(call)).await;
        for (number, done) in (0..500).zip(done) {
            assert_eq!(done.unwrap(), number);
        }
        assert!((1..=3).contains(&names.lock().unwrap().len()));
    }

    #[tokio::test]
    async fn the_threads_end_with_the_workers() {
        let workers = Workers::new("the test", 1);
        let queue = Arc::downgrade(&workers.owner.0);
        workers
            .run(Duration::from_secs(60), Effect::None, |_| Ok(()))
            .await
            .unwrap();
        drop(workers);
        let ended = async {
            while queue.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .unwrap();
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
