//! The one way out to the network: every outbound request of the product goes through [`UrlFetcher`] or its connector.
//!
//! A URL that came from outside (a tool's argument, a manifest, another server's metadata) may point at what only this
//! machine can reach: loopback, the cloud's metadata service, the company's network. So a request is judged where it
//! connects, not where it is written:
//!
//! 1. scheme, port, user info and host of the URL are checked against the [`Profile`];
//! 2. the host is resolved once, and *every* answer must be an address that may be reached;
//! 3. the connection goes to the address that was judged, and the peer is compared with it afterwards;
//! 4. a redirect is a new URL: it is judged again, carries no credentials to another origin, and never leads from
//!    `https` to `http`;
//! 5. the bytes, the redirects and the time are bounded.
//!
//! Nothing reads proxy settings of the environment. Compressed answers are neither asked for nor taken, so the bound on
//! bytes is the bound on memory.

mod address;
mod config;
mod connector;
mod error;
mod fetcher;
mod profile;
mod resolver;
mod tls;

pub use self::address::AddressKind;
pub use self::config::{Config, Ports, Schemes};
pub use self::connector::Connector;
pub use self::error::{ConnectError, FetchError, Refusal};
pub use self::fetcher::{Response, UrlFetcher};
pub use self::profile::{AllowedHost, Profile};
pub use self::resolver::{Resolver, SystemResolver};
pub use self::tls::Trust;

#[cfg(test)]
mod tests;
