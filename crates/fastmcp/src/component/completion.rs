//! Completing the arguments of prompts and resource templates.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::completion::{CompleteParams, Completion};
use futures_util::future::BoxFuture;

use super::{Component, Definition, PromptBuilder, ResourceBuilder};
use crate::{
    call::Kind,
    context::{Context, Home, Needs},
    error::{Error, Result},
};

/// Finds the values for an argument that is being typed.
///
/// Source: MCP 2026-07-28, server/utilities/completion.
pub trait Complete: Send + Sync + 'static {
    /// Answers one question.
    fn complete(
        &self,
        context: Context,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<Completion>>;
}

/// What a completion may return: values, the best first. Clients get the first 100 of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a completion",
    note = "return `Vec<String>`, `Vec<&'static str>`, `Option` of these, `Completion`, or a `Result` of one of them"
)]
pub trait CompletionOutput {
    /// The values.
    ///
    /// # Errors
    ///
    /// When the value is an error.
    fn into_completion(self) -> Result<Completion>;
}

impl CompletionOutput for Completion {
    fn into_completion(self) -> Result<Completion> {
        Ok(self)
    }
}

impl CompletionOutput for Vec<String> {
    fn into_completion(self) -> Result<Completion> {
        Ok(Completion::new(self))
    }
}

impl CompletionOutput for Vec<&'static str> {
    fn into_completion(self) -> Result<Completion> {
        let values: Vec<String> = self.into_iter().map(str::to_owned).collect();
        values.into_completion()
    }
}

impl<T: CompletionOutput> CompletionOutput for Option<T> {
    fn into_completion(self) -> Result<Completion> {
        match self {
            Some(values) => values.into_completion(),
            None => Vec::<String>::new().into_completion(),
        }
    }
}

impl<T: CompletionOutput, E: Into<Error>> CompletionOutput for std::result::Result<T, E> {
    fn into_completion(self) -> Result<Completion> {
        self.map_err(Into::into)?.into_completion()
    }
}

/// A completion in the making: what finds values, and what they are values for.
///
/// ```
/// use fastmcp::{CompletionBuilder, prelude::*};
///
/// /// Greets.
/// #[prompt(inline)]
/// fn greet(name: String) -> String {
///     format!("Greet {name}.")
/// }
///
/// let names = |typed: String, _: Context| async move {
///     let known = ["Ada", "Grace"].into_iter();
///     known.filter(|name| name.starts_with(&typed)).collect::<Vec<_>>()
/// };
/// let server = FastMcp::new("greeter")
///     .prompt(greet)
///     .completion(CompletionBuilder::new(names).prompt("greet", "name"))
///     .build();
/// assert!(server.is_ok());
/// ```
pub struct CompletionBuilder {
    complete: Arc<dyn Complete>,
    place: Option<Place>,
    /// Whether it answers for every argument of the server.
    general: bool,
    needs: Needs,
}

/// Whose argument is completed.
#[derive(Clone, Debug)]
struct Place {
    kind: Kind,
    key: String,
    argument: String,
}

impl CompletionBuilder {
    /// Completes by `function`, which is handed what was typed and the context of the request.
    pub fn new<F, Fut, R>(function: F) -> Self
    where
        F: Fn(String, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: CompletionOutput,
    {
        Self::from_parts(move |params, context| {
            let values = function(params.argument.value.into_owned(), context);
            async move { values.await.into_completion() }
        })
    }

    /// Completes by `complete`, whichever argument is asked about.
    pub fn of(complete: impl Complete) -> Self {
        Self {
            complete: Arc::new(complete),
            place: None,
            general: true,
            needs: Needs::default(),
        }
    }

    /// What the attribute expands to.
    #[doc(hidden)]
    pub fn from_parts<F, Fut>(function: F) -> Self
    where
        F: Fn(CompleteParams<'static>, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Completion>> + Send + 'static,
    {
        Self {
            general: false,
            ..Self::of(By(function))
        }
    }

    /// Completes an argument of the prompt `name`.
    #[must_use]
    pub fn prompt(self, name: impl Into<String>, argument: impl Into<String>) -> Self {
        self.at(Kind::Prompt, name.into(), argument.into())
    }

    /// Completes a parameter of the resource template `uri`.
    #[must_use]
    pub fn resource(self, uri: impl Into<String>, parameter: impl Into<String>) -> Self {
        self.at(Kind::Template, uri.into(), parameter.into())
    }

    fn at(mut self, kind: Kind, key: String, argument: String) -> Self {
        self.place = Some(Place {
            kind,
            key,
            argument,
        });
        self
    }

    /// Names the values that the function must be handed by the server, which then cannot be built
    /// without them. The attribute names them by itself.
    #[must_use]
    pub fn needs(mut self, name: impl FnOnce(&mut Needs)) -> Self {
        name(&mut self.needs);
        self
    }

    /// What answers for every argument, or the same back.
    pub(crate) fn into_general(self) -> std::result::Result<Arc<dyn Complete>, Self> {
        match self.place {
            None if self.general => Ok(self.complete),
            _ => Err(self),
        }
    }

    /// Gives its work to those of `components` whose argument it completes.
    pub(crate) fn join(self, components: &mut [Component]) -> Result<()> {
        let Some(place) = self.place else {
            return Err(Error::internal(
                "a completion does not say what it completes; write `#[completion(prompt = \"...\", argument = \"...\")]`, \
                 or hand it to the argument: `#[arg(complete = ...)]`",
            ));
        };
        let Place {
            kind,
            key,
            argument,
        } = place;
        let mut found = false;
        for component in components {
            if component.kind() == kind && component.key() == key {
                component.add_completer(&argument, &self.complete)?;
                component.needs.extend(&self.needs);
                found = true;
            }
        }
        if found {
            return Ok(());
        }
        let what = match kind {
            Kind::Prompt => "prompt",
            _ => "resource template",
        };
        Err(Error::internal(format!(
            "argument `{argument}` of {what} `{key}` is completed, and the server has no such {what} of its own"
        )))
    }
}

impl fmt::Debug for CompletionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionBuilder")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Becomes a completion: what `#[completion]` makes, [`CompletionBuilder`], an async function of the typed
/// text and a [`Context`], one of a [`Caller`] and [`CompleteParams`], which answers for every argument, and
/// whatever is [`Complete`]. `Of` tells these apart; the compiler finds it out.
#[diagnostic::on_unimplemented(
    message = "this completes nothing",
    label = "neither what `#[completion]` makes nor a function of the typed text",
    note = "put `#[completion(prompt = \"...\", argument = \"...\")]` on the function, or write an async function of a `String` and a `Context`"
)]
pub trait IntoCompletion<Of: ?Sized> {
    /// The completion.
    fn into_completion(self) -> CompletionBuilder;
}

/// Tells what is a completion already from functions.
#[derive(Clone, Copy, Debug)]
pub enum Made {}

impl IntoCompletion<Made> for CompletionBuilder {
    fn into_completion(self) -> CompletionBuilder {
        self
    }
}

/// What an attribute leaves under the function's name: a function that makes the completion.
#[diagnostic::do_not_recommend]
impl<F, C> IntoCompletion<(Made,)> for F
where
    F: FnOnce() -> C,
    C: IntoCompletion<Made>,
{
    fn into_completion(self) -> CompletionBuilder {
        self().into_completion()
    }
}

#[diagnostic::do_not_recommend]
impl<F, Fut, R> IntoCompletion<(String, Context)> for F
where
    F: Fn(String, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: CompletionOutput,
{
    fn into_completion(self) -> CompletionBuilder {
        CompletionBuilder::new(self)
    }
}

#[diagnostic::do_not_recommend]
impl<F, Fut, R> IntoCompletion<(Caller, CompleteParams<'static>)> for F
where
    F: Fn(Caller, CompleteParams<'static>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: CompletionOutput,
{
    fn into_completion(self) -> CompletionBuilder {
        CompletionBuilder::of(By(move |params, context: Context| {
            let values = self(context.caller().clone(), params);
            async move { values.await.into_completion() }
        }))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Complete> IntoCompletion<dyn Complete> for T {
    fn into_completion(self) -> CompletionBuilder {
        CompletionBuilder::of(self)
    }
}

/// A function that completes.
struct By<F>(F);

impl<F, Fut> Complete for By<F>
where
    F: Fn(CompleteParams<'static>, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Completion>> + Send + 'static,
{
    fn complete(
        &self,
        context: Context,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<Completion>> {
        Box::pin((self.0)(params, context))
    }
}

/// What completes the arguments of one component, by their names.
#[derive(Clone, Default)]
pub(crate) struct Completers(Option<Arc<BTreeMap<String, Arc<dyn Complete>>>>);

impl Completers {
    pub(crate) fn of(completers: Vec<(String, Arc<dyn Complete>)>) -> Self {
        if completers.is_empty() {
            return Self::default();
        }
        Self(Some(Arc::new(completers.into_iter().collect())))
    }
}

/// Completes for a server within the one that was called.
struct At {
    home: Arc<dyn Home>,
    complete: Arc<dyn Complete>,
}

impl Complete for At {
    fn complete(
        &self,
        context: Context,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<Completion>> {
        let context = context.at(Arc::clone(&self.home));
        self.complete.complete(context, params)
    }
}

impl Component {
    pub(crate) fn with_completers(mut self, completers: Completers) -> Self {
        self.completers = completers;
        self
    }

    /// Whether something completes its arguments.
    pub(crate) fn completes(&self) -> bool {
        self.completers.0.is_some() || self.behind.as_ref().is_some_and(|b| b.completes())
    }

    /// What completes its argument of this name.
    pub(crate) fn completer(&self, argument: &str) -> Option<Arc<dyn Complete>> {
        self.completers.0.as_ref()?.get(argument).map(Arc::clone)
    }

    /// Lets its arguments be completed with the values of `home`.
    pub(crate) fn completed_at(mut self, home: &Arc<dyn Home>) -> Self {
        let completers = self.completers.0.iter().flat_map(|all| all.iter());
        let completers = completers.map(|(argument, complete)| {
            let at = At {
                home: Arc::clone(home),
                complete: Arc::clone(complete),
            };
            (argument.clone(), Arc::new(at) as Arc<dyn Complete>)
        });
        self.completers = Completers::of(completers.collect());
        self
    }

    /// Refuses what completes an argument that there is not.
    pub(crate) fn check_completers(&self) -> Result<()> {
        let mut names = self.completers.0.iter().flat_map(|all| all.keys());
        match names.find(|name| !self.has_argument(name)) {
            None => Ok(()),
            Some(name) => Err(Error::internal(format!(
                "its argument `{name}` is completed, and it has none of this name"
            ))),
        }
    }

    fn add_completer(&mut self, argument: &str, complete: &Arc<dyn Complete>) -> Result<()> {
        let all = Arc::make_mut(self.completers.0.get_or_insert_default());
        let before = all.insert(argument.to_owned(), Arc::clone(complete));
        let checked = match before {
            Some(_) => Err(Error::internal(format!(
                "its argument `{argument}` is completed twice"
            ))),
            None => self.check_completers(),
        };
        checked.map_err(|e| super::builder::wrong(self.kind().as_str(), self.key(), &e))
    }

    fn has_argument(&self, name: &str) -> bool {
        match &self.definition {
            Definition::Prompt(prompt) => {
                let mut arguments = prompt.arguments.iter().flatten();
                arguments.any(|argument| argument.name == name)
            }
            Definition::Template(_) => {
                let mut names = self.template.iter().flat_map(|template| template.names());
                names.any(|parameter| parameter == name)
            }
            Definition::Tool(_) | Definition::Resource(_) => false,
        }
    }
}

macro_rules! completed {
    ($($builder:ident: $doc:literal)*) => {$(
        impl $builder {
            #[doc = $doc]
            #[must_use]
            pub fn completion<Of>(
                mut self,
                argument: impl Into<String>,
                completion: impl IntoCompletion<Of>,
            ) -> Self
            where
                Of: ?Sized,
            {
                let completion = completion.into_completion();
                self.basics.needs.extend(&completion.needs);
                self.basics.completers.push((argument.into(), completion.complete));
                self
            }
        }
    )*};
}

completed! {
    PromptBuilder: "Completes an argument: an async function of what was typed and a [`Context`], or what `#[completion]` makes. `#[arg(complete = ...)]` does it for the attribute."
    ResourceBuilder: "Completes a parameter of a template: an async function of what was typed and a [`Context`], or what `#[completion]` makes. `#[arg(complete = ...)]` does it for the attribute."
}
