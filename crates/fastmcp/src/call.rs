//! What goes into a call and what comes out of it, whoever makes it.

mod changes;

use std::sync::LazyLock;

use bytestring::ByteString;
use fastmcp_protocol::{
    Method, Raw, completion::CompleteResult, content::Meta, mrtr::InputRequests,
    prompt::GetPromptResult, resource::ReadResourceResult, tool::CallToolResult,
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use changes::{Changes, Follow, Moved, Told};

/// The kinds of components, each with a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `tools/list`.
    Tool,
    /// `resources/list`.
    Resource,
    /// `resources/templates/list`.
    Template,
    /// `prompts/list`.
    Prompt,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Resource, Self::Template, Self::Prompt];

    /// The kind that a method lists.
    pub(crate) const fn listed_by(method: Method) -> Option<Self> {
        match method {
            Method::ToolsList => Some(Self::Tool),
            Method::ResourcesList => Some(Self::Resource),
            Method::ResourcesTemplatesList => Some(Self::Template),
            Method::PromptsList => Some(Self::Prompt),
            _ => None,
        }
    }

    /// What people are told of: a template is a resource to whoever reads there.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource | Self::Template => "resource",
            Self::Prompt => "prompt",
        }
    }
}

/// What changed in a server while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The components of a kind.
    List(Kind),
    /// The contents of a resource.
    Resource(String),
}

/// What a component is called with.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The arguments: an object as the client sent it, or the parameters of a template.
    pub args: Option<Raw>,
    /// The URI, for resources.
    pub uri: Option<ByteString>,
}

/// How a call ended: with a `P`, unless the client is asked first.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<P = Payload> {
    /// With a result.
    Complete(P),
    /// The client must answer something first.
    InputRequired(Asks),
}

/// A result.
#[derive(Debug)]
#[non_exhaustive]
pub enum Payload {
    /// Of a tool.
    Tool(CallToolResult),
    /// Of a tool whose value is no object: it stands under `result`, and clients are told so.
    Wrapped(CallToolResult),
    /// Of a resource.
    Resource(ReadResourceResult),
    /// Of a prompt.
    Prompt(GetPromptResult),
    /// Of a completion.
    Completion(CompleteResult),
    /// Already encoded: a JSON object in the canonical form of its method.
    Raw(Raw),
}

/// The `_meta` that tells a client that a value stands under `result`, because it is no object.
pub(crate) const WRAPPED: &str = r#"{"fastmcp":{"wrap_result":true}}"#;

static MARK: LazyLock<Meta> =
    LazyLock::new(|| Meta::parse(ByteString::from_static(WRAPPED)).unwrap_or_default());

/// `meta`, saying that a value stands under `result`.
pub(crate) fn marked(meta: Option<Meta>) -> Meta {
    match meta {
        Some(meta) => meta.with("fastmcp", json!({"wrap_result": true})),
        None => MARK.clone(),
    }
}

/// Whether `meta` says this, and nothing else.
pub(crate) fn is_mark(meta: &Meta) -> bool {
    *meta == *MARK
}

/// Whether `meta` says that a value stands under `result`.
pub(crate) fn is_wrapped(meta: &Meta) -> bool {
    // As our own servers write it, in front of what else they say.
    let begins = |text: &str| {
        WRAPPED
            .strip_suffix('}')
            .is_some_and(|mark| text.starts_with(mark))
    };
    if meta.as_text().is_some_and(begins) {
        return true;
    }
    #[derive(Deserialize)]
    struct Told {
        fastmcp: Own,
    }
    #[derive(Deserialize)]
    struct Own {
        wrap_result: bool,
    }
    meta.decode::<Told>()
        .is_ok_and(|told| told.fastmcp.wrap_result)
}

/// What the client must answer before a call goes on.
#[derive(Debug, Default)]
pub struct Asks {
    /// The questions by key.
    pub requests: InputRequests,
    /// What the asker wants to see again with the answers; sealed on its way.
    pub state: Option<Value>,
}

impl From<CallToolResult> for Outcome {
    fn from(result: CallToolResult) -> Self {
        Self::Complete(Payload::Tool(result))
    }
}

impl From<ReadResourceResult> for Outcome {
    fn from(result: ReadResourceResult) -> Self {
        Self::Complete(Payload::Resource(result))
    }
}

impl From<GetPromptResult> for Outcome {
    fn from(result: GetPromptResult) -> Self {
        Self::Complete(Payload::Prompt(result))
    }
}
