//! Write Model Context Protocol servers with ease.
//!
//! ```
//! use fastmcp::prelude::*;
//!
//! /// Adds two numbers.
//! #[tool]
//! async fn add(a: i64, b: i64) -> i64 {
//!     a + b
//! }
//!
//! # async fn example() -> Result<()> {
//! let server = FastMcp::new("demo").tool(add).build()?;
//! let client = Client::connect(&server).await?;
//! let sum = client.call_tool("add", json!({"a": 5, "b": 3})).await?;
//! assert_eq!(sum.data::<i64>()?, 8);
//! # Ok(())
//! # }
//! ```
//!
//! `FastMcp::new("demo").tool(add).run().await` serves the same on standard input and output;
//! [`FastMcp::run_http`] serves it over Streamable HTTP. Both serve the modern era of the protocol
//! (2026-07-28) and the legacy one (up to 2025-11-25) at the same endpoint.

pub mod base;
mod call;
pub mod client;
pub mod component;
mod compose;
pub mod config;
pub mod context;
pub mod dependencies;
mod engine;
pub mod error;
pub mod folder;
pub mod gate;
pub mod middleware;
pub mod openapi;
pub mod provider;
pub mod proxy;
pub mod registry;
mod respond;
pub mod route;
mod router;
pub mod schema;
pub mod server;
mod session;
pub mod skill;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transform;

pub use base::BaseServer;
pub use client::Client;
pub use component::authorize;
pub use component::{
    Audio, Base64, Bundle, CompletionBuilder, Component, File, Image, IntoCompletion, IntoContent,
    IntoPrompt, IntoResource, IntoTool, Invalid, Json, PromptBuilder, ResourceBuilder, ToolBuilder,
    ToolOutput, ToolResult, Tools, Valid, Validate,
    source::{BinaryResource, DirectoryResource, FileResource, HttpResource, TextResource},
};
pub use context::{
    Context, Depends, Elicited, FromContext, Needs, State, UserSession, Values, get_context,
};
pub use error::{
    DisabledError, Error, ErrorCategory, ErrorSeverity, McpError, NotFoundError, PromptError,
    ResourceError, Result, ToolError, ValidationError,
};
pub use fastmcp_auth as auth;
pub use fastmcp_guard as guard;
pub use fastmcp_guard::seal;
pub use fastmcp_macros::{completion, prompt, resource, tool, tools};
pub use fastmcp_protocol as protocol;
pub use fastmcp_store as store;
pub use fastmcp_transport as transport;
pub use gate::{Class, Gate, Input, Leaf, Outcome, Payload, Target};
pub use proxy::Proxy;
pub use route::Route;
#[cfg(feature = "oauth-proxy")]
pub use server::AuthProvider;
pub use server::{FastMcp, Lifespan, Server, TaskLimits, Transport};
pub use skill::Skill;

/// What most servers need.
pub mod prelude {
    pub use crate::{
        Client, Context, Depends, Elicited, Error, FastMcp, FromContext, Image, Invalid, Json,
        Result, Server, State, ToolError, ToolResult, Validate, completion, prompt, resource, tool,
        tools,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::json;
}

/// What the attributes expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::component::{CompletionOutput, Made, macros::*, tool::ToolOutput};
    pub use schemars;
    pub use serde;
    pub use serde_json;
}
