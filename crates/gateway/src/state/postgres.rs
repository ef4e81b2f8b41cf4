//! The state in PostgreSQL: a bounded pool, and one short transaction or one statement for each change.
//!
//! Correct under several replicas at the isolation level `READ COMMITTED`, which is set and not left to the database:
//! each step is one conditional `UPDATE`, which waits for a rival's row and then looks at its condition again; what is
//! read for a change is read `FOR UPDATE`; a key is unique by its index, and who was second waits for the first and finds
//! it, or begins again; what is counted is counted in turns. Serialisation failures and deadlocks are tried again.
//!
//! Source: postgresql.org, "Transaction Isolation", "Explicit Locking" and "PostgreSQL Error Codes".

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fastmcp_guard::clock::Clock;
use futures_util::future::Either;
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{error::Elapsed, timeout},
};

use super::{
    DatabaseError, Load, StateError,
    ledger::ATTEMPTS,
    sql::{Answer, Change, Engine, Fields, Reader, Session, Statement, Value, reading, writing},
};

pub(super) mod address;
mod schema;
#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    reason = "a test tells its story from beginning to end"
)]
mod tests;

use address::Address;
pub(super) use schema::inspect;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the server works on a statement at most, waits for a lock at most.
const STATEMENT: Duration = Duration::from_secs(5);
/// How long an answer is waited for: the server gives up before, so what takes longer was lost on its way.
const ANSWER: Duration = Duration::from_secs(8);
/// How long a connection may lie idle and still be trusted without a question.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long that question waits: one that is gone gives way to others in the time that [`CONNECT`] leaves.
const PING: Duration = Duration::from_secs(1);
/// How long others wait for the one that looks whether the server is back.
const GRACE: Duration = Duration::from_millis(250);
/// How long connections may take to be given back at the end.
const CLOSE: Duration = Duration::from_secs(5);

/// A PostgreSQL database.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: PgPool,
    /// As many as the pool has connections, so that whoever holds one only waits for the server.
    free: Semaphore,
    patience: Duration,
    health: Health,
}

/// What is known of the server.
#[derive(Debug, Default)]
struct Health {
    /// The last that was heard of it was nothing.
    is_away: AtomicBool,
    /// Held by whoever looks whether it is back.
    looking: Mutex<()>,
    /// A change was refused, so that reading proves nothing.
    is_doubtful: AtomicBool,
    transactions: AtomicU64,
    changes: AtomicU64,
}

impl Health {
    fn lost(&self, error: &sqlx::Error) {
        if !self.is_away.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "state database cannot be reached");
        }
    }

    fn found(&self) {
        if self.is_away.swap(false, Ordering::AcqRel) {
            tracing::info!("state database is reached again");
        }
    }
}

impl Postgres {
    /// Connects, brings the schema up to date, and makes a pool of at most `connections`.
    pub(super) async fn open(
        address: &Address,
        connections: u32,
        patience: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateError> {
        schema::prepare(address, &*clock).await?;
        let connections = connections.clamp(1, 1_000);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED {
                        let answer = timeout(PING, connection.ping()).await;
                        answer
                            .unwrap_or_else(|_| Err(std::io::Error::other("no answer").into()))?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(bounded(address, STATEMENT));
        Ok(Self {
            pool,
            free: Semaphore::new(usize::try_from(connections).unwrap_or(usize::MAX)),
            patience,
            health: Health::default(),
        })
    }

    /// Takes a connection. While the server is away one caller at a time looks whether it is back; the others are told
    /// at once.
    async fn hold(&self) -> Result<Held<'_>, StateError> {
        let free = timeout(self.patience, self.free.acquire())
            .await
            .map_err(|_| StateError::Busy)?
            .map_err(|_| StateError::Closed)?;
        let away = || StateError::Unreachable(Arc::new(sqlx::Error::PoolTimedOut));
        let _looking = if self.health.is_away.load(Ordering::Acquire) {
            let looking = timeout(GRACE, self.health.looking.lock()).await;
            Some(looking.map_err(|_| away())?)
        } else {
            None
        };
        match self.pool.acquire().await {
            Ok(connection) => {
                self.health.found();
                Ok(Held {
                    connection: Some(connection),
                    is_spoilt: false,
                    in_transaction: false,
                    health: &self.health,
                    _free: free,
                })
            }
            Err(sqlx::Error::PoolClosed) => Err(StateError::Closed),
            Err(error) => {
                self.health.lost(&error);
                Err(StateError::Unreachable(Arc::new(error)))
            }
        }
    }

    async fn look(&self) -> Result<(), StateError> {
        let mut held = self.hold().await?;
        if held.ask::<bool>(READ_ONLY).await.map_err(reading)? {
            return Err(StateError::ReadOnly);
        }
        if self.health.is_doubtful.load(Ordering::Acquire) {
            held.say(BEAT).await.map_err(writing)?;
            self.health.is_doubtful.store(false, Ordering::Release);
        }
        Ok(())
    }
}

/// Whether nothing can be changed.
const READ_ONLY: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";
/// The smallest change.
const BEAT: &str = "UPDATE heartbeat SET at = at + 1 WHERE id = 1";

impl Engine for Postgres {
    type Reader<'a> = Held<'a>;

    async fn change<C: Change>(&self, change: C) -> Result<C::Output, StateError> {
        for _ in 0..ATTEMPTS {
            let mut held = self.hold().await?;
            let outcome = held.transact(&change).await;
            match &outcome {
                Ok(_) => {
                    self.health.transactions.fetch_add(1, Ordering::Relaxed);
                    self.health.changes.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if is_rivalry(error) => continue,
                Err(StateError::Write(_) | StateError::ReadOnly) => {
                    self.health.is_doubtful.store(true, Ordering::Release);
                }
                Err(_) => {}
            }
            return outcome;
        }
        Err(StateError::Contended)
    }

    async fn reader(&self) -> Result<Held<'_>, StateError> {
        self.hold().await
    }

    async fn ready(&self) -> Result<(), StateError> {
        let looked = timeout(CONNECT, self.look()).await;
        looked.unwrap_or(Err(StateError::Busy))
    }

    fn load(&self) -> Load {
        Load {
            transactions: self.health.transactions.load(Ordering::Relaxed),
            changes: self.health.changes.load(Ordering::Relaxed),
        }
    }

    async fn close(&self) {
        self.free.close();
        if timeout(CLOSE, self.pool.close()).await.is_err() {
            tracing::warn!("connections to the state database were not given back in time");
        }
    }
}

/// A connection that is in use.
pub(super) struct Held<'a> {
    connection: Option<PoolConnection<sqlx::Postgres>>,
    /// An answer is open, or will never come: nobody may use the connection any more.
    is_spoilt: bool,
    in_transaction: bool,
    health: &'a Health,
    _free: SemaphorePermit<'a>,
}

impl Held<'_> {
    fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        // Until its answer is whole: whoever is dropped meanwhile leaves a connection that answers the wrong question.
        self.is_spoilt = true;
        self.connection
            .as_deref_mut()
            .ok_or(sqlx::Error::PoolClosed)
    }

    fn heard<T>(
        &mut self,
        answer: Result<Result<T, sqlx::Error>, Elapsed>,
    ) -> Result<T, sqlx::Error> {
        let answer = answer.unwrap_or_else(|_| Err(std::io::Error::other("no answer").into()));
        match &answer {
            Err(error) if is_outage(error) => self.health.lost(error),
            // It may have become a standby; another connection may lead to the new primary.
            Err(error) if is_read_only(error) => {}
            _ => self.is_spoilt = false,
        }
        answer
    }

    /// Says something that has no parameters.
    async fn say(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        let connection = self.connection()?;
        let answer = timeout(ANSWER, sqlx::raw_sql(sql).execute(connection)).await;
        self.heard(answer).map(drop)
    }

    /// Asks for one value.
    async fn ask<T>(&mut self, sql: &'static str) -> Result<T, sqlx::Error>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let connection = self.connection()?;
        let asked = sqlx::query_scalar(sql).fetch_one(connection);
        let answer = timeout(ANSWER, asked).await;
        self.heard(answer)
    }

    async fn transact<C: Change>(&mut self, change: &C) -> Result<C::Output, StateError> {
        if change.is_one_statement() {
            return change.apply(self).await;
        }
        let began = self.say("BEGIN ISOLATION LEVEL READ COMMITTED").await;
        began.map_err(writing)?;
        self.in_transaction = true;
        let outcome = change.apply(self).await;
        let end = if outcome.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        if !self.is_spoilt {
            let ended = self.say(end).await;
            self.in_transaction = ended.is_err();
            if outcome.is_ok() {
                ended.map_err(writing)?;
            }
        }
        outcome
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && (self.is_spoilt || self.in_transaction)
        {
            // Closed at once, without a word: the server undoes what was not committed.
            drop(connection.detach());
        }
    }
}

impl Reader for Held<'_> {
    fn session(&mut self) -> &mut dyn Session {
        self
    }
}

impl Session for Held<'_> {
    fn rows<'a>(
        &'a mut self,
        statement: Statement,
        values: &'a [Value<'a>],
    ) -> Answer<'a, Vec<Fields>> {
        Either::Right(Box::pin(async move {
            let query = bound(statement, values);
            let connection = self.connection()?;
            let answer = timeout(ANSWER, query.fetch_all(connection)).await;
            let rows = self.heard(answer)?;
            Ok(rows.into_iter().map(Fields::Postgres).collect())
        }))
    }

    fn execute<'a>(&'a mut self, statement: Statement, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        Either::Right(Box::pin(async move {
            let query = bound(statement, values);
            let connection = self.connection()?;
            let answer = timeout(ANSWER, query.execute(connection)).await;
            Ok(self.heard(answer)?.rows_affected())
        }))
    }

    fn turn<'a>(&'a mut self, of: &'a str) -> Answer<'a, ()> {
        Either::Right(Box::pin(async move {
            self.execute(TURN, &[of.into()]).await?;
            Ok(())
        }))
    }
}

/// A statement with its values.
fn bound<'a>(
    statement: Statement,
    values: &'a [Value<'a>],
) -> sqlx::query::Query<'a, sqlx::Postgres, PgArguments> {
    let query = sqlx::query(statement.postgres);
    values.iter().fold(query, |query, value| match *value {
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Number(number) => query.bind(number),
    })
}

/// Two names that come to one number wait for each other, which harms nothing.
const TURN: Statement = Statement {
    sqlite: "",
    postgres: "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
};

/// The address with bounds for what the server does on our behalf, unless it names its own.
fn bounded(address: &Address, statement: Duration) -> PgConnectOptions {
    let given = address.options().get_options().unwrap_or_default();
    let bounds = [
        ("statement_timeout", statement),
        ("lock_timeout", statement),
        ("idle_in_transaction_session_timeout", statement * 2),
    ];
    let missing = bounds
        .into_iter()
        .filter(|(name, _)| !given.contains(name))
        .map(|(name, bound)| (name, bound.as_millis()));
    let mut options = address.options().clone().options(missing);
    if options.get_application_name().is_none() {
        options = options.application_name("fastmcp");
    }
    options.disable_statement_logging()
}

/// Whether the server, or the way to it, is the matter.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        // 08: connection exceptions. 57P: it shuts down, crashes or starts. 53300: it has no connection to give.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P") || code == "53300"
        }),
        _ => false,
    }
}

fn is_read_only(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("25006")
}

/// Whether the change lost against a rival's and can simply be made again.
fn is_rivalry(error: &StateError) -> bool {
    let StateError::Write(source) = error else {
        return false;
    };
    let DatabaseError::Postgres(source) = &**source else {
        return false;
    };
    let Some(error) = source.as_database_error() else {
        return false;
    };
    match error.code().as_deref() {
        // serialization_failure, deadlock_detected
        Some("40001" | "40P01") => true,
        // A rival gave the key to its operation, or registered the manifest, a moment before.
        Some("23505") => matches!(
            error.constraint(),
            Some("idempotency_keys_pkey" | "manifests_pkey")
        ),
        _ => false,
    }
}
