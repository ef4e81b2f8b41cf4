//! Where the counts of a deployment are, and who vouches for that server.

use ::redis::{Client, ConnectionAddr, IntoConnectionInfo as _, TlsCertificates};
use fastmcp_guard::http::Trust;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// An address at which there can be no Redis server.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAddress {
    /// It is no address of one.
    #[error("`REDIS_URL` is no address of a Redis server: {0}")]
    Url(String),
    /// Nobody can be trusted by these certificates.
    #[error("`REDIS_CA_FILE` cannot be used: {0}")]
    Authorities(String),
}

/// A client of the server at `url`; over TLS, one whose certificate leads to one of `authorities`, or to one of
/// Mozilla's roots.
pub(super) fn client(url: &str, authorities: Option<&[u8]>) -> Result<Client, InvalidAddress> {
    // The driver's errors may quote the address, and with it the password.
    let unfit = |error: ::redis::RedisError| InvalidAddress::Url(format!("{:?}", error.kind()));
    let info = url.into_connection_info().map_err(unfit)?;
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(unfit);
    }
    if let Some(pem) = authorities {
        let checked = Trust::none().with_pem(pem);
        checked.map_err(|error| InvalidAddress::Authorities(error.to_string()))?;
    }
    // The driver takes the process's provider of cryptography; where two are built in and none was chosen, rustls
    // would not know which.
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        let _chosen = aws_lc_rs::default_provider().install_default();
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: authorities.map(<[u8]>::to_vec),
    };
    Client::build_with_tls(info, certificates).map_err(unfit)
}
