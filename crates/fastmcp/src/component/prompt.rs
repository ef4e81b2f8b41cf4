//! Prompts.

use std::{future::Future, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    RpcError,
    content::{Icon, Meta},
    prompt::{GetPromptResult, Prompt, PromptArgument, PromptMessage},
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    call::{Input, Outcome},
    component::{self, Component, Decision, Definition, Marks, SharedCheck},
    context::{Context, Needs},
    error::{Error, Result},
    schema,
};

/// Becomes a prompt: what `#[prompt]` makes, and [`PromptBuilder`].
#[diagnostic::on_unimplemented(
    message = "this is not a prompt",
    label = "neither what `#[prompt]` makes nor a `PromptBuilder`",
    note = "put `#[prompt]` on the function"
)]
pub trait IntoPrompt {
    /// The prompt.
    fn into_prompt(self) -> PromptBuilder;
}

/// A prompt in the making.
pub struct PromptBuilder {
    prompt: Prompt,
    call: Result<Call>,
    scopes: Vec<String>,
    checks: Vec<SharedCheck>,
    tags: Vec<String>,
    needs: Needs,
    marks: Marks,
    version: Option<String>,
}

type Call = Box<dyn Fn(Context, Input) -> BoxFuture<'static, Result<Outcome>> + Send + Sync>;

impl PromptBuilder {
    /// Creates a prompt from a function of its arguments and a context.
    ///
    /// Clients send arguments as strings; what `A` wants otherwise is read as JSON.
    pub fn new<A, F, Fut, R>(name: impl Into<String>, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: PromptOutput + 'static,
    {
        let described = schema::arguments::<A>();
        let mut prompt = Prompt::new(name);
        prompt.arguments = described
            .as_ref()
            .ok()
            .map(arguments)
            .filter(|a| !a.is_empty());
        let call = described.map(|schema| prepare(schema, function));
        Self {
            prompt,
            call,
            scopes: Vec::new(),
            checks: Vec::new(),
            tags: Vec::new(),
            needs: Needs::default(),
            marks: Marks::default(),
            version: None,
        }
    }

    /// Describes the prompt.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.prompt.description = Some(text.into());
        self
    }

    /// Names the prompt for people.
    #[must_use]
    pub fn title(mut self, text: impl Into<String>) -> Self {
        self.prompt.title = Some(text.into());
        self
    }

    /// Shows clients an icon; may be repeated.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.prompt.icons.get_or_insert_default().push(icon);
        self
    }

    /// Sets `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.prompt.meta = Some(meta);
        self
    }

    /// Names the values that the function must be handed by the server, which then cannot be built
    /// without them. The attributes name them by themselves.
    #[must_use]
    pub fn needs(mut self, name: impl FnOnce(&mut Needs)) -> Self {
        name(&mut self.needs);
        self
    }

    /// Says that it is on its way out, and in a few words what to do instead: `use x`. Its description and
    /// `_meta` say so, calls are logged and counted: see [`Component::deprecation`].
    #[must_use]
    pub fn deprecated(mut self, note: impl Into<String>) -> Self {
        self.marks.deprecated = Some(note.into());
        self
    }

    /// Makes it a part of a feature: it is there only on servers that
    /// [enable](crate::FastMcp::enable_feature) this.
    #[must_use]
    pub fn feature(mut self, name: impl Into<String>) -> Self {
        self.marks.feature = Some(name.into());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Gives it a version; see [`Component::with_version`].
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Lets only those use it whom `check` allows; may be repeated, then all must. See [`crate::authorize`].
    #[must_use]
    pub fn auth<F>(mut self, check: F) -> Self
    where
        F: Fn(&Caller, &Component) -> Decision + Send + Sync + 'static,
    {
        self.checks.push(Arc::new(check));
        self
    }

    /// Demands a scope of the caller.
    #[must_use]
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    pub(crate) fn build(self) -> Result<Component> {
        let name = self.prompt.name.clone();
        let call = self
            .call
            .map_err(|e| Error::internal(format!("prompt `{name}`: {}", e.message())))?;
        component::check_icons(self.prompt.icons.as_deref())
            .map_err(|e| Error::internal(format!("prompt `{name}`: {}", e.message())))?;
        let mut prompt = self.prompt;
        self.marks
            .describe(&mut prompt.description, &mut prompt.meta);
        let component = Component::new(Definition::Prompt(prompt), call)
            .with_required_scopes(self.scopes)
            .with_checks(self.checks)
            .with_tags(self.tags)
            .with_needs(self.needs)
            .with_marks(self.marks);
        component::versioned(component, self.version)
            .map_err(|e| Error::internal(format!("prompt `{name}`: {}", e.message())))
    }
}

impl std::fmt::Debug for PromptBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptBuilder")
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}

impl IntoPrompt for PromptBuilder {
    fn into_prompt(self) -> PromptBuilder {
        self
    }
}

/// What an attribute leaves under the function's name: a function that makes the prompt.
#[diagnostic::do_not_recommend]
impl<F, C> IntoPrompt for F
where
    F: FnOnce() -> C,
    C: IntoPrompt,
{
    fn into_prompt(self) -> PromptBuilder {
        self().into_prompt()
    }
}

fn prepare<A, F, Fut, R>(schema: Value, function: F) -> Call
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: PromptOutput + 'static,
{
    Box::new(move |context, input| {
        let decoded = strings(&input)
            .and_then(|args| schema::from_strings(&schema, args))
            .and_then(|raw| schema::decode::<A>(Some(&raw)))
            .map_err(|e| Error::protocol(RpcError::invalid_params(e.message().to_owned())));
        match decoded {
            Ok(args) => {
                let render = function(args, context);
                Box::pin(async move { Ok(render.await.into_messages()?.into()) })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    })
}

fn arguments(schema: &Value) -> Vec<PromptArgument> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let mut argument = PromptArgument::new(name, required.contains(&name.as_str()));
            argument.description = property
                .get("description")
                .and_then(Value::as_str)
                .map(str::to_owned);
            argument
        })
        .collect()
}

fn strings(input: &Input) -> Result<Map<String, Value>> {
    let Some(args) = &input.args else {
        return Ok(Map::new());
    };
    let args: Map<String, Value> = args.decode()?;
    match args.iter().find(|(_, value)| !value.is_string()) {
        Some((name, _)) => Err(Error::validation(format!(
            "argument `{name}` must be a string"
        ))),
        None => Ok(args),
    }
}

/// What a prompt may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a prompt",
    note = "return `String`, `PromptMessage`, `Vec<PromptMessage>` or `GetPromptResult`"
)]
pub trait PromptOutput: Send {
    /// The messages.
    ///
    /// # Errors
    ///
    /// When the value is an error.
    fn into_messages(self) -> Result<GetPromptResult>;
}

impl PromptOutput for GetPromptResult {
    fn into_messages(self) -> Result<GetPromptResult> {
        Ok(self)
    }
}

impl PromptOutput for Vec<PromptMessage> {
    fn into_messages(self) -> Result<GetPromptResult> {
        Ok(GetPromptResult {
            messages: self,
            ..GetPromptResult::default()
        })
    }
}

impl PromptOutput for PromptMessage {
    fn into_messages(self) -> Result<GetPromptResult> {
        vec![self].into_messages()
    }
}

impl PromptOutput for String {
    fn into_messages(self) -> Result<GetPromptResult> {
        PromptMessage::user(self).into_messages()
    }
}

impl PromptOutput for &'static str {
    fn into_messages(self) -> Result<GetPromptResult> {
        self.to_owned().into_messages()
    }
}

impl<T: PromptOutput, E: Into<Error> + Send> PromptOutput for std::result::Result<T, E> {
    fn into_messages(self) -> Result<GetPromptResult> {
        self.map_err(Into::into)?.into_messages()
    }
}
