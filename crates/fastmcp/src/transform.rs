//! Other faces for components: other names, other arguments, fewer of them.
//!
//! A [`Transform`] makes other components of those that there are, whenever they change. Calls pay for what
//! it changed and no more. [`FastMcp::transform`](crate::FastMcp::transform) adds one to everything that a
//! server shows, [`ProviderExt::transform`](crate::provider::ProviderExt::transform) to what one source has;
//! several run in the order of their addition.
//!
//! ```
//! use fastmcp::{
//!     prelude::*,
//!     transform::{ArgTransform, ToolTransform, ToolTransformConfig},
//! };
//!
//! /// Searches the index.
//! #[tool]
//! async fn search(q: String, index: String) -> String {
//!     format!("{q} in {index}")
//! }
//!
//! # async fn example() -> Result<()> {
//! let server = FastMcp::new("demo")
//!     .tool(search)
//!     .transform(ToolTransform::new().tool(
//!         "search",
//!         ToolTransformConfig::new()
//!             .name("find_docs")
//!             .description("Finds pages of the documentation.")
//!             .argument("q", ArgTransform::new().name("query").description("What to look for."))
//!             .argument("index", ArgTransform::new().hide("docs")),
//!     ))
//!     .build()?;
//! let client = Client::connect(&server).await?;
//! let found = client.call_tool("find_docs", json!({"query": "mount"})).await?;
//! assert_eq!(found.data::<String>()?, "mount in docs");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod argument;
mod expose;
mod filter;
mod host;
mod namespace;
mod search;
mod tool;

use std::{fmt, sync::Arc};

use crate::{component::Component, error::Result};

pub use argument::ArgTransform;
pub use expose::{PromptsAsTools, ResourcesAsTools};
pub use filter::{VersionFilter, Visibility};
pub use host::Host;
pub use namespace::Namespace;
pub use search::ToolSearch;
pub use tool::{Next, ToolTransform, ToolTransformConfig};

/// Makes other components of those that there are.
pub trait Transform: fmt::Debug + Send + Sync + 'static {
    /// What is shown in place of `components`. Called whenever they change, and never for a call.
    ///
    /// `host` is the server that shows them, for components that call others.
    ///
    /// # Errors
    ///
    /// When they cannot be transformed: a server that is being built is not, and one that runs goes on
    /// showing what it showed before.
    fn apply(&self, components: Vec<Arc<Component>>, host: &Host) -> Result<Vec<Arc<Component>>>;

    /// The URI of what has `uri` before this transform, for telling subscribers of it.
    fn uri(&self, uri: String) -> String {
        uri
    }
}
