//! Certificates for servers that speak TLS.

use std::io;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::error::ServiceError;

/// A server's certificate and who vouches for it, in PEM.
pub(crate) struct Issued {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate for this machine, of an authority that nobody else knows.
pub(crate) fn issue() -> Result<Issued, ServiceError> {
    issued().map_err(|error| ServiceError::io("making a certificate")(io::Error::other(error)))
}

fn issued() -> Result<Issued, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    Ok(Issued {
        authority,
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
