//! What must outlive the process: operations and manifests.
//!
//! SQLite by default, PostgreSQL by address, behind the traits [`OperationStore`] and [`ManifestStore`] and under the
//! same contract. Several processes may share one PostgreSQL database. What is secret (arguments, results, action tokens, reasons) is sealed before a store
//! sees it. `state` alone speaks SQL; the rooms above it speak [`Ledger`], [`ticket::Ticket`] and [`ManifestStore`].

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use fastmcp::seal::{KeyId, KeyRing, SealError};
use fastmcp_guard::{
    clock::{Clock, SystemClock},
    random::{OsRandom, Random, RandomError},
};
use futures_util::future::BoxFuture;
use tokio::time::timeout;

pub mod act;
#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "a test tells its story from beginning to end"
)]
pub(crate) mod contract_tests;
pub mod label;
pub mod ledger;
pub mod machine;
pub mod manifest;
pub mod operation;
mod postgres;
#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "a test tells its story from beginning to end"
)]
pub(crate) mod rotation_tests;
mod sql;
mod sqlite;
pub mod ticket;

pub use postgres::address::{Address, InvalidAddress};

use act::ActStore;
use label::LabelStore;
use ledger::Ledger;
use machine::{InvalidOwner, Owner};
use manifest::ManifestStore;
use operation::OperationStore;

/// How long outcomes that were not recorded hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 3 });

/// Where the state lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a SQLite file, made with mode 0600 if it is not there; its folder must be.
    File(PathBuf),
    /// In the memory of the process, gone with it.
    Memory,
    /// In a PostgreSQL database, which several processes may share.
    Postgres(Address),
}

impl fmt::Display for Location {
    /// Where it lies, without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str("memory"),
            Self::Postgres(address) => write!(f, "{address}"),
        }
    }
}

/// How to open the state.
#[derive(Debug)]
pub struct Options {
    /// Where it lies.
    pub location: Location,
    /// What seals and opens arguments, results, tokens and reasons.
    pub keys: Arc<KeyRing>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where ids and tokens take their bytes from.
    pub random: Arc<dyn Random>,
    /// The name of this process, in the claims that it makes.
    pub owner: Owner,
    /// How long a claim may take until its intent, or until its answer where it only reads. Default 30 s.
    pub claim_lease: Duration,
    /// How long an operation is kept once it is final, and so for how long an idempotency key is honoured
    /// (IDEMPOTENCY_TTL_SEC). Default one day.
    pub retention: Duration,
    /// How long a call waits at its end for an outcome to be recorded while the state is away; it is tried on afterwards.
    /// Default 5 s.
    pub recording: Duration,
    /// How many connections read a SQLite file at the same time; 1 to 64. Default 4.
    pub readers: u32,
    /// How many connections to PostgreSQL there are at most (POOL_SIZE); 1 to 1,000. Default 10.
    pub connections: u32,
    /// How long a call waits for a free connection to PostgreSQL before it is told that the database is busy. Default 5 s.
    pub patience: Duration,
}

impl Options {
    /// The defaults, with the machine's clock and randomness, for the process called `instance`.
    ///
    /// # Errors
    ///
    /// [`InvalidOwner`] when `instance` is not 1 to 128 printable ASCII characters.
    pub fn new(
        location: Location,
        keys: Arc<KeyRing>,
        instance: &str,
    ) -> Result<Self, InvalidOwner> {
        Ok(Self {
            location,
            keys,
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            owner: Owner::parse(instance)?,
            claim_lease: Duration::from_secs(30),
            retention: Duration::from_secs(86_400),
            recording: Duration::from_secs(5),
            readers: 4,
            connections: 10,
            patience: Duration::from_secs(5),
        })
    }
}

/// What a database said instead of an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// In the words of SQLite.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// In the words of PostgreSQL, or of the way to it.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// Nothing: the work on it broke off, which is a fault of this program.
    #[error("work on the database broke off")]
    BrokeOff,
}

/// The state could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It could not be made, protected, reached or opened.
    #[error("state database `{path}` cannot be opened")]
    Open {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The database belongs to another application.
    #[error("`{path}` is the database of another application; name one that is the gateway's own")]
    Foreign {
        /// Which.
        path: String,
    },
    /// The schema could not be brought up to date.
    #[error("state database cannot be brought to this version's schema")]
    Migrate(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The database was written by a newer version.
    #[error(
        "state database has a schema of version {version}, and this program knows versions up to {known}; run the newer fastmcp that wrote it, or restore a backup from before"
    )]
    Newer {
        /// The database's version.
        version: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The database cannot be reached right now.
    #[error("state database cannot be reached")]
    Unreachable(#[source] Arc<sqlx::Error>),
    /// The database can be read only: a standby, or one that was told so.
    #[error("state database takes no changes: it is a standby, or read-only")]
    ReadOnly,
    /// A change was not made.
    #[error("state database did not take the change")]
    Write(#[source] Arc<DatabaseError>),
    /// A question was not answered.
    #[error("state database cannot be read")]
    Read(#[source] Arc<DatabaseError>),
    /// A row does not say what it must.
    #[error("column `{column}` of the state database holds what it must not")]
    Corrupt {
        /// Where.
        column: &'static str,
    },
    /// More changes wait than can be taken in time.
    #[error("state database is busy")]
    Busy,
    /// The state was closed.
    #[error("state database is closed")]
    Closed,
    /// A value is too large to keep.
    #[error("`{field}` takes at most {limit} bytes")]
    TooLarge {
        /// Which.
        field: &'static str,
        /// How much it may be.
        limit: usize,
    },
    /// A manifest cannot be written as JSON.
    #[error("manifest cannot be written as JSON")]
    Manifest(#[source] Arc<serde_json::Error>),
    /// A value is sealed with a key that is not in the key ring.
    #[error(
        "stored value is sealed with key `{0}`, which is not in `keys/seal.key`; put the file back that holds it, from a backup or another replica"
    )]
    KeyMissing(KeyId),
    /// A value could not be sealed or opened.
    #[error("stored value cannot be sealed or opened with this key ring")]
    Seal(#[from] SealError),
    /// No randomness could be had.
    #[error("no randomness for an id or a token")]
    Random(#[source] Arc<RandomError>),
    /// Rivals kept changing what this call was about.
    #[error("operation kept changing; try again")]
    Contended,
}

impl StateError {
    /// Whether the same may succeed a little later, without anybody's doing: the database is away, or busy.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::ReadOnly | Self::Busy | Self::Contended
        )
    }
}

impl StateError {
    /// The key without which a stored value does not open, where that is the trouble.
    #[must_use]
    pub const fn missing_key(&self) -> Option<KeyId> {
        match self {
            Self::KeyMissing(key) => Some(*key),
            _ => None,
        }
    }
}

impl From<RandomError> for StateError {
    fn from(error: RandomError) -> Self {
        Self::Random(Arc::new(error))
    }
}

/// What the writer has done so far; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Transactions that were committed.
    pub transactions: u64,
    /// Changes within them.
    pub changes: u64,
}

/// What a look at the state found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The version of the PostgreSQL server, in its own words.
    pub server: Option<String>,
    /// The version of the schema; `None` before the first start.
    pub schema: Option<i64>,
    /// The newest version of the schema that this program knows.
    pub known: i64,
    /// By how many milliseconds the clock of the PostgreSQL server is ahead of this machine's.
    pub skew_millis: Option<i64>,
    /// Whether the connection to the PostgreSQL server is encrypted.
    pub is_encrypted: Option<bool>,
}

/// How much the state keeps that one key sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedWith {
    /// The key.
    pub key: KeyId,
    /// How many values: arguments, action tokens, results and reasons.
    pub values: u64,
}

/// A database that keeps all of the state.
pub trait Backend: OperationStore + ManifestStore + LabelStore + ActStore {
    /// Whether it can be read and written right now.
    fn ready(&self) -> BoxFuture<'_, Result<(), StateError>>;

    /// How much of it each key sealed. Looks at every operation.
    fn sealed_with(&self) -> BoxFuture<'_, Result<Vec<SealedWith>, StateError>>;

    /// What its writer has done.
    fn load(&self) -> Load;

    /// Finishes the changes that were accepted, and closes.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The open state.
#[derive(Clone)]
pub struct State {
    backend: Arc<dyn Backend>,
    ledger: Ledger,
}

impl State {
    /// Opens the state, and makes or upgrades its schema.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the file cannot be opened, is another application's, or is newer than this program.
    ///
    /// # Cancel safety
    ///
    /// Safe: a migration happens whole or not at all.
    pub async fn open(options: Options) -> Result<Self, StateError> {
        let backend: Arc<dyn Backend> = match &options.location {
            Location::Postgres(address) => {
                let (connections, patience) = (options.connections, options.patience);
                let clock = Arc::clone(&options.clock);
                let postgres = postgres::Postgres::open(address, connections, patience, clock);
                Arc::new(sql::Store::over(postgres.await?))
            }
            Location::File(path) => {
                let sqlite = sqlite::Sqlite::file(path, options.readers);
                Arc::new(sql::Store::over(sqlite.await?))
            }
            Location::Memory => Arc::new(sql::Store::over(sqlite::Sqlite::memory().await?)),
        };
        Ok(Self::over(backend, options))
    }

    /// Looks at the state without changing anything.
    ///
    /// # Errors
    ///
    /// [`StateError`] when it cannot be reached or opened, or is another application's.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn inspect(location: &Location, clock: &dyn Clock) -> Result<Sight, StateError> {
        match location {
            Location::Postgres(address) => postgres::inspect(address, clock).await,
            Location::File(path) => {
                let (schema, known) = sqlite::versions(path).await?;
                Ok(Sight {
                    server: None,
                    schema,
                    known,
                    skew_millis: None,
                    is_encrypted: None,
                })
            }
            Location::Memory => Ok(Sight::default()),
        }
    }

    fn over(backend: Arc<dyn Backend>, options: Options) -> Self {
        let ledger = Ledger::new(Arc::clone(&backend), options);
        Self { backend, ledger }
    }

    /// The operations.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The manifests.
    #[must_use]
    pub fn manifests(&self) -> &dyn ManifestStore {
        &*self.backend
    }

    /// What callers have read.
    #[must_use]
    pub fn labels(&self) -> &dyn LabelStore {
        &*self.backend
    }

    /// What was done and is in no log yet.
    #[must_use]
    pub fn acts(&self) -> &dyn ActStore {
        &*self.backend
    }

    /// Whether the state can be read and written right now, for `/ready`.
    ///
    /// # Errors
    ///
    /// [`StateError`] says what is the matter.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn ready(&self) -> Result<(), StateError> {
        self.backend.ready().await
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn load(&self) -> Load {
        self.backend.load()
    }

    /// Tries once more to record the outcomes that were not, finishes the changes that were accepted and closes; later
    /// ones fail with [`StateError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Safe: once it closes, closing goes on in the background.
    pub async fn close(&self) {
        if timeout(LAST_WORDS, self.ledger.record_owed())
            .await
            .is_err()
        {
            tracing::warn!("outcomes of operations were not recorded at the end in time");
        }
        self.backend.close().await;
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}
