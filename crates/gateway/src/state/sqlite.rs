//! The state in SQLite: one writer, a few readers, write-ahead log, every commit synced.
//!
//! Source of the settings: sqlite.org, "Write-Ahead Logging" and "PRAGMA Statements".

use std::{io, path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    pool::PoolConnection,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
    },
};
use tokio::{
    sync::{MappedMutexGuard, Mutex, MutexGuard},
    time::Instant,
};

use super::{
    Load, StateError,
    sql::{
        self, Change, Engine, Fields, Migrations, Session, Statement, Value, bound, migrating,
        migrator, newest, reading,
    },
};

mod writer;

use writer::{Slot, Writer};

/// What brings the schema up to date.
const MIGRATIONS: &Migrations = &[
    (
        "operations",
        include_str!("../../migrations/sqlite/0001_operations.sql"),
    ),
    (
        "revisions",
        include_str!("../../migrations/sqlite/0002_revisions.sql"),
    ),
    (
        "labels",
        include_str!("../../migrations/sqlite/0003_labels.sql"),
    ),
    (
        "tools",
        include_str!("../../migrations/sqlite/0004_tools.sql"),
    ),
];
/// Says that a file is ours: "FMCP" in ASCII. Source: sqlite.org, "PRAGMA application_id".
const APPLICATION_ID: i64 = 0x464d_4350;
/// How long a statement waits for another process that writes, for example `fastmcp operations settle`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long is waited between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long a question waits for a free connection.
const READER_WAIT: Duration = Duration::from_secs(5);

/// A SQLite database.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: Writer,
    readers: Readers,
}

/// Where questions are answered.
#[derive(Debug)]
enum Readers {
    /// On connections of their own, which see the last commit.
    Pool(SqlitePool),
    /// On the writer's connection, between its transactions: a database in memory has no other.
    Shared(Slot),
}

/// A connection for one question.
pub(super) enum Reader<'a> {
    Pooled(PoolConnection<sqlx::Sqlite>),
    Shared(MappedMutexGuard<'a, SqliteConnection>),
}

impl Reader<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Pooled(connection) => connection,
            Self::Shared(connection) => connection,
        }
    }
}

impl Sqlite {
    /// Makes a database in memory.
    pub(super) async fn memory() -> Result<Self, StateError> {
        let options = settings(SqliteConnectOptions::new().filename(":memory:"));
        let mut connection = connect(&options, ":memory:").await?;
        migrate(&mut connection).await?;
        let slot: Slot = Arc::new(Mutex::new(Some(connection)));
        let writer = Writer::start(Arc::clone(&slot), None);
        Ok(Self {
            writer,
            readers: Readers::Shared(slot),
        })
    }

    /// Opens or makes the database in a file and brings its schema up to date.
    pub(super) async fn file(path: &Path, readers: u32) -> Result<Self, StateError> {
        let readers = readers.clamp(1, 64);
        let name = path.display().to_string();
        let opening = |source: io::Error| StateError::Open {
            path: name.clone(),
            source: Arc::new(source),
        };
        protect(path).await.map_err(opening)?;
        let file = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT);
        // Nothing is set on a file before it is known to be ours.
        let mut plain = connect(&file.clone().disable_statement_logging(), &name).await?;
        let ours = adopt(&mut plain)
            .await
            .map_err(|source| opened(&name, source))?;
        plain
            .close()
            .await
            .map_err(|source| opened(&name, source))?;
        if !ours {
            return Err(StateError::Foreign { path: name });
        }
        let options = settings(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = connect(&options, &name).await?;
        migrate(&mut connection).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(readers)
            .acquire_timeout(READER_WAIT)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().read_only(true));
        let writer = Writer::start(Arc::new(Mutex::new(Some(connection))), Some(options));
        Ok(Self {
            writer,
            readers: Readers::Pool(pool),
        })
    }
}

impl sql::Reader for Reader<'_> {
    fn session(&mut self) -> &mut dyn Session {
        self.connection()
    }
}

impl Session for SqliteConnection {
    fn rows<'a>(
        &'a mut self,
        statement: Statement,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Vec<Fields>, sqlx::Error>> {
        Box::pin(async move {
            let query = bound!(sqlx::query::<sqlx::Sqlite>(statement.sqlite), values);
            let rows = query.fetch_all(self).await?;
            Ok(rows.into_iter().map(Fields::Sqlite).collect())
        })
    }

    fn execute<'a>(
        &'a mut self,
        statement: Statement,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            let query = bound!(sqlx::query::<sqlx::Sqlite>(statement.sqlite), values);
            Ok(query.execute(self).await?.rows_affected())
        })
    }

    /// Whoever writes is alone.
    fn turn<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Engine for Sqlite {
    type Reader<'a> = Reader<'a>;

    async fn change<C: Change>(&self, change: C) -> Result<C::Output, StateError> {
        self.writer.submit(change).await
    }

    async fn reader(&self) -> Result<Reader<'_>, StateError> {
        match &self.readers {
            Readers::Pool(pool) => pool.acquire().await.map(Reader::Pooled).map_err(reading),
            Readers::Shared(slot) => MutexGuard::try_map(slot.lock().await, Option::as_mut)
                .map(Reader::Shared)
                .map_err(|_| StateError::Closed),
        }
    }

    async fn ready(&self) -> Result<(), StateError> {
        self.writer.ready().await?;
        let mut reader = self.reader().await?;
        sqlx::query("SELECT at FROM heartbeat WHERE id = 1")
            .fetch_one(reader.connection())
            .await
            .map(drop)
            .map_err(reading)
    }

    fn load(&self) -> Load {
        self.writer.load()
    }

    async fn close(&self) {
        // Readers go first: the last connection to close folds the log into the file.
        if let Readers::Pool(pool) = &self.readers {
            pool.close().await;
        }
        self.writer.close().await;
    }
}

fn settings(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // A malicious file must not make us run what its schema says.
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

/// Makes the file readable by its owner alone, before anything is in it. The log and its index take over its mode.
async fn protect(path: &Path) -> io::Result<()> {
    let mut open = tokio::fs::OpenOptions::new();
    open.write(true).create(true).truncate(false);
    #[cfg(unix)]
    open.mode(0o600);
    let file = open.open(path).await?;
    #[cfg(unix)]
    {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

        if file.metadata().await?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600)).await?;
        }
    }
    drop(file);
    Ok(())
}

/// Opens a connection. While others open a new file as well, whoever comes second to turning it to its log is told at once that it
/// is locked, whatever the busy timeout: it has to ask again.
async fn connect(
    options: &SqliteConnectOptions,
    name: &str,
) -> Result<SqliteConnection, StateError> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        match SqliteConnection::connect_with(options).await {
            Err(source) if is_busy(&source) && Instant::now() < until => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            opening => return opening.map_err(|source| opened(name, source)),
        }
    }
}

/// Source: SQLite, "Result and Extended Result Codes": the low byte is the primary code, and 5 is `SQLITE_BUSY`.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// Marks an empty database as ours; says whether it is.
async fn adopt(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // In one look, or it may seem to have had our tables before our mark while somebody else makes it ours.
    let mut look = connection.begin().await?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *look)
        .await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *look)
        .await?;
    look.rollback().await?;
    if id == 0 && tables == 0 {
        sqlx::query("PRAGMA application_id = 0x464d4350")
            .execute(connection)
            .await?;
        return Ok(true);
    }
    Ok(id == APPLICATION_ID)
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StateError> {
    let known = newest(MIGRATIONS);
    // Two processes that start on one new file take turns; the later one finds everything done.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(|source| migrating(source.into(), known))?;
    migrator(MIGRATIONS)
        .run(&mut *transaction)
        .await
        .map_err(|source| migrating(source, known))?;
    transaction
        .commit()
        .await
        .map_err(|source| migrating(source.into(), known))
}

/// The version of the schema in the file, and the one that this program knows; `None` where there is no file.
pub(super) async fn versions(path: &Path) -> Result<(Option<i64>, i64), StateError> {
    let known = newest(MIGRATIONS);
    if !path.is_file() {
        return Ok((None, known));
    }
    let name = path.display().to_string();
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .read_only(true)
        .disable_statement_logging();
    let mut connection = connect(&options, &name).await?;
    let found = version_of(&mut connection).await;
    let closed = connection.close().await;
    match found {
        Ok(Some(found)) => closed
            .map(|()| (Some(found), known))
            .map_err(|source| opened(&name, source)),
        Ok(None) => Err(StateError::Foreign { path: name }),
        Err(source) => Err(opened(&name, source)),
    }
}

/// The version of the schema; `None` where the file is another application's.
async fn version_of(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await?;
    if id != APPLICATION_ID {
        return Ok(None);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
    sqlx::query_scalar(newest)
        .fetch_one(connection)
        .await
        .map(Some)
}

fn opened(path: &str, source: sqlx::Error) -> StateError {
    StateError::Open {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_file_is_opened_by_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..8 {
            let path = folder.path().join(format!("{round}.db"));
            let opening = (0..8).map(|_| Sqlite::file(&path, 1));
            for opened in futures_util::future::join_all(opening).await {
                opened.unwrap().close().await;
            }
        }
    }

    #[tokio::test]
    async fn a_file_of_another_application_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let mut theirs = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("CREATE TABLE notes (note TEXT)")
            .execute(&mut theirs)
            .await
            .unwrap();
        theirs.close().await.unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = Sqlite::file(&path, 1).await.unwrap_err();
        assert!(matches!(refused, StateError::Foreign { .. }), "{refused:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter.txt");
        std::fs::write(
            &path,
            "Dear reader, this is a letter and not a database, however long it may be.".repeat(80),
        )
        .unwrap();
        let refused = Sqlite::file(&path, 1).await.unwrap_err();
        assert!(matches!(refused, StateError::Open { .. }), "{refused:?}");
        let missing = folder.path().join("no/such/folder.db");
        let refused = Sqlite::file(&missing, 1).await.unwrap_err();
        assert!(matches!(refused, StateError::Open { .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn a_file_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        Sqlite::file(&path, 1).await.unwrap().close().await;
        let mut newer =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path))
                .await
                .unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations VALUES (99, 'newer', CURRENT_TIMESTAMP, TRUE, x'00', 1)",
        )
        .execute(&mut newer)
        .await
        .unwrap();
        newer.close().await.unwrap();
        let refused = Sqlite::file(&path, 1).await.unwrap_err();
        assert!(
            matches!(refused, StateError::Newer { version: 99, .. }),
            "{refused:?}"
        );
        assert!(
            refused.to_string().contains("schema of version 99"),
            "{refused}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_can_read_the_files() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        // A file that lay open is closed.
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let sqlite = Sqlite::file(&path, 1).await.unwrap();
        let mut files = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
            files += 1;
        }
        assert_eq!(files, 3, "the database, its log and the log's index");
        sqlite.close().await;
    }

    #[tokio::test]
    async fn the_settings_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let sqlite = Sqlite::file(&path, 1).await.unwrap();
        let mut reader = sqlite.reader().await.unwrap();
        for (pragma, expected) in [
            ("PRAGMA application_id", "1179468624"),
            ("PRAGMA journal_mode", "wal"),
            ("PRAGMA synchronous", "2"),
            ("PRAGMA foreign_keys", "1"),
            ("PRAGMA trusted_schema", "0"),
            ("PRAGMA busy_timeout", "5000"),
        ] {
            let row = sqlx::query(pragma)
                .fetch_one(reader.connection())
                .await
                .unwrap();
            let value = sqlx::Row::try_get_unchecked::<String, _>(&row, 0).unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        let refused = sqlx::query("UPDATE heartbeat SET at = 1")
            .execute(reader.connection())
            .await;
        assert!(refused.is_err(), "a reader cannot write");
    }
}
