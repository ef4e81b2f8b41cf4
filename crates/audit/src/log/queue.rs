//! What the callers and the writer share: a bounded queue and the state of health.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    Health, Options, Receipt,
    company::{Company, Gathered, Wait, Waited},
};
use crate::{ack::Completer, checkpoint::Checkpoint, error::AuditError, record::Body};

/// A record that waits to be written.
pub(super) struct Append {
    pub(super) body: Body,
    /// Nobody waits in buffered mode.
    pub(super) ack: Option<Completer<Receipt>>,
}

pub(super) enum Job {
    Append(Append),
    Request(Request),
}

/// What is asked of the writer beside records.
pub(super) enum Request {
    Checkpoint(Completer<Checkpoint>),
    /// A record about what is taken away, and a checkpoint over it.
    Archive(Map<String, Value>, Completer<Checkpoint>),
}

/// What the writer takes at once: records, and then requests that come after them.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) appends: Vec<Append>,
    pub(super) requests: Vec<Request>,
    /// How they came together.
    pub(super) gathered: Gathered,
    /// The log is being closed and nothing more waits.
    pub(super) last: bool,
}

pub(super) struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    health: Mutex<Health>,
    max_records: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    refused: u64,
    closed: bool,
    /// How many jobs the writer waits for. None while it is at work: it looks again by itself, and need not be told.
    awaited: Option<usize>,
    /// Callers that wait for room.
    waiting: usize,
}

impl Queue {
    /// Whether the writer waits, and need wait no longer. Said once.
    fn enough(&mut self) -> bool {
        self.awaited
            .take_if(|awaited| self.jobs.len() >= *awaited)
            .is_some()
    }
}

impl Job {
    const fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.body.len(),
            Self::Request(_) => 0,
        }
    }
}

impl Shared {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            health: Mutex::default(),
            max_records: options.queue_records,
            max_bytes: options.queue_bytes,
        }
    }

    /// Puts a job into the queue, after waiting for room where there is none.
    pub(super) fn push(&self, job: Job, wait: Duration) -> Result<(), AuditError> {
        let bytes = job.bytes();
        let full = |queue: &Queue| {
            queue.jobs.len() >= self.max_records || queue.bytes + bytes > self.max_bytes
        };
        let mut queue = self.queue();
        if !wait.is_zero() && full(&queue) {
            queue.waiting += 1;
            queue = self
                .room
                .wait_timeout_while(queue, wait, |queue| !queue.closed && full(queue))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            queue.waiting -= 1;
        }
        if queue.closed {
            return Err(AuditError::Closed);
        }
        if full(&queue) {
            queue.refused += 1;
            let records = queue.jobs.len();
            return Err(AuditError::Full { records });
        }
        queue.bytes += bytes;
        queue.jobs.push_back(job);
        // One who tells the writer is enough.
        let enough = queue.enough();
        drop(queue);
        if enough {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs, or for `idle` to pass, and takes at most `max` records.
    ///
    /// Where `company` is worth it, it waits for more to share a sync with.
    pub(super) fn take(&self, max: usize, idle: Option<Duration>, company: &Company) -> Batch {
        let mut queue = self.wait(self.queue(), 1, idle);
        let mut gathered = Gathered {
            found: queue.jobs.len(),
            ..Gathered::default()
        };
        if gathered.found > 0
            && let Some(wait) = company.wait(gathered.found)
        {
            (queue, gathered.waited) = self.gather(queue, max, wait);
        }
        let mut batch = Batch::default();
        while batch.appends.len() < max {
            // A checkpoint covers what came before it, so no record after it joins its batch.
            match queue.jobs.pop_front() {
                Some(Job::Append(append)) if batch.requests.is_empty() => {
                    queue.bytes -= append.body.len();
                    batch.appends.push(append);
                }
                Some(Job::Request(request)) => batch.requests.push(request),
                Some(job) => {
                    queue.jobs.push_front(job);
                    break;
                }
                None => break,
            }
        }
        gathered.taken = batch.appends.len();
        batch.gathered = gathered;
        batch.last = queue.closed && queue.jobs.is_empty();
        let waiting = queue.waiting > 0;
        drop(queue);
        if waiting {
            self.room.notify_all();
        }
        batch
    }

    fn gather<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        max: usize,
        Wait { records, time }: Wait,
    ) -> (MutexGuard<'a, Queue>, Waited) {
        let records = records.min(max).min(self.max_records);
        for waited in [Waited::Shortly, Waited::Long] {
            queue = self.wait(queue, records, Some(time / 2));
            if queue.jobs.len() >= records {
                return (queue, waited);
            }
        }
        (queue, Waited::Out)
    }

    /// Returns how many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue().jobs.len()
    }

    /// Waits until there are `jobs` jobs, for up to `time`.
    fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        jobs: usize,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        let missing = |queue: &mut Queue| {
            let missing = queue.jobs.len() < jobs && !queue.closed;
            queue.awaited = missing.then_some(jobs);
            missing
        };
        let mut queue = match time {
            Some(time) => {
                self.work
                    .wait_timeout_while(queue, time, missing)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => self
                .work
                .wait_while(queue, missing)
                .unwrap_or_else(PoisonError::into_inner),
        };
        queue.awaited = None;
        queue
    }

    /// Refuses all further jobs and lets the writer come to its end.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// The writer is gone: nothing will ever be taken.
    pub(super) fn end(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.closed = true;
            queue.bytes = 0;
            std::mem::take(&mut queue.jobs)
        };
        // Dropping a job answers whoever waits for it, and so outside of the lock.
        drop(waiting);
        self.room.notify_all();
        self.update(|health| health.ready = false);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn health(&self) -> Health {
        let mut health = self
            .health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let queue = self.queue();
        health.queued = queue.jobs.len();
        health.refused = queue.refused;
        health.ready &= !queue.closed;
        health
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
