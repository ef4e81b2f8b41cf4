//! TLS at the gateway's own door: certificates from files, read again when they change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use fastmcp::transport::ClientCertificate;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

mod vouched;

pub(crate) use vouched::Vouched;

/// The files of a TLS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `TLS_CERT_FILE`: the certificate and those that lead to a root (PEM).
    pub certificate: PathBuf,
    /// `TLS_KEY_FILE`: its private key (PEM).
    pub key: PathBuf,
    /// `TLS_CLIENT_CA_FILE`: who vouches for the certificates of clients (PEM).
    pub client_ca: Option<PathBuf>,
    /// `REQUIRE_MTLS`: whether a client without a certificate is refused.
    pub require: bool,
}

/// TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of what it should.
    #[error("`{path}`: {what} cannot be read from it")]
    File {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("`{path}` holds no certificate in PEM")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A certificate of the clients' authority is no root.
    #[error("`{path}` holds a certificate that cannot vouch for others")]
    Root {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Clients cannot be verified.
    #[error("`{path}`: certificates of clients cannot be verified with it")]
    Clients {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("certificate `{certificate}` and key `{key}` cannot be used together")]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// What a listener needs to speak TLS.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Current>,
}

/// What was read last.
struct Current {
    config: Arc<ServerConfig>,
    /// Who vouches for clients, where they are asked for certificates.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for connections from now on. A bad file changes nothing. A client authority that was taken
    /// out is out: sessions that were begun under the old files cannot be resumed, and open connections whose client it
    /// vouched for end. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// The files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = &self.files;
        [&files.certificate, &files.key]
            .into_iter()
            .chain(files.client_ca.as_ref())
            .map(PathBuf::as_path)
    }

    /// Shakes hands, and tells which certificate the client proved to hold.
    pub(crate) fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<(Vouched, Option<ClientCertificate>)>> + Send + use<> {
        let (tls, current) = (Arc::clone(self), self.current.load_full());
        let accepting = TlsAcceptor::from(Arc::clone(&current.config)).accept(stream);
        async move {
            let stream = accepting.await?;
            let (_, connection) = stream.get_ref();
            let all = connection.peer_certificates().unwrap_or_default();
            let all: Vec<_> = all.iter().map(|der| der.clone().into_owned()).collect();
            let shown = all.first();
            let shown = shown.map(|der| ClientCertificate(der.as_ref().into()));
            Ok((Vouched::new(stream, all, tls, current), shown))
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read(files: &TlsFiles) -> Result<Current, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::File {
        path: files.key.clone(),
        what: "a private key",
        source,
    })?;
    let pair = |source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let clients = match &files.client_ca {
        Some(path) => Some(clients(path, files.require, provider)?),
        None => None,
    };
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    if files.client_ca.is_some() {
        // A session that is resumed brings its certificate along unchecked, however old that is by now.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    Ok(Current { config, clients })
}

fn clients(
    path: &Path,
    require: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|source| TlsError::Root {
            path: path.to_owned(),
            source,
        })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if require {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|source| TlsError::Clients {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        what: "a certificate",
        source,
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(failed)?;
    if found.is_empty() {
        return Err(TlsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        TlsFiles {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: None,
            require: false,
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let tls = Tls::open(files.clone()).unwrap();
        assert_eq!(tls.paths().count(), 2);
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        for (name, text, expected) in [
            ("cert.pem", "nothing", "holds no certificate"),
            (
                "cert.pem",
                other.cert.pem().as_str(),
                "cannot be used together",
            ),
            ("key.pem", "nothing", "a private key"),
        ] {
            let path = folder.path().join(name);
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            let refused = tls.reload().unwrap_err().to_string();
            assert!(
                refused.contains(expected) && refused.contains(name),
                "{refused}"
            );
            std::fs::write(&path, good).unwrap();
            tls.reload().unwrap();
        }
        let missing = TlsFiles {
            client_ca: Some(folder.path().join("none.pem")),
            ..files
        };
        let refused = Tls::open(missing).unwrap_err().to_string();
        assert!(refused.contains("none.pem"), "{refused}");
    }
}
