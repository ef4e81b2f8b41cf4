//! What a request says about itself in `params._meta`.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    error::RpcError,
    jsonrpc::{Request, Text, slice_str},
    raw::Raw,
};

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
    /// Where progress shall go.
    pub progress_token: Option<ProgressToken>,
    /// W3C trace context.
    pub traceparent: Option<ByteString>,
    /// W3C trace state.
    pub tracestate: Option<ByteString>,
    /// An idempotency key for a governed call.
    pub idempotency_key: Option<ByteString>,
}

/// What [`read`] finds in `params`.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    /// `params._meta`.
    pub meta: RequestMeta,
    /// `params.name`, `params.uri` or `params.taskId`, whichever the method has, where it is a string.
    pub target: Option<ByteString>,
}

#[derive(Deserialize)]
struct PeekParams<'a> {
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "taskId")]
    task_id: Option<&'a RawValue>,
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
    #[serde(borrow, default, rename = "dev.fastmcp/idempotencyKey")]
    idempotency_key: Option<Text<'a>>,
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
    let peek: PeekParams<'_> = params
        .decode()
        .map_err(|e| RpcError::invalid_params(format!("params: {e}")))?;
    let target = match request.method.as_ref() {
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => peek.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => peek.task_id,
        _ => peek.name,
    };
    let target = target
        .and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok())
        .map(|Text(t)| slice_str(&text, t));
    let Some(meta) = peek.meta else {
        return Ok(Peek {
            meta: RequestMeta::default(),
            target,
        });
    };
    let wrong = |e: serde_json::Error| RpcError::invalid_params(format!("params._meta: {e}"));
    let meta: PeekMeta<'_> = serde_json::from_str(meta.get()).map_err(wrong)?;
    let object = |name: &str, raw: Option<&RawValue>| match raw {
        None => Ok(None),
        Some(raw) if raw.get().starts_with('{') => Ok(Some(Raw::slice(&text, raw))),
        Some(_) => Err(RpcError::invalid_params(format!(
            "params._meta: `{name}` must be an object"
        ))),
    };
    let own = |t: Option<Text<'_>>| t.map(|Text(t)| slice_str(&text, t));
    Ok(Peek {
        meta: RequestMeta {
            protocol_version: own(meta.protocol_version),
            client_capabilities: object(CLIENT_CAPABILITIES, meta.client_capabilities)?,
            client_info: object(CLIENT_INFO, meta.client_info)?,
            log_level: own(meta.log_level),
            progress_token: meta.progress_token,
            traceparent: own(meta.traceparent),
            tracestate: own(meta.tracestate),
            idempotency_key: own(meta.idempotency_key),
        },
        target,
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
