//! Layers around everything that clients send.
//!
//! A [`Middleware`] is a type with hooks, from the general to the specific: [`Middleware::on_message`],
//! [`Middleware::on_request`] and [`Middleware::on_notification`], [`Middleware::on_list`], then one hook per operation. It
//! implements those that it needs; the compiler knows which, so there is nothing to declare and nothing
//! to forget. Layers are put around a whole server with [`FastMcp::middleware`](crate::FastMcp::middleware)
//! and around one component with `middleware` of its builder.
//!
//! ```
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! use fastmcp::{middleware::prelude::*, prelude::*};
//!
//! #[derive(Default)]
//! struct CountingMiddleware {
//!     calls: AtomicUsize,
//! }
//!
//! impl Middleware for CountingMiddleware {
//!     async fn on_call_tool(
//!         &self,
//!         context: MiddlewareContext<CallTool>,
//!         next: Next<'_, CallTool>,
//!     ) -> Result<Outcome<CallToolResult>> {
//!         self.calls.fetch_add(1, Ordering::Relaxed);
//!         if context.message.name().starts_with("admin_") {
//!             return Err(Error::tool("Admin access required"));
//!         }
//!         next.run(context).await
//!     }
//! }
//!
//! let server = FastMcp::new("counted").middleware(CountingMiddleware::default());
//! ```
//!
//! # Order
//!
//! Each message goes through each layer once. The layer that was registered first is the outermost. Within
//! a layer its general hooks are around its specific ones, and all of them are around the next layer: for
//! a call of a tool and the layers A and B that is
//! `A.on_message > A.on_request > A.on_call_tool > B.on_message > B.on_request > B.on_call_tool > gate >
//! handler`, as in FastMCP. Layers see a call before the gate decides, and its refusal as an error.
//! Layers of a mounted server run within those of its parent, for what is its own alone: calls of its
//! components, and its part of lists. One that fails takes its part of a list with it, and no other. Layers of one
//! component run within the gate, for calls that it let through.
//!
//! A layer may answer without [`Next::run`], change the message before it and the result after it. Which
//! component is called is settled before: a layer changes arguments, no names.
//!
//! # Questions
//!
//! A call may end with a question to the client instead of a result: [`Outcome::InputRequired`], which
//! layers see and hand on. Clients of 2026-07-28 answer by calling again; each such round is a message of
//! its own and goes through all layers again. Clients up to 2025-11-25 answer on their open stream: what a
//! handler asks them is waited for within the call, and what a gate asks begins the call, layers
//! included, again. A layer may ask as a handler may, about calls; about nothing else.
//!
//! # What layers do not see
//!
//! Requests that are refused as malformed before anything was looked up, and the client's answers to
//! questions. A call of what is not there is seen: it ends with an error.
//!
//! # Cost
//!
//! Which layers have a hook is found out once, when the server is built. A message goes through those that
//! do, at one allocation or two each; the others cost nothing on it, and a server without layers pays for
//! none.

mod access;
mod audit;
mod caching;
mod chain;
mod component;
mod failure;
mod guardrail;
mod layer;
mod logging;
mod message;
mod metrics;
mod ping;
mod rate;
mod response;
mod retry;
mod sanitise;
mod size;
mod standard;
mod state;
mod timing;

use std::future::Future;

pub use crate::call::{Asks, Outcome, Payload};
pub use access::{AuthMiddleware, RbacMiddleware};
pub use audit::{AuditMiddleware, AuditRecord, AuditStatus, create_audit_record};
pub use caching::{
    CacheStatistics, CallToolSettings, Counts, GetPromptSettings, ListPromptsSettings,
    ListResourceTemplatesSettings, ListResourcesSettings, ListToolsSettings, ReadResourceSettings,
    ResponseCachingMiddleware, cached_resource,
};
pub(crate) use chain::{Chain, Chains, End, asking};
pub use chain::{Next, Passed};
pub(crate) use component::method_of;
pub use failure::{ErrorHandlingMiddleware, handle_mcp_error};
pub use guardrail::{CircuitBreakerMiddleware, ConcurrencyLimitMiddleware};
pub use layer::{IntoLayer, Layer};
pub use logging::{LoggingMiddleware, StructuredLoggingMiddleware, log_tool_execution};
pub use message::{
    CallTool, Discover, GetPrompt, Initialize, ListPrompts, ListResourceTemplates, ListResources,
    ListTools, Message, MessageType, MiddlewareContext, Notification, ReadResource, Source,
};
pub(crate) use message::{Named, Shown};
pub use metrics::MetricsMiddleware;
pub use ping::PingMiddleware;
pub use rate::{RateLimitingMiddleware, SlidingWindowRateLimitingMiddleware, rate_limited};
pub use response::{Listed, Operation, Response, Sealed};
pub use retry::{RetryMiddleware, is_transient};
pub use sanitise::SanitiseMiddleware;
pub use size::ResponseLimitingMiddleware;
pub use standard::{StandardSettings, standard};
pub use state::StateManagementMiddleware;
pub use timing::{DetailedTimingMiddleware, TimingMiddleware};

use fastmcp_protocol::{
    discover::DiscoverResult,
    initialize::InitializeResult,
    prompt::{GetPromptResult, Prompt},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    tool::{CallToolResult, Tool},
};

use crate::error::Result;

/// What most layers need.
pub mod prelude {
    pub use super::{
        CallTool, GetPrompt, ListPrompts, ListResourceTemplates, ListResources, ListTools, Listed,
        Message, Middleware, MiddlewareContext, Next, Notification, Outcome, ReadResource,
        Response,
    };
    pub use fastmcp_protocol::{
        prompt::{GetPromptResult, Prompt},
        resource::{ReadResourceResult, Resource, ResourceTemplate},
        tool::{CallToolResult, Tool},
    };
}

/// A layer around what clients send; see the [module](self) for the order of hooks.
///
/// Every hook has a default that goes on to the next layer. A hook that an implementation leaves at its
/// default is not called at all. Write hooks as `async fn`, as the example of the module does.
///
/// # Cancel safety
///
/// A hook's future is polled to its end even when the client goes away, unless the handler asks the
/// client something that only another round answers where a layer does not wait for [`Next::run`]: then it
/// is dropped where it awaits.
pub trait Middleware: Send + Sync + 'static {
    /// Every message: requests and notifications.
    ///
    /// # Errors
    ///
    /// Those of the message, and the layer's own.
    fn on_message(
        &self,
        context: MiddlewareContext,
        next: Next<'_>,
    ) -> impl Future<Output = Result<Response>> + Send {
        next.pass(context)
    }

    /// Every request.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_request(
        &self,
        context: MiddlewareContext,
        next: Next<'_>,
    ) -> impl Future<Output = Result<Response>> + Send {
        next.pass(context)
    }

    /// Every list of components. A page that is ready stays as it is, where no layer has a hook that looks into it.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_list(
        &self,
        context: MiddlewareContext,
        next: Next<'_>,
    ) -> impl Future<Output = Result<Response>> + Send {
        next.pass(context)
    }

    /// Every notification.
    ///
    /// # Errors
    ///
    /// The layer's own: the notification then has no effect, and nobody is told.
    fn on_notification(
        &self,
        context: MiddlewareContext<Notification>,
        next: Next<'_, Notification>,
    ) -> impl Future<Output = Result<()>> + Send {
        next.pass(context)
    }

    /// `initialize`, with which clients up to 2025-11-25 open a session. After an error there is none.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_initialize(
        &self,
        context: MiddlewareContext<Initialize>,
        next: Next<'_, Initialize>,
    ) -> impl Future<Output = Result<InitializeResult>> + Send {
        next.pass(context)
    }

    /// `server/discover`, with which later clients ask what the server can do.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_discover(
        &self,
        context: MiddlewareContext<Discover>,
        next: Next<'_, Discover>,
    ) -> impl Future<Output = Result<DiscoverResult>> + Send {
        next.pass(context)
    }

    /// `tools/call`. A call that becomes a task is seen to its end, long after the client was answered.
    ///
    /// # Errors
    ///
    /// Those of the call, and the layer's own.
    fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> impl Future<Output = Result<Outcome<CallToolResult>>> + Send {
        next.pass(context)
    }

    /// `resources/read`.
    ///
    /// # Errors
    ///
    /// Those of the call, and the layer's own.
    fn on_read_resource(
        &self,
        context: MiddlewareContext<ReadResource>,
        next: Next<'_, ReadResource>,
    ) -> impl Future<Output = Result<Outcome<ReadResourceResult>>> + Send {
        next.pass(context)
    }

    /// `prompts/get`.
    ///
    /// # Errors
    ///
    /// Those of the call, and the layer's own.
    fn on_get_prompt(
        &self,
        context: MiddlewareContext<GetPrompt>,
        next: Next<'_, GetPrompt>,
    ) -> impl Future<Output = Result<Outcome<GetPromptResult>>> + Send {
        next.pass(context)
    }

    /// `tools/list`: all that the caller sees; pages are cut afterwards. A server with this hook lists
    /// its tools anew for every request, as with the other lists.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        next: Next<'_, ListTools>,
    ) -> impl Future<Output = Result<Vec<Listed<Tool>>>> + Send {
        next.pass(context)
    }

    /// `resources/list`.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_list_resources(
        &self,
        context: MiddlewareContext<ListResources>,
        next: Next<'_, ListResources>,
    ) -> impl Future<Output = Result<Vec<Listed<Resource>>>> + Send {
        next.pass(context)
    }

    /// `resources/templates/list`.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_list_resource_templates(
        &self,
        context: MiddlewareContext<ListResourceTemplates>,
        next: Next<'_, ListResourceTemplates>,
    ) -> impl Future<Output = Result<Vec<Listed<ResourceTemplate>>>> + Send {
        next.pass(context)
    }

    /// `prompts/list`.
    ///
    /// # Errors
    ///
    /// Those of the request, and the layer's own.
    fn on_list_prompts(
        &self,
        context: MiddlewareContext<ListPrompts>,
        next: Next<'_, ListPrompts>,
    ) -> impl Future<Output = Result<Vec<Listed<Prompt>>>> + Send {
        next.pass(context)
    }
}
