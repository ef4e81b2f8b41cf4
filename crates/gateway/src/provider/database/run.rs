//! Running one statement, for reading or for writing.

use std::sync::Arc;

use rusqlite::Connection;

use super::{
    classify::{Class, Kind},
    connection::{Pool, tables},
    failure::{failed, of_statement},
    rows::{Caps, Stopped, Written},
    rules::{InForce, Rules},
    value::Params,
};
use crate::provider::{Effect, ProviderError, work::Deadline};

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) sql: String,
    pub(super) params: Params,
    pub(super) kind: Kind,
}

/// What a statement did.
struct Done {
    written: Written,
    has_columns: bool,
    rows_affected: u64,
}

/// Runs a reading statement; the result is a JSON object.
pub(super) fn read(pool: &Pool, job: Job, deadline: &Deadline) -> Result<String, ProviderError> {
    let mut reader = pool
        .reader()
        .map_err(|error| failed("the database cannot be opened", &error))?;
    let tables = reader
        .tables()
        .map_err(|error| failed("the schema cannot be read", &error))?;
    let rules = Rules {
        kind: job.kind,
        tables,
        modules: pool.modules(),
    };
    let result = run(pool, &reader.connection, job, rules, deadline);
    if result
        .as_ref()
        .map_or_else(|error| error.invalid_argument, |_| true)
    {
        pool.give_back(reader);
    }
    Ok(format!("{{{}}}", result?.written.members()))
}

/// Looks whether the database answers.
pub(super) fn look(pool: &Pool, deadline: &Deadline) -> Result<(), ProviderError> {
    let unreachable = |error| failed("the database does not answer", &error);
    let mut reader = pool.reader().map_err(unreachable)?;
    {
        let _in_force = InForce::begin(&reader.connection, None, deadline).map_err(unreachable)?;
        reader
            .connection
            .query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(()))
            .map_err(unreachable)?;
    }
    reader.tables().map_err(unreachable)?;
    pool.give_back(reader);
    Ok(())
}

/// Runs a writing statement in a transaction of its own; the result is a JSON object.
pub(super) fn write(pool: &Pool, job: Job, deadline: &Deadline) -> Result<String, ProviderError> {
    let connection = pool
        .writer()
        .map_err(|error| failed("the database cannot be opened for writing", &error))?;
    let class = job.kind.class;
    {
        let _in_force = InForce::begin(&connection, None, deadline)
            .map_err(|error| failed("the database could not be prepared", &error))?;
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| of_statement(&error, None, deadline.total()))?;
    }
    let tables =
        Arc::new(tables(&connection).map_err(|error| failed("the schema cannot be read", &error))?);
    let rules = Rules {
        kind: job.kind,
        tables,
        modules: pool.modules(),
    };
    // On every way out before COMMIT the connection is dropped, and SQLite rolls back.
    let done = run(pool, &connection, job, rules, deadline)?;
    if deadline.over() {
        let message = "the statement took too long and was rolled back: make it cheaper";
        return Err(ProviderError::failed(Effect::None, message));
    }
    commit(&connection)?;
    let (affected, last) = match (class, connection.last_insert_rowid()) {
        (Class::Change, 0) => (done.rows_affected, "null".to_owned()),
        (Class::Change, rowid) => (done.rows_affected, rowid.to_string()),
        _ => (0, "null".to_owned()),
    };
    let rows = if done.has_columns {
        format!(",{}", done.written.members())
    } else {
        String::new()
    };
    Ok(format!(
        "{{\"rows_affected\":{affected},\"last_insert_rowid\":{last}{rows}}}"
    ))
}

fn commit(connection: &Connection) -> Result<(), ProviderError> {
    let Err(error) = connection.execute_batch("COMMIT") else {
        return Ok(());
    };
    // Still in the transaction: it was refused as a whole (a deferred constraint, a busy file), and rolling back
    // undoes it. Otherwise nobody knows how far it came.
    let undone = !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_ok();
    if undone {
        return Err(of_statement(&error, None, std::time::Duration::ZERO));
    }
    let message = "the database failed while it made the change durable; it may have happened";
    Err(ProviderError::failed(Effect::Maybe, message).with_detail(error.to_string()))
}

fn run(
    pool: &Pool,
    connection: &Connection,
    job: Job,
    rules: Rules,
    deadline: &Deadline,
) -> Result<Done, ProviderError> {
    let kind = job.kind;
    let caps = Caps {
        rows: pool.options().max_rows,
        bytes: pool.options().max_result_bytes,
    };
    let in_force = InForce::begin(connection, Some(rules), deadline)
        .map_err(|error| failed("the database could not be prepared", &error))?;
    step(connection, job, kind, caps).map_err(|stopped| match stopped {
        Stopped::Refused(error) => error,
        Stopped::Sqlite(error) => of_statement(&error, in_force.denial(), deadline.total()),
    })
}

fn step(connection: &Connection, job: Job, kind: Kind, caps: Caps) -> Result<Done, Stopped> {
    let mut statement = connection.prepare(&job.sql)?;
    if kind.class == Class::Read && !statement.readonly() {
        return Err(Stopped::Refused(ProviderError::invalid(
            "`query` writes, though it does not look like it: send a SELECT",
        )));
    }
    let explains = statement.is_explain() != 0;
    if let Err(error) = job.params.bind(&mut statement)? {
        return Err(Stopped::Refused(error));
    }
    let names: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let has_columns = !names.is_empty();
    // A writing statement is run to its end, even if its RETURNING gives more than fits.
    let drain = kind.class != Class::Read && !explains;
    let written = Written::collect(&names, &mut statement.raw_query(), caps, drain)?;
    drop(statement);
    let rows_affected = if explains { 0 } else { connection.changes() };
    Ok(Done {
        written,
        has_columns,
        rows_affected,
    })
}
