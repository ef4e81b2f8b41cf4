//! What handlers ask of the server that they belong to.

use std::{
    any::Any,
    future::{Ready, ready},
    sync::Arc,
};

use fastmcp_protocol::{
    Raw,
    prompt::{GetPromptResult, Prompt},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    tool::{CallToolResult, Tool},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Engine;
use crate::{
    call::{Input, Kind, Outcome, Payload},
    component::{Component, Definition},
    context::Context,
    error::{Error, Result},
    gate::{Leaf, Target},
};

impl Context {
    pub(crate) fn engine(&self) -> Result<Arc<Engine>> {
        let home: Arc<dyn Any + Send + Sync> = Arc::clone(self.home()) as _;
        home.downcast()
            .map_err(|_| Error::internal("this context belongs to no server"))
    }

    /// The tools of the own server that the caller's list shows.
    ///
    /// # Errors
    ///
    /// When the context belongs to no server.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn list_tools(&self) -> Ready<Result<Vec<Tool>>> {
        ready(self.listed(Kind::Tool, |definition| match definition {
            Definition::Tool(tool) => Some(tool),
            _ => None,
        }))
    }

    /// The resources of the own server that the caller's list shows.
    ///
    /// # Errors
    ///
    /// When the context belongs to no server.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn list_resources(&self) -> Ready<Result<Vec<Resource>>> {
        ready(self.listed(Kind::Resource, |definition| match definition {
            Definition::Resource(resource) => Some(resource),
            _ => None,
        }))
    }

    /// The resource templates of the own server that the caller's list shows.
    ///
    /// # Errors
    ///
    /// When the context belongs to no server.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn list_resource_templates(&self) -> Ready<Result<Vec<ResourceTemplate>>> {
        ready(self.listed(Kind::Template, |definition| match definition {
            Definition::Template(template) => Some(template),
            _ => None,
        }))
    }

    /// The prompts of the own server that the caller's list shows.
    ///
    /// # Errors
    ///
    /// When the context belongs to no server.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn list_prompts(&self) -> Ready<Result<Vec<Prompt>>> {
        ready(self.listed(Kind::Prompt, |definition| match definition {
            Definition::Prompt(prompt) => Some(prompt),
            _ => None,
        }))
    }

    /// Reads a resource of the own server, as its caller: through the same gate, with the same state.
    ///
    /// # Errors
    ///
    /// When there is no such resource for the caller, when reading it fails, and when it asks for input.
    ///
    /// # Cancel safety
    ///
    /// As the resource's handler.
    pub async fn read_resource(&self, uri: impl Into<String> + Send) -> Result<ReadResourceResult> {
        let uri = uri.into();
        let engine = self.engine()?;
        let found = {
            let snapshot = engine.registry.snapshot();
            snapshot.find_resource(&self.sight_of(&engine), &uri)
        };
        let component = found.map(|(component, _)| component);
        let input = Input {
            args: None,
            uri: Some(uri.as_str().into()),
        };
        match self.enter(&engine, component, &uri, input).await? {
            Payload::Resource(result) => Ok(result),
            other => encoded(other),
        }
    }

    /// Renders a prompt of the own server, as its caller. `args` is an object whose values are text.
    ///
    /// # Errors
    ///
    /// When there is no such prompt for the caller, when it fails, and when it asks for input.
    ///
    /// # Cancel safety
    ///
    /// As the prompt's handler.
    pub async fn get_prompt(
        &self,
        name: &str,
        args: impl Serialize + Send,
    ) -> Result<GetPromptResult> {
        match self.named(Kind::Prompt, name, Raw::of(&args)?).await? {
            Payload::Prompt(result) => Ok(result),
            other => encoded(other),
        }
    }

    /// Calls a tool of the own server, as its caller. A tool that fails is an error here.
    ///
    /// # Errors
    ///
    /// When there is no such tool for the caller, when it fails, and when it asks for input.
    ///
    /// # Cancel safety
    ///
    /// As the tool's handler.
    pub async fn call_tool(
        &self,
        name: &str,
        args: impl Serialize + Send,
    ) -> Result<CallToolResult> {
        match self.named(Kind::Tool, name, Raw::of(&args)?).await? {
            Payload::Tool(result) | Payload::Wrapped(result) => Ok(result),
            other => encoded(other),
        }
    }

    fn listed<T: Clone>(
        &self,
        kind: Kind,
        definition: impl Fn(&Definition) -> Option<&T>,
    ) -> Result<Vec<T>> {
        let engine = self.engine()?;
        let (snapshot, sight) = (engine.registry.snapshot(), self.sight_of(&engine));
        let shown = snapshot
            .every(kind)
            .filter(|c| c.is_listed() && sight.visible(c));
        Ok(shown
            .filter_map(|c| definition(c.definition()).cloned())
            .collect())
    }

    async fn named(&self, kind: Kind, name: &str, args: Raw) -> Result<Payload> {
        let engine = self.engine()?;
        if !args.is_object() {
            return Err(Error::internal(format!(
                "the arguments of `{name}` must be an object"
            )));
        }
        let component = {
            let snapshot = engine.registry.snapshot();
            snapshot.find(&self.sight_of(&engine), kind, name)
        };
        let input = Input {
            args: Some(args),
            uri: None,
        };
        self.enter(&engine, component, name, input).await
    }

    /// Puts a call of a handler through the gate, as any other.
    async fn enter(
        &self,
        engine: &Engine,
        component: Option<Arc<Component>>,
        name: &str,
        input: Input,
    ) -> Result<Payload> {
        let shown: String = name.chars().take(128).collect();
        let component =
            component.ok_or_else(|| Error::not_found(format!("`{shown}` is unknown here")))?;
        let _within = self.nest()?;
        let target = Target {
            component: Arc::clone(&component),
        };
        let outcome = engine.invoke(self.clone(), target, input, Leaf::new(component));
        match outcome.await? {
            Outcome::Complete(payload) => Ok(payload),
            Outcome::InputRequired(_) => Err(Error::tool(format!(
                "`{shown}` asks for input, which only a client that calls it can give"
            ))),
        }
    }
}

/// A result that came encoded.
fn encoded<T: DeserializeOwned>(payload: Payload) -> Result<T> {
    match payload {
        Payload::Raw(raw) => Ok(raw.decode()?),
        _ => Err(Error::internal(
            "the handler ended with a result of another kind",
        )),
    }
}
