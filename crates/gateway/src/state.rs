//! What must outlive the process: operations and manifests.
//!
//! SQLite by default, behind the traits [`OperationStore`] and [`ManifestStore`], so that another database takes its
//! place under the same contract. What is secret (arguments, results, action tokens, reasons) is sealed before a store
//! sees it. `state` alone speaks SQL; the rooms above it speak [`Ledger`], [`ticket::Ticket`] and [`ManifestStore`].

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use fastmcp::seal::{KeyRing, SealError};
use fastmcp_guard::{
    clock::{Clock, SystemClock},
    random::{OsRandom, Random, RandomError},
};
use futures_util::future::BoxFuture;

#[cfg(test)]
#[expect(
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "a test tells its story from beginning to end"
)]
pub(crate) mod contract_tests;
pub mod ledger;
pub mod machine;
pub mod manifest;
pub mod operation;
mod sqlite;
pub mod ticket;

use ledger::Ledger;
use machine::{InvalidOwner, Owner};
use manifest::ManifestStore;
use operation::OperationStore;

/// Where the state lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a SQLite file, made with mode 0600 if it is not there; its folder must be.
    File(PathBuf),
    /// In the memory of the process, gone with it.
    Memory,
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
    /// How long a claim may take until its intent. Default 30 s.
    pub claim_lease: Duration,
    /// How long an operation is kept once it is final, and so for how long an idempotency key is honoured
    /// (IDEMPOTENCY_TTL_SEC). Default one day.
    pub retention: Duration,
    /// How many connections read at the same time; 1 to 64. Default 4.
    pub readers: u32,
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
            readers: 4,
        })
    }
}

/// The state could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file could not be made, protected or opened.
    #[error("state file `{path}` cannot be opened")]
    Open {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The file belongs to another application.
    #[error("`{path}` is the database of another application; name a file of its own")]
    Foreign {
        /// Which.
        path: String,
    },
    /// The schema could not be brought up to date; the file may have been written by a newer version.
    #[error("state database cannot be brought to this version's schema")]
    Migrate(#[source] Arc<sqlx::migrate::MigrateError>),
    /// A change was not made.
    #[error("state database did not take the change")]
    Write(#[source] Arc<sqlx::Error>),
    /// A question was not answered.
    #[error("state database cannot be read")]
    Read(#[source] Arc<sqlx::Error>),
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
    /// A value could not be sealed or opened; the key ring may lack the key.
    #[error("stored value cannot be sealed or opened with this key ring")]
    Seal(#[from] SealError),
    /// No randomness could be had.
    #[error("no randomness for an id or a token")]
    Random(#[source] Arc<RandomError>),
    /// Rivals kept changing what this call was about.
    #[error("operation kept changing; try again")]
    Contended,
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

/// A database that keeps all of the state.
pub trait Backend: OperationStore + ManifestStore {
    /// Whether it can be read and written right now.
    fn ready(&self) -> BoxFuture<'_, Result<(), StateError>>;

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
        let backend: Arc<dyn Backend> =
            Arc::new(sqlite::Sqlite::open(&options.location, options.readers).await?);
        Ok(Self::over(backend, options))
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

    /// Finishes the changes that were accepted and closes; later ones fail with [`StateError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Safe: closing goes on in the background.
    pub async fn close(&self) {
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
