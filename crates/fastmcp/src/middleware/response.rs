//! What comes back through the layers.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use fastmcp_protocol::{
    Raw,
    discover::DiscoverResult,
    initialize::InitializeResult,
    prompt::{GetPromptResult, Prompt},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    tool::{CallToolResult, Tool},
};
use fastmcp_transport::Reply;

use super::message::{
    CallTool, Discover, GetPrompt, Initialize, ListPrompts, ListResourceTemplates, ListResources,
    ListTools, Message, MiddlewareContext, Notification, ReadResource,
};
use crate::{
    call::{Kind, Outcome, Payload, is_mark, marked},
    component::{Component, Definition},
    error::{Error, Result},
    registry::Entry,
};

/// The answer to a message of any kind: what the general hooks hand back.
#[derive(Debug)]
#[non_exhaustive]
pub enum Response {
    /// To `tools/call`, `resources/read` and `prompts/get`.
    Call(Outcome),
    /// To `tools/list`, where a layer has [`Middleware::on_list_tools`](super::Middleware::on_list_tools);
    /// else it is [`Self::Sealed`]. So with the other lists.
    Tools(Vec<Listed<Tool>>),
    /// To `resources/list`.
    Resources(Vec<Listed<Resource>>),
    /// To `resources/templates/list`.
    ResourceTemplates(Vec<Listed<ResourceTemplate>>),
    /// To `prompts/list`.
    Prompts(Vec<Listed<Prompt>>),
    /// To `initialize`.
    Initialize(Box<InitializeResult>),
    /// To `server/discover`.
    Discover(Box<DiscoverResult>),
    /// Written already: it can be handed on, and not be looked into.
    Sealed(Sealed),
    /// A result that is encoded already: a JSON object. What a layer answers itself where there is no
    /// other word for it.
    Raw(Raw),
    /// To notifications: nothing.
    Nothing,
}

impl Response {
    /// The result of a tool that failed, or asks that are open: what a layer that counts may want to
    /// know of an answer that is no error.
    #[must_use]
    pub const fn is_tool_error(&self) -> bool {
        match self {
            Self::Call(Outcome::Complete(Payload::Tool(result) | Payload::Wrapped(result))) => {
                result.is_error
            }
            _ => false,
        }
    }

    /// Whether the client is asked something instead of getting a result.
    #[must_use]
    pub const fn is_input_required(&self) -> bool {
        matches!(self, Self::Call(Outcome::InputRequired(_)))
    }

    /// The answer to a list.
    pub(crate) fn list(kind: Kind, entries: Vec<Entry>) -> Self {
        macro_rules! typed {
            ($list:ident, $variant:ident) => {{
                let typed = entries
                    .into_iter()
                    .filter_map(|entry| match entry.definition {
                        Definition::$variant(definition) => Some(Listed {
                            definition,
                            component: entry.component,
                        }),
                        _ => None,
                    });
                Self::$list(typed.collect())
            }};
        }
        match kind {
            Kind::Tool => typed!(Tools, Tool),
            Kind::Resource => typed!(Resources, Resource),
            Kind::Template => typed!(ResourceTemplates, Template),
            Kind::Prompt => typed!(Prompts, Prompt),
        }
    }

    /// The opposite of [`Self::list`]; nothing where it is no list.
    pub(crate) fn into_entries(self) -> Option<(Kind, Vec<Entry>)> {
        fn untyped<T>(list: Vec<Listed<T>>, define: fn(T) -> Definition) -> Vec<Entry> {
            let entry = |listed: Listed<T>| Entry {
                component: listed.component,
                definition: define(listed.definition),
            };
            list.into_iter().map(entry).collect()
        }
        Some(match self {
            Self::Tools(list) => (Kind::Tool, untyped(list, Definition::Tool)),
            Self::Resources(list) => (Kind::Resource, untyped(list, Definition::Resource)),
            Self::ResourceTemplates(list) => (Kind::Template, untyped(list, Definition::Template)),
            Self::Prompts(list) => (Kind::Prompt, untyped(list, Definition::Prompt)),
            _ => return None,
        })
    }

    /// As the outcome of a call.
    pub(crate) fn into_outcome(self) -> Result<Outcome> {
        match self {
            Self::Call(Outcome::Complete(Payload::Tool(result))) => {
                Ok(Outcome::Complete(settled(result)))
            }
            Self::Call(outcome) => Ok(outcome),
            Self::Raw(raw) if raw.is_object() => Ok(Outcome::Complete(Payload::Raw(raw))),
            _ => Err(foreign()),
        }
    }
}

/// A response that is written already.
pub struct Sealed(pub(crate) Reply);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

fn foreign() -> Error {
    Error::internal("a layer answered with what belongs to another method")
}

/// An entry of a list: what clients are told, and the component behind it, where there is one.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// What clients are told.
    pub definition: T,
    component: Option<Arc<Component>>,
}

impl<T> Listed<T> {
    /// An entry for something that is not a component of this server.
    pub const fn new(definition: T) -> Self {
        Self {
            definition,
            component: None,
        }
    }

    pub(crate) const fn of(component: Arc<Component>, definition: T) -> Self {
        Self {
            definition,
            component: Some(component),
        }
    }

    /// The component, with its tags and scopes.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        self.component.as_deref()
    }
}

impl<T> Deref for Listed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.definition
    }
}

impl<T> DerefMut for Listed<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.definition
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A kind of message that has a hook, and what it is answered with.
pub trait Operation: sealed::Sealed + Clone + Send + 'static {
    /// What the hook returns.
    type Answer: Send + 'static;

    #[doc(hidden)]
    fn narrow(
        context: MiddlewareContext,
    ) -> std::result::Result<MiddlewareContext<Self>, Box<MiddlewareContext>>;
    #[doc(hidden)]
    fn widen(self) -> Message;
    #[doc(hidden)]
    fn read(response: Response) -> Result<Self::Answer>;
    #[doc(hidden)]
    fn write(answer: Self::Answer) -> Response;
}

impl sealed::Sealed for Message {}

impl Operation for Message {
    type Answer = Response;

    fn narrow(
        context: MiddlewareContext,
    ) -> std::result::Result<MiddlewareContext<Self>, Box<MiddlewareContext>> {
        Ok(context)
    }

    fn widen(self) -> Message {
        self
    }

    fn read(response: Response) -> Result<Response> {
        Ok(response)
    }

    fn write(answer: Response) -> Response {
        answer
    }
}

macro_rules! operations {
    ($($name:ident -> $answer:ty, $read:expr, $write:expr;)*) => {$(
        impl sealed::Sealed for $name {}

        impl Operation for $name {
            type Answer = $answer;

            fn narrow(
                context: MiddlewareContext,
            ) -> std::result::Result<MiddlewareContext<Self>, Box<MiddlewareContext>> {
                match context.message {
                    Message::$name(_) => {}
                    _ => return Err(Box::new(context)),
                }
                let (message, rest) = context.take();
                match message {
                    Message::$name(message) => Ok(rest.with(message.into_inner())),
                    other => Err(Box::new(rest.with(other))),
                }
            }

            fn widen(self) -> Message {
                Message::$name(self.into())
            }

            fn read(response: Response) -> Result<$answer> {
                $read(response)
            }

            fn write(answer: $answer) -> Response {
                $write(answer)
            }
        }
    )*};
}

/// The message itself, whether or not it stands in a box.
trait IntoInner<T> {
    fn into_inner(self) -> T;
}

impl<T> IntoInner<T> for T {
    fn into_inner(self) -> T {
        self
    }
}

impl IntoInner<Initialize> for Box<Initialize> {
    fn into_inner(self) -> Initialize {
        *self
    }
}

fn read_call<T>(response: Response, take: impl FnOnce(Payload) -> Result<T>) -> Result<Outcome<T>> {
    match response {
        Response::Call(Outcome::Complete(payload)) => take(payload).map(Outcome::Complete),
        Response::Call(Outcome::InputRequired(asks)) => Ok(Outcome::InputRequired(asks)),
        Response::Raw(raw) => take(Payload::Raw(raw)).map(Outcome::Complete),
        _ => Err(foreign()),
    }
}

fn write_call<T>(outcome: Outcome<T>, put: impl FnOnce(T) -> Payload) -> Response {
    Response::Call(match outcome {
        Outcome::Complete(result) => Outcome::Complete(put(result)),
        Outcome::InputRequired(asks) => Outcome::InputRequired(asks),
    })
}

fn tool(payload: Payload) -> Result<CallToolResult> {
    match payload {
        Payload::Tool(result) => Ok(result),
        Payload::Wrapped(mut result) => {
            // The layers see, and may keep, what clients are told.
            result.meta = Some(marked(result.meta.take()));
            Ok(result)
        }
        Payload::Raw(raw) => Ok(raw.decode()?),
        _ => Err(foreign()),
    }
}

/// The opposite of [`tool`], where nothing but the mark was added: such results are written faster.
fn settled(mut result: CallToolResult) -> Payload {
    if result.meta.as_ref().is_some_and(is_mark) {
        result.meta = None;
        return Payload::Wrapped(result);
    }
    Payload::Tool(result)
}

fn resource(payload: Payload) -> Result<ReadResourceResult> {
    match payload {
        Payload::Resource(result) => Ok(result),
        Payload::Raw(raw) => Ok(raw.decode()?),
        _ => Err(foreign()),
    }
}

fn prompt(payload: Payload) -> Result<GetPromptResult> {
    match payload {
        Payload::Prompt(result) => Ok(result),
        Payload::Raw(raw) => Ok(raw.decode()?),
        _ => Err(foreign()),
    }
}

macro_rules! read {
    ($variant:ident) => {
        |response| match response {
            Response::$variant(answer) => Ok(answer),
            _ => Err(foreign()),
        }
    };
    (boxed $variant:ident) => {
        |response| match response {
            Response::$variant(answer) => Ok(*answer),
            _ => Err(foreign()),
        }
    };
}

operations! {
    CallTool -> Outcome<CallToolResult>, |r| read_call(r, tool), |a| write_call(a, Payload::Tool);
    ReadResource -> Outcome<ReadResourceResult>, |r| read_call(r, resource), |a| write_call(a, Payload::Resource);
    GetPrompt -> Outcome<GetPromptResult>, |r| read_call(r, prompt), |a| write_call(a, Payload::Prompt);
    ListTools -> Vec<Listed<Tool>>, read!(Tools), Response::Tools;
    ListResources -> Vec<Listed<Resource>>, read!(Resources), Response::Resources;
    ListResourceTemplates -> Vec<Listed<ResourceTemplate>>, read!(ResourceTemplates), Response::ResourceTemplates;
    ListPrompts -> Vec<Listed<Prompt>>, read!(Prompts), Response::Prompts;
    Initialize -> InitializeResult, read!(boxed Initialize), |a| Response::Initialize(Box::new(a));
    Discover -> DiscoverResult, read!(boxed Discover), |a| Response::Discover(Box::new(a));
    Notification -> (), |_| Ok(()), |()| Response::Nothing;
}
