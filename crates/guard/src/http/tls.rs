//! Whose certificates are trusted.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::error::FetchError;

/// The root certificates that a host's certificate must lead to.
#[derive(Clone, Debug)]
pub struct Trust {
    bundled: Bundled,
    extra: Vec<CertificateDer<'static>>,
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

    /// The configuration of TLS clients: versions 1.2 and 1.3, no client certificate.
    pub(super) fn client_config(&self) -> Result<ClientConfig, FetchError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error.to_string()))?;
        Ok(config
            .with_root_certificates(self.roots()?)
            .with_no_client_auth())
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
        }
        assert!(Trust::default().roots().unwrap().len() > 50);
        assert!(Trust::none().roots().unwrap().is_empty());
    }
}
