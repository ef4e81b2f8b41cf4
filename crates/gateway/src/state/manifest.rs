//! Where registered manifests are kept.

use std::fmt;

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;

use super::StateError;
use crate::manifest::{Manifest, ToolId};

/// The largest manifest that is kept, in bytes of JSON.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;

/// A manifest with the times of its registration.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// The manifest.
    pub manifest: Manifest,
    /// When this tool was first registered in its tenant.
    pub created_at: Timestamp,
    /// When it was last registered.
    pub updated_at: Timestamp,
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The tool is new in its tenant.
    Created,
    /// It took the place of an earlier manifest.
    Replaced,
}

/// Where a page of manifests ended, so that the next can begin behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The tenant of the last manifest.
    pub tenant: String,
    /// Its tool.
    pub tool_id: ToolId,
}

/// Keeps manifests, each under its tenant and tool id.
///
/// # Cancel safety
///
/// A dropped future may or may not have had its effect.
pub trait ManifestStore: fmt::Debug + Send + Sync + 'static {
    /// Registers a manifest, in the place of an earlier one of the same tenant and tool id.
    fn put(
        &self,
        manifest: &Manifest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Registration, StateError>>;

    /// Finds a manifest.
    fn get(
        &self,
        tenant: &str,
        tool_id: &ToolId,
    ) -> BoxFuture<'_, Result<Option<Registered>, StateError>>;

    /// At most `limit` (1 to 1,000) manifests of all tenants, ordered by tenant and tool id, behind `after`.
    fn page(
        &self,
        after: Option<After>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Registered>, StateError>>;

    /// Removes a manifest; says whether there was one.
    fn remove(&self, tenant: &str, tool_id: &ToolId) -> BoxFuture<'_, Result<bool, StateError>>;

    /// A number that is another one whenever a manifest was registered or removed, by whatever process.
    fn revision(&self) -> BoxFuture<'_, Result<i64, StateError>>;
}
