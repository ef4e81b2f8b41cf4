//! The connector: from a URI to a connection that was judged.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;
use url::Url;

use super::config::Config;
use super::error::{BoxError, ConnectError, Refusal};
use super::profile::{Destination, Rules};
use super::resolver::{MAX_ADDRESSES, Resolver};

/// Most addresses of a host that are tried.
const MAX_ATTEMPTS: usize = 4;

/// Connects to hosts that the rules allow, at addresses that they allow.
///
/// A `tower` service from a [`Uri`] to a TCP connection, for an HTTP client to be built on; TLS is wrapped around it.
/// It holds for itself: a client that hands it a bad URI gets a refusal.
#[derive(Clone, Debug)]
pub struct Connector {
    rules: Arc<Rules>,
    resolver: Arc<dyn Resolver>,
    limit: Duration,
}

impl Connector {
    /// A connector by the profile, schemes, ports, resolver and connect timeout of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            rules: Arc::new(config.rules()),
            resolver: Arc::clone(&config.resolver),
            limit: config.connect_timeout,
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let deadline = Instant::now() + self.limit;
        // Parsed as a URL, which brings every spelling of an address to its plain form.
        let url = Url::parse(&uri.to_string()).map_err(|_| Refusal::Unparsable)?;
        let to = self.rules.destination(&url)?;
        let addresses = timeout_at(deadline, self.addresses(&to))
            .await
            .map_err(|_| ConnectError::Timeout { limit: self.limit })??;
        let stream = self.first_that_answers(&to, &addresses, deadline).await?;
        // Small requests go out at once; a socket that does not know the option works as well.
        let _ = stream.set_nodelay(true);
        Ok(TokioIo::new(stream))
    }

    /// Looks the host up once, and judges every answer: one bad address refuses the host.
    async fn addresses(&self, to: &Destination) -> Result<Vec<IpAddr>, ConnectError> {
        if let Some(address) = to.literal {
            self.rules.judge(to, address)?;
            return Ok(vec![address]);
        }
        let host = || to.name.clone();
        let answers =
            self.resolver
                .resolve(&to.name)
                .await
                .map_err(|source| ConnectError::Resolve {
                    host: host(),
                    source,
                })?;
        if answers.is_empty() {
            return Err(Refusal::NoAddress { host: host() }.into());
        }
        if answers.len() > MAX_ADDRESSES {
            return Err(Refusal::TooManyAddresses {
                host: host(),
                max: MAX_ADDRESSES,
            }
            .into());
        }
        for address in &answers {
            self.rules.judge(to, *address)?;
        }
        Ok(answers)
    }

    /// Tries addresses in their order; each gets its part of the time that is left, so that a dead one leaves some.
    async fn first_that_answers(
        &self,
        to: &Destination,
        addresses: &[IpAddr],
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let mut attempts_left = u32::try_from(addresses.len().min(MAX_ATTEMPTS)).unwrap_or(1);
        for address in addresses.iter().take(MAX_ATTEMPTS) {
            let share = deadline.saturating_duration_since(Instant::now()) / attempts_left.max(1);
            attempts_left = attempts_left.saturating_sub(1);
            match timeout(share, TcpStream::connect((*address, to.port))).await {
                Ok(Ok(stream)) => return self.undiverted(to, *address, stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        if last.kind() == io::ErrorKind::TimedOut {
            return Err(ConnectError::Timeout { limit: self.limit });
        }
        Err(ConnectError::Connect {
            host: to.name.clone(),
            port: to.port,
            source: last,
        })
    }

    /// Compares where the connection ended with where it was sent, and judges it again.
    fn undiverted(
        &self,
        to: &Destination,
        sent_to: IpAddr,
        stream: TcpStream,
    ) -> Result<TcpStream, ConnectError> {
        let peer = match stream.peer_addr() {
            Ok(peer) => peer.ip().to_canonical(),
            Err(source) => {
                return Err(ConnectError::Connect {
                    host: to.name.clone(),
                    port: to.port,
                    source,
                });
            }
        };
        if peer != sent_to.to_canonical() {
            return Err(Refusal::Diverted {
                host: to.name.clone(),
                peer,
            }
            .into());
        }
        self.rules.judge(to, peer)?;
        Ok(stream)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Bounds the time of a connector that it wraps, TLS handshake included.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    limit: Duration,
}

impl<S> Deadline<S> {
    pub(super) const fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<S> Service<Uri> for Deadline<S>
where
    S: Service<Uri, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (limit, connecting) = (self.limit, self.inner.call(uri));
        Box::pin(async move {
            match timeout(limit, connecting).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ConnectError::Timeout { limit }.into()),
            }
        })
    }
}
