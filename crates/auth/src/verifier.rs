//! The seam between the doors and the ways to prove a token.

use std::error::Error;

use futures_core::future::BoxFuture;

use crate::caller::Caller;
use crate::claims::ClaimError;

mod cached;
mod chain;
mod fixed;
mod introspection;
mod keyed;
mod lookup;
mod tenants;

pub use cached::{CacheConfig, CachedVerifier};
pub use chain::VerifierChain;
pub use fixed::{StaticIdentity, StaticTokenVerifier, StaticTokens};
pub use introspection::{Introspection, IntrospectionConfig};
pub use keyed::ApiKeyVerifier;
pub use lookup::{LookupConfig, LookupVerifier, TokenLookup};
pub use tenants::TenantVerifier;

/// What turns a token into a [`Caller`], or refuses it.
///
/// A `Caller` can only be minted by the verifiers of this crate: [`JwtVerifier`](crate::jwt::JwtVerifier),
/// [`StaticTokenVerifier`], [`ApiKeyVerifier`], and [`LookupVerifier`] around [`Introspection`] or a [`TokenLookup`] of your own. An implementation of this trait
/// elsewhere picks among them, or adds a check before or after.
pub trait TokenVerifier: Send + Sync {
    /// Verifies `token`.
    ///
    /// # Errors
    /// If the token is not good, or cannot be checked right now ([`VerifyError::Unavailable`]).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect beyond abandoning the check.
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>>;

    /// The scopes that every caller must bring to be let in at all. They are named in challenges and metadata.
    fn required_scopes(&self) -> &[String] {
        &[]
    }
}

/// Why a token was refused.
///
/// The text is for the log of the server: a caller is told [`description`](Self::description), which repeats nothing
/// that the token says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The algorithm of the token is not allowed.
    #[error("the algorithm `{algorithm}` is not allowed")]
    Algorithm {
        /// The token's `alg`, shortened.
        algorithm: String,
    },
    /// More than one key could have signed the token.
    #[error("more than one key fits: the token needs a `kid` that is unique in its key set")]
    AmbiguousKey,
    /// The token is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// A claim is missing or wrong.
    #[error("a claim cannot be accepted")]
    Claim(#[from] ClaimError),
    /// The token wants an extension to be understood.
    #[error("the token has a `crit` header, which names extensions that must be understood")]
    Critical,
    /// The token is over.
    #[error("the token has expired")]
    Expired,
    /// The API key is over.
    #[error("the API key has expired")]
    ExpiredKey,
    /// The token was issued in the future.
    #[error("the token was issued in the future: compare the clocks")]
    IssuedInFuture,
    /// The token is by somebody else.
    #[error("the token is by another issuer")]
    Issuer,
    /// The token is not what it should be.
    #[error("the token is not well formed: {0}")]
    Malformed(&'static str),
    /// The token names no tenant.
    #[error("the token names no tenant")]
    NoTenant,
    /// The token is not good yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The API key was revoked.
    #[error("the API key was revoked")]
    RevokedKey,
    /// The signature does not match.
    #[error("the signature does not match")]
    Signature,
    /// The token names a tenant that its issuer does not speak for.
    #[error("the token names a tenant that its issuer does not speak for")]
    Tenant,
    /// The token is too long.
    #[error("the token has {given} bytes, more than {most}")]
    TooLong {
        /// Bytes of the token.
        given: usize,
        /// The most that are allowed.
        most: usize,
    },
    /// The token is of another type.
    #[error("the token is of another type than `JWT` or `at+jwt`")]
    Type,
    /// The token cannot be checked right now; it may be good.
    #[error("the token cannot be checked right now")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// No key of that id is known.
    #[error("the token was signed with an unknown key")]
    UnknownKey,
    /// The token is not one that was given out.
    #[error("the token is not known")]
    UnknownToken,
}

impl VerifyError {
    /// Whether the token may be good, but cannot be checked now: 503, not 401.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// A fixed word for records and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Algorithm { .. } => "algorithm",
            Self::AmbiguousKey => "ambiguous_key",
            Self::Audience => "audience",
            Self::Claim(_) => "claim",
            Self::Critical => "critical",
            Self::Expired => "expired",
            Self::ExpiredKey => "expired_key",
            Self::IssuedInFuture => "issued_in_future",
            Self::Issuer => "issuer",
            Self::Malformed(_) => "malformed",
            Self::NoTenant => "no_tenant",
            Self::NotYetValid => "not_yet_valid",
            Self::RevokedKey => "revoked_key",
            Self::Signature => "signature",
            Self::Tenant => "tenant",
            Self::TooLong { .. } => "too_long",
            Self::Type => "type",
            Self::Unavailable(_) => "unavailable",
            Self::UnknownKey => "unknown_key",
            Self::UnknownToken => "unknown_token",
        }
    }

    /// What the caller is told: fixed texts that help an honest client and tell a guesser little.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self {
            Self::Audience => "the token is for another audience",
            Self::Expired => "the token has expired",
            Self::IssuedInFuture | Self::NotYetValid => "the token is not valid yet",
            Self::NoTenant => "the token names no tenant",
            Self::TooLong { .. } => "the token is too long",
            Self::Unavailable(_) => "the token cannot be checked right now",
            _ => "the token is not valid",
        }
    }

    /// Whether the token may have been meant for another verifier of a chain.
    const fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Issuer | Self::Malformed(_) | Self::UnknownKey | Self::UnknownToken
        )
    }
}
