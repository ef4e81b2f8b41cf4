//! Tools under other names, with other descriptions and arguments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
};

use fastmcp_protocol::{
    Raw,
    content::Meta,
    tool::{JsonSchema, Tool, ToolAnnotations},
};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{ArgTransform, Host, Transform, argument::Reshaped};
use crate::{
    call::{Input, Outcome},
    component::{Component, Definition, Handler},
    context::Context,
    error::{Error, Result},
};

/// Reshapes tools, each by its name.
#[derive(Clone, Debug, Default)]
pub struct ToolTransform {
    tools: BTreeMap<String, ToolTransformConfig>,
}

impl ToolTransform {
    /// Changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reshapes the tool `name`, in all its versions; where there is none, nothing happens.
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>, config: ToolTransformConfig) -> Self {
        self.tools.insert(name.into(), config);
        self
    }
}

impl Transform for ToolTransform {
    fn apply(&self, components: Vec<Arc<Component>>, _: &Host) -> Result<Vec<Arc<Component>>> {
        let mut shown = Vec::with_capacity(components.len());
        for component in components {
            let config = match component.definition() {
                Definition::Tool(tool) => self.tools.get(&tool.name).map(|config| (tool, config)),
                _ => None,
            };
            match config {
                None => shown.push(component),
                Some((_, config)) if config.disabled => {}
                Some((tool, config)) => {
                    let reshaped = config.reshape(&component, tool).map_err(|error| {
                        Error::internal(format!(
                            "tool `{}` cannot be transformed: {}",
                            tool.name,
                            error.message()
                        ))
                    })?;
                    shown.push(Arc::new(reshaped));
                }
            }
        }
        Ok(shown)
    }
}

/// How a tool is shown.
#[derive(Clone, Default)]
pub struct ToolTransformConfig {
    name: Option<String>,
    title: Option<String>,
    description: Option<String>,
    annotations: Option<ToolAnnotations>,
    tags: Option<BTreeSet<String>>,
    meta: Option<Meta>,
    disabled: bool,
    arguments: BTreeMap<String, ArgTransform>,
    around: Option<Around>,
}

type Around =
    Arc<dyn Fn(Context, Input, Next) -> BoxFuture<'static, Result<Outcome>> + Send + Sync>;

impl ToolTransformConfig {
    /// The tool as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Renames it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names it for people.
    #[must_use]
    pub fn title(mut self, text: impl Into<String>) -> Self {
        self.title = Some(text.into());
        self
    }

    /// Describes it for the model.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Says how it behaves, in place of what it says itself.
    #[must_use]
    pub fn annotations(mut self, annotations: ToolAnnotations) -> Self {
        self.annotations = Some(annotations);
        self
    }

    /// Has these tags in place of its own.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Has this `_meta` in place of its own.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Whether it is shown at all. Default: it is.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.disabled = !enabled;
        self
    }

    /// Reshapes the argument `name`.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, argument: ArgTransform) -> Self {
        self.arguments.insert(name.into(), argument);
        self
    }

    /// Puts code around the tool: it gets the arguments as clients sent them, and runs the tool with
    /// [`Next::run`], with other arguments, more than once or not at all.
    #[must_use]
    pub fn around<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Context, Input, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome>> + Send + 'static,
    {
        self.around = Some(Arc::new(move |context, input, next| {
            Box::pin(function(context, input, next))
        }));
        self
    }

    fn reshape(&self, component: &Component, tool: &Tool) -> Result<Component> {
        let mut shown = tool.clone();
        if let Some(name) = &self.name {
            shown.name.clone_from(name);
        }
        if self.title.is_some() {
            shown.title.clone_from(&self.title);
        }
        if self.description.is_some() {
            shown.description.clone_from(&self.description);
        }
        if self.annotations.is_some() {
            shown.annotations.clone_from(&self.annotations);
        }
        if self.meta.is_some() {
            shown.meta.clone_from(&self.meta);
        }
        let mut code = component.code();
        if !self.arguments.is_empty() {
            let mut schema = shown.input_schema.to_value()?;
            let root = schema
                .as_object_mut()
                .ok_or_else(|| Error::internal("its schema is no object"))?;
            root.entry("type").or_insert_with(|| json!("object"));
            let reshaped = Reshaped::of(root, &self.arguments)?;
            shown.input_schema = JsonSchema::from_value(&schema)?;
            code = Arc::new(Shaped {
                inner: code,
                arguments: Arc::new(reshaped),
            });
        }
        if let Some(around) = &self.around {
            code = Arc::new(Surrounded {
                inner: code,
                around: Arc::clone(around),
            });
        }
        let mut reshaped = component
            .with_definition(Definition::Tool(shown))?
            .with_handler(code);
        if let Some(tags) = &self.tags {
            reshaped = reshaped.replace_tags(tags.clone());
        }
        Ok(reshaped)
    }
}

impl fmt::Debug for ToolTransformConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolTransformConfig")
            .field("name", &self.name)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

/// A tool whose arguments are others.
struct Shaped {
    inner: Arc<dyn Handler>,
    arguments: Arc<Reshaped>,
}

impl Handler for Shaped {
    fn call(&self, context: Context, mut input: Input) -> BoxFuture<'static, Result<Outcome>> {
        input.args = match self.arguments.read(input.args.as_ref()) {
            Ok(args) => Some(args),
            Err(error) => return Box::pin(async move { Err(error) }),
        };
        let call = self.inner.call(context, input);
        let arguments = Arc::clone(&self.arguments);
        Box::pin(async move { call.await.map_err(|error| arguments.explain(error)) })
    }
}

/// A tool with code around it.
struct Surrounded {
    inner: Arc<dyn Handler>,
    around: Around,
}

impl Handler for Surrounded {
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>> {
        (self.around)(context, input, Next(Arc::clone(&self.inner)))
    }
}

/// A tool within code that stands around it.
#[derive(Clone)]
pub struct Next(Arc<dyn Handler>);

impl Next {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// What it returns.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops where it awaits.
    pub async fn run(&self, context: Context, input: Input) -> Result<Outcome> {
        self.0.call(context, input).await
    }

    /// Runs it with arguments that were made here.
    ///
    /// # Errors
    ///
    /// What it returns.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::run`].
    pub async fn run_with(&self, context: Context, arguments: &Value) -> Result<Outcome> {
        let input = Input {
            args: Some(Raw::of(arguments)?),
            uri: None,
        };
        self.run(context, input).await
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}
