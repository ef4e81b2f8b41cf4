//! Redis over TLS.

use ::redis::{Client, ConnectionAddr, ConnectionInfo, TlsCertificates};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::UNFIT;
use crate::error::StoreError;

/// A client of the server at `info`; over TLS, one whose certificate leads to one of `authorities`, or to one of
/// Mozilla's roots.
pub(super) fn client(
    info: ConnectionInfo,
    authorities: Option<&[u8]>,
) -> Result<Client, StoreError> {
    let made = if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        settle_provider();
        let root_cert = authorities.map(readable).transpose()?;
        Client::build_with_tls(
            info,
            TlsCertificates {
                client_tls: None,
                root_cert,
            },
        )
    } else {
        Client::open(info)
    };
    made.map_err(|_| StoreError::InvalidUrl { reason: UNFIT })
}

/// The driver takes the process's provider of cryptography; where two are built in and none was chosen, rustls would
/// not know which.
fn settle_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        let _chosen = aws_lc_rs::default_provider().install_default();
    }
}

fn readable(pem: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut roots = rustls::RootCertStore::empty();
    let added = CertificateDer::pem_slice_iter(pem).try_for_each(|read| {
        let certificate = read.map_err(drop)?;
        roots.add(certificate).map_err(drop)
    });
    match added {
        Ok(()) if !roots.is_empty() => Ok(pem.to_owned()),
        _ => Err(StoreError::InvalidName {
            field: "authorities",
            reason: "give certificates in PEM form that can vouch for others",
        }),
    }
}
