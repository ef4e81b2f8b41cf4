//! A connection that ends once nobody vouches for its client any more.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::server::TlsStream;

use super::{Current, Tls};

/// How long a certificate is believed without another look at it: so long at most it may outlive its own end.
const BELIEVED: Duration = Duration::from_secs(60);

/// A connection over TLS. Where its client showed a certificate, that is checked again whenever the certificates were
/// read anew, and from time to time: the connection lasts no longer than the trust that it was opened with.
pub(crate) struct Vouched {
    stream: TlsStream<TcpStream>,
    trust: Trust,
}

/// What is known of a connection's client.
struct Trust {
    /// The client's certificate and those that it came with; none where it showed none.
    shown: Vec<CertificateDer<'static>>,
    tls: Arc<Tls>,
    checked: Arc<Current>,
    at: Instant,
}

impl Vouched {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        shown: Vec<CertificateDer<'static>>,
        tls: Arc<Tls>,
        checked: Arc<Current>,
    ) -> Self {
        let trust = Trust {
            shown,
            tls,
            checked,
            at: Instant::now(),
        };
        Self { stream, trust }
    }

    /// Refuses to go on with a client that could not open this connection now.
    fn check(&mut self) -> io::Result<()> {
        if self.trust.shown.is_empty() || self.trust.holds(Instant::now(), UnixTime::now) {
            return Ok(());
        }
        tracing::info!("connection ended: nobody vouches for its client any more");
        let why = "the certificate of the client is not accepted any more";
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
    }
}

impl Trust {
    /// Whether the client's certificate is accepted still, at a time of day that is asked for only where it matters.
    fn holds(&mut self, now: Instant, time: impl FnOnce() -> UnixTime) -> bool {
        let Some((own, more)) = self.shown.split_first() else {
            return true;
        };
        let current = self.tls.current.load();
        let believed = now.saturating_duration_since(self.at) < BELIEVED;
        if believed && Arc::ptr_eq(&current, &self.checked) {
            return true;
        }
        let vouched = current
            .clients
            .as_ref()
            .is_some_and(|clients| clients.verify_client_cert(own, more, time()).is_ok());
        if vouched {
            (self.checked, self.at) = (Arc::clone(&current), now);
        }
        vouched
    }
}

impl AsyncRead for Vouched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Vouched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::tls::TlsFiles;

    #[test]
    fn a_certificate_is_believed_for_a_minute_and_not_past_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut authority = CertificateParams::new(["authority".to_owned()]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&key).unwrap();
        let mut client = CertificateParams::new(["client".to_owned()]).unwrap();
        client.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let issuer = Issuer::new(authority, key);
        let client = client
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("ca.pem"), root.pem()).unwrap();
        std::fs::write(path("cert.pem"), server.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), server.signing_key.serialize_pem()).unwrap();
        let tls = Arc::new(
            Tls::open(TlsFiles {
                certificate: path("cert.pem"),
                key: path("key.pem"),
                client_ca: Some(path("ca.pem")),
                require: true,
            })
            .unwrap(),
        );
        let begun = Instant::now();
        let mut trust = Trust {
            shown: vec![client.der().clone()],
            checked: tls.current.load_full(),
            tls,
            at: begun,
        };
        let year = |year: i16| {
            let date = jiff::civil::date(year, 6, 1);
            let moment = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            UnixTime::since_unix_epoch(Duration::from_secs(moment.as_second().unsigned_abs()))
        };
        let minute = begun + BELIEVED;
        assert!(trust.holds(begun, || unreachable!("nobody looks")));
        assert!(trust.holds(minute, || year(2039)));
        assert!(trust.holds(minute + BELIEVED / 2, || unreachable!("nobody looks")));
        assert!(!trust.holds(minute + BELIEVED, || year(2041)));
        assert!(!trust.holds(minute + BELIEVED, || year(2041)), "nor later");
    }
}
