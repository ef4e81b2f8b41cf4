//! How long a handler may take.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Context;
use crate::error::{Error, Result};

/// The time in which a user was asked.
#[derive(Default)]
pub(super) struct Waiting {
    open: usize,
    since: Option<Instant>,
    total: Duration,
}

/// Counts the time of one question.
pub(super) struct Waits<'a>(&'a Context);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.open = waiting.open.saturating_sub(1);
        if waiting.open == 0
            && let Some(since) = waiting.since.take()
        {
            waiting.total += since.elapsed();
            drop(waiting);
            self.0.rare().answered.notify_waiters();
        }
    }
}

impl Context {
    /// When the handler is told that it took too long, as things stand: the time in which the user is
    /// asked puts it off.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let rare = self.0.rare.get()?;
        Some(*rare.deadline.get()? + self.asked_for())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        let waiting = &self.rare().waiting;
        waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the user was asked up to now.
    fn asked_for(&self) -> Duration {
        let waiting = self.waiting();
        waiting.total
            + waiting
                .since
                .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Counts the time of a question where time counts at all.
    pub(super) fn waits(&self) -> Option<Waits<'_>> {
        self.0.rare.get()?.deadline.get()?;
        let mut waiting = self.waiting();
        waiting.open += 1;
        waiting.since.get_or_insert_with(Instant::now);
        drop(waiting);
        Some(Waits(self))
    }

    /// Ends `work` of this request once it took longer than `limit`: its cancellation fires, and what is
    /// left of it goes on beside the server.
    pub(crate) fn timed<T: Send + 'static>(
        self,
        limit: Duration,
        mut work: BoxFuture<'static, Result<T>>,
    ) -> BoxFuture<'static, Result<T>> {
        Box::pin(async move {
            let Some(end) = Instant::now().checked_add(limit) else {
                return work.await;
            };
            let end = *self.rare().deadline.get_or_init(|| end);
            loop {
                let until = end + self.asked_for();
                tokio::select! {
                    biased;
                    outcome = &mut work => return outcome,
                    () = tokio::time::sleep_until(until) => {}
                }
                // A call that became a task has no end.
                if self.running().is_some() {
                    return work.await;
                }
                let answered = self.rare().answered.notified();
                let is_asked = self.waiting().open > 0;
                if is_asked {
                    tokio::select! {
                        biased;
                        outcome = &mut work => return outcome,
                        () = answered => {}
                    }
                } else if end + self.asked_for() <= Instant::now() {
                    break;
                }
            }
            self.cancellation().cancel();
            let rest = self.clone().scope(work);
            drop(self.home().tracker().spawn(async move { drop(rest.await) }));
            Err(Error::timeout())
        })
    }
}
