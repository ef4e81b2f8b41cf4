//! What a request says about itself in `params._meta`.

mod written;

use std::sync::Arc;

use bytestring::ByteString;
use serde::{Deserialize, Serialize, de::Deserializer};
use serde_json::value::RawValue;

use crate::{
    content::Icon,
    error::RpcError,
    jsonrpc::{Request, Text, slice_str},
    raw::Raw,
};

pub use self::written::{OwnMeta, ParamsWriter, Said};

/// The revision of a modern request. Source: MCP 2026-07-28, basic, "`_meta`".
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The client's capabilities for this request. Source: as [`PROTOCOL_VERSION`].
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The client's name and version. Source: as [`PROTOCOL_VERSION`].
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The least severe log message that the client wants. Source: as [`PROTOCOL_VERSION`].
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The server's name and version, in results. Source: as [`PROTOCOL_VERSION`].
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The id of the request that opened a subscription. Source: MCP 2026-07-28, basic/patterns/subscriptions.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// An idempotency key for a governed call; our own.
pub const IDEMPOTENCY_KEY: &str = "dev.fastmcp/idempotencyKey";

/// Correlates progress with a request: a string or an integer.
///
/// Source: MCP 2026-07-28, schema, `ProgressToken`.
pub type ProgressToken = crate::jsonrpc::RequestId;

/// The members of `params` that are read before a method asks for its type.
#[derive(Clone, Debug, Default)]
pub struct RequestMeta {
    /// The claimed revision, as sent: a modern request where present.
    pub protocol_version: Option<ByteString>,
    /// The declared capabilities, an object.
    pub client_capabilities: Option<Raw>,
    /// The client's name and version, an object.
    pub client_info: Option<Raw>,
    /// The wanted log level, as sent.
    pub log_level: Option<ByteString>,
    /// W3C trace context.
    pub traceparent: Option<ByteString>,
    /// W3C trace state.
    pub tracestate: Option<ByteString>,
    /// W3C baggage.
    pub baggage: Option<ByteString>,
    /// An idempotency key for a governed call.
    pub idempotency_key: Option<ByteString>,
    /// The version of the component that is called, `fastmcp.version`; the highest where absent.
    pub component_version: Option<ByteString>,
}

/// What [`read`] finds in `params`.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    /// `params._meta`; shared, since a client says the same of itself in request after request.
    pub meta: Arc<RequestMeta>,
    /// Where progress shall go, `params._meta.progressToken`.
    pub progress_token: Option<ProgressToken>,
    /// `params.name`, `params.uri` or `params.taskId`, whichever the method has, where it is a string.
    pub target: Option<ByteString>,
    /// `params.arguments`, as sent.
    pub arguments: Option<Raw>,
    /// Whether `params` brings answers or a state from an earlier round.
    pub continues: bool,
    /// `params.task`, as sent: a client of 2025-11-25 wants the call to run as a task.
    pub task: Option<Raw>,
}

#[derive(Deserialize)]
struct PeekParams<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<PeekMeta<'a>>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "taskId")]
    task_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "inputResponses",
        deserialize_with = "present"
    )]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestState", deserialize_with = "present")]
    request_state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    task: Option<&'a RawValue>,
}

/// Reads a member whose being there matters, null included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct PeekMeta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    protocol_version: Option<Text<'a>>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    client_capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo")]
    client_info: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<Text<'a>>,
    #[serde(default, rename = "progressToken")]
    progress_token: Option<ProgressToken>,
    #[serde(borrow, default)]
    traceparent: Option<Text<'a>>,
    #[serde(borrow, default)]
    tracestate: Option<Text<'a>>,
    #[serde(borrow, default)]
    baggage: Option<Text<'a>>,
    #[serde(borrow, default, rename = "dev.fastmcp/idempotencyKey")]
    idempotency_key: Option<Text<'a>>,
    #[serde(borrow, default)]
    fastmcp: Option<PeekFastMcp<'a>>,
}

/// What clients of FastMCP say besides. Source: FastMCP, "Versioning".
#[derive(Deserialize)]
struct PeekFastMcp<'a> {
    #[serde(borrow, default)]
    version: Option<Text<'a>>,
}

/// Reads what stands in `request.params` about the request itself.
///
/// # Errors
///
/// Invalid params where `_meta` or a member of it has the wrong type; the message names the member.
pub fn read(request: &Request) -> Result<Peek, RpcError> {
    let Some(params) = &request.params else {
        return Ok(Peek::default());
    };
    let text = params.clone().into_inner();
    let peek: PeekParams<'_> = Raw::decode_params(Some(params))?;
    let target = match written::target_of(&request.method) {
        "uri" => peek.uri,
        "taskId" => peek.task_id,
        _ => peek.name,
    };
    let target = target
        .and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok())
        .map(|Text(t)| slice_str(&text, t));
    let found = Peek {
        meta: Arc::default(),
        progress_token: None,
        target,
        arguments: peek.arguments.map(|raw| Raw::slice(&text, raw)),
        continues: peek.input_responses.is_some() || peek.request_state.is_some(),
        task: peek.task.map(|raw| Raw::slice(&text, raw)),
    };
    let Some(meta) = peek.meta else {
        return Ok(found);
    };
    let object = |name: &str, raw: Option<&RawValue>| match raw {
        None => Ok(None),
        Some(raw) if raw.get().starts_with('{') => Ok(Some(Raw::slice(&text, raw))),
        Some(_) => Err(RpcError::invalid_params(format!(
            "params._meta: `{name}` must be an object"
        ))),
    };
    let own = |t: Option<Text<'_>>| t.map(|Text(t)| slice_str(&text, t));
    Ok(Peek {
        progress_token: meta.progress_token,
        meta: Arc::new(RequestMeta {
            protocol_version: own(meta.protocol_version),
            client_capabilities: object(CLIENT_CAPABILITIES, meta.client_capabilities)?,
            client_info: object(CLIENT_INFO, meta.client_info)?,
            log_level: own(meta.log_level),
            traceparent: own(meta.traceparent),
            tracestate: own(meta.tracestate),
            baggage: own(meta.baggage),
            idempotency_key: own(meta.idempotency_key),
            component_version: own(meta.fastmcp.and_then(|said| said.version)),
        }),
        ..found
    })
}

/// The name and version of a client or server.
///
/// Source: MCP 2026-07-28, schema, `Implementation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Implementation {
    /// The name for programs.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The version.
    pub version: String,
    /// What it is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website_url: Option<String>,
    /// Icons that a client may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
}

impl Implementation {
    /// Creates a name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, jsonrpc::DEFAULT_DEPTH};

    fn peek(method: &str, params: &str) -> Result<Peek, RpcError> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let Ok(Message::Request(request)) = Message::parse(&text.into(), DEFAULT_DEPTH) else {
            panic!("not a request");
        };
        read(&request)
    }

    #[test]
    fn a_first_look_finds_what_is_addressed_and_what_continues() {
        let call = peek(
            "tools/call",
            r#"{"name":"a","uri":"u","arguments":{"x":1}}"#,
        )
        .unwrap();
        assert_eq!(call.target.as_deref(), Some("a"));
        assert_eq!(call.arguments.as_ref().map(Raw::as_str), Some(r#"{"x":1}"#));
        assert!(!call.continues);
        let read = peek(
            "resources/read",
            r#"{"name":"a","uri":"u","arguments":null}"#,
        )
        .unwrap();
        assert_eq!(read.target.as_deref(), Some("u"));
        assert_eq!(read.arguments, None);
        for later in [r#"{"requestState":"s"}"#, r#"{"inputResponses":null}"#] {
            assert!(peek("tools/call", later).unwrap().continues, "{later}");
        }
        assert_eq!(peek("tools/call", r#"{"name":1}"#).unwrap().target, None);
    }

    #[test]
    fn refusals_name_the_member() {
        let message = |params| peek("tools/call", params).unwrap_err().message.to_string();
        assert!(message(r#"{"_meta":1}"#).starts_with("`params._meta`: "));
        assert!(
            message(r#"{"_meta":{"progressToken":1.5}}"#)
                .starts_with("`params._meta.progressToken`: ")
        );
        let text = r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":[]}}"#;
        assert_eq!(
            message(text),
            "params._meta: `io.modelcontextprotocol/clientCapabilities` must be an object"
        );
        assert!(message(r#"{"name":"a","name":"b"}"#).contains("duplicate field"));
    }
}
