//! Manifests in SQL.

use std::sync::Arc;

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    super::{
        StateError,
        manifest::{After, MAX_MANIFEST_BYTES, ManifestStore, Registered, Registration},
    },
    Sqlite, reading,
    row::{self, millis},
    writer::Change,
    writing,
};
use crate::manifest::{Manifest, ToolId};

/// How many manifests a page holds at most.
const MAX_PAGE: u32 = 1_000;

struct Put {
    tenant: String,
    tool_id: ToolId,
    provider_id: String,
    json: String,
    now: Timestamp,
}

impl Put {
    fn new(manifest: &Manifest, now: Timestamp) -> Result<Self, StateError> {
        let json = serde_json::to_string(manifest)
            .map_err(|error| StateError::Manifest(Arc::new(error)))?;
        if json.len() > MAX_MANIFEST_BYTES {
            return Err(StateError::TooLarge {
                field: "manifest",
                limit: MAX_MANIFEST_BYTES,
            });
        }
        Ok(Self {
            tenant: manifest.tenant.clone(),
            tool_id: manifest.tool_id.clone(),
            provider_id: manifest.provider_id.clone(),
            json,
            now,
        })
    }
}

impl Change for Put {
    type Output = Registration;

    fn apply<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Registration, StateError>> {
        Box::pin(async move {
            let replaced = sqlx::query(
                "UPDATE manifests SET provider_id = ?3, manifest = ?4, updated_at = ?5 \
                 WHERE tenant = ?1 AND tool_id = ?2",
            )
            .bind(self.tenant.as_str())
            .bind(self.tool_id.as_str())
            .bind(self.provider_id.as_str())
            .bind(self.json.as_str())
            .bind(millis(self.now))
            .execute(&mut *connection)
            .await
            .map_err(writing)?;
            if replaced.rows_affected() > 0 {
                return Ok(Registration::Replaced);
            }
            sqlx::query(
                "INSERT INTO manifests (tenant, tool_id, provider_id, manifest, created_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )
            .bind(self.tenant.as_str())
            .bind(self.tool_id.as_str())
            .bind(self.provider_id.as_str())
            .bind(self.json.as_str())
            .bind(millis(self.now))
            .execute(connection)
            .await
            .map_err(writing)?;
            Ok(Registration::Created)
        })
    }
}

struct Remove {
    tenant: String,
    tool_id: ToolId,
}

impl Change for Remove {
    type Output = bool;

    fn apply<'a>(
        &'a self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<bool, StateError>> {
        Box::pin(async move {
            sqlx::query("DELETE FROM manifests WHERE tenant = ?1 AND tool_id = ?2")
                .bind(self.tenant.as_str())
                .bind(self.tool_id.as_str())
                .execute(connection)
                .await
                .map(|done| done.rows_affected() > 0)
                .map_err(writing)
        })
    }
}

fn registered(row: &SqliteRow) -> Result<Registered, StateError> {
    let json: &str = row::column(row, "manifest")?;
    let manifest: Manifest =
        serde_json::from_str(json).map_err(|_| StateError::Corrupt { column: "manifest" })?;
    // The key columns decide who sees it; a manifest that says otherwise was not written here.
    let tenant: &str = row::column(row, "tenant")?;
    let tool_id: &str = row::column(row, "tool_id")?;
    if manifest.tenant != tenant || manifest.tool_id.as_str() != tool_id {
        return Err(StateError::Corrupt { column: "manifest" });
    }
    Ok(Registered {
        manifest,
        created_at: row::moment(row, "created_at")?,
        updated_at: row::moment(row, "updated_at")?,
    })
}

impl ManifestStore for Sqlite {
    fn put(
        &self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Registration, StateError>> {
        let put = Put::new(manifest, now);
        Box::pin(async move { self.writer.submit(put?).await })
    }

    fn get(
        &self,
        tenant: &str,
        tool_id: &ToolId,
    ) -> BoxFuture<'_, Result<Option<Registered>, StateError>> {
        let (tenant, tool_id) = (tenant.to_owned(), tool_id.clone());
        Box::pin(async move {
            sqlx::query(
                "SELECT tenant, tool_id, manifest, created_at, updated_at FROM manifests \
                 WHERE tenant = ?1 AND tool_id = ?2",
            )
            .bind(tenant)
            .bind(tool_id.as_str())
            .fetch_optional(self.reader().await?.connection())
            .await
            .map_err(reading)?
            .map(|row| registered(&row))
            .transpose()
        })
    }

    fn page(
        &self,
        after: Option<After>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Registered>, StateError>> {
        Box::pin(async move {
            let (tenant, tool_id) = after.as_ref().map_or(("", ""), |after| {
                (after.tenant.as_str(), after.tool_id.as_str())
            });
            sqlx::query(
                "SELECT tenant, tool_id, manifest, created_at, updated_at FROM manifests \
                 WHERE (tenant, tool_id) > (?1, ?2) ORDER BY tenant, tool_id LIMIT ?3",
            )
            .bind(tenant)
            .bind(tool_id)
            .bind(i64::from(limit.clamp(1, MAX_PAGE)))
            .fetch_all(self.reader().await?.connection())
            .await
            .map_err(reading)?
            .iter()
            .map(registered)
            .collect()
        })
    }

    fn remove(&self, tenant: &str, tool_id: &ToolId) -> BoxFuture<'_, Result<bool, StateError>> {
        let remove = Remove {
            tenant: tenant.to_owned(),
            tool_id: tool_id.clone(),
        };
        Box::pin(self.writer.submit(remove))
    }
}
