//! The accept loop.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
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
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.begin(stream, make(address), slot),
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
    fn begin<S, B>(&self, stream: TcpStream, service: S, slot: OwnedSemaphorePermit)
    where
        S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection without nodelay");
        }
        let requests = Requests::default();
        let adapter = Adapter {
            service,
            requests: requests.clone(),
        };
        let connection = self
            .builder()
            .serve_connection(TokioIo::new(stream), adapter);
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            let _slot = slot;
            let mut connection = std::pin::pin!(connection);
            let outcome = tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = shutdown.cancelled() => {
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

/// The requests of one connection that are under way: until their response bodies are gone.
#[derive(Clone, Default)]
struct Requests(Arc<()>);

impl Requests {
    /// Waits until there has been no request for a moment, in which the last bytes leave.
    async fn idle(&self) {
        /// The connection's task and its service each hold one.
        const HELD_ANYWAY: usize = 2;
        let mut quiet = 0;
        while quiet < 2 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let idle = Arc::strong_count(&self.0) <= HELD_ANYWAY;
            quiet = if idle { quiet + 1 } else { 0 };
        }
    }
}

#[derive(Clone)]
struct Adapter<S> {
    service: S,
    requests: Requests,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Adapter<S>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone,
{
    type Response = Response<Counted<B>>;
    type Error = Infallible;
    type Future = Counted<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Counted {
            // Our services are always ready: limits refuse instead of waiting.
            inner: self.service.clone().call(request),
            requests: self.requests.clone(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A request that counts as under way: first its future, then its body.
    struct Counted<T> {
        #[pin]
        inner: T,
        requests: Requests,
    }
}

impl<F, B> Future for Counted<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Counted<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = std::task::ready!(this.inner.poll(cx));
        let requests = this.requests.clone();
        Poll::Ready(response.map(|r| r.map(|inner| Counted { inner, requests })))
    }
}

impl<B: http_body::Body> http_body::Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
