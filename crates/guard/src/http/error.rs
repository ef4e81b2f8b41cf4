//! Why a request was not made, or why its answer cannot be used.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::address::AddressKind;

/// A cause of any type.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Why a destination may not be reached. Nothing was sent to it.
///
/// The message is fit for the caller: it names what the caller gave. Addresses that a name led to stay in the fields,
/// for they would map the inner network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The URL cannot be read as one.
    #[error("the url cannot be parsed: give an absolute url such as `https://host/path`")]
    Unparsable,
    /// The URL is longer than the limit.
    #[error("the url is longer than {max_bytes} bytes: shorten it")]
    UrlTooLong {
        /// The most bytes a URL may have.
        max_bytes: usize,
    },
    /// The scheme is not one that may be used.
    #[error("scheme `{scheme}` may not be used: give an {allowed} url")]
    Scheme {
        /// The scheme of the URL.
        scheme: String,
        /// The schemes that may be used, as text.
        allowed: &'static str,
    },
    /// The URL carries a user name or password.
    #[error("the url carries a user name or password: remove what stands before the `@`")]
    UserInfo,
    /// The URL names no host.
    #[error("the url names no host")]
    NoHost,
    /// The port is not one that may be used.
    #[error("port {port} of host `{host}` may not be used: use the scheme's own port")]
    Port {
        /// The host of the URL.
        host: String,
        /// The port of the URL.
        port: u16,
    },
    /// The host is not one of those configured.
    #[error("host `{host}` with port {port} is not one that was configured")]
    HostNotAllowed {
        /// The host of the URL.
        host: String,
        /// The port of the URL, its scheme's own if it names none.
        port: u16,
    },
    /// The host has an address that may not be reached.
    #[error("host `{host}` has a {kind} address, which may not be reached")]
    Address {
        /// The host of the URL.
        host: String,
        /// The address that was refused.
        address: IpAddr,
        /// What kind of address that is.
        kind: AddressKind,
    },
    /// The name has no address.
    #[error("host `{host}` has no address")]
    NoAddress {
        /// The host of the URL.
        host: String,
    },
    /// The name has more addresses than anyone needs.
    #[error("host `{host}` has more than {max} addresses")]
    TooManyAddresses {
        /// The host of the URL.
        host: String,
        /// The most addresses that are judged.
        max: usize,
    },
    /// The connection ended somewhere else than it was sent to.
    #[error("the connection to host `{host}` was diverted")]
    Diverted {
        /// The host of the URL.
        host: String,
        /// The address at the other end.
        peer: IpAddr,
    },
    /// A method that opens a tunnel.
    #[error("method `{method}` may not be used")]
    Method {
        /// The method of the request.
        method: String,
    },
    /// A redirect leads from `https` to `http`.
    #[error("a redirect from https leads to http")]
    Downgrade,
}

/// Why no connection came about. Nothing was sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The destination may not be reached.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The name could not be looked up.
    #[error("host `{host}` cannot be looked up")]
    Resolve {
        /// The host of the URL.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// No address of the host took the connection.
    #[error("host `{host}` does not take connections on port {port}")]
    Connect {
        /// The host of the URL.
        host: String,
        /// The port that was tried.
        port: u16,
        /// What the operating system said of the last address.
        #[source]
        source: io::Error,
    },
    /// Looking up, connecting and the TLS handshake took too long.
    #[error("no connection within {limit:?}")]
    Timeout {
        /// The time that was given.
        limit: Duration,
    },
}

/// Why a request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A setting of the fetcher cannot be used.
    #[error("`{field}`: {reason}")]
    Config {
        /// The setting's name.
        field: &'static str,
        /// What is wrong with it, and what to give instead.
        reason: String,
    },
    /// The destination may not be reached.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No connection came about, or its certificate is not trusted.
    #[error("no connection to host `{host}`")]
    Connect {
        /// The host of the URL.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Looking up, connecting and the TLS handshake took too long.
    #[error("no connection to host `{host}` within {limit:?}")]
    ConnectTimeout {
        /// The host of the URL.
        host: String,
        /// The time that was given.
        limit: Duration,
    },
    /// The whole request, with redirects and body, took too long.
    #[error("host `{host}` gave no whole answer within {limit:?}")]
    Timeout {
        /// The host of the first URL.
        host: String,
        /// The time that was given.
        limit: Duration,
    },
    /// The exchange broke off, or the answer is not HTTP.
    #[error("the exchange with host `{host}` failed")]
    Exchange {
        /// The host of the URL.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The body of the answer is larger than the limit.
    #[error("the answer of host `{host}` has more than {max_bytes} bytes")]
    TooLarge {
        /// The host of the URL.
        host: String,
        /// The limit.
        max_bytes: usize,
    },
    /// The answer is compressed, though that was not asked for.
    #[error("the answer of host `{host}` has an encoding that was not asked for")]
    Encoded {
        /// The host of the URL.
        host: String,
    },
    /// The answer redirects without saying where to.
    #[error("host `{host}` redirects without a usable `location`")]
    Location {
        /// The host of the URL.
        host: String,
    },
    /// The redirects do not end.
    #[error("host `{host}` redirects more than {max} times")]
    TooManyRedirects {
        /// The host of the first URL.
        host: String,
        /// The limit.
        max: u8,
    },
    /// A redirect was followed, and what it led to failed.
    #[error("a redirect of host `{host}` cannot be followed")]
    Redirect {
        /// The host that redirected.
        host: String,
        /// Why.
        #[source]
        source: Box<Self>,
    },
}

impl FetchError {
    /// Tells whether a host may have got the request: if not, it certainly had no effect and can be made again.
    #[must_use]
    pub const fn may_have_been_sent(&self) -> bool {
        match self {
            Self::Config { .. }
            | Self::Refused(_)
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. } => false,
            Self::Timeout { .. }
            | Self::Exchange { .. }
            | Self::TooLarge { .. }
            | Self::Encoded { .. }
            | Self::Location { .. }
            | Self::TooManyRedirects { .. }
            | Self::Redirect { .. } => true,
        }
    }

    /// The refusal that this error comes from, also behind a redirect.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Redirect { source, .. } => source.refusal(),
            _ => None,
        }
    }

    /// Finds what our connector said in the chain of causes that the HTTP client wraps it in.
    pub(super) fn from_client(host: &str, error: hyper_util::client::legacy::Error) -> Self {
        let host = host.to_owned();
        match cause::<ConnectError>(&error) {
            Some(ConnectError::Refused(refusal)) => Self::Refused(refusal.clone()),
            Some(ConnectError::Timeout { limit }) => Self::ConnectTimeout {
                host,
                limit: *limit,
            },
            _ if error.is_connect() => Self::Connect {
                host,
                source: error.into(),
            },
            _ => Self::Exchange {
                host,
                source: error.into(),
            },
        }
    }
}

/// The first cause of that type.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
