//! Secrets, taken out of what clients get.

use fastmcp_guard::redact::{REDACTED, Redactor};
use fastmcp_protocol::{
    Raw,
    content::{ContentBlock, ResourceContents},
    prompt::GetPromptResult,
    resource::ReadResourceResult,
    tool::CallToolResult,
};
use serde_json::Value;

use super::{CallTool, GetPrompt, Middleware, MiddlewareContext, Next, Outcome, ReadResource};
use crate::error::Result;

/// Takes sensitive fields out of results: their values become `[REDACTED]`.
///
/// A field is sensitive by its name (`password`, `token`, `secret`, `api_key` and others; see [`Redactor`]) at
/// any depth, and a text by its form where that leaves no doubt: a private key, a JWT, a bearer credential.
/// Structured content is looked into, and texts that are JSON objects or arrays; other texts are looked at
/// as a whole. Results without anything sensitive stay byte for byte as they were.
///
/// It is a last net: what must not go out is best not put in.
///
/// ```
/// use fastmcp::{middleware::SanitiseMiddleware, prelude::*};
///
/// # async fn example() -> Result<()> {
/// let server = FastMcp::new("clean")
///     .middleware(SanitiseMiddleware::new().sensitive("internal_id")?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct SanitiseMiddleware {
    redactor: Redactor,
}

impl SanitiseMiddleware {
    /// Takes out what [`Redactor::default`] does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out what `redactor` does.
    #[must_use]
    pub const fn with_redactor(redactor: Redactor) -> Self {
        Self { redactor }
    }

    /// Takes fields of this name, and of names that end in it, for sensitive as well.
    ///
    /// # Errors
    ///
    /// When `name` has no letter or digit.
    pub fn sensitive(mut self, name: &str) -> Result<Self> {
        self.redactor = self.redactor.with_secret_name(name)?;
        Ok(self)
    }

    fn raw(&self, raw: &mut Raw) -> Result<()> {
        if self.redactor.is_needed(raw.as_str())? {
            let mut value: Value = raw.decode()?;
            self.redactor.redact(&mut value);
            *raw = Raw::of(&value)?;
        }
        Ok(())
    }

    fn text(&self, text: &mut String) {
        let is_json = text.trim_start().starts_with(['{', '[']);
        if is_json && let Ok(mut value) = serde_json::from_str::<Value>(text) {
            if self.redactor.redact(&mut value) {
                *text = value.to_string();
            }
        } else if Redactor::is_secret_text(text) {
            REDACTED.clone_into(text);
        }
    }

    fn contents(&self, contents: &mut ResourceContents) {
        if let ResourceContents::Text(text) = contents {
            self.text(&mut text.text);
        }
    }

    fn block(&self, block: &mut ContentBlock) -> Result<()> {
        match block {
            ContentBlock::Text(text) => self.text(&mut text.text),
            ContentBlock::Resource(embedded) => self.contents(&mut embedded.resource),
            ContentBlock::Unknown(raw) => self.raw(raw)?,
            _ => {}
        }
        Ok(())
    }
}

impl Middleware for SanitiseMiddleware {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        let mut outcome = next.run(context).await?;
        if let Outcome::Complete(result) = &mut outcome {
            if let Some(structured) = &mut result.structured_content {
                self.raw(structured)?;
            }
            for block in &mut result.content {
                self.block(block)?;
            }
        }
        Ok(outcome)
    }

    async fn on_read_resource(
        &self,
        context: MiddlewareContext<ReadResource>,
        next: Next<'_, ReadResource>,
    ) -> Result<Outcome<ReadResourceResult>> {
        let mut outcome = next.run(context).await?;
        if let Outcome::Complete(result) = &mut outcome {
            for contents in &mut result.contents {
                self.contents(contents);
            }
        }
        Ok(outcome)
    }

    async fn on_get_prompt(
        &self,
        context: MiddlewareContext<GetPrompt>,
        next: Next<'_, GetPrompt>,
    ) -> Result<Outcome<GetPromptResult>> {
        let mut outcome = next.run(context).await?;
        if let Outcome::Complete(result) = &mut outcome {
            for message in &mut result.messages {
                self.block(&mut message.content)?;
            }
        }
        Ok(outcome)
    }
}
