//! Error codes and error objects.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON-RPC error code.
///
/// Source: JSON-RPC 2.0 section 5.1; MCP 2026-07-28, schema, error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ErrorCode(pub i32);

impl ErrorCode {
    /// The body is not JSON.
    pub const PARSE_ERROR: Self = Self(-32700);
    /// The body is JSON, but not a message that is allowed here.
    pub const INVALID_REQUEST: Self = Self(-32600);
    /// The method is unknown, removed, or not advertised.
    pub const METHOD_NOT_FOUND: Self = Self(-32601);
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: Self = Self(-32602);
    /// The server failed.
    pub const INTERNAL_ERROR: Self = Self(-32603);
    /// A mirrored header does not agree with the body. Source: MCP 2026-07-28, Streamable HTTP.
    pub const HEADER_MISMATCH: Self = Self(-32020);
    /// A capability is needed that the client did not declare. Source: MCP 2026-07-28, basic.
    pub const MISSING_CAPABILITY: Self = Self(-32021);
    /// The revision is not implemented. Source: MCP 2026-07-28, versioning.
    pub const UNSUPPORTED_VERSION: Self = Self(-32022);
    /// A resource was not found, for legacy peers. Source: MCP 2025-11-25, server/resources.
    pub const RESOURCE_NOT_FOUND: Self = Self(-32002);
    /// A URL elicitation is needed first, for legacy peers. Source: MCP 2025-11-25, client/elicitation.
    pub const URL_ELICITATION_REQUIRED: Self = Self(-32042);
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// The code.
    pub code: ErrorCode,
    /// One sentence for the caller.
    pub message: ByteString,
    /// What a program can act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<Value>>,
}

impl RpcError {
    /// Creates an error without data.
    pub fn new(code: ErrorCode, message: impl Into<ByteString>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Adds `data`.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// The parameters do not fit.
    pub fn invalid_params(message: impl Into<ByteString>) -> Self {
        Self::new(ErrorCode::INVALID_PARAMS, message)
    }

    /// The method is not served here.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(
            ErrorCode::METHOD_NOT_FOUND,
            format!("method `{method}` is not served here"),
        )
    }

    /// The server failed; `message` must not tell more than the caller may know.
    pub fn internal(message: impl Into<ByteString>) -> Self {
        Self::new(ErrorCode::INTERNAL_ERROR, message)
    }
}
