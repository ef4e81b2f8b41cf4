//! The server, as contexts see it.

use std::{sync::Arc, time::Duration};

use fastmcp_store::KeyValueStore;
use tokio_util::task::TaskTracker;

use super::Engine;
use crate::{
    call::Changes,
    context::{Home, Shelf},
};

impl Home for Engine {
    fn changes(&self) -> Changes {
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

    fn tool_timeout(&self) -> Option<Duration> {
        self.tool_timeout
    }

    fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }
}
