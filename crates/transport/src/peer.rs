//! What a connection and its headers prove about the peer.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use http::{HeaderMap, header::AsHeaderName};

/// Which door a message came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// A request over HTTP.
    Http,
    /// The process that started us.
    Stdio,
    /// The same process.
    Memory,
}

/// The other side of one request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The door.
    pub kind: PeerKind,
    /// The headers; none where the door has none.
    pub headers: HeaderMap,
    /// Whence the connection came; a proxy's address where there is one.
    pub address: Option<SocketAddr>,
    /// Identifies the connection of doors that have one for all messages.
    pub connection: Option<u64>,
}

impl Peer {
    /// The peer of a request over HTTP.
    #[must_use]
    pub const fn http(headers: HeaderMap, address: Option<SocketAddr>) -> Self {
        Self {
            kind: PeerKind::Http,
            headers,
            address,
            connection: None,
        }
    }

    /// A peer on a connection of its own.
    #[must_use]
    pub fn connected(kind: PeerKind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            kind,
            headers: HeaderMap::new(),
            address: None,
            connection: Some(NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// The value of the header `name`, where it is sent once and is visible ASCII. A `HeaderName` is found
    /// sooner than a text, which is read first.
    #[must_use]
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }
}
