//! Components that belong together.

use std::sync::Arc;

use super::{CompletionBuilder, Component, IntoCompletion, IntoPrompt, IntoResource, IntoTool};
use crate::error::Result;

/// A value whose methods are tools, resources, prompts and completions: what `#[tools]` makes of an `impl` block.
///
/// ```
/// use fastmcp::prelude::*;
///
/// struct Weather {
///     unit: &'static str,
/// }
///
/// #[tools]
/// impl Weather {
///     /// Tells the weather of tomorrow.
///     #[tool]
///     async fn forecast(&self, city: String) -> String {
///         format!("22 {} in {city}", self.unit)
///     }
///
///     /// The unit of temperatures.
///     #[resource("weather://unit")]
///     fn unit(&self) -> String {
///         self.unit.to_owned()
///     }
/// }
///
/// let server = FastMcp::new("weather").tools(Weather { unit: "°C" }).build();
/// assert!(server.is_ok());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no components",
    label = "not a value whose methods are tools",
    note = "put `#[tools]` on an `impl` block of `{Self}`, and `#[tool]`, `#[resource]`, `#[prompt]` or `#[completion]` on its methods; a single function goes to `.tool(...)`"
)]
pub trait Tools: Send + Sync + 'static {
    /// The components.
    fn bundle(self: Arc<Self>) -> Bundle;
}

impl<T: Tools> Tools for Arc<T> {
    fn bundle(self: Arc<Self>) -> Bundle {
        T::bundle(Self::clone(&self))
    }
}

impl Tools for Bundle {
    fn bundle(self: Arc<Self>) -> Bundle {
        // It was handed over whole, so nobody else has it.
        Arc::into_inner(self).unwrap_or_default()
    }
}

/// Components that belong together.
#[derive(Debug, Default)]
pub struct Bundle {
    components: Vec<Result<Component>>,
    completions: Vec<CompletionBuilder>,
}

impl Bundle {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: impl IntoTool) -> Self {
        self.components.push(tool.into_tool().build());
        self
    }

    /// Adds a resource or a template.
    #[must_use]
    pub fn resource(mut self, resource: impl IntoResource) -> Self {
        self.components.push(resource.into_resource().build());
        self
    }

    /// Adds a prompt.
    #[must_use]
    pub fn prompt(mut self, prompt: impl IntoPrompt) -> Self {
        self.components.push(prompt.into_prompt().build());
        self
    }

    /// Completes an argument of a prompt or a template of the server that the bundle is added to.
    #[must_use]
    pub fn completion<Of: ?Sized>(mut self, completion: impl IntoCompletion<Of>) -> Self {
        self.completions.push(completion.into_completion());
        self
    }

    /// Adds the components of a value.
    #[must_use]
    pub fn tools(mut self, tools: impl Tools) -> Self {
        let (components, completions) = Arc::new(tools).bundle().into_parts();
        self.components.extend(components);
        self.completions.extend(completions);
        self
    }

    pub(crate) fn into_parts(self) -> (Vec<Result<Component>>, Vec<CompletionBuilder>) {
        (self.components, self.completions)
    }
}
