//! Results and errors as wire bytes: the one place for both.

use bytestring::ByteString;
use fastmcp_protocol::{
    Era, ErrorCode, Method, ProtocolVersion, RequestId, RpcError,
    content::Meta,
    jsonrpc::{encode_error, encode_result},
    legacy,
    meta::{Implementation, SERVER_INFO},
    resource,
    tool::CallToolResult,
    wire::{self, CacheHint},
};
use fastmcp_transport::Reply;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::{Error, ErrorKind, Result},
    gate::Payload,
};

/// What the server says of itself, encoded once.
#[derive(Debug)]
pub(crate) struct Identity {
    info: Implementation,
    meta: String,
    meta_wrapped: String,
}

const WRAPPED: &str = r#"{"fastmcp":{"wrap_result":true}}"#;

impl Identity {
    pub(crate) fn new(info: Implementation) -> Self {
        let meta = json!({SERVER_INFO: &info}).to_string();
        let meta_wrapped =
            json!({"fastmcp": {"wrap_result": true}, SERVER_INFO: &info}).to_string();
        Self {
            info,
            meta,
            meta_wrapped,
        }
    }

    pub(crate) const fn info(&self) -> &Implementation {
        &self.info
    }
}

/// Where an answer goes.
pub(crate) struct Answer<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) version: ProtocolVersion,
    pub(crate) method: Option<Method>,
    pub(crate) identity: &'a Identity,
    /// Whether internal failures are told without details.
    pub(crate) mask: bool,
}

impl Answer<'_> {
    /// A result that is encoded already, without `_meta`.
    pub(crate) fn encoded(&self, body: &str, cache: Option<CacheHint>) -> Reply {
        Reply::ok(match self.version.era() {
            Era::Modern => encode_result(
                self.id,
                &wire::complete(body, cache, Some(&self.identity.meta)),
            ),
            Era::Legacy => encode_result(self.id, body),
        })
    }

    /// An empty result.
    pub(crate) fn empty(&self) -> Reply {
        self.encoded("{}", None)
    }

    /// A result.
    pub(crate) fn payload(&self, payload: Payload, cache: Option<CacheHint>) -> Reply {
        match self.encode(payload, cache) {
            Ok(text) => Reply::ok(encode_result(self.id, &text)),
            Err(error) => self.rpc_error(&RpcError::internal(error.shown(self.mask).into_owned())),
        }
    }

    fn encode(&self, payload: Payload, cache: Option<CacheHint>) -> Result<String> {
        match payload {
            Payload::Tool(result) => self.tool(result, &self.identity.meta, None),
            Payload::Wrapped(result) => {
                self.tool(result, &self.identity.meta_wrapped, Some(WRAPPED))
            }
            Payload::Resource(mut result) => {
                let meta = result.meta.take();
                match self.version.era() {
                    Era::Modern => self.typed(&result, meta, cache),
                    Era::Legacy => self.typed(
                        &*legacy::read_resource_result(&result, self.version),
                        meta,
                        None,
                    ),
                }
            }
            Payload::Prompt(mut result) => {
                let meta = result.meta.take();
                match self.version.era() {
                    Era::Modern => self.typed(&result, meta, None),
                    Era::Legacy => self.typed(
                        &*legacy::get_prompt_result(&result, self.version),
                        meta,
                        None,
                    ),
                }
            }
            Payload::Completion(mut result) => {
                let meta = result.meta.take();
                self.typed(&result, meta, None)
            }
            Payload::Raw(raw) => {
                let mut value: serde_json::Map<String, Value> = raw.decode()?;
                let meta = value
                    .remove("_meta")
                    .map(serde_json::from_value::<Meta>)
                    .transpose()?;
                self.typed(&value, meta, cache)
            }
        }
    }

    fn tool(
        &self,
        mut result: CallToolResult,
        modern: &str,
        older: Option<&str>,
    ) -> Result<String> {
        if let Some(meta) = result.meta.take() {
            let result = legacy_tool(&result, self.version);
            return self.typed(&result, Some(meta), None);
        }
        Ok(match self.version.era() {
            Era::Modern => wire::complete(&serde_json::to_string(&result)?, None, Some(modern)),
            Era::Legacy => {
                let body = serde_json::to_string(&*legacy_tool(&result, self.version))?;
                older.map_or(body.clone(), |meta| wire::with_meta(&body, meta))
            }
        })
    }

    /// Encodes `result`, whose own `_meta` was taken out.
    fn typed<T: Serialize>(
        &self,
        result: &T,
        meta: Option<Meta>,
        cache: Option<CacheHint>,
    ) -> Result<String> {
        let body = serde_json::to_string(result)?;
        Ok(match (self.version.era(), meta) {
            (Era::Modern, None) => wire::complete(&body, cache, Some(&self.identity.meta)),
            (Era::Modern, Some(mut meta)) => {
                meta.0
                    .entry(SERVER_INFO)
                    .or_insert_with(|| json!(self.identity.info));
                wire::complete(&body, cache, Some(&serde_json::to_string(&meta)?))
            }
            (Era::Legacy, None) => body,
            (Era::Legacy, Some(meta)) => wire::with_meta(&body, &serde_json::to_string(&meta)?),
        })
    }

    /// An error of a call that addressed `target`.
    pub(crate) fn error(&self, target: Option<&ByteString>, error: &Error) -> Reply {
        match (self.method, error.kind()) {
            (_, ErrorKind::Protocol(code)) => {
                let mut rpc = RpcError::new(code, error.message().to_owned());
                rpc.data = error.data().cloned().map(Box::new);
                self.rpc_error(&rpc)
            }
            (_, ErrorKind::MissingCapability) if self.version.era() == Era::Modern => {
                let mut rpc =
                    RpcError::new(ErrorCode::MISSING_CAPABILITY, error.message().to_owned());
                rpc.data = error.data().cloned().map(Box::new);
                self.rpc_error(&rpc)
            }
            (Some(Method::ResourcesRead), ErrorKind::NotFound) => {
                self.rpc_error(&resource::not_found(target.map_or("", |t| t)))
            }
            (_, ErrorKind::NotFound) => {
                self.rpc_error(&RpcError::invalid_params(error.message().to_owned()))
            }
            (Some(Method::ToolsCall), _) => self.tool_error(error),
            (_, ErrorKind::Validation) => {
                self.rpc_error(&RpcError::invalid_params(error.message().to_owned()))
            }
            _ => self.rpc_error(&RpcError::internal(error.shown(self.mask).into_owned())),
        }
    }

    /// What went wrong in a tool is a result, so that the model can act on it.
    ///
    /// Source: MCP 2026-07-28, server/tools, "Error Handling".
    fn tool_error(&self, error: &Error) -> Reply {
        if error.kind() == ErrorKind::Internal {
            tracing::error!(error = error.message(), "tool failed");
        }
        let mut result = CallToolResult::error(error.shown(self.mask));
        result.structured_content = error
            .data()
            .filter(|d| d.is_object())
            .and_then(|d| fastmcp_protocol::Raw::of(d).ok());
        self.payload(Payload::Tool(result), None)
    }

    /// A JSON-RPC error. Which ones have a status of their own, the specification says.
    ///
    /// Source: MCP 2026-07-28, basic/transports/streamable-http.
    pub(crate) fn rpc_error(&self, error: &RpcError) -> Reply {
        let error = match self.version.era() {
            Era::Modern => std::borrow::Cow::Borrowed(error),
            Era::Legacy => legacy::error(error, self.method),
        };
        let status = match (self.version.era(), error.code) {
            (Era::Modern, ErrorCode::METHOD_NOT_FOUND) => 404,
            (
                Era::Modern,
                ErrorCode::MISSING_CAPABILITY
                | ErrorCode::UNSUPPORTED_VERSION
                | ErrorCode::HEADER_MISMATCH,
            ) => 400,
            _ => 200,
        };
        Reply::Message {
            status,
            body: encode_error(Some(self.id), &error).into(),
            session: None,
        }
    }
}

fn legacy_tool(
    result: &CallToolResult,
    version: ProtocolVersion,
) -> std::borrow::Cow<'_, CallToolResult> {
    match version.era() {
        Era::Modern => std::borrow::Cow::Borrowed(result),
        Era::Legacy => legacy::call_tool_result(result, version),
    }
}
