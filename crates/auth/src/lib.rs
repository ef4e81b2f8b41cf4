//! Who is calling.
//!
//! A request's bearer token becomes a [`Caller`], once, at the door: [`bearer`] takes the token out of the headers, a
//! [`TokenVerifier`] proves it, and everything behind the door reads the [`Caller`]. A `Caller` can only be minted by
//! the verifiers of this crate (or be openly [local](Caller::local) or [anonymous](Caller::anonymous)), so that holding
//! one is the proof that its claims were checked.
//!
//! | room | what it does |
//! |---|---|
//! | [`caller`], [`token`] | the proof, and the token it came from |
//! | [`verifier`] | the seam: fixed tokens, looked-up tokens, chains, the cache of verified tokens |
//! | [`api_key`] | keys for machines, kept as hashes |
//! | [`jwt`], [`jwks`], [`keys`] | signed tokens, the keys that check them, and where these come from |
//! | [`bearer`], [`challenge`], [`metadata`], [`authenticator`] | the HTTP face: headers in, RFC 6750 and RFC 9728 out |
//! | [`certificate`] | tokens that are good with one client certificate alone |
//! | [`mint`] | development keys and tokens |
//! | [`oauth`] | the other side: how a client gets tokens for a server |
//! | `proxy`, `provider` (feature `oauth-proxy`) | an authorization server in front of an identity provider |
//!
//! This crate does not decide what a caller may do, reads no files and no environment, and takes the time of day from
//! the [`Clock`](fastmcp_guard::clock::Clock) that it is given.

pub mod algorithm;
pub mod api_key;
pub mod authenticator;
pub mod bearer;
pub mod caller;
pub mod certificate;
pub mod challenge;
pub mod claims;
pub mod error;
pub mod jwks;
pub mod jwt;
pub mod keys;
pub mod metadata;
pub mod mint;
pub mod oauth;
#[cfg(feature = "oauth-proxy")]
pub mod provider;
#[cfg(feature = "oauth-proxy")]
pub mod proxy;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod token;
pub mod verifier;

mod basic;
mod digest;
mod endpoint;
mod signing;

pub use algorithm::Algorithm;
pub use authenticator::{AuthenticateError, Authenticator};
pub use caller::{Caller, CallerKind, Connection, Principal, UserAgent};
pub use challenge::Challenger;
pub use error::ConfigError;
pub use jwks::JwkSet;
pub use jwt::{JwtConfig, JwtVerifier};
pub use keys::{Fetch, KeySource, RemoteKeys, StaticKeys};
pub use metadata::ResourceMetadata;
pub use token::AccessToken;
pub use verifier::{
    ApiKeyVerifier, CachedVerifier, Introspection, IntrospectionConfig, LookupVerifier,
    StaticTokenVerifier, TenantVerifier, TokenVerifier, VerifierChain, VerifyError,
};
