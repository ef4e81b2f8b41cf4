//! What waits for the writer: a bounded queue, and a writer that is woken once for many.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

use super::{super::StateError, writer::Job};

/// How many changes share a transaction at most.
pub(super) const MAX_BATCH: usize = 64;
/// How many changes may wait; further callers wait for room.
pub(super) const QUEUE: usize = 1_024;
/// How long a caller waits for room before it is told that the database is busy.
const WAIT: Duration = Duration::from_secs(5);

/// The queue between the callers and the writer.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
    /// How many jobs the writer sleeps for. None while it is at work: it looks again by itself, and need not be told.
    awaited: Option<usize>,
}

impl Waiting {
    /// Whether the writer sleeps, and need sleep no longer. Said once.
    fn enough(&mut self) -> bool {
        self.awaited
            .take_if(|awaited| self.jobs.len() >= *awaited)
            .is_some()
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            work: Condvar::new(),
            room: Semaphore::new(QUEUE),
        }
    }

    /// Puts a job at the end, once there is room.
    pub(super) async fn push(&self, job: Box<dyn Job>) -> Result<(), StateError> {
        let room = timeout(WAIT, self.room.acquire()).await;
        let room = room
            .map_err(|_| StateError::Busy)?
            .map_err(|_| StateError::Closed)?;
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(StateError::Closed);
        }
        // Given back when the job is taken.
        room.forget();
        waiting.jobs.push_back(job);
        // One who wakes the writer is enough.
        let enough = waiting.enough();
        drop(waiting);
        if enough {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs, and takes at most [`MAX_BATCH`] of them; none at the end.
    ///
    /// Where fewer than `company` have come, the others are waited for, for up to `gather`. Says whether that was in vain.
    pub(super) fn take(
        &self,
        company: usize,
        gather: Duration,
        batch: &mut Vec<Box<dyn Job>>,
    ) -> bool {
        let mut waiting = self.wait(self.waiting(), 1, None);
        let found = waiting.jobs.len();
        let company = company.min(MAX_BATCH);
        if found < company {
            waiting = self.wait(waiting, company, Some(gather));
        }
        let in_vain = found < company && waiting.jobs.len() == found;
        let taken = waiting.jobs.len().min(MAX_BATCH);
        batch.extend(waiting.jobs.drain(..taken));
        drop(waiting);
        self.room.add_permits(taken);
        in_vain
    }

    /// Waits until there are `jobs` jobs or there will be no more, for up to `time`.
    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        jobs: usize,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Waiting> {
        let missing = |waiting: &mut Waiting| {
            let missing = waiting.jobs.len() < jobs && !waiting.closed;
            waiting.awaited = missing.then_some(jobs);
            missing
        };
        let mut waiting = match time {
            Some(time) => {
                self.work
                    .wait_timeout_while(waiting, time, missing)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .work
                .wait_while(waiting, missing)
                .unwrap_or_else(PoisonError::into_inner),
        };
        waiting.awaited = None;
        waiting
    }

    /// Refuses further jobs, and lets the writer come to its end.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.room.close();
        self.work.notify_one();
    }

    /// The writer is gone: nothing will ever be taken.
    pub(super) fn end(&self) {
        self.close();
        let jobs = std::mem::take(&mut self.waiting().jobs);
        // To drop a job is to answer it, and so outside of the lock.
        drop(jobs);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().jobs.len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::Connection;

    use super::*;

    struct Nothing;

    impl Job for Nothing {
        fn apply(&mut self, _: &mut Connection) -> Result<(), StateError> {
            Ok(())
        }

        fn writes(&self) -> bool {
            true
        }

        fn answer(self: Box<Self>, _: Result<(), StateError>) {}
    }

    const LONG: Duration = Duration::from_secs(60);

    /// How many are taken, and whether others were waited for in vain.
    fn take(
        queue: &Arc<Queue>,
        company: usize,
        gather: Duration,
    ) -> tokio::task::JoinHandle<(usize, bool)> {
        let queue = Arc::clone(queue);
        tokio::task::spawn_blocking(move || {
            let mut batch = Vec::new();
            let in_vain = queue.take(company, gather, &mut batch);
            (batch.len(), in_vain)
        })
    }

    #[tokio::test]
    async fn company_is_waited_for() {
        let queue = Arc::new(Queue::new());
        let taken = take(&queue, 3, LONG);
        for _ in 0..3 {
            queue.push(Box::new(Nothing)).await.unwrap();
        }
        assert_eq!(
            taken.await.unwrap(),
            (3, false),
            "and no longer than until it is there"
        );
        queue.push(Box::new(Nothing)).await.unwrap();
        let taken = take(&queue, 3, Duration::from_millis(1));
        assert_eq!(taken.await.unwrap(), (1, true), "but not for ever");
        queue.push(Box::new(Nothing)).await.unwrap();
        let taken = take(&queue, 3, LONG);
        queue.close();
        assert_eq!(taken.await.unwrap().0, 1, "nor once nobody can come");
        assert!(matches!(
            queue.push(Box::new(Nothing)).await,
            Err(StateError::Closed)
        ));
        assert_eq!(take(&queue, 1, LONG).await.unwrap().0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_told_of_in_time() {
        let queue = Arc::new(Queue::new());
        for _ in 0..QUEUE {
            queue.push(Box::new(Nothing)).await.unwrap();
        }
        assert!(matches!(
            queue.push(Box::new(Nothing)).await,
            Err(StateError::Busy)
        ));
        let waits = queue.push(Box::new(Nothing));
        tokio::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(take(&queue, 1, LONG).await.unwrap(), (MAX_BATCH, false));
        waits.await.unwrap();
        assert_eq!(queue.len(), QUEUE - MAX_BATCH + 1);
        queue.end();
        assert_eq!(queue.len(), 0);
    }
}
