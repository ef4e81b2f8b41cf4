//! How bytes come from an issuer. This crate opens no connection of its own.

use std::error::Error;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use url::Url;

/// What gets a document from an issuer.
///
/// The implementation is a guarded connector: it limits redirects, time and bytes, and it refuses addresses that the
/// configuration does not allow. Tests and users with connectors of their own implement it too.
pub trait Fetch: Send + Sync {
    /// Gets the body of a successful (200) answer.
    ///
    /// # Errors
    /// If there is no answer, or none of 200.
    ///
    /// # Cancel safety
    /// Dropping the future must abandon the request.
    fn get<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// A document that could not be got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There was no answer.
    #[error("no answer")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// The answer was not 200.
    #[error("the answer has status {status}, not 200")]
    Status {
        /// The status.
        status: u16,
    },
}
