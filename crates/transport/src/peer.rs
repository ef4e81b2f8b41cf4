//! What a connection and its headers prove about the peer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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

/// The certificate (in DER) that the client of a connection proved to hold; put it into the extensions of requests,
/// where whoever admits callers finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(pub Arc<[u8]>);

/// The other side of one request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The door.
    pub kind: PeerKind,
    /// The headers; none where the door has none.
    pub headers: HeaderMap,
    /// Whence the connection came; a proxy's address where there is one.
    pub address: Option<SocketAddr>,
    /// The client's certificate, where the door asks for one and it showed one.
    pub certificate: Option<ClientCertificate>,
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
            certificate: None,
            connection: None,
        }
    }

    /// The same peer with the certificate that it showed.
    #[must_use]
    pub fn with_certificate(mut self, certificate: Option<ClientCertificate>) -> Self {
        self.certificate = certificate;
        self
    }

    /// A peer on a connection of its own.
    #[must_use]
    pub fn connected(kind: PeerKind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            kind,
            headers: HeaderMap::new(),
            address: None,
            certificate: None,
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
