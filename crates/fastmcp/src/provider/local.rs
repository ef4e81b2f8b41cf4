//! Components that code adds and takes away, for any number of servers.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};
use tokio::sync::broadcast;

use super::Provider;
use crate::{
    call::{Change, Kind},
    component::{Component, IntoPrompt, IntoResource, IntoTool},
    error::{Error, Result},
    registry::{Duplicates, without_duplicates},
};

/// Changes that a server may be behind by, before it looks at everything.
const BACKLOG: usize = 64;

/// Components that code adds and takes away. Several servers can show the same ones; clones are one provider.
#[derive(Clone, Debug)]
pub struct LocalProvider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    duplicates: Duplicates,
    components: Mutex<Vec<Arc<Component>>>,
    changes: broadcast::Sender<Change>,
}

impl LocalProvider {
    /// A provider that has nothing yet, and refuses what it has already.
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_duplicates(name, Duplicates::Error)
    }

    /// A provider that has nothing yet; `policy` says what happens when it is given what it has already.
    pub fn with_duplicates(name: impl Into<String>, policy: Duplicates) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            duplicates: policy,
            components: Mutex::default(),
            changes: broadcast::channel(BACKLOG).0,
        }))
    }

    /// Adds a tool.
    ///
    /// # Errors
    ///
    /// When it cannot be built, or is refused as a duplicate.
    pub fn add_tool(&self, tool: impl IntoTool) -> Result<()> {
        self.add(tool.into_tool().build()?)
    }

    /// Adds a resource or a template.
    ///
    /// # Errors
    ///
    /// As [`Self::add_tool`].
    pub fn add_resource(&self, resource: impl IntoResource) -> Result<()> {
        self.add(resource.into_resource().build()?)
    }

    /// Adds a prompt.
    ///
    /// # Errors
    ///
    /// As [`Self::add_tool`].
    pub fn add_prompt(&self, prompt: impl IntoPrompt) -> Result<()> {
        self.add(prompt.into_prompt().build()?)
    }

    /// Adds a component that was made by hand.
    ///
    /// # Errors
    ///
    /// When it is refused as a duplicate.
    pub fn add(&self, component: Component) -> Result<()> {
        let kind = component.kind();
        {
            let mut components = self.lock();
            let mut all = components.clone();
            all.push(Arc::new(component));
            *components = without_duplicates(&all, self.0.duplicates)?;
        }
        self.changed(kind);
        Ok(())
    }

    /// Takes away what is named so, in all versions: a tool or prompt by its name, a resource by its URI, a
    /// template by its form.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn remove(&self, kind: Kind, key: &str) -> Result<()> {
        let removed = {
            let mut components = self.lock();
            let before = components.len();
            components.retain(|one| one.kind() != kind || one.key() != key);
            components.len() < before
        };
        if removed {
            self.changed(kind);
            return Ok(());
        }
        let shown: String = key.chars().take(128).collect();
        Err(Error::not_found(format!(
            "provider `{}` has no {kind:?} `{shown}`",
            self.0.name
        )))
    }

    /// Says that the contents of a resource are others.
    pub fn resource_updated(&self, uri: impl Into<String>) {
        // Nobody listening is no failure.
        let _listeners = self.0.changes.send(Change::Resource(uri.into()));
    }

    fn changed(&self, kind: Kind) {
        // Nobody listening is no failure.
        let _listeners = self.0.changes.send(Change::List(kind));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Component>>> {
        self.0
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for LocalProvider {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0.name)
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        let components = self.lock().clone();
        Box::pin(async move { Ok(components) })
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let receiver = self.0.changes.subscribe();
        stream::unfold(receiver, async |mut receiver| {
            match receiver.recv().await {
                Ok(change) => Some((change, receiver)),
                // Missed some: looking at everything makes up for it.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some((Change::List(Kind::Tool), receiver))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}
