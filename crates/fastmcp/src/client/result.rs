//! What a tool returned.

use fastmcp_protocol::{
    content::{ContentBlock, Meta},
    tool::CallToolResult,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    call::is_wrapped,
    error::{Error, Result},
};

/// A value that is no object.
#[derive(Deserialize)]
struct Wrapped<T> {
    result: T,
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult(pub(super) CallToolResult);

impl CallResult {
    /// The failure of the tool as an error.
    pub(super) fn or_failure(self) -> Result<Self> {
        if self.is_error() {
            return Err(Error::tool(self.text().to_owned())
                .with_data(self.structured_content().unwrap_or(Value::Null)));
        }
        Ok(self)
    }

    /// The structured content as a `T`; a value that is no object stands under `result` and is
    /// taken out of there.
    ///
    /// # Errors
    ///
    /// When there is none, or it has another shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T> {
        let content = self.0.structured_content.as_ref();
        let content = content.ok_or_else(|| Error::internal("result has no structured content"))?;
        if self.0.meta.as_ref().is_some_and(is_wrapped) {
            return Ok(content.decode::<Wrapped<T>>()?.result);
        }
        Ok(content.decode()?)
    }

    /// The text of the first text block; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0
            .content
            .iter()
            .find_map(ContentBlock::as_text)
            .unwrap_or_default()
    }

    /// The content blocks.
    #[must_use]
    pub fn content(&self) -> &[ContentBlock] {
        &self.0.content
    }

    /// The structured content.
    #[must_use]
    pub fn structured_content(&self) -> Option<Value> {
        self.0
            .structured_content
            .as_ref()
            .and_then(|raw| raw.decode().ok())
    }

    /// Whether the tool failed.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.0.is_error
    }

    /// `_meta`.
    #[must_use]
    pub const fn meta(&self) -> Option<&Meta> {
        self.0.meta.as_ref()
    }

    /// The result as it stands in the protocol.
    #[must_use]
    pub const fn as_result(&self) -> &CallToolResult {
        &self.0
    }
}
