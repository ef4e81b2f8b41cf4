//! The one writer: many changes, one transaction, one sync of the disk.
//!
//! It is a thread, which holds the connection and waits for the disk, so that a statement costs a call and not a message.
//! Changes come in through a bounded queue. The writer takes what waits, up to [`MAX_BATCH`](super::queue::MAX_BATCH), applies it in order
//! within one transaction and answers after the commit, so that under load many callers share the cost of one commit.
//! If a batch fails, each of its changes is tried in a transaction of its own, so that nobody pays for another's fault. Where
//! it could not even begin, because another process writes or the file cannot be opened, that is nobody's fault, and told to
//! all of them at once.

use std::{
    fmt,
    future::ready,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use rusqlite::Connection;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Mutex, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        DatabaseError, Load, StateError,
        sql::{Change, Session, Statement, statement, writing},
    },
    connection,
    queue::Queue,
};

/// How long changes wait for others to share a transaction with, where there have been others: as long as a few of the syncs
/// that they then share.
const GATHER: Duration = Duration::from_millis(5);

/// The writer's connection; `None` while it is being replaced, and for good once it is closed. Fair to those who wait,
/// since a database in memory is read through it too.
pub(super) type Slot = Arc<Mutex<Option<Connection>>>;

/// The handle of the writer's thread.
pub(super) struct Writer {
    queue: Arc<Queue>,
    state: Arc<Progress>,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Progress {
    failing: AtomicBool,
    transactions: AtomicU64,
    changes: AtomicU64,
}

impl Writer {
    /// Starts the thread. With `file` it replaces a connection that broke.
    pub(super) fn start(slot: Slot, file: Option<PathBuf>) -> Result<Self, StateError> {
        let queue = Arc::new(Queue::new());
        let state = Arc::new(Progress::default());
        let ended = CancellationToken::new();
        let work = Loop {
            slot,
            file,
            queue: Arc::clone(&queue),
            state: Arc::clone(&state),
            runtime: Handle::try_current().ok().filter(runs_by_itself),
        };
        let end = Gone(Arc::clone(&queue), ended.clone());
        thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || {
                let _end = end;
                work.run();
            })
            .map_err(|source| StateError::Open {
                path: "state-writer".to_owned(),
                source: Arc::new(source),
            })?;
        Ok(Self {
            queue,
            state,
            ended,
        })
    }

    /// Has a change made, and waits until it is durable.
    pub(super) async fn submit<C: Change>(&self, change: C) -> Result<C::Output, StateError> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            change,
            output: None,
            reply,
        };
        self.queue.push(Box::new(pending)).await?;
        answer.await.map_err(|_| StateError::Closed)?
    }

    /// Whether a change could be made now: nobody else holds the file, and the last transaction went well. If it did not,
    /// tries a small one.
    pub(super) async fn ready(&self) -> Result<(), StateError> {
        if self.queue.is_closed() {
            return Err(StateError::Closed);
        }
        if self.state.failing.load(Ordering::Acquire) {
            self.submit(Beat).await
        } else {
            self.submit(Turn).await
        }
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
        self.queue.close();
        self.ended.cancelled().await;
    }
}

impl Drop for Writer {
    /// What was accepted is still done.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// However the thread ends, nobody waits for ever.
struct Gone(Arc<Queue>, CancellationToken);

impl Drop for Gone {
    fn drop(&mut self) {
        let Self(queue, ended) = self;
        queue.end();
        ended.cancel();
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
pub(super) trait Job: Send {
    fn apply(&mut self, connection: &mut Connection) -> Result<(), StateError>;
    fn writes(&self) -> bool;
    fn answer(self: Box<Self>, outcome: Result<(), StateError>);
}

impl<C: Change> Job for Pending<C> {
    fn apply(&mut self, connection: &mut Connection) -> Result<(), StateError> {
        let applied = || self.change.apply(connection).now_or_never();
        // Here the session answers at once, so a change that waits would wait for ever. One that panics has done nothing
        // that lasts: its transaction is undone.
        let applied = catch_unwind(AssertUnwindSafe(applied)).ok().flatten();
        self.output = Some(applied.unwrap_or_else(|| Err(writing(DatabaseError::BrokeOff)))?);
        Ok(())
    }

    fn writes(&self) -> bool {
        self.change.writes()
    }

    fn answer(self: Box<Self>, outcome: Result<(), StateError>) {
        let Self { output, reply, .. } = *self;
        let answer = outcome.and_then(|()| output.ok_or(StateError::Closed));
        // Whoever asked may have gone; the change stands.
        drop(reply.send(answer));
    }
}

struct Loop {
    slot: Slot,
    file: Option<PathBuf>,
    queue: Arc<Queue>,
    state: Arc<Progress>,
    /// Of those who wait, if they can rely on it.
    runtime: Option<Handle>,
}

/// Whether a runtime has threads of its own. One without goes on only while somebody waits on it, and who waits for an
/// answer may be on another.
fn runs_by_itself(runtime: &Handle) -> bool {
    runtime.runtime_flavor() == RuntimeFlavor::MultiThread
}

/// Changes that came to their end together. They are answered when this is dropped, wherever that happens.
struct Ended {
    jobs: Vec<Box<dyn Job>>,
    outcome: Result<(), StateError>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        for job in self.jobs.drain(..) {
            job.answer(self.outcome.clone());
        }
    }
}

impl Loop {
    fn run(self) {
        let mut batch = Vec::new();
        let mut company = 0;
        loop {
            let in_vain = self.queue.take(company, GATHER, &mut batch);
            let taken = batch.len();
            if taken == 0 {
                break;
            }
            let meanwhile = self.write(&mut batch);
            // Around are those who were answered now and those who came meanwhile. If nobody came although somebody was
            // waited for, the next go at once; and whoever is alone always does.
            company = if in_vain { 0 } else { taken + meanwhile };
        }
        if let Some(connection) = self.slot.blocking_lock().take()
            && let Err((_, error)) = connection.close()
        {
            tracing::warn!(%error, "state database did not close cleanly");
        }
    }

    /// Says how many came meanwhile. Counted before anybody is answered: who comes back at once is not another.
    fn write(&self, batch: &mut Vec<Box<dyn Job>>) -> usize {
        let whole = self.transaction(batch);
        let meanwhile = self.queue.len();
        if !matches!(whole, Err(Failure::Undone(_))) || batch.len() == 1 {
            self.answer(Ended {
                jobs: mem::take(batch),
                outcome: whole.map_err(Failure::into_inner),
            });
            return meanwhile;
        }
        let mut away = None;
        for mut job in batch.drain(..) {
            if let Some(error) = &away {
                job.answer(Err(StateError::clone(error)));
                continue;
            }
            let outcome = self.transaction(std::slice::from_mut(&mut job));
            if let Err(Failure::NotBegun(error)) = &outcome {
                away = Some(error.clone());
            }
            job.answer(outcome.map_err(Failure::into_inner));
        }
        meanwhile
    }

    /// Answers from within the runtime, where there are many: each who is woken from here could take the core away from this
    /// thread, and give it back once it has looked around.
    fn answer(&self, ended: Ended) {
        match &self.runtime {
            Some(runtime) if ended.jobs.len() > 1 => drop(runtime.spawn(async { drop(ended) })),
            _ => drop(ended),
        }
    }

    fn transaction(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let mut slot = self.slot.blocking_lock();
        let outcome = self.attempt(&mut slot, jobs);
        match &outcome {
            Ok(()) => {
                // That nothing could be written does not show that something can.
                if jobs.iter().any(|job| job.writes()) {
                    self.state.failing.store(false, Ordering::Release);
                }
                let changes = u64::try_from(jobs.len()).unwrap_or(u64::MAX);
                self.state.transactions.fetch_add(1, Ordering::Relaxed);
                self.state.changes.fetch_add(changes, Ordering::Relaxed);
            }
            Err(Failure::NotBegun(error) | Failure::Undone(error)) => {
                self.state.failing.store(true, Ordering::Release);
                tracing::error!(%error, changes = jobs.len(), "state database refused a transaction");
                // A file's connection is not trusted after a failure. Memory would be gone with it.
                if self.file.is_some() {
                    *slot = None;
                }
            }
        }
        outcome
    }

    fn attempt(
        &self,
        slot: &mut Option<Connection>,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<(), Failure> {
        let connection = match (slot, &self.file) {
            (Some(connection), _) => connection,
            (slot @ None, Some(path)) => slot.insert(connection::writing(path).map_err(begun)?),
            (None, None) => return Err(Failure::NotBegun(StateError::Closed)),
        };
        // Immediate: the right to write is taken at once, not when it may be too late to wait for it.
        say(connection, "BEGIN IMMEDIATE").map_err(begun)?;
        let outcome = jobs
            .iter_mut()
            .try_for_each(|job| job.apply(connection))
            .and_then(|()| say(connection, "COMMIT").map_err(writing));
        // Some failures have undone it already.
        if outcome.is_err() && !connection.is_autocommit() {
            say(connection, "ROLLBACK").map_err(|error| Failure::Undone(writing(error)))?;
        }
        outcome.map_err(Failure::Undone)
    }
}

/// Why a transaction came to nothing.
enum Failure {
    /// It did not begin: none of its changes was tried.
    NotBegun(StateError),
    /// One of its changes failed, or to make them durable.
    Undone(StateError),
}

impl Failure {
    fn into_inner(self) -> StateError {
        match self {
            Self::NotBegun(error) | Self::Undone(error) => error,
        }
    }
}

/// Why a transaction did not begin. That another process writes for too long is no failure of the file.
fn begun(source: rusqlite::Error) -> Failure {
    Failure::NotBegun(if connection::is_busy(&source) {
        StateError::Busy
    } else {
        writing(source)
    })
}

fn say(connection: &Connection, words: &str) -> rusqlite::Result<()> {
    let said = connection
        .prepare_cached(words)
        .and_then(|mut words| words.execute([]));
    said.map(drop)
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

/// A change of nothing: it takes the right to write, and no sync of the disk.
struct Turn;

impl Change for Turn {
    type Output = ();

    fn apply<'a>(&'a self, _: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(ready(Ok(())))
    }

    fn writes(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::state::{
        sql::{Engine as _, Reader as _},
        sqlite::{Readers, Sqlite},
    };

    const BEATS: Statement = statement!("SELECT at FROM heartbeat");

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
    struct Gate {
        open: Arc<tokio::sync::RwLock<()>>,
        reached: Arc<tokio::sync::Notify>,
    }

    impl Change for Gate {
        type Output = ();

        fn apply<'a>(&'a self, _: &'a mut dyn Session) -> BoxFuture<'a, Result<(), StateError>> {
            Box::pin(async {
                self.reached.notify_one();
                // Once open it stays open: a batch that failed is tried again.
                drop(self.open.blocking_read());
                Ok(())
            })
        }
    }

    async fn beats(sqlite: &Sqlite) -> i64 {
        let mut reader = sqlite.reader().await.unwrap();
        let rows = reader.session().rows(BEATS, &[]).await.unwrap();
        rows[0].column("at").unwrap()
    }

    /// Fills the queue behind a held transaction, then lets everything go.
    async fn at_once(sqlite: &Sqlite, broken: usize, good: usize) -> (usize, usize) {
        let gate = Arc::new(tokio::sync::RwLock::new(()));
        let closed = Arc::clone(&gate).write_owned().await;
        let reached = Arc::new(tokio::sync::Notify::new());
        let all = async {
            // Or some of them would be in the transaction that is held.
            reached.notified().await;
            let good =
                futures_util::future::join_all((0..good).map(|_| sqlite.writer.submit(Beat)));
            let broken =
                futures_util::future::join_all((0..broken).map(|_| sqlite.writer.submit(Broken)));
            futures_util::future::join(broken, good).await
        };
        let release = async move {
            while sqlite.writer.queue.len() < broken + good {
                tokio::task::yield_now().await;
            }
            drop(closed);
        };
        let held = sqlite.writer.submit(Gate {
            open: gate,
            reached: Arc::clone(&reached),
        });
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

    /// The runtime in which a database is opened, and another that waits for its answers.
    #[test]
    fn who_waits_is_answered_whatever_becomes_of_the_first_runtime() {
        use tokio::runtime::Builder;

        for threads in [Builder::new_multi_thread, Builder::new_current_thread] {
            let runtime = || threads().enable_all().build().unwrap();
            let first = runtime();
            let sqlite = first.block_on(Sqlite::memory()).unwrap();
            assert_eq!(first.block_on(at_once(&sqlite, 0, 8)), (0, 8));
            assert_eq!(
                runtime().block_on(at_once(&sqlite, 0, 8)),
                (0, 8),
                "it stands still"
            );
            drop(first);
            assert_eq!(
                runtime().block_on(at_once(&sqlite, 0, 8)),
                (0, 8),
                "it is gone"
            );
        }
    }

    #[tokio::test]
    async fn a_look_does_not_hide_that_the_last_change_failed() {
        let sqlite = Sqlite::memory().await.unwrap();
        sqlite.writer.submit(Broken).await.unwrap_err();
        sqlite.writer.submit(Turn).await.unwrap();
        assert!(sqlite.writer.state.failing.load(Ordering::Acquire));
        sqlite.writer.ready().await.unwrap();
        assert!(!sqlite.writer.state.failing.load(Ordering::Acquire));
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
    async fn a_file_that_another_process_holds_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let sqlite = Sqlite::file(&path, 1).await.unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(matches!(sqlite.ready().await, Err(StateError::Busy)));
        other.execute_batch("ROLLBACK").unwrap();
        let back = async {
            while sqlite.ready().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), back).await.unwrap();
        let before = beats(&sqlite).await;
        sqlite.ready().await.unwrap();
        assert_eq!(beats(&sqlite).await, before, "a look writes nothing");
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

    /// A change that has a fault.
    struct Faulty {
        waits: bool,
    }

    impl Change for Faulty {
        type Output = ();

        fn apply<'a>(
            &'a self,
            session: &'a mut dyn Session,
        ) -> BoxFuture<'a, Result<(), StateError>> {
            Box::pin(async {
                Beat.apply(session).await?;
                if self.waits {
                    std::future::pending::<()>().await;
                }
                panic!("a fault of a test")
            })
        }
    }

    #[tokio::test]
    async fn a_fault_in_a_change_is_told_and_harms_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = Sqlite::file(&folder.path().join("state.db"), 1).await;
        for sqlite in [Sqlite::memory().await.unwrap(), file.unwrap()] {
            for waits in [true, false] {
                let faulty = sqlite.writer.submit(Faulty { waits });
                let (faulty, good) =
                    futures_util::future::join(faulty, sqlite.writer.submit(Beat)).await;
                let faulty = faulty.unwrap_err();
                let is_told = matches!(&faulty, StateError::Write(why) if matches!(**why, DatabaseError::BrokeOff));
                assert!(is_told, "{faulty:?}");
                good.unwrap();
            }
            assert_eq!(beats(&sqlite).await, 2);
            sqlite.close().await;
        }
    }

    /// A change that tells how it ended, and lets the database go then that another process holds.
    struct Told {
        other: Arc<std::sync::Mutex<Connection>>,
        applied: Arc<AtomicU64>,
        answers: std::sync::mpsc::Sender<Result<(), StateError>>,
    }

    impl Job for Told {
        fn apply(&mut self, _: &mut Connection) -> Result<(), StateError> {
            self.applied.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn writes(&self) -> bool {
            true
        }

        fn answer(self: Box<Self>, outcome: Result<(), StateError>) {
            let other = self.other.lock().unwrap();
            if !other.is_autocommit() {
                other.execute_batch("ROLLBACK").unwrap();
            }
            self.answers.send(outcome).unwrap();
        }
    }

    #[test]
    fn what_cannot_begin_is_told_to_all_and_tried_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let ours = connection::file(&path).unwrap();
        ours.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let other = Arc::new(std::sync::Mutex::new(other));
        let work = Loop {
            slot: Arc::new(Mutex::new(Some(ours))),
            file: None,
            queue: Arc::new(Queue::new()),
            state: Arc::default(),
            runtime: None,
        };
        let (answers, told) = std::sync::mpsc::channel();
        let applied = Arc::new(AtomicU64::new(0));
        let job = || -> Box<dyn Job> {
            Box::new(Told {
                other: Arc::clone(&other),
                applied: Arc::clone(&applied),
                answers: answers.clone(),
            })
        };
        let mut batch: Vec<_> = (0..3).map(|_| job()).collect();
        work.write(&mut batch);
        let told: Vec<_> = told.try_iter().collect();
        let busy = |outcome: &Result<(), StateError>| matches!(outcome, Err(StateError::Busy));
        assert!(told.len() == 3 && told.iter().all(busy), "{told:?}");
        assert_eq!(applied.load(Ordering::Relaxed), 0);
        // The next ones find it free.
        let mut batch = vec![job(), job()];
        work.write(&mut batch);
        assert_eq!(applied.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn whoever_is_forgotten_leaves_the_file_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let sqlite = Sqlite::file(&path, 1).await.unwrap();
        sqlite.writer.submit(Beat).await.unwrap();
        let ended = sqlite.writer.ended.clone();
        drop(sqlite);
        ended.cancelled().await;
        assert!(
            !folder.path().join("state.db-wal").exists(),
            "the log was folded in"
        );
    }
}
