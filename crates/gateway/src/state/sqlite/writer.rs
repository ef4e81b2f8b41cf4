//! The one writer: many changes, one transaction, one sync of the disk.
//!
//! Changes come in through a bounded queue. The writer takes what waits, up to [`MAX_BATCH`], applies it in order
//! within one transaction and answers after the commit, so that under load many callers share the cost of one commit.
//! If a batch fails, each of its changes is tried in a transaction of its own, so that nobody pays for another's fault.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{
    Load, StateError,
    sql::{Change, Session, Statement, statement, writing},
};

/// How many changes share a transaction at most.
const MAX_BATCH: usize = 64;
/// How many changes may wait; further callers wait for room.
const QUEUE: usize = 1_024;
/// How long a caller waits for room before it is told that the database is busy.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// The writer's connection; `None` while it is being replaced, and for good once it is closed. Asynchronous because
/// a database in memory is read through it too, and both sides hold it while they wait for the database.
pub(super) type Slot = Arc<Mutex<Option<SqliteConnection>>>;

/// The handle of the writer's task.
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    stop: CancellationToken,
    tracker: TaskTracker,
    state: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    failing: AtomicBool,
    transactions: AtomicU64,
    changes: AtomicU64,
}

impl Writer {
    /// Starts the task. With `reconnect` it replaces a connection that broke.
    pub(super) fn start(slot: Slot, reconnect: Option<SqliteConnectOptions>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let state = Arc::new(Progress::default());
        let task = Task {
            slot,
            reconnect,
            jobs,
            stop: stop.clone(),
            state: Arc::clone(&state),
        };
        tracker.spawn(task.run());
        tracker.close();
        Self {
            queue,
            stop,
            tracker,
            state,
        }
    }

    /// Has a change made, and waits until it is durable.
    pub(super) async fn submit<C: Change>(&self, change: C) -> Result<C::Output, StateError> {
        let room = tokio::time::timeout(QUEUE_WAIT, self.queue.reserve())
            .await
            .map_err(|_| StateError::Busy)?
            .map_err(|_| StateError::Closed)?;
        let (reply, answer) = oneshot::channel();
        room.send(Box::new(Pending {
            change,
            output: None,
            reply,
        }));
        answer.await.map_err(|_| StateError::Closed)?
    }

    /// Whether the last transaction went well; if it did not, tries a small one.
    pub(super) async fn ready(&self) -> Result<(), StateError> {
        if self.stop.is_cancelled() || self.queue.is_closed() {
            return Err(StateError::Closed);
        }
        if self.state.failing.load(Ordering::Acquire) {
            self.submit(Beat).await?;
        }
        Ok(())
    }

    /// What has been done so far.
    pub(super) fn load(&self) -> Load {
        Load {
            transactions: self.state.transactions.load(Ordering::Relaxed),
            changes: self.state.changes.load(Ordering::Relaxed),
        }
    }

    /// Finishes what waits, refuses what comes later, and closes the connection.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A change and who waits for it.
struct Pending<C: Change> {
    change: C,
    output: Option<C::Output>,
    reply: oneshot::Sender<Result<C::Output, StateError>>,
}

/// A [`Pending`] of any kind.
trait Job: Send {
    fn apply<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), StateError>>;
    fn answer(self: Box<Self>, outcome: Result<(), StateError>);
}

impl<C: Change> Job for Pending<C> {
    fn apply<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async {
            self.output = Some(self.change.apply(connection).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, outcome: Result<(), StateError>) {
        let Self { output, reply, .. } = *self;
        let answer = outcome.and_then(|()| output.ok_or(StateError::Closed));
        // Whoever asked may have gone; the change stands.
        drop(reply.send(answer));
    }
}

struct Task {
    slot: Slot,
    reconnect: Option<SqliteConnectOptions>,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    stop: CancellationToken,
    state: Arc<Progress>,
}

impl Task {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let stop = self.stop.clone();
        loop {
            let taken = tokio::select! {
                taken = self.jobs.recv_many(&mut batch, MAX_BATCH) => taken,
                () = stop.cancelled(), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    continue;
                }
            };
            if taken == 0 {
                break;
            }
            self.write(&mut batch).await;
        }
        if let Some(connection) = self.slot.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "state database did not close cleanly");
        }
    }

    async fn write(&self, batch: &mut Vec<Box<dyn Job>>) {
        let whole = self.transaction(batch).await;
        if whole.is_ok() || batch.len() == 1 {
            for job in batch.drain(..) {
                job.answer(whole.clone());
            }
            return;
        }
        for mut job in batch.drain(..) {
            let outcome = self.transaction(std::slice::from_mut(&mut job)).await;
            job.answer(outcome);
        }
    }

    async fn transaction(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), StateError> {
        let mut slot = self.slot.lock().await;
        let outcome = self.attempt(&mut slot, jobs).await;
        self.state
            .failing
            .store(outcome.is_err(), Ordering::Release);
        match &outcome {
            Ok(()) => {
                let changes = u64::try_from(jobs.len()).unwrap_or(u64::MAX);
                self.state.transactions.fetch_add(1, Ordering::Relaxed);
                self.state.changes.fetch_add(changes, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(%error, changes = jobs.len(), "state database refused a transaction");
                // A file's connection is not trusted after a failure. Memory would be gone with it.
                if self.reconnect.is_some() {
                    *slot = None;
                }
            }
        }
        outcome
    }

    async fn attempt(
        &self,
        slot: &mut Option<SqliteConnection>,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<(), StateError> {
        let connection = match (slot, &self.reconnect) {
            (Some(connection), _) => connection,
            (slot @ None, Some(options)) => slot.insert(
                SqliteConnection::connect_with(options)
                    .await
                    .map_err(writing)?,
            ),
            (None, None) => return Err(StateError::Closed),
        };
        // Immediate: the right to write is taken at once, not when it may be too late to wait for it.
        let mut transaction = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(writing)?;
        for job in jobs {
            if let Err(error) = job.apply(&mut transaction).await {
                transaction.rollback().await.map_err(writing)?;
                return Err(error);
            }
        }
        transaction.commit().await.map_err(writing)
    }
}

/// The smallest change.
struct Beat;

const BEAT: Statement = statement!("UPDATE heartbeat SET at = at + 1 WHERE id = 1");

impl Change for Beat {
    type Output = ();

    fn apply<'a>(&'a self, session: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async {
            let beat = session.execute(BEAT, &[]).await;
            beat.map(drop).map_err(writing)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{
        sql::Engine as _,
        sqlite::{Readers, Sqlite},
    };

    const SECOND: Statement = statement!("INSERT INTO heartbeat (id, at) VALUES (2, 0)");

    /// A change that breaks a rule of the schema.
    struct Broken;

    impl Change for Broken {
        type Output = ();

        fn apply<'a>(
            &'a self,
            session: &'a mut dyn Session,
        ) -> BoxFuture<'a, Result<(), StateError>> {
            Box::pin(async {
                Beat.apply(session).await?;
                let broken = session.execute(SECOND, &[]).await;
                broken.map(drop).map_err(writing)
            })
        }
    }

    /// Holds the writer inside a transaction until it is let go.
    struct Gate(Arc<tokio::sync::Semaphore>);

    impl Change for Gate {
        type Output = ();

        fn apply<'a>(&'a self, _: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
            Box::pin(async {
                // Once open it stays open: a batch that failed is tried again.
                drop(self.0.acquire().await.unwrap());
                Ok(())
            })
        }
    }

    async fn beats(sqlite: &Sqlite) -> i64 {
        let mut reader = sqlite.reader().await.unwrap();
        sqlx::query_scalar("SELECT at FROM heartbeat")
            .fetch_one(reader.connection())
            .await
            .unwrap()
    }

    /// Fills the queue behind a held transaction, then lets everything go.
    async fn at_once(sqlite: &Sqlite, broken: usize, good: usize) -> (usize, usize) {
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let all = async {
            let good =
                futures_util::future::join_all((0..good).map(|_| sqlite.writer.submit(Beat)));
            let broken =
                futures_util::future::join_all((0..broken).map(|_| sqlite.writer.submit(Broken)));
            futures_util::future::join(broken, good).await
        };
        let release = async {
            while sqlite.writer.queue.capacity() + broken + good > QUEUE {
                tokio::task::yield_now().await;
            }
            gate.add_permits(1);
        };
        let held = sqlite.writer.submit(Gate(Arc::clone(&gate)));
        let (held, (broken, good), ()) = futures_util::future::join3(held, all, release).await;
        held.unwrap();
        let failed = broken.iter().filter(|outcome| outcome.is_err()).count();
        let done = good.iter().filter(|outcome| outcome.is_ok()).count();
        (failed, done)
    }

    #[tokio::test]
    async fn changes_that_wait_share_a_transaction() {
        let sqlite = Sqlite::memory().await.unwrap();
        assert_eq!(at_once(&sqlite, 0, 256).await, (0, 256));
        let load = sqlite.load();
        assert_eq!(load.changes, 257);
        assert!(load.transactions <= 1 + 256 / 64 + 1, "{load:?}");
        assert_eq!(beats(&sqlite).await, 256);
    }

    #[tokio::test]
    async fn a_broken_change_fails_alone_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = Sqlite::file(&folder.path().join("state.db"), 1).await;
        for sqlite in [Sqlite::memory().await.unwrap(), file.unwrap()] {
            assert_eq!(at_once(&sqlite, 1, 10).await, (1, 10));
            assert_eq!(
                beats(&sqlite).await,
                10,
                "what the broken one did first was undone"
            );
            sqlite.close().await;
        }
    }

    #[tokio::test]
    async fn readiness_returns_with_the_first_success() {
        let sqlite = Sqlite::memory().await.unwrap();
        assert!(sqlite.writer.submit(Broken).await.is_err());
        assert!(sqlite.writer.state.failing.load(Ordering::Acquire));
        sqlite.ready().await.unwrap();
        assert!(!sqlite.writer.state.failing.load(Ordering::Acquire));
        assert_eq!(beats(&sqlite).await, 1, "readiness was proved by writing");
    }

    #[tokio::test]
    async fn closing_finishes_what_waits_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let sqlite = Arc::new(Sqlite::file(&path, 1).await.unwrap());
        let submits = futures_util::future::join_all((0..100).map(|_| sqlite.writer.submit(Beat)));
        let (done, ()) = futures_util::future::join(submits, sqlite.close()).await;
        let done = done.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(matches!(
            sqlite.writer.submit(Beat).await,
            Err(StateError::Closed)
        ));
        assert!(matches!(sqlite.ready().await, Err(StateError::Closed)));
        assert!(matches!(sqlite.readers, Readers::Pool(_)));
        let again = Sqlite::file(&path, 1).await.unwrap();
        assert_eq!(
            usize::try_from(beats(&again).await).unwrap(),
            done,
            "accepted means durable"
        );
    }
}
