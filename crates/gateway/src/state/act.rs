//! What was done and is not in an audit log yet.
//!
//! Recovery moves operations before a log can tell of it, and a command beside a running gateway has no log at all. So
//! what they did is kept with the change itself, in one transaction, and a gateway records it and takes it away. Killed in
//! between it is recorded twice, under the same id, and never not at all.

use std::fmt;

use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{StateError, operation::OperationId};

/// The action of what recovery found.
pub(crate) const RECOVERED: &str = "operations.recovered";
/// The kind of resource that recovery is about.
const OPERATION: &str = "operation";

/// Something that was done, for the log.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Act {
    /// What, in the words of the log: `labels.cleared`.
    pub action: String,
    /// The tenant that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What kind of thing it is about.
    pub resource_type: String,
    /// Which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Who did it, and what else the record says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// An act with its name and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Untold {
    /// Tells it from every other one.
    pub id: OperationId,
    /// When it was done.
    pub at: Timestamp,
    /// What was done; `None` where that cannot be read: a newer version wrote it.
    pub act: Option<Act>,
}

impl Untold {
    /// That recovery found at `at` that nobody knows the outcome of `operation`, which it finds once.
    pub(super) fn recovered(operation: &OperationId, at: Timestamp) -> Self {
        let act = Act {
            action: RECOVERED.to_owned(),
            tenant: None,
            resource_type: OPERATION.to_owned(),
            resource_id: Some(operation.as_str().to_owned()),
            details: Map::new(),
        };
        Self {
            id: operation.clone(),
            at,
            act: Some(act),
        }
    }
}

impl Untold {
    /// That somebody ended `operation` at `at` after all, of which recovery had found that nobody knows its outcome.
    pub(super) fn ended(id: OperationId, operation: &OperationId, at: Timestamp) -> Self {
        Self {
            id,
            ..Self::recovered(operation, at)
        }
    }

    /// The same, saying how many labels were `cleared`.
    #[must_use]
    pub fn counting(mut self, cleared: u64) -> Self {
        if let Some(act) = &mut self.act {
            act.details.insert("cleared".to_owned(), cleared.into());
        }
        self
    }
}

/// Where a list of [`Untold`] goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) at: i64,
    pub(super) id: String,
}

/// A part of what no log has yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The oldest first, without what has no name or time that can be read.
    pub acts: Vec<Untold>,
    /// What cannot be read, as it is named.
    pub unreadable: Vec<String>,
    /// Where the next part begins, if there may be one.
    pub next: Option<Place>,
}

/// Keeps what was done until a log has it.
///
/// Each method is atomic and durable.
///
/// # Cancel safety
///
/// A dropped future may or may not have had its effect.
pub trait ActStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps an act. One of the same id is kept already: nothing changes.
    fn leave(&self, untold: Untold) -> BoxFuture<'_, Result<(), StateError>>;

    /// What no log has yet, the oldest first, behind `after`; at most `limit`.
    fn untold(&self, after: Option<Place>, limit: u32) -> BoxFuture<'_, Result<Page, StateError>>;

    /// Takes away what a log has.
    fn told(&self, id: OperationId) -> BoxFuture<'_, Result<(), StateError>>;
}
