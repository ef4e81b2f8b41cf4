//! Prompts.

use std::future::Future;

use fastmcp_protocol::{
    RpcError,
    prompt::{GetPromptResult, Prompt, PromptArgument, PromptMessage},
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    call::{Input, Outcome},
    component::{
        Component, Definition,
        builder::{Basics, tell, wrong},
    },
    context::Context,
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
    pub(super) basics: Basics,
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
            basics: Basics::default(),
        }
    }

    pub(crate) fn build(self) -> Result<Component> {
        let name = self.prompt.name.clone();
        self.built().map_err(|e| wrong("prompt", &name, &e))
    }

    fn built(self) -> Result<Component> {
        let (call, mut prompt, mut basics) = (self.call?, self.prompt, self.basics);
        basics.settle()?;
        tell!(basics => prompt);
        let component = basics.component(Definition::Prompt(prompt), call)?;
        component.check_completers()?;
        Ok(component)
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
