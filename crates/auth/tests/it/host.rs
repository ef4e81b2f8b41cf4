//! An HTTP server on this machine that remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use url::form_urlencoded;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    pub(crate) fn form(&self) -> HashMap<String, String> {
        pairs(&self.body)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) fn pairs(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// An answer to be given.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            body: body.to_string(),
            ..Self::status(status)
        }
        .with("content-type", "application/json")
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({"error": code, "error_description": "as the test wants"}),
        )
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::status(302).with("location", to)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Behaviour = Box<dyn Fn(Asked) -> BoxFuture<'static, Answer> + Send + Sync>;

/// The server. It ends with the runtime of its test.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Host {
    /// Binds first, for a behaviour that must know its own URL.
    pub(crate) async fn bind() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    pub(crate) fn serve(listener: TcpListener, behaviour: Behaviour) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let host = Self {
            url,
            log: Arc::clone(&log),
        };
        let behaviour = Arc::new(behaviour);
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, log) = (Arc::clone(&behaviour), Arc::clone(&log));
                let service = service_fn(move |request| {
                    answered(request, Arc::clone(&behaviour), Arc::clone(&log))
                });
                connections.spawn(async move {
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        host
    }

    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let log = self.log.lock().unwrap();
        log.iter()
            .filter(|asked| asked.path == path)
            .cloned()
            .collect()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().map(|asked| asked.path.clone()).collect()
    }
}

async fn answered(
    request: Request<Incoming>,
    behaviour: Arc<Behaviour>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: pairs(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    log.lock().unwrap().push(asked.clone());
    let answer = behaviour(asked).await;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(answer.body)).unwrap())
}
