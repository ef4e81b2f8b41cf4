//! What is said of a component's life: that it is on its way out, or not quite there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastmcp_protocol::content::Meta;
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::{
    call::{Input, Outcome},
    component::{Component, Handler},
    context::{Context, Needs},
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

impl Component {
    pub(crate) fn with_marks(mut self, marks: Marks) -> Self {
        if let Some(deprecation) = marks.deprecation() {
            self.handler = Arc::new(Counted {
                handler: self.handler.clone(),
                deprecation: Arc::clone(&deprecation),
                key: self.key().to_owned(),
            });
            self.deprecation = Some(deprecation);
        }
        self.feature = marks.feature;
        self
    }

    /// The same component, hidden by the rules of its server.
    #[must_use]
    pub(crate) const fn into_disabled(mut self) -> Self {
        self.disabled = true;
        self
    }

    /// Whether the rules of its server hide it.
    pub(crate) const fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// That the component is on its way out, where it is.
    #[must_use]
    pub fn deprecation(&self) -> Option<&Deprecation> {
        self.deprecation.as_deref()
    }

    /// The feature of which it is a part: it is there on servers that enable this.
    #[must_use]
    pub fn feature(&self) -> Option<&str> {
        self.feature.as_deref()
    }

    /// Ends calls that take longer, as [`crate::ToolBuilder::timeout`] does.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a call may take, where the component itself says so.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Names the values that the handler must be handed by the server.
    #[must_use]
    pub fn with_needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// The values that the handler must be handed by the server.
    #[must_use]
    pub const fn needs(&self) -> &Needs {
        &self.needs
    }
}
