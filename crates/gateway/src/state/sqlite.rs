//! The state in SQLite: one writer, a few readers, write-ahead log, every commit synced.
//!
//! Source of the settings: sqlite.org, "Write-Ahead Logging" and "PRAGMA Statements".

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};

use super::{
    DatabaseError, Load, StateError,
    sql::{Change, Engine, Reader as _, Statement, reading, statement},
};

mod connection;
mod queue;
mod reader;
mod row;
mod schema;
mod writer;

use reader::{Reader, Readers};
pub(super) use row::{Column, Row};
use writer::Writer;

/// A SQLite database.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: Writer,
    readers: Readers,
}

/// How long a look waits: a turn of the writer's and an answer take some milliseconds, also where much is done.
const LOOK: Duration = Duration::from_secs(2);

/// What every database answers.
const PULSE: Statement = statement!("SELECT at FROM heartbeat WHERE id = 1");

impl Sqlite {
    /// Makes a database in memory.
    pub(super) async fn memory() -> Result<Self, StateError> {
        let connection = on_thread(connection::memory).await?;
        let slot = Arc::new(Mutex::new(Some(connection)));
        Ok(Self {
            writer: Writer::start(Arc::clone(&slot), None)?,
            readers: Readers::Shared(slot),
        })
    }

    /// Opens or makes the database in a file and brings its schema up to date.
    pub(super) async fn file(path: &Path, readers: u32) -> Result<Self, StateError> {
        let path = PathBuf::from(path);
        let file = path.clone();
        let connection = on_thread(move || connection::file(&file)).await?;
        let slot = Arc::new(Mutex::new(Some(connection)));
        Ok(Self {
            writer: Writer::start(slot, Some(path.clone()))?,
            readers: Readers::pool(path, readers.clamp(1, 64)),
        })
    }
}

impl Sqlite {
    /// The writer comes first: where it waits for somebody who holds the file, no reader is taken.
    async fn look(&self) -> Result<(), StateError> {
        self.writer.ready().await?;
        let mut reader = self.reader().await?;
        let pulse = reader.session().rows(PULSE, &[]).await.map_err(reading)?;
        let pulse = pulse.first().ok_or(rusqlite::Error::QueryReturnedNoRows);
        pulse.map(drop).map_err(reading)
    }
}

impl Engine for Sqlite {
    type Reader<'a> = Reader;

    async fn change<C: Change>(&self, change: C) -> Result<C::Output, StateError> {
        self.writer.submit(change).await
    }

    async fn reader(&self) -> Result<Reader, StateError> {
        self.readers.take().await
    }

    async fn ready(&self) -> Result<(), StateError> {
        let looked = timeout(LOOK, self.look()).await;
        looked.unwrap_or(Err(StateError::Busy))
    }

    fn load(&self) -> Load {
        self.writer.load()
    }

    async fn close(&self) {
        // Readers go first: the last connection to close folds the log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The version of the schema in the file, and the one that this program knows; `None` where there is no file.
pub(super) async fn versions(path: &Path) -> Result<(Option<i64>, i64), StateError> {
    let path = path.to_owned();
    on_thread(move || schema::versions(&path)).await
}

/// Does what may wait for the disk.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(reading(DatabaseError::BrokeOff)))
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::state::sql::{Fields, Session, writing};

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
        let theirs = rusqlite::Connection::open(&path).unwrap();
        theirs
            .execute_batch("CREATE TABLE notes (note TEXT)")
            .unwrap();
        theirs.close().unwrap();
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
        let newer = rusqlite::Connection::open(&path).unwrap();
        newer
            .execute_batch(
                "INSERT INTO _sqlx_migrations VALUES (99, 'newer', CURRENT_TIMESTAMP, TRUE, x'00', 1)",
            )
            .unwrap();
        newer.close().unwrap();
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
            ("PRAGMA foreign_keys", "1"),
            ("PRAGMA trusted_schema", "0"),
            ("PRAGMA busy_timeout", "5000"),
        ] {
            let value = reader.ask(move |connection| {
                connection.query_one(pragma, [], |row| row.get::<_, rusqlite::types::Value>(0))
            });
            let value = match value.await.unwrap() {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => panic!("{other:?}"),
            };
            assert_eq!(value, expected, "{pragma}");
        }
        let write = statement!("UPDATE heartbeat SET at = 1");
        let refused = reader.session().execute(write, &[]).await;
        assert!(refused.is_err(), "a reader cannot write");
    }

    /// Asks on the writer's connection.
    struct Asked(Statement);

    impl Change for Asked {
        type Output = Vec<Fields>;

        fn apply<'a>(
            &'a self,
            session: &'a mut dyn Session,
        ) -> BoxFuture<'a, Result<Vec<Fields>, StateError>> {
            Box::pin(async { session.rows(self.0, &[]).await.map_err(writing) })
        }
    }

    #[tokio::test]
    async fn every_commit_is_synced_also_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let sqlite = Sqlite::file(&path, 1).await.unwrap();
        for _ in 0..2 {
            // Source: sqlite.org, "PRAGMA synchronous": 2 is FULL, which syncs the log at every commit.
            let asked = sqlite.change(Asked(statement!("PRAGMA synchronous"))).await;
            let set: i64 = asked.unwrap()[0].column("synchronous").unwrap();
            assert_eq!(set, 2);
            let asked = sqlite
                .change(Asked(statement!("PRAGMA journal_mode")))
                .await;
            let set: String = asked.unwrap()[0].column("journal_mode").unwrap();
            assert_eq!(set, "wal");
            // The next round is on another connection.
            let broken = sqlite.change(Asked(statement!("no SQL"))).await;
            assert!(broken.is_err());
        }
    }

    #[tokio::test]
    async fn questions_wait_for_a_connection_and_give_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::file(&folder.path().join("state.db"), 1)
            .await
            .unwrap();
        let mut first = sqlite.reader().await.unwrap();
        let second = sqlite.reader();
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        // Whoever gives up has asked all the same: the connection comes back by itself.
        let (go, may_go) = std::sync::mpsc::channel();
        {
            let asking = first.ask(move |_| {
                may_go.recv().unwrap();
                Ok(())
            });
            tokio::pin!(asking);
            assert!(futures_util::poll!(&mut asking).is_pending());
        }
        drop(first);
        assert!(futures_util::poll!(&mut second).is_pending());
        go.send(()).unwrap();
        let mut second = second.await.unwrap();
        let broken = second.ask(|connection| connection.execute("no SQL", []));
        assert!(broken.await.is_err());
        let pulse = second.session().rows(PULSE, &[]).await.unwrap();
        assert_eq!(pulse.len(), 1, "after a failure it is another connection");
        drop(second);
        sqlite.close().await;
        assert!(matches!(sqlite.reader().await, Err(StateError::Closed)));
    }
}
