//! Statements with their values, and the rows that answer them.

use std::{future::ready, sync::Arc};

use futures_util::future::Either;
use rusqlite::{
    CachedStatement, Connection, ToSql,
    types::{ToSqlOutput, Value as Kept, ValueRef},
};
use sqlx::{Decode, Postgres, Type};

use super::super::sql::{Answer, Fields, Session, Statement, Value};

/// One row of an answer, with the names of its columns.
pub(in crate::state) struct Row {
    names: Arc<[Box<str>]>,
    values: Vec<Kept>,
}

impl Row {
    /// Reads one column, unless it holds something else.
    pub(in crate::state) fn column<'r, T: Column<'r>>(&'r self, name: &str) -> Option<T> {
        let at = self.names.iter().position(|known| **known == *name)?;
        T::of(self.values.get(at)?)
    }
}

/// What a column may hold, in either database.
pub(in crate::state) trait Column<'r>:
    Decode<'r, Postgres> + Type<Postgres>
{
    /// Reads it from SQLite.
    fn of(value: &'r Kept) -> Option<Self>;
}

impl Column<'_> for i64 {
    fn of(value: &Kept) -> Option<Self> {
        match value {
            Kept::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'r> Column<'r> for &'r str {
    fn of(value: &'r Kept) -> Option<Self> {
        match value {
            Kept::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Column<'_> for String {
    fn of(value: &Kept) -> Option<Self> {
        <&str>::of(value).map(Self::from)
    }
}

impl<'r> Column<'r> for &'r [u8] {
    fn of(value: &'r Kept) -> Option<Self> {
        match value {
            Kept::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl Column<'_> for Vec<u8> {
    fn of(value: &Kept) -> Option<Self> {
        <&[u8]>::of(value).map(Self::from)
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    fn of(value: &'r Kept) -> Option<Self> {
        match value {
            Kept::Null => Some(None),
            value => T::of(value).map(Some),
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Number(Some(number)) => ValueRef::Integer(number),
            Self::Text(None) | Self::Bytes(None) | Self::Number(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// The values of a statement for another thread.
pub(super) fn kept(values: &[Value<'_>]) -> Vec<Kept> {
    let kept = values.iter().map(|value| match *value {
        Value::Text(text) => Kept::from(text.map(str::to_owned)),
        Value::Bytes(bytes) => Kept::from(bytes.map(<[u8]>::to_vec)),
        Value::Number(number) => Kept::from(number),
    });
    kept.collect()
}

/// Asks, and returns every row of the answer.
pub(super) fn rows(
    connection: &Connection,
    statement: Statement,
    values: &[impl ToSql],
) -> rusqlite::Result<Vec<Fields>> {
    let mut prepared = bound(connection, statement, values)?;
    let count = prepared.column_count();
    let mut names: Option<Arc<[Box<str>]>> = None;
    let mut answer = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        let names = names.get_or_insert_with(|| {
            let names = row.as_ref().column_names();
            names.into_iter().map(Box::from).collect()
        });
        let values = (0..count).map(|column| row.get(column));
        answer.push(Fields::Sqlite(Row {
            names: Arc::clone(names),
            values: values.collect::<rusqlite::Result<_>>()?,
        }));
    }
    Ok(answer)
}

/// Changes something, and returns how many rows it was.
pub(super) fn execute(
    connection: &Connection,
    statement: Statement,
    values: &[impl ToSql],
) -> rusqlite::Result<u64> {
    let changed = bound(connection, statement, values)?.raw_execute()?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

fn bound<'a>(
    connection: &'a Connection,
    statement: Statement,
    values: &[impl ToSql],
) -> rusqlite::Result<CachedStatement<'a>> {
    let mut prepared = connection.prepare_cached(statement.sqlite)?;
    let count = prepared.parameter_count();
    if count > values.len() {
        return Err(rusqlite::Error::InvalidParameterCount(values.len(), count));
    }
    // A statement that does not use them all has no place for the last.
    for (at, value) in (1..=count).zip(values) {
        prepared.raw_bind_parameter(at, value)?;
    }
    Ok(prepared)
}

/// Whoever holds the connection asks at once, on the thread that it is on.
impl Session for Connection {
    fn rows<'a>(
        &'a mut self,
        statement: Statement,
        values: &'a [Value<'a>],
    ) -> Answer<'a, Vec<Fields>> {
        Either::Left(ready(rows(self, statement, values).map_err(Into::into)))
    }

    fn execute<'a>(&'a mut self, statement: Statement, values: &'a [Value<'a>]) -> Answer<'a, u64> {
        Either::Left(ready(execute(self, statement, values).map_err(Into::into)))
    }

    /// Whoever writes is alone.
    fn turn<'a>(&'a mut self, _: &'a str) -> Answer<'a, ()> {
        Either::Left(ready(Ok(())))
    }
}
