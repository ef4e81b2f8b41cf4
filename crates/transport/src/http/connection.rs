//! One connection: which requests are under way on it, and when it has been of no use for long enough.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

/// The requests of one connection: from their heads until their response bodies are gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    fn enter(&self) -> UnderWay {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// How many have begun, and whether any of them is under way.
    fn state(&self) -> (u64, bool) {
        // Read first, so that what ends meanwhile counts as under way.
        let ended = self.0.ended.load(Ordering::Acquire);
        let begun = self.0.begun.load(Ordering::Relaxed);
        (begun, begun != ended)
    }

    /// Waits until there has been no request for a moment, in which the last bytes leave.
    pub(super) async fn idle(&self) {
        let mut quiet = 0;
        while quiet < 2 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            quiet = if self.state().1 { 0 } else { quiet + 1 };
        }
    }

    /// Waits until the connection is of no use: no request came within `first`, or none for `idle`
    /// after the last one.
    pub(super) async fn unused(&self, first: Duration, idle: Duration) {
        tokio::time::sleep(first).await;
        let (mut known, mut busy) = self.state();
        if known == 0 {
            return;
        }
        loop {
            tokio::time::sleep(idle).await;
            let (begun, under_way) = self.state();
            if !busy && !under_way && begun == known {
                return;
            }
            (known, busy) = (begun, under_way);
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
        let under_way = Some(self.requests.enter());
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

    const FIRST: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(100);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_of_no_use() {
        let begun = Instant::now();
        Requests::default().unused(FIRST, IDLE).await;
        assert_eq!(begun.elapsed(), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_while_it_is_used() {
        let requests = Requests::default();
        let stream = requests.enter();
        let unused = requests.unused(FIRST, IDLE);
        tokio::pin!(unused);
        assert!(timeout(IDLE * 20, unused.as_mut()).await.is_err());
        drop(stream);
        let ended = Instant::now();
        unused.await;
        assert!(
            ended.elapsed() >= IDLE && ended.elapsed() <= IDLE * 2,
            "{:?}",
            ended.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_what_is_under_way() {
        let requests = Requests::default();
        let stream = requests.enter();
        assert!(
            timeout(Duration::from_secs(60), requests.idle())
                .await
                .is_err()
        );
        drop(stream);
        requests.idle().await;
    }
}
