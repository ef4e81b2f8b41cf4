//! The state in SQL, whatever database it is.
//!
//! What is done stands here once: the statements, their order within a change, and what their rows mean. A database
//! brings an [`Engine`]: where its connections come from, and how a change becomes one transaction. [`Store`] makes a
//! whole [`Backend`] of an engine, so that the two databases cannot come to mean different things.
//!
//! Time is an argument of every statement and comes from the ledger's clock, never from the database: the machine, the
//! statement and a test then decide by the same moment. Replicas whose clocks differ stay correct, since no right to act
//! rests on time: a claim is taken by one conditional `UPDATE` and checked by its fence, and a key leaves an operation
//! only together with the end of that operation. A clock that is wrong ends leases and tickets too early or too late.

use std::{
    fmt,
    future::{Future, Ready},
    sync::Arc,
};

use fastmcp_guard::clock::Timestamp;
use futures_util::future::{BoxFuture, Either};
use sqlx::{
    Row as _, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::PgRow,
};

use super::{
    Backend, DatabaseError, Load, SealedWith, StateError,
    postgres::is_outage,
    sqlite::{Column, Row},
};

mod act;
mod label;
mod manifest;
pub(super) mod operation;
mod row;
mod sealed;

/// A statement in the words of each database. Parameters are `$1`, `$2`, ..., and `?1`, `?2`, ... to SQLite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

/// Makes a [`Statement`] of parts: text that both understand, an index in brackets that SQLite is told to use (it plans
/// without statistics), and words in parentheses that each says in its own way.
macro_rules! statement {
    ($($part:tt)+) => {
        $crate::state::sql::Statement {
            sqlite: {
                const WORDS: &str = concat!($($crate::state::sql::sqlite_word!($part)),+);
                const NUMBERED: [u8; WORDS.len()] = match WORDS.as_bytes().first_chunk() {
                    Some(words) => $crate::state::sql::numbered(*words),
                    None => [0; WORDS.len()],
                };
                match str::from_utf8(&NUMBERED) {
                    Ok(words) => words,
                    Err(_) => WORDS,
                }
            },
            postgres: concat!($($crate::state::sql::postgres_word!($part)),+),
        }
    };
}

/// The words for SQLite, to which `$2` is a name that it looks up, and `?2` the second parameter.
pub(super) const fn numbered<const N: usize>(mut words: [u8; N]) -> [u8; N] {
    let mut rest: &mut [u8] = &mut words;
    while let [byte, after @ ..] = rest {
        if *byte == b'$' {
            *byte = b'?';
        }
        rest = after;
    }
    words
}

macro_rules! sqlite_word {
    ($text:literal) => {
        $text
    };
    ([$index:ident]) => {
        concat!(" INDEXED BY ", stringify!($index), " ")
    };
    ((greatest)) => {
        "max"
    };
    // One writer at a time: what was read cannot change before the change is whole.
    ((for_change)) => {
        ""
    };
    ((skip_locked)) => {
        ""
    };
    ((among)) => {
        " rowid IN (SELECT rowid "
    };
    ((end_among)) => {
        ")"
    };
}

macro_rules! postgres_word {
    ($text:literal) => {
        $text
    };
    ([$index:ident]) => {
        " "
    };
    ((greatest)) => {
        "greatest"
    };
    ((for_change)) => {
        " FOR UPDATE OF o"
    };
    ((skip_locked)) => {
        " FOR UPDATE SKIP LOCKED"
    };
    // An array is made once, before the rows that it names are touched; rows of a rival's sweep are passed over.
    ((among)) => {
        " operation_id = ANY (ARRAY(SELECT operation_id "
    };
    ((end_among)) => {
        " FOR UPDATE SKIP LOCKED))"
    };
}

pub(super) use {postgres_word, sqlite_word, statement};

/// A parameter of a statement.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    Bytes(Option<&'a [u8]>),
    Number(Option<i64>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Number(Some(millis(at)))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Number(at.map(millis))
    }
}

/// A moment as both databases keep it.
fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.millis()).unwrap_or(i64::MAX)
}

/// One row of an answer.
pub(super) enum Fields {
    Sqlite(Row),
    Postgres(PgRow),
}

impl Fields {
    /// Reads one column.
    pub(super) fn column<'r, T: Column<'r>>(
        &'r self,
        column: &'static str,
    ) -> Result<T, StateError> {
        match self {
            Self::Sqlite(row) => row.column(column),
            Self::Postgres(row) => row.try_get(column).ok(),
        }
        .ok_or(StateError::Corrupt { column })
    }
}

/// What a database answers: at once where the caller's own thread asks it, later where it is far away.
pub(super) type Answer<'a, T> =
    Either<Ready<Result<T, DatabaseError>>, BoxFuture<'a, Result<T, DatabaseError>>>;

/// A connection that is spoken to.
pub(super) trait Session: Send {
    /// Asks, and returns every row of the answer.
    fn rows<'a>(
        &'a mut self,
        statement: Statement,
        values: &'a [Value<'a>],
    ) -> Answer<'a, Vec<Fields>>;

    /// Changes something, and returns how many rows it was.
    fn execute<'a>(&'a mut self, statement: Statement, values: &'a [Value<'a>]) -> Answer<'a, u64>;

    /// Lets one change at a time do what `of` names, until its transaction ends.
    fn turn<'a>(&'a mut self, of: &'a str) -> Answer<'a, ()>;
}

/// A connection for one question.
pub(super) trait Reader: Send {
    /// The connection.
    fn session(&mut self) -> &mut dyn Session;
}

/// Something to be done within a transaction. It may be done again if the transaction fails.
pub(super) trait Change: Send + Sync + 'static {
    /// What is answered once the transaction is committed.
    type Output: Send + 'static;

    /// Does it.
    fn apply<'a>(
        &'a self,
        session: &'a mut dyn Session,
    ) -> BoxFuture<'a, Result<Self::Output, StateError>>;

    /// Whether it writes anything, and so shows that something can be written.
    fn writes(&self) -> bool {
        true
    }

    /// Whether one statement changes all that it changes, and so is its own transaction.
    fn is_one_statement(&self) -> bool {
        false
    }
}

/// A database, as far as it differs from the other.
pub(super) trait Engine: fmt::Debug + Send + Sync + 'static {
    /// A connection for questions.
    type Reader<'a>: Reader;

    /// Has a change made in a transaction, and waits until it is durable.
    fn change<C: Change>(
        &self,
        change: C,
    ) -> impl Future<Output = Result<C::Output, StateError>> + Send;

    /// A connection for questions, which sees every change that was answered.
    fn reader(&self) -> impl Future<Output = Result<Self::Reader<'_>, StateError>> + Send;

    /// As [`Backend::ready`].
    fn ready(&self) -> impl Future<Output = Result<(), StateError>> + Send;

    /// As [`Backend::load`].
    fn load(&self) -> Load;

    /// As [`Backend::close`].
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Everything that is kept, in a database.
#[derive(Debug)]
pub(super) struct Store<E> {
    engine: E,
}

impl<E: Engine> Store<E> {
    pub(super) const fn over(engine: E) -> Self {
        Self { engine }
    }

    /// Asks one question.
    async fn ask(
        &self,
        statement: Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Fields>, StateError> {
        let mut reader = self.engine.reader().await?;
        let answer = reader.session().rows(statement, values).await;
        answer.map_err(reading)
    }

    /// Asks for one row.
    async fn ask_one(
        &self,
        statement: Statement,
        values: &[Value<'_>],
    ) -> Result<Option<Fields>, StateError> {
        Ok(self.ask(statement, values).await?.into_iter().next())
    }
}

impl<E: Engine> Backend for Store<E> {
    fn ready(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.engine.ready())
    }

    fn sealed_with(&self) -> BoxFuture<'_, Result<Vec<SealedWith>, StateError>> {
        Box::pin(sealed::sealed_with(self))
    }

    fn load(&self) -> Load {
        self.engine.load()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.engine.close())
    }
}

pub(super) fn reading(source: impl Into<DatabaseError>) -> StateError {
    trouble(source.into(), StateError::Read)
}

pub(super) fn writing(source: impl Into<DatabaseError>) -> StateError {
    trouble(source.into(), StateError::Write)
}

fn trouble(source: DatabaseError, otherwise: fn(Arc<DatabaseError>) -> StateError) -> StateError {
    let DatabaseError::Postgres(error) = source else {
        return otherwise(Arc::new(source));
    };
    let code = error.as_database_error().and_then(|error| error.code());
    match (&error, code.as_deref()) {
        (sqlx::Error::PoolClosed, _) => StateError::Closed,
        (sqlx::Error::PoolTimedOut, _) => StateError::Busy,
        // query_canceled, lock_not_available: by the bounds that PostgreSQL was given.
        (_, Some("57014" | "55P03")) => StateError::Busy,
        // read_only_sql_transaction: a primary that has become a standby.
        (_, Some("25006")) => StateError::ReadOnly,
        (outage, _) if is_outage(outage) => StateError::Unreachable(Arc::new(error)),
        _ => otherwise(Arc::new(DatabaseError::Postgres(error))),
    }
}

/// What brings a schema up to date, oldest first, each with its name.
pub(super) type Migrations = [(&'static str, &'static str)];

/// The version that `migrations` lead to.
pub(super) fn newest(migrations: &Migrations) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

pub(super) fn migrator(migrations: &Migrations) -> Migrator {
    let versioned = (1..).zip(migrations).map(|(version, (name, sql))| {
        let sql = (*sql).into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(versioned.collect())
}

/// Why a schema was not brought up to date by a program that knows it up to `known`.
pub(super) fn migrating(error: MigrateError, known: i64) -> StateError {
    match error {
        MigrateError::VersionMissing(version) if version > known => {
            StateError::Newer { version, known }
        }
        error => StateError::Migrate(Arc::new(error)),
    }
}
