//! What the schema says of itself: `listTables` and `getSchema`.
//!
//! The statements are ours, so no rules stand before them, only the deadline.

use fastmcp_protocol::Raw;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::Serialize;

use super::{
    connection::{DataVersion, Pool, Reader},
    failure::{failed, of_statement},
    rules::InForce,
};
use crate::provider::{Effect, ProviderError, input::shorten, work::Deadline};

#[derive(Debug, Serialize)]
struct TableList {
    tables: Vec<ListedTable>,
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct ListedTable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// `None` for a view, and for a table that took too long to count.
    row_count: Option<u64>,
}

#[derive(Debug, Serialize)]
struct TableSchema {
    table_name: String,
    #[serde(rename = "type")]
    kind: String,
    columns: Vec<Column>,
    foreign_keys: Vec<ForeignKey>,
    indexes: Vec<Index>,
    sql: Option<String>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    not_null: bool,
    default: Option<String>,
    /// The place in the primary key, from 1; 0 outside it.
    primary_key: u32,
    generated: bool,
}

#[derive(Debug, Serialize)]
struct ForeignKey {
    columns: Vec<String>,
    references_table: String,
    /// Empty where the primary key is meant.
    references_columns: Vec<String>,
    on_update: String,
    on_delete: String,
}

#[derive(Debug, Serialize)]
struct Index {
    name: String,
    unique: bool,
    /// `None` stands for an expression.
    columns: Vec<Option<String>>,
}

/// Runs `work` on a connection for reading under `deadline`.
fn with_reader<T>(
    pool: &Pool,
    deadline: &Deadline,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<(Reader, T), ProviderError> {
    let reader = pool
        .reader()
        .map_err(|error| failed("the database cannot be opened", &error))?;
    let answer = InForce::begin(&reader.connection, None, deadline)
        .and_then(|_in_force| in_one_transaction(&reader.connection, work))
        .map_err(|error| of_statement(&error, None, deadline.total()))?;
    Ok((reader, answer))
}

/// Writes an answer as JSON.
fn written<T: Serialize>(pool: &Pool, answer: &T) -> Result<Raw, ProviderError> {
    let json = Raw::of(answer).map_err(|error| {
        ProviderError::failed(Effect::None, "the schema has no JSON form")
            .with_detail(error.to_string())
    })?;
    let most = pool.options().max_result_bytes;
    if json.as_str().len() > most {
        let message = format!(
            "the schema is larger than {most} bytes; ask for single tables with `getSchema`"
        );
        return Err(ProviderError::failed(Effect::None, message));
    }
    Ok(json)
}

/// Statement by statement SQLite would lock the file, look for a journal and let go of it again.
fn in_one_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // Dropped, it is rolled back, which for a reader is the same as an end.
    let transaction = connection.unchecked_transaction()?;
    let answer = work(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

/// The tables and views with their numbers of rows, by name. Kept where it is whole, for as long as nothing is written.
pub(super) fn list_tables(pool: &Pool, deadline: &Deadline) -> Result<Raw, ProviderError> {
    let most = pool.options().max_rows;
    let (mut reader, (version, list)) = with_reader(pool, deadline, |connection| {
        let version = DataVersion::of(connection)?;
        let mut tables = names(connection)?;
        let truncated = tables.len() > most;
        tables.truncate(most);
        // Counting may take half of the time, so that the names are told in any case.
        let counting = deadline.half();
        let _in_force = InForce::begin(connection, None, &counting)?;
        for table in tables.iter_mut().filter(|table| table.kind != "view") {
            if counting.over() {
                break;
            }
            table.row_count = count(connection, &table.name)?;
        }
        Ok((version, TableList { tables, truncated }))
    })?;
    let json = written(pool, &list);
    if let Ok(json) = &json
        && list.tables.iter().all(ListedTable::is_of_the_file)
    {
        reader.keep_listed(version, json);
    }
    pool.give_back(reader);
    json
}

impl ListedTable {
    /// Whether all that is told of it changes with the file alone: what a virtual table holds may be anywhere, and a table that
    /// was not counted in time may be next time.
    fn is_of_the_file(&self) -> bool {
        match self.kind.as_str() {
            "view" => true,
            "virtual" => false,
            _ => self.row_count.is_some(),
        }
    }
}

fn names(connection: &Connection) -> rusqlite::Result<Vec<ListedTable>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type FROM pragma_table_list
         WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(ListedTable {
            name: row.get(0)?,
            kind: row.get(1)?,
            row_count: None,
        })
    })?;
    rows.collect()
}

/// The number of rows of `table`; `None` when it cannot be told (in time).
fn count(connection: &Connection, table: &str) -> rusqlite::Result<Option<u64>> {
    let quoted = table.replace('"', "\"\"");
    let counted = connection
        .prepare_cached(&format!("SELECT count(*) FROM \"{quoted}\""))
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
    match counted {
        Ok(count) => Ok(u64::try_from(count).ok()),
        // Too long, or a virtual table whose module is not here: the name is worth telling all the same.
        Err(rusqlite::Error::SqliteFailure(..) | rusqlite::Error::SqlInputError { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Columns, keys and indexes of the table or view `name`.
pub(super) fn schema(pool: &Pool, name: &str, deadline: &Deadline) -> Result<Raw, ProviderError> {
    let (reader, schema) =
        with_reader(pool, deadline, |connection| table_schema(connection, name))?;
    pool.give_back(reader);
    let Some(schema) = schema else {
        return Err(ProviderError::invalid(shorten(&format!(
            "`table_name`: there is no table `{name}`; `listTables` tells which there are"
        ))));
    };
    written(pool, &schema)
}

fn table_schema(connection: &Connection, name: &str) -> rusqlite::Result<Option<TableSchema>> {
    let found = connection
        .query_row(
            "SELECT name, type FROM pragma_table_list
             WHERE schema = 'main' AND lower(name) = lower(?1) AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            [name],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    let Some((table_name, kind)) = found else {
        return Ok(None);
    };
    let sql = connection
        .query_row(
            "SELECT sql FROM main.sqlite_schema WHERE name = ?1 AND type IN ('table', 'view')",
            [&table_name],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    Ok(Some(TableSchema {
        columns: columns(connection, &table_name)?,
        foreign_keys: foreign_keys(connection, &table_name)?,
        indexes: indexes(connection, &table_name)?,
        table_name,
        kind,
        sql,
    }))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    // `hidden` is 2 or 3 for generated columns. Source: <https://www.sqlite.org/pragma.html#pragma_table_xinfo>.
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 1 ORDER BY cid",
    )?;
    let rows = statement.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            kind: row.get(1)?,
            not_null: row.get(2)?,
            default: row.get(3)?,
            primary_key: row.get(4)?,
            generated: row.get::<_, i64>(5)? >= 2,
        })
    })?;
    rows.collect()
}

fn foreign_keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, \"from\", \"table\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?1, 'main') ORDER BY id, seq",
    )?;
    let mut rows = statement.query([table])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        match keys.last_mut() {
            Some((last, key)) if *last == id => key.extend(row)?,
            _ => keys.push((id, ForeignKey::begin(row)?)),
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

impl ForeignKey {
    fn begin(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut key = Self {
            columns: Vec::new(),
            references_table: row.get(2)?,
            references_columns: Vec::new(),
            on_update: row.get(4)?,
            on_delete: row.get(5)?,
        };
        key.extend(row)?;
        Ok(key)
    }

    fn extend(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        self.columns.push(row.get(1)?);
        self.references_columns
            .extend(row.get::<_, Option<String>>(3)?);
        Ok(())
    }
}

fn indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Index>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, \"unique\" FROM pragma_index_list(?1, 'main') ORDER BY name",
    )?;
    let mut of_index = connection
        .prepare_cached("SELECT name FROM pragma_index_info(?1, 'main') ORDER BY seqno")?;
    let mut rows = statement.query([table])?;
    let mut indexes = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let columns = of_index
            .query_map([&name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        indexes.push(Index {
            name,
            unique: row.get(1)?,
            columns,
        });
    }
    Ok(indexes)
}
