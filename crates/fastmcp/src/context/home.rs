//! What a context needs of the server that it belongs to.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use fastmcp_store::KeyValueStore;
use tokio_util::task::TaskTracker;

use super::value::Shelf;
use crate::call::Changes;

/// A server, as its contexts see it.
pub(crate) trait Home: Any + fmt::Debug + Send + Sync {
    /// Where changes are told to whoever subscribed.
    fn changes(&self) -> Changes;

    /// Where notes are kept of what must not be done twice.
    fn store(&self) -> &Arc<dyn KeyValueStore>;

    /// What its handlers are handed.
    fn values(&self) -> &Shelf;

    /// Whether arguments must have the types of the schema as they are.
    fn is_strict(&self) -> bool;

    /// How long a call of a tool may take that says nothing of it itself.
    fn tool_timeout(&self) -> Option<Duration>;

    /// Finishes what goes on after its answer.
    fn tracker(&self) -> &TaskTracker;
}
