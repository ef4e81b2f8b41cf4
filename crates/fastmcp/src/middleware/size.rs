//! How large a result may be.

use std::collections::BTreeSet;

use fastmcp_protocol::{
    content::{ContentBlock, ResourceContents},
    tool::{CallToolResult, Tool},
};
use serde::Serialize;

use super::{CallTool, ListTools, Listed, Middleware, MiddlewareContext, Next, Outcome};
use crate::error::Result;

/// Bytes of a result unless told otherwise.
const MAX_SIZE: usize = 1_000_000;

/// Cuts off results of tools that are too large for a model to read.
///
/// What counts is the bytes of texts, encoded data and structured content. A result that has more becomes one
/// text: the beginning of its texts, and a suffix that says so. Structured content cannot be cut off and is
/// left out; so lists say nothing of it for tools that are limited.
///
/// ```
/// use fastmcp::{middleware::ResponseLimitingMiddleware, prelude::*};
///
/// let limit = ResponseLimitingMiddleware::new().max_size(50_000).tools(["search"]);
/// let server = FastMcp::new("brief").middleware(limit);
/// ```
#[derive(Clone, Debug)]
pub struct ResponseLimitingMiddleware {
    max_size: usize,
    truncation_suffix: String,
    tools: Option<BTreeSet<String>>,
}

impl Default for ResponseLimitingMiddleware {
    fn default() -> Self {
        Self {
            max_size: MAX_SIZE,
            truncation_suffix: "\n\n[Response truncated due to size limit]".to_owned(),
            tools: None,
        }
    }
}

impl ResponseLimitingMiddleware {
    /// At most 1,000,000 bytes, of all tools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a result, the suffix included. Default 1,000,000.
    #[must_use]
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.max_size = bytes;
        self
    }

    /// What a text ends with that was cut off.
    #[must_use]
    pub fn truncation_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.truncation_suffix = suffix.into();
        self
    }

    /// Limits these tools alone. Default: all.
    #[must_use]
    pub fn tools<I, S>(mut self, tools: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.tools = Some(tools.into_iter().map(Into::into).collect());
        self
    }

    fn limits(&self, tool: &str) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.contains(tool))
    }

    fn cut(&self, result: &mut CallToolResult) {
        let room = self.max_size.saturating_sub(self.truncation_suffix.len());
        let mut text = String::new();
        for block in &result.content {
            let Some(part) = block.as_text() else {
                continue;
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(part);
            if text.len() > room {
                break;
            }
        }
        text.truncate(text.floor_char_boundary(room));
        text.push_str(&self.truncation_suffix);
        result.content = vec![ContentBlock::text(text)];
        result.structured_content = None;
        result.meta = None;
    }
}

/// The bytes of what this crate does not take apart.
fn written<T: Serialize>(value: &T) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

fn size(result: &CallToolResult) -> usize {
    let structured = result.structured_content.as_ref();
    let blocks = result.content.iter().map(|block| match block {
        ContentBlock::Text(text) => text.text.len(),
        ContentBlock::Image(media) | ContentBlock::Audio(media) => media.data.len(),
        ContentBlock::ResourceLink(link) => link.uri.len(),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::Text(text) => text.text.len(),
            ResourceContents::Blob(blob) => blob.blob.len(),
            other => written(other),
        },
        other => written(other),
    });
    blocks.fold(
        structured.map_or(0, |raw| raw.as_str().len()),
        usize::saturating_add,
    )
}

impl Middleware for ResponseLimitingMiddleware {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        if !self.limits(context.message.name()) {
            return next.run(context).await;
        }
        let mut outcome = next.run(context).await?;
        if let Outcome::Complete(result) = &mut outcome
            && size(result) > self.max_size
        {
            self.cut(result);
        }
        Ok(outcome)
    }

    async fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        next: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        let mut tools = next.run(context).await?;
        for tool in tools.iter_mut().filter(|tool| self.limits(&tool.name)) {
            tool.output_schema = None;
        }
        Ok(tools)
    }
}
