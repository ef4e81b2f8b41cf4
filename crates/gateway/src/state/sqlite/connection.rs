//! Opening the file, and the settings that every connection has.

use std::{io, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::time::Instant;

use super::{super::StateError, schema};

/// How long a statement waits for another process that writes, for example `fastmcp operations settle`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long is waited between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How many statements stay prepared: more than there are.
const STATEMENTS: usize = 128;
/// How many pages, of 4 KiB, the log holds before they go into the file, each once however often it was written: it takes up to
/// 16 MiB beside the file, and is read again at the start after a crash.
const LOG_PAGES: i64 = 4_096;

/// Makes a database in memory.
pub(super) fn memory() -> Result<Connection, StateError> {
    let open = || {
        let connection = Connection::open_in_memory()?;
        settle(&connection)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|source| opened(Path::new(":memory:"), source))?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// Opens or makes the database in a file, and brings its schema up to date.
pub(super) fn file(path: &Path) -> Result<Connection, StateError> {
    let failed = |source| opened(path, source);
    protect(path).map_err(|source| StateError::Open {
        path: path.display().to_string(),
        source: Arc::new(source),
    })?;
    // Nothing is set on a file before it is known to be ours.
    let mut plain = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, |_| Ok(())).map_err(failed)?;
    let ours = schema::adopt(&mut plain).map_err(failed)?;
    plain.close().map_err(|(_, source)| failed(source))?;
    if !ours {
        return Err(StateError::Foreign {
            path: path.display().to_string(),
        });
    }
    let mut connection = writing(path).map_err(failed)?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that writes into a file of ours.
pub(super) fn writing(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, |connection| {
        settle(connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        // What a migration needed of it is given back.
        connection.pragma_update(None, "journal_size_limit", LOG_PAGES * 4_096)?;
        connection.pragma_update(None, "synchronous", "FULL")
    })
}

/// A connection that only reads a file of ours.
pub(super) fn reading(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, settle)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    // A malicious file must not make us run what its schema says.
    connection.pragma_update(None, "trusted_schema", false)
}

/// Makes the file readable by its owner alone, before anything is in it. The log and its index take over its mode.
fn protect(path: &Path) -> io::Result<()> {
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let file = open.open(path)?;
    #[cfg(unix)]
    {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
    }
    drop(file);
    Ok(())
}

/// Opens a connection and sets it up. While others open a new file as well, whoever comes second to turning it to its log
/// is told at once that it is locked, whatever the busy timeout: it has to ask again.
pub(super) fn connect(
    path: &Path,
    access: OpenFlags,
    set_up: impl Fn(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<Connection> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        // Used by one thread at a time.
        let opening = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .and_then(|connection| {
                connection.busy_timeout(BUSY_TIMEOUT)?;
                set_up(&connection)?;
                Ok(connection)
            });
        match opening {
            Err(source) if is_busy(&source) && Instant::now() < until => {
                std::thread::park_timeout(BUSY_PAUSE);
            }
            opening => return opening,
        }
    }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

pub(super) fn opened(path: &Path, source: rusqlite::Error) -> StateError {
    StateError::Open {
        path: path.display().to_string(),
        source: Arc::new(source),
    }
}
