//! The accept loop.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::limits::Limits;

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
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let slot = tokio::select! {
                () = self.shutdown.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot.map_err(io::Error::other)?,
            };
            let (stream, address) = tokio::select! {
                () = self.shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) if transient(&error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "connection without nodelay");
            }
            let connection = self
                .builder()
                .serve_connection(TokioIo::new(stream), Adapter(make(address)));
            let shutdown = self.shutdown.clone();
            self.tracker.spawn(async move {
                let _slot = slot;
                let mut connection = std::pin::pin!(connection);
                let outcome = tokio::select! {
                    outcome = connection.as_mut() => outcome,
                    () = shutdown.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = outcome {
                    tracing::debug!(%error, %address, "connection ended");
                }
            });
        }
        drop(listener);
        self.tracker.close();
        Ok(tokio::time::timeout(self.grace, self.tracker.wait())
            .await
            .is_ok())
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(self.limits.header_bytes.max(8 * 1024));
        // 100 is hyper's own limit, for which it needs no heap.
        if self.limits.headers != 100 {
            builder.max_headers(self.limits.headers);
        }
        builder
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

#[derive(Clone)]
struct Adapter<S>(S);

impl<S, B> hyper::service::Service<Request<Incoming>> for Adapter<S>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // Our services are always ready: limits refuse instead of waiting.
        self.0.clone().call(request)
    }
}
