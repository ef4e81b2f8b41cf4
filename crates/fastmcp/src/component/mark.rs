//! What is said of a component's life: that it is on its way out, or not quite there.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fastmcp_protocol::content::Meta;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::{
    call::{Input, Outcome},
    component::Handler,
    context::Context,
    error::Result,
};

/// What a builder was told of a component's life.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) deprecated: Option<String>,
    pub(crate) feature: Option<String>,
}

impl Marks {
    /// Says in words what a deprecated component's description and `_meta` shall say.
    pub(crate) fn describe(&self, description: &mut Option<String>, meta: &mut Option<Meta>) {
        let Some(note) = &self.deprecated else {
            return;
        };
        let said = match description.take() {
            Some(text) => format!("Deprecated: {note}.\n\n{text}"),
            None => format!("Deprecated: {note}."),
        };
        *description = Some(said);
        let own = meta.take().unwrap_or_default();
        let mut ours = own.get("fastmcp").cloned().unwrap_or_else(|| json!({}));
        if let Some(ours) = ours.as_object_mut() {
            ours.insert("deprecated".to_owned(), json!(note));
        }
        *meta = Some(own.with("fastmcp", ours));
    }

    pub(crate) fn deprecation(&self) -> Option<Arc<Deprecation>> {
        let note = self.deprecated.clone()?;
        Some(Arc::new(Deprecation {
            note,
            calls: AtomicU64::new(0),
        }))
    }
}

/// That a component is on its way out.
#[derive(Debug)]
pub struct Deprecation {
    note: String,
    calls: AtomicU64,
}

impl Deprecation {
    /// What to do instead, as the author said it.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// How often it was called all the same, since the server was built.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Counts and logs the calls of a component that is deprecated.
pub(crate) struct Counted {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) deprecation: Arc<Deprecation>,
    pub(crate) key: String,
}

impl Handler for Counted {
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>> {
        let calls = self.deprecation.calls.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(
            component = self.key,
            instead = self.deprecation.note,
            calls,
            client_id = context.client_id(),
            "a deprecated component was called"
        );
        self.handler.call(context, input)
    }
}
