//! From names to addresses, by a resolver that is handed in.

use std::fmt;
use std::io;
use std::net::IpAddr;

use futures_core::future::BoxFuture;

/// Most addresses of one name that are judged; a name with more is refused.
pub(super) const MAX_ADDRESSES: usize = 64;

/// What looks up names.
///
/// It is asked once for each new connection and never for a host that is an address already. Its answers are not
/// trusted: each one is judged.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Returns every address of `host`, the preferred one first.
    ///
    /// # Errors
    ///
    /// Whatever kept it from an answer; a name without addresses may be an error or an empty list.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver, with its hosts file and order of addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let answers = tokio::net::lookup_host((host, 0)).await?;
            // One above the bound, so that the excess is noticed.
            Ok(answers
                .map(|address| address.ip())
                .take(MAX_ADDRESSES + 1)
                .collect())
        })
    }
}
