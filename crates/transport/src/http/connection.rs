//! One connection: which requests are under way on it, and when it has been of no use for long enough.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

/// The requests of one connection: from their heads until their response bodies are gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Whether they come beside one another: HTTP/2.
    beside: AtomicBool,
}

impl Requests {
    fn enter(&self, version: Version) -> UnderWay {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.0.beside.store(true, Ordering::Relaxed);
        }
        UnderWay(self.clone())
    }

    /// How many have begun and ended so far.
    fn count(&self) -> (u64, u64) {
        // Read first, so that what ends meanwhile counts as under way.
        let ended = self.0.ended.load(Ordering::Acquire);
        (self.0.begun.load(Ordering::Relaxed), ended)
    }

    /// Waits until there has been no request for a moment, in which the last bytes leave.
    pub(super) async fn idle(&self) {
        let mut quiet = 0;
        while quiet < 2 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let (begun, ended) = self.count();
            quiet = if begun == ended { quiet + 1 } else { 0 };
        }
    }

    /// Waits until the connection is of no use: for `header` nothing was asked on it whole, or, once
    /// it is known to speak HTTP/2, for `idle`.
    ///
    /// One look in a while instead of a clock for each request, which would cost more than to read
    /// its head; so it may take half of `header` longer.
    pub(super) async fn unused(&self, header: Duration, idle: Duration) {
        let glance = (header / 2).max(Duration::from_millis(1));
        let (mut known, mut quiet) = ((0, 0), Duration::ZERO);
        loop {
            tokio::time::sleep(glance).await;
            let (begun, ended) = self.count();
            if begun != ended || (begun, ended) != known {
                (known, quiet) = ((begun, ended), Duration::ZERO);
                continue;
            }
            quiet += glance;
            let beside = self.0.beside.load(Ordering::Relaxed);
            if quiet >= if beside { idle } else { header } {
                return;
            }
        }
    }
}

/// One request that is under way.
struct UnderWay(Requests);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// A service as hyper calls it.
#[derive(Clone)]
pub(super) struct Adapter<S> {
    pub(super) service: S,
    pub(super) requests: Requests,
    /// How many headers a request may have; over HTTP/2 nobody else counts them.
    pub(super) headers: usize,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Adapter<S>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone,
    B: Default,
{
    type Response = Response<Counted<B>>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = Some(self.requests.enter(request.version()));
        if request.headers().len() > self.headers {
            return Answering::TooManyHeaders { under_way };
        }
        // Our services are always ready: limits refuse instead of waiting.
        let answer = self.service.clone().call(request);
        Answering::Service { answer, under_way }
    }
}

pin_project_lite::pin_project! {
    /// A request that is being answered.
    #[project = AnsweringProject]
    pub(super) enum Answering<F> {
        Service { #[pin] answer: F, under_way: Option<UnderWay> },
        TooManyHeaders { under_way: Option<UnderWay> },
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Default,
{
    type Output = Result<Response<Counted<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, under_way) = match self.project() {
            AnsweringProject::Service { answer, under_way } => {
                (std::task::ready!(answer.poll(cx)), under_way.take())
            }
            AnsweringProject::TooManyHeaders { under_way } => {
                let mut response = Response::new(B::default());
                *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                (Ok(response), under_way.take())
            }
        };
        let counted = |inner| Counted { inner, under_way };
        Poll::Ready(response.map(|response| response.map(counted)))
    }
}

pin_project_lite::pin_project! {
    /// The body of a request that counts as under way until it is gone.
    pub(super) struct Counted<B> {
        #[pin]
        inner: B,
        under_way: Option<UnderWay>,
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

/// Runs what HTTP/2 does beside its connection: one task for each request.
#[derive(Clone, Debug)]
pub(super) struct Tasks(pub(super) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(100);

    async fn unused(requests: &Requests) -> Duration {
        let begun = Instant::now();
        requests.unused(HEADER, IDLE).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_of_no_use() {
        assert_eq!(unused(&Requests::default()).await, HEADER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_while_it_is_used() {
        for (version, limit) in [(Version::HTTP_11, HEADER), (Version::HTTP_2, IDLE)] {
            let requests = Requests::default();
            let request = requests.enter(version);
            let watch = requests.unused(HEADER, IDLE);
            tokio::pin!(watch);
            assert!(timeout(IDLE * 20, watch.as_mut()).await.is_err());
            // Between two looks.
            assert!(timeout(HEADER / 5, watch.as_mut()).await.is_err());
            drop(request);
            let ended = Instant::now();
            watch.await;
            let waited = ended.elapsed();
            assert!(
                waited >= limit && waited <= limit + HEADER / 2,
                "{version:?}: {waited:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_what_is_under_way() {
        let requests = Requests::default();
        let request = requests.enter(Version::HTTP_11);
        let waited = timeout(Duration::from_secs(60), requests.idle()).await;
        assert!(waited.is_err());
        drop(request);
        requests.idle().await;
    }
}
