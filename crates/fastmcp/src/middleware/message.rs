//! What goes through the layers.

use std::{borrow::Cow, fmt, sync::Arc};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_guard::clock::Timestamp;
use fastmcp_protocol::{
    Raw, capability::ClientCapabilities, initialize::InitializeParams, meta::Implementation,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{component::Component, context::Context, error::Result};

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The client.
    Client,
}

impl Source {
    /// The word for it in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
        }
    }
}

/// Whether a message wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// It does.
    Request,
    /// It does not.
    Notification,
}

impl MessageType {
    /// The word for it in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
        }
    }
}

/// A message on its way through the layers, and what is known of it.
///
/// [`Self::message`] is the layer's to change; a clone is a message of its own with the same
/// [`Context`].
#[derive(Clone, Debug)]
pub struct MiddlewareContext<M = Message> {
    /// The message.
    pub message: M,
    envelope: Envelope,
}

#[derive(Clone, Debug)]
struct Envelope {
    context: Context,
    method: Cow<'static, str>,
    timestamp: Timestamp,
    kind: MessageType,
}

impl MiddlewareContext {
    pub(crate) fn request(
        message: Message,
        method: impl Into<Cow<'static, str>>,
        context: Context,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            message,
            envelope: Envelope {
                context,
                method: method.into(),
                timestamp,
                kind: MessageType::Request,
            },
        }
    }

    pub(crate) fn notification(
        notification: Notification,
        context: Context,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            envelope: Envelope {
                context,
                method: notification.method.to_string().into(),
                timestamp,
                kind: MessageType::Notification,
            },
            message: Message::Notification(notification),
        }
    }
}

impl<M> MiddlewareContext<M> {
    /// The method, as the client sent it.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.envelope.method
    }

    /// Who sent it.
    #[must_use]
    pub const fn source(&self) -> Source {
        Source::Client
    }

    /// Whether it is a request or a notification.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        self.envelope.kind
    }

    /// When it came to the first layer.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.envelope.timestamp
    }

    /// What the handler is going to get: headers, caller, and state, with which a layer hands it values.
    #[must_use]
    pub const fn fastmcp_context(&self) -> &Context {
        &self.envelope.context
    }

    /// Who is calling.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.envelope.context.caller()
    }

    /// The same with another message.
    pub(crate) fn with<N>(self, message: N) -> MiddlewareContext<N> {
        MiddlewareContext {
            message,
            envelope: self.envelope,
        }
    }

    /// The message, and the rest.
    pub(crate) fn take(self) -> (M, MiddlewareContext<()>) {
        (
            self.message,
            MiddlewareContext {
                message: (),
                envelope: self.envelope,
            },
        )
    }

    pub(crate) fn into_parts(self) -> (M, Context) {
        (self.message, self.envelope.context)
    }
}

/// A message of any kind: what the general hooks get.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Message {
    /// `tools/call`.
    CallTool(CallTool),
    /// `resources/read`.
    ReadResource(ReadResource),
    /// `prompts/get`.
    GetPrompt(GetPrompt),
    /// `tools/list`.
    ListTools(ListTools),
    /// `resources/list`.
    ListResources(ListResources),
    /// `resources/templates/list`.
    ListResourceTemplates(ListResourceTemplates),
    /// `prompts/list`.
    ListPrompts(ListPrompts),
    /// `initialize`.
    Initialize(Box<Initialize>),
    /// `server/discover`.
    Discover(Discover),
    /// A notification.
    Notification(Notification),
    /// A request that has no hook of its own, with its parameters. Changes to them have no effect.
    Other(Option<Raw>),
}

impl Message {
    /// The name of the tool or prompt, or the URI, that a call is for.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::CallTool(call) => Some(call.name()),
            Self::ReadResource(read) => Some(read.uri()),
            Self::GetPrompt(get) => Some(get.name()),
            _ => None,
        }
    }

    /// The component that a call is for, where there is one.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        match self {
            Self::CallTool(call) => call.component(),
            Self::ReadResource(read) => read.component(),
            Self::GetPrompt(get) => get.component(),
            _ => None,
        }
    }

    /// What a call, a notification or a request of another kind came with, as sent.
    #[must_use]
    pub const fn payload(&self) -> Option<&Raw> {
        match self {
            Self::CallTool(call) => call.arguments.as_ref(),
            Self::GetPrompt(get) => get.arguments.as_ref(),
            Self::Notification(notification) => notification.params.as_ref(),
            Self::Other(params) => params.as_ref(),
            _ => None,
        }
    }
}

/// What a call is for.
#[derive(Clone)]
pub(crate) enum Named {
    /// What was found.
    Found(Arc<Component>),
    /// The name of what was not found.
    Unknown(ByteString),
}

impl Named {
    fn key(&self) -> &str {
        match self {
            Self::Found(component) => component.key(),
            Self::Unknown(name) => name,
        }
    }

    fn component(&self) -> Option<&Component> {
        match self {
            Self::Found(component) => Some(component),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

fn decode<T: DeserializeOwned>(arguments: Option<&Raw>) -> Result<T> {
    Ok(serde_json::from_str(arguments.map_or("{}", Raw::as_str))?)
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub struct CallTool {
    pub(crate) named: Named,
    /// The arguments: an object, as the client sent it.
    pub arguments: Option<Raw>,
}

impl CallTool {
    /// The tool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named.key()
    }

    /// The tool; none where the caller knows none of this name.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        self.named.component()
    }

    /// The arguments as a `T`.
    ///
    /// # Errors
    ///
    /// When they do not have its shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode(self.arguments.as_ref())
    }

    /// Replaces the arguments, by something that is a JSON object.
    ///
    /// # Errors
    ///
    /// When `arguments` cannot be represented as JSON.
    pub fn set_arguments<T: Serialize>(&mut self, arguments: &T) -> Result<()> {
        self.arguments = Some(Raw::of(arguments)?);
        Ok(())
    }
}

/// A read of a resource.
#[derive(Clone, Debug)]
pub struct ReadResource {
    pub(crate) named: Named,
    pub(crate) uri: ByteString,
}

impl ReadResource {
    /// The URI that is read.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The resource or template; none where the caller knows none at this URI.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        self.named.component()
    }
}

/// A call of a prompt.
#[derive(Clone, Debug)]
pub struct GetPrompt {
    pub(crate) named: Named,
    /// The arguments: an object of strings, as the client sent it.
    pub arguments: Option<Raw>,
}

impl GetPrompt {
    /// The prompt's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named.key()
    }

    /// The prompt; none where the caller knows none of this name.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        self.named.component()
    }

    /// The arguments as a `T`.
    ///
    /// # Errors
    ///
    /// When they do not have its shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode(self.arguments.as_ref())
    }

    /// Replaces the arguments, by something that is a JSON object of strings.
    ///
    /// # Errors
    ///
    /// When `arguments` cannot be represented as JSON.
    pub fn set_arguments<T: Serialize>(&mut self, arguments: &T) -> Result<()> {
        self.arguments = Some(Raw::of(arguments)?);
        Ok(())
    }
}

/// What a list shows its caller before layers look at it; nothing where none does.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) components: Arc<[Arc<Component>]>,
    /// Whether the client shows documents of MCP Apps.
    pub(crate) apps: bool,
}

/// A look at the list of tools.
#[derive(Clone, Debug)]
pub struct ListTools {
    pub(crate) shown: Shown,
}

/// A look at the list of resources.
#[derive(Clone, Debug)]
pub struct ListResources {
    pub(crate) shown: Shown,
}

/// A look at the list of resource templates.
#[derive(Clone, Debug)]
pub struct ListResourceTemplates {
    pub(crate) shown: Shown,
}

/// A look at the list of prompts.
#[derive(Clone, Debug)]
pub struct ListPrompts {
    pub(crate) shown: Shown,
}

/// A client that opens a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Initialize {
    /// The newest revision that the client speaks.
    pub protocol_version: String,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// Which client this is.
    pub client_info: Implementation,
}

impl Initialize {
    pub(crate) fn of(params: &InitializeParams<'_>) -> Self {
        Self {
            protocol_version: params.protocol_version.clone().into_owned(),
            capabilities: params.capabilities.clone(),
            client_info: params.client_info.clone(),
        }
    }
}

/// A client that asks what the server can do.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Discover {}

/// A message that wants no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Notification {
    /// The method.
    pub method: ByteString,
    /// The parameters. Changes to them have no effect.
    pub params: Option<Raw>,
}

impl Notification {
    pub(crate) const fn new(method: ByteString, params: Option<Raw>) -> Self {
        Self { method, params }
    }
}
