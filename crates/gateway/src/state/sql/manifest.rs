//! Manifests in SQL.

use std::sync::Arc;

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;

use super::{
    super::{
        StateError,
        manifest::{After, MAX_MANIFEST_BYTES, ManifestStore, Registered, Registration},
    },
    Change, Engine, Fields, Session, Statement, Store, row, statement, writing,
};
use crate::manifest::{Manifest, ToolId};

/// How many manifests a page holds at most.
const MAX_PAGE: u32 = 1_000;

const REPLACE: Statement = statement!(
    "UPDATE manifests SET provider_id = $3, manifest = $4, updated_at = $5 WHERE tenant = $1 AND tool_id = $2"
);
const INSERT: Statement = statement!(
    "INSERT INTO manifests (tenant, tool_id, provider_id, manifest, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $5)"
);
const REMOVE: Statement = statement!("DELETE FROM manifests WHERE tenant = $1 AND tool_id = $2");
const GET: Statement = statement!(
    "SELECT tenant, tool_id, manifest, created_at, updated_at FROM manifests WHERE tenant = $1 AND tool_id = $2"
);
const PAGE: Statement = statement!(
    "SELECT tenant, tool_id, manifest, created_at, updated_at FROM manifests \
     WHERE (tenant, tool_id) > ($1, $2) ORDER BY tenant, tool_id LIMIT $3"
);
const REVISION: Statement = statement!("SELECT number FROM revisions WHERE subject = 'manifests'");
/// Goes first in each change, so that those of several replicas come one after the other.
const REVISE: Statement =
    statement!("UPDATE revisions SET number = number + 1 WHERE subject = 'manifests'");

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
        session: &'a mut dyn Session,
    ) -> BoxFuture<'a, Result<Registration, StateError>> {
        Box::pin(async move {
            session.execute(REVISE, &[]).await.map_err(writing)?;
            let values = [
                self.tenant.as_str().into(),
                self.tool_id.as_str().into(),
                self.provider_id.as_str().into(),
                self.json.as_str().into(),
                self.now.into(),
            ];
            let replaced = session.execute(REPLACE, &values).await.map_err(writing)?;
            if replaced > 0 {
                return Ok(Registration::Replaced);
            }
            session.execute(INSERT, &values).await.map_err(writing)?;
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
        session: &'a mut dyn Session,
    ) -> BoxFuture<'a, Result<bool, StateError>> {
        Box::pin(async move {
            session.execute(REVISE, &[]).await.map_err(writing)?;
            let values = [self.tenant.as_str().into(), self.tool_id.as_str().into()];
            let removed = session.execute(REMOVE, &values).await.map_err(writing)?;
            Ok(removed > 0)
        })
    }
}

fn registered(row: &Fields) -> Result<Registered, StateError> {
    let json: &str = row.column("manifest")?;
    let manifest: Manifest =
        serde_json::from_str(json).map_err(|_| StateError::Corrupt { column: "manifest" })?;
    // The key columns decide who sees it; a manifest that says otherwise was not written here.
    let tenant: &str = row.column("tenant")?;
    let tool_id: &str = row.column("tool_id")?;
    if manifest.tenant != tenant || manifest.tool_id.as_str() != tool_id {
        return Err(StateError::Corrupt { column: "manifest" });
    }
    Ok(Registered {
        manifest,
        created_at: row::moment(row, "created_at")?,
        updated_at: row::moment(row, "updated_at")?,
    })
}

impl<E: Engine> ManifestStore for Store<E> {
    fn put(
        &self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Registration, StateError>> {
        let put = Put::new(manifest, now);
        Box::pin(async move { self.engine.change(put?).await })
    }

    fn get(
        &self,
        tenant: &str,
        tool_id: &ToolId,
    ) -> BoxFuture<'_, Result<Option<Registered>, StateError>> {
        let (tenant, tool_id) = (tenant.to_owned(), tool_id.clone());
        Box::pin(async move {
            let values = [tenant.as_str().into(), tool_id.as_str().into()];
            let found = self.ask_one(GET, &values).await?;
            found.map(|row| registered(&row)).transpose()
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
            let limit = i64::from(limit.clamp(1, MAX_PAGE));
            let rows = self
                .ask(PAGE, &[tenant.into(), tool_id.into(), limit.into()])
                .await?;
            rows.iter().map(registered).collect()
        })
    }

    fn remove(&self, tenant: &str, tool_id: &ToolId) -> BoxFuture<'_, Result<bool, StateError>> {
        let remove = Remove {
            tenant: tenant.to_owned(),
            tool_id: tool_id.clone(),
        };
        Box::pin(self.engine.change(remove))
    }

    fn revision(&self) -> BoxFuture<'_, Result<i64, StateError>> {
        Box::pin(async move {
            let found = self.ask_one(REVISION, &[]).await?;
            let row = found.ok_or(StateError::Corrupt { column: "number" })?;
            row.column("number")
        })
    }
}
