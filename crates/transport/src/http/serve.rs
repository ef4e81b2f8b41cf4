//! The accept loop: HTTP/1.1 and HTTP/2 on one port.
//!
//! A client that knows that we speak HTTP/2 begins with its preface (RFC 9113, section 3.3); any
//! other beginning is HTTP/1.1.

use std::{convert::Infallible, io, iter, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::error::Elapsed,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    http::{
        connection::{Adapter, Requests, Tasks},
        patient::Patient,
    },
    limits::Limits,
};

/// The fewest bytes that the headers of a request may have: hyper's own least.
const MIN_HEADER_BYTES: usize = 8 * 1024;

/// Whence a connection came; put it into the extensions of requests where a router is between.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddr(pub SocketAddr);

/// Accepts connections and serves them.
#[derive(Clone, Debug)]
pub struct Serve {
    limits: Limits,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    grace: Duration,
}

impl Serve {
    /// Creates an accept loop that ends when `shutdown` fires. `tracker` holds the connections and
    /// what they left behind.
    #[must_use]
    pub const fn new(limits: Limits, shutdown: CancellationToken, tracker: TaskTracker) -> Self {
        Self {
            limits,
            shutdown,
            tracker,
            grace: Duration::from_secs(10),
        }
    }

    /// How long calls may take to finish once shutdown began. Default 10 s.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Serves `listener` with what `make` gives for each connection, until shutdown; then stops
    /// accepting, lets calls finish within the grace period, and returns whether all did.
    ///
    /// # Errors
    ///
    /// When the listener fails for good.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops accepting; connections go on until the tracker's owner ends them.
    pub async fn run<M, S, B>(self, listener: TcpListener, make: M) -> io::Result<bool>
    where
        M: Fn(SocketAddr) -> S,
        S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body + Default + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let plain = |stream| std::future::ready(Ok((stream, ())));
        let make = |address| {
            let service = make(address);
            move |()| service
        };
        self.run_over(listener, plain, make).await
    }

    /// As [`run`](Self::run), over connections that begin with a `handshake`, such as TLS: it gives the stream to go on
    /// with and what it found out about the client, for the service that `make` makes of the address. A handshake has
    /// as long as the headers of a request, and none goes on at shutdown.
    ///
    /// # Errors
    ///
    /// When the listener fails for good; a handshake that fails ends its connection alone.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_over<H, F, T, I, M, N, S, B>(
        self,
        listener: TcpListener,
        handshake: H,
        make: M,
    ) -> io::Result<bool>
    where
        H: Fn(TcpStream) -> F,
        F: Future<Output = io::Result<(T, I)>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        I: Send + 'static,
        M: Fn(SocketAddr) -> N,
        N: FnOnce(I) -> S + Send + 'static,
        S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body + Default + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let slot = tokio::select! {
                () = self.shutdown.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot.map_err(io::Error::other)?,
            };
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    undelayed(&stream);
                    self.begin(handshake(stream), make(address), slot);
                }
                Err(error) if transient(&error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
        drop(listener);
        self.tracker.close();
        Ok(tokio::time::timeout(self.grace, self.tracker.wait())
            .await
            .is_ok())
    }

    /// Serves one connection in a task of its own.
    fn begin<F, T, I, N, S, B>(&self, handshake: F, service: N, slot: OwnedSemaphorePermit)
    where
        F: Future<Output = io::Result<(T, I)>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        I: Send + 'static,
        N: FnOnce(I) -> S + Send + 'static,
        S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body + Default + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let requests = Requests::default();
        let headers = self.limits.headers;
        let builder = self.builder();
        let shutdown = self.shutdown.clone();
        let (header, idle) = (self.limits.header_timeout, self.limits.idle_timeout);
        let patience = self.limits.write_timeout;
        self.tracker.spawn(async move {
            let _slot = slot;
            let shaken = tokio::select! {
                biased;
                shaken = tokio::time::timeout(header, handshake) => shaken,
                () = shutdown.cancelled() => return,
            };
            let Some((stream, found)) = begun(shaken) else {
                return;
            };
            let adapter = Adapter {
                service: service(found),
                requests: requests.clone(),
                headers,
            };
            let watched = requests.clone();
            // Looked at only when something happens to it, not with every byte that comes or goes.
            let mut watch: FuturesUnordered<_> = iter::once(async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = watched.unused(header, idle) => {}
                }
            })
            .collect();
            let stream = Patient::new(stream, patience);
            let connection = builder.serve_connection(TokioIo::new(stream), adapter);
            let mut connection = std::pin::pin!(connection);
            let outcome = tokio::select! {
                biased;
                outcome = connection.as_mut() => Some(outcome),
                _ = watch.next() => None,
            };
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => {
                    connection.as_mut().graceful_shutdown();
                    // Who only holds the line, or sent half a request, is not waited for.
                    tokio::select! {
                        outcome = connection => outcome,
                        () = requests.idle() => Ok(()),
                    }
                }
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "connection ended");
            }
        });
    }

    fn builder(&self) -> Builder<Tasks> {
        let Limits {
            header_bytes,
            http2,
            ..
        } = &self.limits;
        let header_bytes = (*header_bytes).max(MIN_HEADER_BYTES);
        let mut builder = Builder::new(Tasks(self.tracker.clone()));
        builder
            .http1()
            // Ours is cheaper: see `Requests::unused`.
            .header_read_timeout(None)
            .max_buf_size(header_bytes);
        // 100 is hyper's own limit, for which it needs no heap.
        if self.limits.headers != 100 {
            builder.http1().max_headers(self.limits.headers);
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(http2.streams)
            .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(http2.pending_resets)
            .max_local_error_reset_streams(http2.error_resets)
            .keep_alive_interval(http2.ping_interval)
            .keep_alive_timeout(http2.ping_timeout);
        builder
    }
}

fn undelayed(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection without nodelay");
    }
}

/// What a handshake came to, if it came to something in time.
fn begun<T>(shaken: Result<io::Result<T>, Elapsed>) -> Option<T> {
    match shaken {
        Ok(Ok(begun)) => Some(begun),
        Ok(Err(error)) => {
            tracing::debug!(%error, "connection without a handshake");
            None
        }
        Err(_) => {
            tracing::debug!("handshake took too long");
            None
        }
    }
}

/// Whether `accept` may be called again: what the network did to one connection, and what passes
/// when descriptors or memory come free. Only a listener that is no listener ends the server.
///
/// Source: accept(2), "Error handling".
fn transient(error: &io::Error) -> bool {
    // EBADF, EFAULT, EINVAL, ENOTSOCK
    !matches!(error.raw_os_error(), Some(9 | 14 | 22 | 88))
}
