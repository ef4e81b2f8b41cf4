//! The server that a component is shown by, for components that call others.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use fastmcp_protocol::Raw;
use futures_util::future::BoxFuture;

use crate::{
    call::{Input, Kind, Outcome},
    component::Component,
    context::Context,
    engine::Engine,
    error::{Error, Result},
    gate::{Leaf, Target},
};

/// The server whose components are transformed. What a component calls through it goes the way of a call
/// that a client makes: through the same gate and middleware.
#[derive(Clone, Default)]
pub struct Host(Arc<OnceLock<Weak<Engine>>>);

impl Host {
    /// A server that is built already.
    pub(crate) fn of(engine: &Arc<Engine>) -> Self {
        let host = Self::default();
        host.settle(engine);
        host
    }

    /// Says which server it is, once that is built.
    pub(crate) fn settle(&self, engine: &Arc<Engine>) {
        let _first = self.0.set(Arc::downgrade(engine));
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        let engine = self.0.get().and_then(Weak::upgrade);
        engine.ok_or_else(|| Error::internal("the server is gone"))
    }

    /// What there is of `kind` that the caller of a request may see, whether lists show it or not.
    #[must_use]
    pub fn visible(&self, context: &Context, kind: Kind) -> Vec<Arc<Component>> {
        let Ok(engine) = self.engine() else {
            return Vec::new();
        };
        let (snapshot, sight) = (engine.registry.snapshot(), context.sight_of(&engine));
        let visible = snapshot
            .every(kind)
            .filter(|c| sight.exists(c) && sight.visible(c));
        snapshot
            .highest(visible.collect())
            .into_iter()
            .cloned()
            .collect()
    }

    /// Calls a tool by its name here.
    ///
    /// # Errors
    ///
    /// When there is none for the caller, and what the call returns.
    pub fn call_tool(
        &self,
        context: Context,
        name: &str,
        arguments: Option<Raw>,
    ) -> BoxFuture<'static, Result<Outcome>> {
        let input = Input {
            args: arguments,
            uri: None,
        };
        self.call(context, Kind::Tool, name, input)
    }

    /// Renders a prompt by its name here; `arguments` is an object of strings.
    ///
    /// # Errors
    ///
    /// As [`Self::call_tool`].
    pub fn get_prompt(
        &self,
        context: Context,
        name: &str,
        arguments: Option<Raw>,
    ) -> BoxFuture<'static, Result<Outcome>> {
        let input = Input {
            args: arguments,
            uri: None,
        };
        self.call(context, Kind::Prompt, name, input)
    }

    /// Reads a resource by its URI here.
    ///
    /// # Errors
    ///
    /// As [`Self::call_tool`].
    pub fn read_resource(
        &self,
        context: Context,
        uri: &str,
    ) -> BoxFuture<'static, Result<Outcome>> {
        let input = Input {
            args: None,
            uri: Some(uri.into()),
        };
        self.call(context, Kind::Resource, uri, input)
    }

    fn call(
        &self,
        context: Context,
        kind: Kind,
        key: &str,
        input: Input,
    ) -> BoxFuture<'static, Result<Outcome>> {
        let found = self.engine().and_then(|engine| {
            let component = find(&engine, &context, kind, key)?;
            Ok((engine, component))
        });
        Box::pin(async move {
            let (engine, component) = found?;
            let target = Target {
                component: Arc::clone(&component),
            };
            engine
                .invoke(context, target, input, Leaf::new(component))
                .await
        })
    }
}

fn find(engine: &Engine, context: &Context, kind: Kind, key: &str) -> Result<Arc<Component>> {
    let (snapshot, sight) = (engine.registry.snapshot(), context.sight_of(engine));
    let (what, found) = match kind {
        Kind::Tool => ("tool", snapshot.find(&sight, kind, key)),
        Kind::Prompt => ("prompt", snapshot.find(&sight, kind, key)),
        Kind::Resource | Kind::Template => {
            let found = snapshot.find_resource(&sight, key);
            ("resource", found.map(|(component, _)| component))
        }
    };
    found.ok_or_else(|| {
        let shown: String = key.chars().take(128).collect();
        Error::not_found(format!("unknown {what} `{shown}`"))
    })
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
