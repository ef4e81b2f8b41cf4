//! The client's side of OAuth: how an MCP client gets a token for a server, and keeps one.
//!
//! [`OAuthClient`] is the whole of it. It is asked for [headers](OAuthClient::headers) before each request, and told
//! of each [refusal](OAuthClient::challenged); a refusal that it can do something about makes it find the
//! authorization server, register, have a person agree, and fetch a token.
//!
//! | room | what it does |
//! |---|---|
//! | [`challenge`], [`scope`] | what a refusal asks for |
//! | [`network`], [`discovery`] | where to get it: guarded requests, the metadata of resource and authorization server |
//! | [`registration`] | which client asks: registered before, by a metadata document, or on the spot |
//! | [`authorize`], [`pkce`] | the human part, and the proof that the answer belongs to the question |
//! | [`grant`], [`assertion`], [`dpop`] | the token request, and the keys that prove who makes it |
//! | [`storage`] | what outlives the process |
//! | [`client`] | the facade over these |
//!
//! Issuers, resources and client ids are opaque texts: they are compared byte by byte and sent as they came. Parsing
//! one as a URL and writing it out again may change it.
//!
//! Source: MCP 2026-07-28, basic/authorization; RFC 6749, 7523, 7591, 7636, 8414, 8693, 8707, 9207, 9449, 9728.

pub mod assertion;
pub mod authorize;
pub mod challenge;
pub mod client;
pub mod config;
pub mod discovery;
pub mod dpop;
pub mod error;
pub mod grant;
pub mod network;
pub mod pkce;
pub mod registration;
pub mod scope;
pub mod storage;

pub(crate) mod identifier;

pub use assertion::{AssertionKey, AssertionSource};
pub use authorize::{Authorize, AuthorizeError, Headless, Interaction};
pub use client::{LoggedOut, OAuthClient, Refusal};
pub use config::{DpopUse, Enterprise, Grant, IdentityProvider, OAuthConfig};
pub use error::{OAuthError, ServerSays};
pub use network::NetworkConfig;
pub use registration::{RegisteredClient, client_metadata_document};
pub use scope::Scopes;
pub use secrecy::SecretString as Secret;
pub use storage::{KeyValueStorage, MemoryStorage, StorageError, TokenStorage};
