//! An HTTP API, described by OpenAPI 3.0 or 3.1, as tools and resources.
//!
//! ```no_run
//! use fastmcp::{FastMcp, openapi::{Credential, OpenApi, RouteKind, RouteMap}};
//!
//! # async fn example(document: &str) -> fastmcp::Result<()> {
//! let api = OpenApi::builder(document)
//!     .base_url("https://api.example.com/v1")
//!     .credential("api_key", Credential::api_key("…"))
//!     .route(RouteMap::new(RouteKind::Exclude).pattern("^/admin"))
//!     .build()?;
//! FastMcp::from_openapi(api).run().await
//! # }
//! ```
//!
//! Every operation is a tool unless a [`RouteMap`] says otherwise. Its arguments are the parameters and the
//! fields of its body in one flat object; they are checked against the document before anything is sent.
//!
//! What is safe by itself:
//!
//! - every request goes to the one host and beneath the one path that were set up; arguments fill their
//!   places and cannot leave them: what is no letter, digit or one of `-._~` is percent-encoded, and steps
//!   (`..`) in a path are refused;
//! - redirects are not followed, answers and waiting are bounded;
//! - nothing that the document refers to elsewhere is ever fetched or opened;
//! - nothing of the inbound request is sent on; credentials go along where the document demands them;
//! - of an answer that tells of a failure, a sentence is passed on, and nothing of its headers.
//!
//! Source: OpenAPI 3.0.4 and 3.1.1.

mod answer;
mod arguments;
mod builder;
mod credential;
mod document;
mod encode;
mod endpoint;
mod make;
mod operation;
mod provider;
mod request;
mod route;
mod schema;

use std::{collections::BTreeSet, fmt};

pub use fastmcp_guard::http::{AllowedHost, Config as HttpConfig, Profile, Trust};

pub use builder::{OpenApiBuilder, Spec};
pub use credential::Credential;
pub use route::{Route, RouteKind, RouteMap};

use crate::{
    component::{Component, Definition},
    server::FastMcp,
};

/// Bounds of a document and of what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenApiLimits {
    /// Bytes of the document's text. Default 16 MiB.
    pub document_bytes: usize,
    /// Operations of the document, those that are left out too. Default 2,000.
    pub operations: usize,
    /// Bytes of one schema as JSON: of arguments that have more, the tool is left out; a result that has more
    /// is not promised. Default 256 KiB.
    pub schema_bytes: usize,
}

impl Default for OpenApiLimits {
    fn default() -> Self {
        Self {
            document_bytes: 16 * 1024 * 1024,
            operations: 2_000,
            schema_bytes: 256 * 1024,
        }
    }
}

/// What was made of an operation, before it is registered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Draft {
    /// What clients are told. Changing the schema of a tool's arguments changes what clients are told, not
    /// what is checked.
    pub definition: Definition,
    /// The tags.
    pub tags: BTreeSet<String>,
    /// The scopes that a caller needs, all of them.
    pub required_scopes: Vec<String>,
}

/// An operation that is not offered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The operation's place in the document, as a JSON pointer.
    pub at: String,
    /// What is wrong, with the pointer to where it is.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.reason)
    }
}

/// An HTTP API as components: a server [begins](FastMcp::from_openapi) with it, [has](FastMcp::openapi) it among its own,
/// or has it as a [`Provider`](crate::provider::Provider), with a prefix and transforms.
#[derive(Debug)]
pub struct OpenApi {
    title: Option<String>,
    version: Option<String>,
    description: Option<String>,
    components: Vec<Component>,
    problems: Vec<Problem>,
}

impl OpenApi {
    /// Begins with a document: its text in JSON or YAML, or a [`serde_json::Value`].
    pub fn builder(document: impl Into<Spec>) -> OpenApiBuilder {
        OpenApiBuilder::new(document.into())
    }

    /// The operations that are not offered.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The components.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The components to register.
    #[must_use]
    pub fn into_components(self) -> Vec<Component> {
        self.components
    }
}

impl FastMcp {
    /// Begins a server with an API, named and described as its document says.
    #[must_use]
    pub fn from_openapi(mut api: OpenApi) -> Self {
        let name = api.title.take().unwrap_or_else(|| "openapi".to_owned());
        let mut server = Self::new(name);
        if let Some(version) = api.version.take() {
            server = server.version(version);
        }
        if let Some(description) = api.description.take() {
            server = server.instructions(description);
        }
        server.openapi(api)
    }

    /// Adds an API.
    #[must_use]
    pub fn openapi(self, api: OpenApi) -> Self {
        let components = api.components.into_iter();
        components.fold(self, Self::component)
    }
}
