//! The server, as contexts see it.

use std::sync::Arc;

use fastmcp_store::KeyValueStore;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use super::Engine;
use crate::{
    call::Change,
    context::{Home, Shelf},
};

impl Home for Engine {
    fn changes(&self) -> broadcast::Sender<Change> {
        self.registry.changes()
    }

    fn store(&self) -> &Arc<dyn KeyValueStore> {
        self.tasks.store()
    }

    fn values(&self) -> &Shelf {
        &self.values
    }

    fn is_strict(&self) -> bool {
        self.strict_input
    }

    fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }
}
