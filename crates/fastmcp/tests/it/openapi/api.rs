//! A server on loopback that stands for an API.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use fastmcp::openapi::{OpenApi, OpenApiBuilder};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// A request as the API got it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) uri: String,
    headers: hyper::HeaderMap,
    pub(super) body: String,
}

impl Seen {
    async fn read(request: Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub(super) type Answer = Response<Full<Bytes>>;

/// What it answers, and what it was asked.
struct Inner {
    answer: Box<dyn Fn(&Seen) -> Answer + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
}

pub(super) struct Api {
    port: u16,
    inner: Arc<Inner>,
    _tasks: TaskTracker,
}

impl Api {
    pub(super) async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            answer: Box::new(answer),
            seen: Mutex::default(),
        });
        let (serving, tasks) = (Arc::clone(&inner), TaskTracker::new());
        let running = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                running.spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self {
            port,
            inner,
            _tasks: tasks,
        }
    }

    /// One that answers everything with an empty object.
    pub(super) async fn quiet() -> Self {
        Self::start(|_| answer(200, "application/json", "{}")).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(super) fn builder(&self, document: Value) -> OpenApiBuilder {
        OpenApi::builder(document).base_url(self.url())
    }

    pub(super) fn last(&self) -> Seen {
        self.inner.seen.lock().unwrap().last().cloned().unwrap()
    }

    pub(super) fn count(&self) -> usize {
        self.inner.seen.lock().unwrap().len()
    }
}

async fn serve(stream: TcpStream, inner: Arc<Inner>) {
    let service = service_fn(move |request| {
        let inner = Arc::clone(&inner);
        async move {
            let seen = Seen::read(request).await;
            let answer = (inner.answer)(&seen);
            inner.seen.lock().unwrap().push(seen);
            Ok::<_, Infallible>(answer)
        }
    });
    let server = Builder::new(TokioExecutor::new());
    // A client that goes away is no failure of the test.
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

pub(super) fn answer(status: u16, media_type: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", media_type)
        .header("x-internal", "host-17.internal")
        .body(Full::new(body.into()))
        .unwrap()
}
