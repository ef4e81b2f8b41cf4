//! How long messages take, in the log.

use fastmcp_protocol::{
    discover::DiscoverResult,
    initialize::InitializeResult,
    prompt::{GetPromptResult, Prompt},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    tool::{CallToolResult, Tool},
};
use tokio::time::Instant;
use tracing::Level;

use super::{
    CallTool, Discover, GetPrompt, Initialize, ListPrompts, ListResourceTemplates, ListResources,
    ListTools, Listed, Middleware, MiddlewareContext, Next, Outcome, ReadResource, Response,
    logging::{event, millis},
};
use crate::error::Result;

/// Logs how long each request takes.
///
/// ```
/// use fastmcp::{middleware::TimingMiddleware, prelude::*};
///
/// let server = FastMcp::new("timed").middleware(TimingMiddleware::new());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimingMiddleware {
    level: Level,
}

impl Default for TimingMiddleware {
    fn default() -> Self {
        Self { level: Level::INFO }
    }
}

impl TimingMiddleware {
    /// Logs at level info.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The level. Default info.
    #[must_use]
    pub const fn log_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}

#[expect(
    clippy::cognitive_complexity,
    reason = "the macros are complex, not what is written"
)]
fn told(level: Level, what: &str, name: Option<&str>, start: Instant, is_ok: bool) {
    let (duration_ms, status) = (millis(start), if is_ok { "success" } else { "error" });
    event!(
        level,
        duration_ms,
        status,
        name,
        "{what} took {duration_ms} ms"
    );
}

impl Middleware for TimingMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let (method, start) = (context.method().to_owned(), Instant::now());
        let answer = next.run(context).await;
        told(self.level, &method, None, start, answer.is_ok());
        answer
    }
}

/// Logs how long each operation takes, by the name of its component.
///
/// ```
/// use fastmcp::{middleware::DetailedTimingMiddleware, prelude::*};
///
/// let server = FastMcp::new("timed").middleware(DetailedTimingMiddleware::new());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DetailedTimingMiddleware {
    level: Level,
}

impl Default for DetailedTimingMiddleware {
    fn default() -> Self {
        Self { level: Level::INFO }
    }
}

impl DetailedTimingMiddleware {
    /// Logs at level info.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The level. Default info.
    #[must_use]
    pub const fn log_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }
}

macro_rules! timed {
    ($($hook:ident($message:ty) -> $answer:ty, $what:literal, $name:expr;)*) => {
        impl Middleware for DetailedTimingMiddleware {
            $(async fn $hook(
                &self,
                context: MiddlewareContext<$message>,
                next: Next<'_, $message>,
            ) -> Result<$answer> {
                let name: fn(&$message) -> Option<&str> = $name;
                let name = name(&context.message).map(str::to_owned);
                let start = Instant::now();
                let answer = next.run(context).await;
                told(self.level, $what, name.as_deref(), start, answer.is_ok());
                answer
            })*
        }
    };
}

timed! {
    on_call_tool(CallTool) -> Outcome<CallToolResult>, "tool", |m| Some(m.name());
    on_read_resource(ReadResource) -> Outcome<ReadResourceResult>, "resource", |m| Some(m.uri());
    on_get_prompt(GetPrompt) -> Outcome<GetPromptResult>, "prompt", |m| Some(m.name());
    on_list_tools(ListTools) -> Vec<Listed<Tool>>, "list of tools", |_| None;
    on_list_resources(ListResources) -> Vec<Listed<Resource>>, "list of resources", |_| None;
    on_list_resource_templates(ListResourceTemplates) -> Vec<Listed<ResourceTemplate>>,
        "list of resource templates", |_| None;
    on_list_prompts(ListPrompts) -> Vec<Listed<Prompt>>, "list of prompts", |_| None;
    on_initialize(Initialize) -> InitializeResult, "initialize", |m| Some(&m.client_info.name);
    on_discover(Discover) -> DiscoverResult, "discover", |_| None;
}
