//! Operations in SQL.

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;

use super::{
    super::{
        StateError,
        machine::{Owner, State, Status},
        operation::{
            Create, Created, Filter, IdempotencyKey, OperationId, OperationStore, Recent,
            Recovered, Row, Step, Stepped,
        },
    },
    Sqlite, reading,
    row::{self, millis},
    writer::Change,
    writing,
};
use crate::manifest::ToolId;

#[cfg(test)]
mod model_tests;
mod sql;
mod step;

use sql::{
    ACTED, APPROVALS, BIND_KEY, BY_ID, BY_TOKEN, EXPIRE, FREE_KEY, HAS_KEY, HOLDER, INSERT, LIST,
    OPEN, PENDING, PURGE, RECOVER, UNKNOWN,
};

/// Where a key is unique.
struct Scope<'a> {
    tenant: &'a str,
    subject: &'a str,
    tool_id: &'a ToolId,
    key: &'a IdempotencyKey,
}

impl Scope<'_> {
    async fn holder(&self, connection: &mut SqliteConnection) -> Result<Option<Row>, StateError> {
        sqlx::query(HOLDER)
            .bind(self.tenant)
            .bind(self.subject)
            .bind(self.tool_id.as_str())
            .bind(self.key.as_str())
            .fetch_optional(connection)
            .await
            .map_err(writing)?
            .map(|row| row::operation(&row))
            .transpose()
    }

    async fn free(&self, connection: &mut SqliteConnection) -> Result<(), StateError> {
        sqlx::query(FREE_KEY)
            .bind(self.tenant)
            .bind(self.subject)
            .bind(self.tool_id.as_str())
            .bind(self.key.as_str())
            .execute(connection)
            .await
            .map(|_| ())
            .map_err(writing)
    }

    async fn bind(
        &self,
        id: &OperationId,
        connection: &mut SqliteConnection,
    ) -> Result<(), StateError> {
        sqlx::query(BIND_KEY)
            .bind(self.tenant)
            .bind(self.subject)
            .bind(self.tool_id.as_str())
            .bind(self.key.as_str())
            .bind(id.as_str())
            .execute(connection)
            .await
            .map(|_| ())
            .map_err(writing)
    }
}

impl Change for Create {
    type Output = Created;

    fn apply<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Created, StateError>> {
        Box::pin(async move {
            let binding = &self.row.binding;
            let now = self.row.created_at;
            let scope = self.key.as_ref().map(|key| Scope {
                tenant: &binding.tenant,
                subject: &binding.subject,
                tool_id: &binding.tool_id,
                key,
            });
            if let Some(scope) = &scope
                && let Some(row) = scope.holder(connection).await?
            {
                if row.machine.keeps_key(now, row.retain_until) {
                    return Ok(Created::Existing(Box::new(row)));
                }
                scope.free(connection).await?;
            }
            if let Some(limit) = self.max_pending
                && pending(&self.row, connection).await? >= i64::from(limit)
            {
                return Ok(Created::TooManyPending);
            }
            insert(&self.row, connection).await?;
            if let Some(scope) = scope {
                scope.bind(&self.row.id, connection).await?;
            }
            Ok(Created::New)
        })
    }
}

async fn pending(row: &Row, connection: &mut SqliteConnection) -> Result<i64, StateError> {
    sqlx::query_scalar(PENDING)
        .bind(row.binding.tenant.as_str())
        .bind(row.binding.subject.as_str())
        .bind(millis(row.created_at))
        .fetch_one(connection)
        .await
        .map_err(writing)
}

async fn insert(row: &Row, connection: &mut SqliteConnection) -> Result<(), StateError> {
    let (owner, until) = match &row.machine.state {
        State::Claimed(lease) | State::Intended(lease) => {
            (Some(&lease.claim.owner), Some(lease.until))
        }
        State::Unknown(claim) => (Some(&claim.owner), None),
        _ => (None, None),
    };
    let effect = match &row.machine.state {
        State::Failed(effect) => Some(effect.as_str()),
        _ => None,
    };
    sqlx::query(INSERT)
        .bind(row.id.as_str())
        .bind(row.binding.tenant.as_str())
        .bind(row.binding.subject.as_str())
        .bind(row.binding.client.as_deref())
        .bind(row.binding.tool_id.as_str())
        .bind(row.binding.definition_hash.as_slice())
        .bind(row.binding.args_digest.as_slice())
        .bind(row.args_sealed.as_deref())
        .bind(row.binding.obligations.as_str())
        .bind(row.binding.policy_version.as_str())
        .bind(row.token_hash.as_ref().map(<[u8; 32]>::as_slice))
        .bind(row.token_sealed.as_deref())
        .bind(row.machine.status().as_str())
        .bind(effect)
        .bind(owner.map(Owner::as_str))
        .bind(i64::try_from(row.machine.fence).unwrap_or(i64::MAX))
        .bind(until.map(millis))
        .bind(millis(row.created_at))
        .bind(millis(row.machine.expires_at))
        .bind(millis(row.retain_until))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(writing)
}

/// The newest operation of a call, of those that `sql` looks for.
async fn newest(
    sql: &'static str,
    query: &Recent,
    connection: &mut SqliteConnection,
) -> Result<Option<Row>, StateError> {
    sqlx::query(sql)
        .bind(query.binding.tenant.as_str())
        .bind(query.binding.subject.as_str())
        .bind(query.binding.tool_id.as_str())
        .bind(query.binding.args_digest.as_slice())
        .bind(query.binding.client.as_deref())
        .bind(millis(query.since))
        .bind(millis(query.now))
        .fetch_optional(connection)
        .await
        .map_err(reading)?
        .map(|row| row::operation(&row))
        .transpose()
}

/// Work on many rows at once, none of which anybody waits for.
struct Sweep {
    sql: &'static str,
    now: Timestamp,
    limit: u32,
}

impl Change for Sweep {
    /// How many rows became unknown, and how many were touched otherwise.
    type Output = (u64, u64);

    fn apply<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(u64, u64), StateError>> {
        Box::pin(async move {
            let states: Vec<String> = sqlx::query_scalar(self.sql)
                .bind(millis(self.now))
                .bind(i64::from(self.limit))
                .fetch_all(connection)
                .await
                .map_err(writing)?;
            let unknown = states
                .iter()
                .filter(|state| *state == Status::Unknown.as_str())
                .count();
            let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
            Ok((count(unknown), count(states.len() - unknown)))
        })
    }
}

impl OperationStore for Sqlite {
    fn create(&self, create: Create) -> BoxFuture<'_, Result<Created, StateError>> {
        Box::pin(self.writer.submit(create))
    }

    fn step(&self, step: Step) -> BoxFuture<'_, Result<Stepped, StateError>> {
        Box::pin(self.writer.submit(step))
    }

    fn by_token(&self, token_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move {
            sqlx::query(BY_TOKEN)
                .bind(token_hash.as_slice())
                .fetch_optional(self.reader().await?.connection())
                .await
                .map_err(reading)?
                .map(|row| row::operation(&row))
                .transpose()
        })
    }

    fn by_id(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move {
            sqlx::query(BY_ID)
                .bind(id.as_str())
                .fetch_optional(self.reader().await?.connection())
                .await
                .map_err(reading)?
                .map(|row| row::operation(&row))
                .transpose()
        })
    }

    fn has_key(&self, row: &Row, key: &IdempotencyKey) -> BoxFuture<'_, Result<bool, StateError>> {
        let (binding, id, key) = (row.binding.clone(), row.id.clone(), key.clone());
        Box::pin(async move {
            sqlx::query_scalar(HAS_KEY)
                .bind(binding.tenant)
                .bind(binding.subject)
                .bind(binding.tool_id.as_str())
                .bind(key.as_str())
                .bind(id.as_str())
                .fetch_one(self.reader().await?.connection())
                .await
                .map_err(reading)
        })
    }

    fn recent(&self, query: Recent) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            for sql in [UNKNOWN, ACTED, OPEN] {
                let found = newest(sql, &query, reader.connection()).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        })
    }

    fn waiting(&self, query: Recent) -> BoxFuture<'_, Result<Option<Row>, StateError>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            newest(OPEN, &query, reader.connection()).await
        })
    }

    fn approvals(
        &self,
        tenant: String,
        now: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Row>, StateError>> {
        Box::pin(async move {
            let rows = sqlx::query(APPROVALS)
                .bind(tenant)
                .bind(millis(now))
                .bind(i64::from(limit.clamp(1, 500)))
                .fetch_all(self.reader().await?.connection())
                .await
                .map_err(reading)?;
            rows.iter().map(row::operation).collect()
        })
    }

    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Vec<Row>, StateError>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let mut rows = Vec::new();
            // State by state, so that an index serves each and no table is sorted.
            for status in Status::ALL
                .into_iter()
                .filter(|status| filter.status.is_none_or(|only| only == *status))
            {
                let found = sqlx::query(LIST)
                    .bind(status.as_str())
                    .bind(filter.tenant.as_deref())
                    .bind(i64::from(filter.bounded()))
                    .fetch_all(reader.connection())
                    .await
                    .map_err(reading)?;
                for row in &found {
                    rows.push(row::operation(row)?);
                }
            }
            rows.sort_by(|a, b| {
                b.updated_at
                    .cmp(&a.updated_at)
                    .then_with(|| b.id.cmp(&a.id))
            });
            rows.truncate(usize::try_from(filter.bounded()).unwrap_or(usize::MAX));
            Ok(rows)
        })
    }

    fn recover(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Recovered, StateError>> {
        Box::pin(async move {
            let (unknown, released) = self
                .writer
                .submit(Sweep {
                    sql: RECOVER,
                    now,
                    limit,
                })
                .await?;
            Ok(Recovered { released, unknown })
        })
    }

    fn expire(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(async move {
            Ok(self
                .writer
                .submit(Sweep {
                    sql: EXPIRE,
                    now,
                    limit,
                })
                .await?
                .1)
        })
    }

    fn purge(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(async move {
            Ok(self
                .writer
                .submit(Sweep {
                    sql: PURGE,
                    now,
                    limit,
                })
                .await?
                .1)
        })
    }
}
