//! Whose certificates are trusted, and which one is shown.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, RootCertStore};

use self::pinned::Pinned;
use super::error::FetchError;

mod pinned;

/// The root certificates that a host's certificate must lead to, and the certificate that is shown to it.
#[derive(Clone, Debug)]
pub struct Trust {
    bundled: Bundled,
    extra: Vec<CertificateDer<'static>>,
    pinned: Option<CertificateDer<'static>>,
    shown: Option<Arc<Shown>>,
}

/// A certificate with those that lead to a root, and its key. `Debug` does not show the key.
#[derive(Debug)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Whether Mozilla's roots are trusted.
#[derive(Clone, Copy, Debug)]
enum Bundled {
    Trusted,
    Left,
}

impl Default for Trust {
    /// Mozilla's roots.
    fn default() -> Self {
        Self {
            bundled: Bundled::Trusted,
            extra: Vec::new(),
            pinned: None,
            shown: None,
        }
    }
}

impl Trust {
    /// No root at all: only those that are added are trusted, and without any no `https` host is.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            bundled: Bundled::Left,
            extra: Vec::new(),
            pinned: None,
            shown: None,
        }
    }

    /// Trusts the certificates in a PEM file as well, as a company's own authority.
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] if there is none, or one that cannot be read.
    pub fn with_pem(mut self, pem: &[u8]) -> Result<Self, FetchError> {
        let before = self.extra.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            self.extra
                .push(certificate.map_err(|error| unusable(&error.to_string()))?);
        }
        if self.extra.len() == before {
            return Err(unusable("it holds no certificate"));
        }
        // Read once here, so that a bad one is refused where it is given.
        self.roots()?;
        Ok(self)
    }

    /// Trusts whoever holds the key of the first certificate in a PEM file, and nobody else: whoever issued it, whatever
    /// name it bears and until whenever it is valid.
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] if there is none, or one that cannot be read.
    pub fn holder_of(pem: &[u8]) -> Result<Self, FetchError> {
        let first = CertificateDer::pem_slice_iter(pem).next();
        let first = first.ok_or_else(|| unusable("it holds no certificate"))?;
        let certificate = first.map_err(|error| unusable(&error.to_string()))?;
        // Read once here, so that a bad one is refused where it is given.
        ParsedCertificate::try_from(&certificate).map_err(|error| unusable(&error.to_string()))?;
        Ok(Self {
            pinned: Some(certificate),
            ..Self::none()
        })
    }

    /// Shows the certificate in `chain`, followed by those that lead to its root, to hosts that ask for one. `key` is its
    /// private key. Both are PEM.
    ///
    /// # Errors
    ///
    /// [`FetchError::Config`] if either cannot be read, or they do not belong together.
    pub fn showing(mut self, chain: &[u8], key: &[u8]) -> Result<Self, FetchError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error.to_string()))?;
        if chain.is_empty() {
            return Err(unusable("it holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| unusable(&format!("private key: {error}")))?;
        self.shown = Some(Arc::new(Shown { chain, key }));
        // Put together once here, so that a wrong pair is refused where it is given.
        self.client_config()?;
        Ok(self)
    }

    /// The configuration of TLS clients: versions 1.2 and 1.3.
    pub(super) fn client_config(&self) -> Result<ClientConfig, FetchError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error.to_string()))?;
        let config = match &self.pinned {
            None => config.with_root_certificates(self.roots()?),
            Some(certificate) => {
                let pinned = Pinned {
                    certificate: certificate.clone(),
                    algorithms,
                };
                config
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(pinned))
            }
        };
        match &self.shown {
            None => Ok(config.with_no_client_auth()),
            Some(shown) => config
                .with_client_auth_cert(shown.chain.clone(), shown.key.clone_key())
                .map_err(|error| unusable(&error.to_string())),
        }
    }

    fn roots(&self) -> Result<RootCertStore, FetchError> {
        let mut roots = RootCertStore::empty();
        if matches!(self.bundled, Bundled::Trusted) {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for certificate in &self.extra {
            roots
                .add(certificate.clone())
                .map_err(|error| unusable(&error.to_string()))?;
        }
        Ok(roots)
    }
}

fn unusable(reason: &str) -> FetchError {
    FetchError::Config {
        field: "trust",
        reason: format!("{reason}: give certificates in PEM form"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_certificates_are_refused_where_they_are_given() {
        for pem in [
            &b""[..],
            b"not pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
        ] {
            assert!(matches!(
                Trust::none().with_pem(pem),
                Err(FetchError::Config { field: "trust", .. })
            ));
            assert!(matches!(
                Trust::holder_of(pem),
                Err(FetchError::Config { field: "trust", .. })
            ));
        }
        assert!(Trust::default().roots().unwrap().len() > 50);
        assert!(Trust::none().roots().unwrap().is_empty());
    }

    #[test]
    fn a_certificate_is_shown_with_its_own_key_alone() {
        let made = || rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let key = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| made.signing_key.serialize_pem();
        let trust = Trust::none()
            .showing(one.cert.pem().as_bytes(), key(&one).as_bytes())
            .unwrap();
        let config = trust.client_config().unwrap();
        assert!(config.client_auth_cert_resolver.has_certs());
        assert!(!format!("{trust:?}").contains(&format!("{:?}", one.signing_key.serialize_der())));
        for (chain, key) in [
            (one.cert.pem(), key(&other)),
            (String::new(), key(&one)),
            (one.cert.pem(), one.cert.pem()),
        ] {
            let refused = Trust::none().showing(chain.as_bytes(), key.as_bytes());
            assert!(matches!(
                refused,
                Err(FetchError::Config { field: "trust", .. })
            ));
        }
    }
}
