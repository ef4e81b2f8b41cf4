//! Questions, on threads that may wait for the disk.

use std::{
    fmt,
    future::ready,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::Either;
use rusqlite::Connection;
use tokio::{
    sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    super::{
        DatabaseError, StateError,
        sql::{self, Answer, Fields, Session, Statement, Value},
    },
    connection, row,
    writer::Slot,
};

/// How long a question waits for a free connection.
const WAIT: Duration = Duration::from_secs(5);

/// Where questions are answered.
#[derive(Debug)]
pub(super) enum Readers {
    /// On connections of their own, which see the last commit.
    Pool(Arc<Pool>),
    /// On the writer's connection, between its transactions: a database in memory has no other.
    Shared(Slot),
}

/// The connections for questions to a file. They are made when they are needed.
pub(super) struct Pool {
    path: PathBuf,
    size: u32,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// At most `size` connections to the file at `path`.
    pub(super) fn pool(path: PathBuf, size: u32) -> Self {
        Self::Pool(Arc::new(Pool {
            path,
            size,
            places: Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(usize::MAX))),
            idle: Mutex::default(),
        }))
    }

    /// Takes a connection.
    pub(super) async fn take(&self) -> Result<Reader, StateError> {
        let held = match self {
            Self::Pool(pool) => {
                let place = timeout(WAIT, Arc::clone(&pool.places).acquire_owned()).await;
                Held::Pooled(Box::new(Pooled {
                    connection: None,
                    pool: Arc::clone(pool),
                    _place: place
                        .map_err(|_| StateError::Busy)?
                        .map_err(|_| StateError::Closed)?,
                }))
            }
            Self::Shared(slot) => {
                let slot = Arc::clone(slot).lock_owned().await;
                if slot.is_none() {
                    return Err(StateError::Closed);
                }
                Held::Shared(slot)
            }
        };
        Ok(Reader(Some(held)))
    }

    /// Waits for the questions that are being answered, and refuses the rest.
    pub(super) async fn close(&self) {
        if let Self::Pool(pool) = self {
            let all = pool.places.acquire_many(pool.size).await;
            pool.places.close();
            drop(all);
            pool.idle().clear();
        }
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A connection for questions, one after the other; none while another thread asks on it.
pub(in crate::state) struct Reader(Option<Held>);

enum Held {
    Pooled(Box<Pooled>),
    Shared(OwnedMutexGuard<Option<Connection>>),
}

/// A place in the pool, and the connection that it has.
struct Pooled {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Pooled {
    /// The connection that was taken before, or one that is idle, or a new one.
    fn connection(&mut self) -> rusqlite::Result<&Connection> {
        let connection = match self.connection.take().or_else(|| self.pool.idle().pop()) {
            Some(connection) => connection,
            None => connection::reading(&self.pool.path)?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.idle().push(connection);
        }
    }
}

impl Held {
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        match self {
            Self::Pooled(pooled) => {
                let answer = pooled.connection().and_then(question);
                if answer.is_err() {
                    // Not trusted after a failure.
                    pooled.connection = None;
                }
                Ok(answer?)
            }
            Self::Shared(slot) => {
                let connection = slot.as_ref().ok_or(DatabaseError::BrokeOff)?;
                Ok(question(connection)?)
            }
        }
    }
}

impl Reader {
    /// Asks on a thread that may wait. If nobody waits for the answer any more, the connection is given back from there.
    pub(in crate::state) async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let mut held = self.0.take().ok_or(DatabaseError::BrokeOff)?;
        let asked = spawn_blocking(move || {
            let answer = held.ask(question);
            (held, answer)
        });
        let (held, answer) = asked.await.map_err(|_| DatabaseError::BrokeOff)?;
        self.0 = Some(held);
        answer
    }
}

impl sql::Reader for Reader {
    fn session(&mut self) -> &mut dyn Session {
        self
    }
}

impl Session for Reader {
    fn rows<'a>(
        &'a mut self,
        statement: Statement,
        values: &'a [Value<'a>],
    ) -> Answer<'a, Vec<Fields>> {
        let values = row::kept(values);
        let asked = self.ask(move |connection| row::rows(connection, statement, &values));
        Either::Right(Box::pin(asked))
    }

    fn execute<'a>(&'a mut self, statement: Statement, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        let values = row::kept(values);
        let asked = self.ask(move |connection| row::execute(connection, statement, &values));
        Either::Right(Box::pin(asked))
    }

    fn turn<'a>(&'a mut self, _: &'a str) -> Answer<'a, ()> {
        Either::Left(ready(Ok(())))
    }
}
