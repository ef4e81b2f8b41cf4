//! A connection that ends once nobody vouches for its client any more.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{Current, Tls};

/// A connection over TLS. Where its client showed a certificate, that is checked again whenever the certificates were
/// read anew: the connection lasts no longer than the trust that it was opened with.
pub(crate) struct Vouched {
    stream: TlsStream<TcpStream>,
    /// The client's certificate and those that it came with; none where it showed none.
    shown: Vec<CertificateDer<'static>>,
    tls: Arc<Tls>,
    checked: Arc<Current>,
}

impl Vouched {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        shown: Vec<CertificateDer<'static>>,
        tls: Arc<Tls>,
        checked: Arc<Current>,
    ) -> Self {
        Self {
            stream,
            shown,
            tls,
            checked,
        }
    }

    /// Refuses to go on with a client that could not open this connection now.
    fn check(&mut self) -> io::Result<()> {
        let Some((own, more)) = self.shown.split_first() else {
            return Ok(());
        };
        let current = self.tls.current.load();
        if Arc::ptr_eq(&current, &self.checked) {
            return Ok(());
        }
        let vouched = current.clients.as_ref().is_some_and(|clients| {
            clients
                .verify_client_cert(own, more, UnixTime::now())
                .is_ok()
        });
        if !vouched {
            tracing::info!("connection ended: nobody vouches for its client any more");
            let why = "the certificate of the client is not accepted any more";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
        }
        self.checked = Arc::clone(&current);
        Ok(())
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
