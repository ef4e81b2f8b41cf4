//! Opening the database file, and the limits that every connection carries.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastmcp_protocol::Raw;
use rusqlite::{Connection, OpenFlags, config::DbConfig, limits::Limit};

use super::{
    Options,
    rules::{TableKind, Tables},
    value::MAX_PARAMS,
};

/// The longest statement that makes a table, in bytes; what callers send is held shorter.
const MAX_SCHEMA_SQL: i32 = 1_000_000;
/// How long a connection waits for who writes, where no deadline says otherwise.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages that one connection may keep in memory, in KiB; more spills to temporary files.
const CACHE_KIB: i32 = 8 * 1024;

/// The database file and the connections to it that wait for their next reader.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    options: Options,
    modules: Arc<Vec<String>>,
    idle: Mutex<Vec<Reader>>,
}

/// A connection that cannot write, and what it knows of the schema.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    known: Option<(i64, Arc<Tables>)>,
    /// The last list of tables, and of which state of the file.
    listed: Option<(DataVersion, Raw)>,
}

/// Tells the states of the file apart that one connection has seen; to another connection it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataVersion(i64);

impl DataVersion {
    /// Counts commits of all other connections, and this one makes none.
    ///
    /// Source: <https://www.sqlite.org/pragma.html#pragma_data_version>.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare_cached("PRAGMA main.data_version")?;
        statement.query_row([], |row| row.get(0).map(Self))
    }
}

impl Pool {
    /// Opens `path`, which is a database already.
    ///
    /// # Errors
    ///
    /// SQLite's own, for example when the file is not a database.
    pub(super) fn open(path: PathBuf, options: Options) -> rusqlite::Result<Self> {
        let connection = open_reader(&path, &options)?;
        let modules = modules(&connection)?;
        // Reads the header and the schema: a file of another kind fails here rather than at the first call.
        let tables = tables(&connection)?;
        drop(tables);
        Ok(Self {
            path,
            options,
            modules: Arc::new(modules),
            idle: Mutex::new(vec![Reader::new(connection)]),
        })
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn modules(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.modules)
    }

    /// A connection for reading: one that waits, or a new one.
    pub(super) fn reader(&self) -> rusqlite::Result<Reader> {
        match self.waiting() {
            Some(reader) => Ok(reader),
            None => open_reader(&self.path, &self.options).map(Reader::new),
        }
    }

    /// A connection for reading that waits, if there is one.
    fn waiting(&self) -> Option<Reader> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    /// The list of tables that was kept, where nothing was written since. Waits for nobody: it is a look at the file's
    /// version.
    pub(super) fn listed(&self) -> Option<Raw> {
        let reader = self.waiting()?;
        let listed = reader.listed_still();
        self.give_back(reader);
        listed
    }

    /// Takes a connection back that served without a failure of the database itself.
    pub(super) fn give_back(&self, reader: Reader) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.options.read_connections {
            idle.push(reader);
        }
    }

    /// A connection that writes. It is new each time, so that nothing of one call is seen in the next: not the last
    /// row id, not a temporary table.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        harden(&connection, &self.options)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        Ok(connection)
    }
}

impl Reader {
    const fn new(connection: Connection) -> Self {
        Self {
            connection,
            known: None,
            listed: None,
        }
    }

    /// Keeps the list of tables, as it is at `version`.
    pub(super) fn keep_listed(&mut self, version: DataVersion, list: &Raw) {
        self.listed = Some((version, list.clone()));
    }

    fn listed_still(&self) -> Option<Raw> {
        let (of, list) = self.listed.as_ref()?;
        self.connection.busy_timeout(Duration::ZERO).ok()?;
        let version = DataVersion::of(&self.connection);
        self.connection.busy_timeout(BUSY_TIMEOUT).ok()?;
        (version.ok()? == *of).then(|| list.clone())
    }

    /// The tables of the schema, looked up again when it changed.
    pub(super) fn tables(&mut self) -> rusqlite::Result<Arc<Tables>> {
        let version = self
            .connection
            .query_row("PRAGMA main.schema_version", [], |row| row.get::<_, i64>(0))?;
        if let Some((of, known)) = &self.known
            && *of == version
        {
            return Ok(Arc::clone(known));
        }
        let tables = Arc::new(tables(&self.connection)?);
        self.known = Some((version, Arc::clone(&tables)));
        Ok(tables)
    }
}

fn open_reader(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    harden(&connection, options)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Turns off what lets SQL reach beyond its tables, and sets bounds.
///
/// Source: <https://www.sqlite.org/security.html>, "Untrusted SQL Inputs".
fn harden(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    for (config, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        // A misspelt column in double quotes is an error, not a text.
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
    ] {
        connection.set_db_config(config, value)?;
    }
    for (limit, value) in [
        (
            Limit::SQLITE_LIMIT_LENGTH,
            as_limit(options.max_value_bytes),
        ),
        // These three hold for what the schema says, too: where it has more, the database could not be opened.
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_SCHEMA_SQL),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 500),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 200),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 500),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, as_limit(MAX_PARAMS)),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 20),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
}

fn as_limit(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Every table and view of the schema, save SQLite's own.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Tables> {
    let mut statement = connection.prepare(
        "SELECT lower(name), type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let rows = statement.query_map([], |row| {
        let kind = match row.get::<_, String>(1)?.as_str() {
            "view" => TableKind::View,
            "virtual" => TableKind::Virtual,
            "shadow" => TableKind::Shadow,
            _ => TableKind::Table,
        };
        Ok((row.get(0)?, kind))
    })?;
    rows.collect()
}

fn modules(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT lower(name) FROM pragma_module_list")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}
