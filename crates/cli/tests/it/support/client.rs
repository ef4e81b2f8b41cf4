//! The least of an HTTP client: one connection for each request, answers whole or event by event.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Gateway, within};

/// A request that is about to be sent.
#[derive(Debug)]
pub(crate) struct Ask {
    what: String,
    builder: hyper::http::request::Builder,
    body: Bytes,
}

impl Gateway {
    /// Begins a request.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::to(self.address(), method, path)
    }

    /// Gets `path` without a token.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path).send().await
    }

    /// Sends bytes and reads until the gateway closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        within("an answer", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection over HTTP/2.
    pub(crate) async fn h2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio_util::task::TaskTracker::new().spawn(connection);
        sender
    }

    /// Whether nobody answers any more.
    pub(crate) async fn is_silent(&self) -> bool {
        self.ask("GET", "/health").attempt().await.is_err()
    }

    /// The catalogue of a caller.
    pub(crate) async fn catalogue(&self, token: &str) -> Reply {
        self.ask("GET", "/tool-catalog").bearer(token).send().await
    }

    /// Begins a call of a tool.
    pub(crate) fn invoke(&self, token: &str, tool: &str, arguments: &Value) -> Ask {
        self.ask("POST", &format!("/tools/{tool}/invoke"))
            .bearer(token)
            .json(arguments)
    }

    /// Begins a confirmation.
    pub(crate) fn confirm(&self, token: &str, tool: &str, body: &Value) -> Ask {
        self.ask("POST", &format!("/tools/{tool}/confirm"))
            .bearer(token)
            .json(body)
    }

    /// Runs one SQL statement.
    pub(crate) async fn query(&self, token: &str, sql: &str) -> Reply {
        self.invoke(
            token,
            "database:executeQuery",
            &serde_json::json!({"query": sql}),
        )
        .send()
        .await
    }

    /// The single number that a statement gives.
    pub(crate) async fn number(&self, token: &str, sql: &str) -> i64 {
        let reply = self.query(token, sql).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let row = reply.json()["result"]["rows"][0].clone();
        row.as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_i64()
            .unwrap()
    }
}

impl Ask {
    /// Begins a request to whoever listens there.
    pub(crate) fn to(address: SocketAddr, method: &str, path: &str) -> Self {
        let uri = format!("http://{address}{path}");
        Self {
            what: format!("{method} {path}"),
            builder: Request::builder().method(method).uri(uri),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// The body, byte for byte.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    /// The fields of a form, encoded.
    pub(crate) fn form(mut self, body: String) -> Self {
        self.body = body.into();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// Sends it and reads the answer to its end.
    pub(crate) async fn send(self) -> Reply {
        self.attempt().await.unwrap()
    }

    /// Sends it to a gateway that may be gone before it answers.
    pub(crate) async fn attempt(self) -> Result<Reply, String> {
        let (what, response) = self.begin().await?;
        let (parts, body) = response.into_parts();
        let body = within(&what, body.collect())
            .await
            .map_err(|e| format!("{what}: {e}"))?
            .to_bytes();
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// Sends it and reads the answer event by event.
    pub(crate) async fn open(self) -> Events {
        let (what, response) = self.begin().await.unwrap();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream",
            "{what}: {}",
            response.status()
        );
        Events {
            what,
            body: response.into_body(),
            read: BytesMut::new(),
        }
    }

    async fn begin(self) -> Result<(String, Response<Incoming>), String> {
        let request = self
            .builder
            .body(Full::new(self.body))
            .map_err(|e| e.to_string())?;
        let response = within(&self.what, client().request(request)).await;
        let response = response
            .map_err(|e| format!("{}: {e}: {:?}", self.what, std::error::Error::source(&e)))?;
        Ok((self.what, response))
    }
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    // A connection that is used once is never found closed by the other side.
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// Checks that this is the contract's error object under `status`, and returns it.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status, &body["error"]["code"]),
            (status, &Value::from(code)),
            "{body}"
        );
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        let error = body["error"].clone();
        assert!(
            error["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{error}"
        );
        assert_eq!(
            error["corr_id"].as_str(),
            self.header("x-correlation-id"),
            "{error}"
        );
        error
    }

    /// Checks that this is a success, and returns its body.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}

/// An answer that comes event by event.
#[derive(Debug)]
pub(crate) struct Events {
    what: String,
    body: Incoming,
    read: BytesMut,
}

impl Events {
    /// The next message; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.whole() {
                if let Some(message) = data(&event) {
                    return Some(message);
                }
                continue;
            }
            let frame = within(&self.what, self.body.frame()).await?.unwrap();
            if let Ok(chunk) = frame.into_data() {
                self.read.extend_from_slice(&chunk);
            }
        }
    }

    fn whole(&mut self) -> Option<String> {
        let end = self.read.windows(2).position(|w| w == b"\n\n")?;
        Some(String::from_utf8(self.read.split_to(end + 2).to_vec()).unwrap())
    }
}

/// The message of an event; `None` for comments and for events that only set an id.
fn data(event: &str) -> Option<Value> {
    let lines: Vec<_> = event
        .lines()
        .filter_map(|l| l.strip_prefix("data:"))
        .map(str::trim)
        .collect();
    let text = lines.join("\n");
    (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
}
