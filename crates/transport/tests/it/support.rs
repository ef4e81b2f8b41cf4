//! A server whose calls the test leads, and clients that write what they like.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fastmcp_protocol::Message;
use fastmcp_transport::{
    Call, Denied, Door, Frame, Inbound, Peer, Reply, What,
    http::{HttpConfig, HttpService, Serve},
};
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a test waits for what must come at once.
const SOON: Duration = Duration::from_secs(30);

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future)
        .await
        .expect("takes much too long")
}

/// What the calls tell the test, and what they wait for.
#[derive(Debug)]
pub(crate) struct Led {
    told: mpsc::Sender<&'static str>,
    /// Lets calls of `stubborn` end.
    pub(crate) end: Arc<Notify>,
    /// Whether nobody is let in any more who was.
    pub(crate) shut_out: AtomicBool,
    frames: Arc<Mutex<mpsc::Receiver<String>>>,
}

/// Answers `large` with as many characters as `params.size` says, `stream` with the frames that the
/// test sends, `wait` once it is cancelled, `stubborn` only when the test says so, and everything
/// else with its method.
impl Door for Led {
    type Caller = ();

    async fn admit(&self, peer: &Peer) -> Result<(), Denied> {
        match peer.header("authorization") {
            Some("wrong") => Err(Denied {
                status: 401,
                challenge: None,
                error: fastmcp_protocol::RpcError::internal("who are you"),
            }),
            _ => Ok(()),
        }
    }

    async fn still_admits(&self, _: &Peer, (): &()) -> bool {
        !self.shut_out.load(Ordering::Relaxed)
    }

    fn call(self: &Arc<Self>, (): (), inbound: Inbound) -> Call {
        let What::Message(Message::Request(request), _) = inbound.what else {
            return Box::pin(async { Reply::Accepted });
        };
        let (told, end, frames) = (
            self.told.clone(),
            Arc::clone(&self.end),
            Arc::clone(&self.frames),
        );
        Box::pin(async move {
            let mut text = request.method.to_string();
            match text.as_str() {
                "large" => {
                    let params = request.params.as_ref().unwrap();
                    let params: serde_json::Value = params.decode().unwrap();
                    let size = params["size"].as_u64().unwrap();
                    text = "large ".repeat(usize::try_from(size).unwrap() / 6);
                }
                "stream" => {
                    let mut frames = frames.lock().await;
                    let mut open = true;
                    while let Some(frame) = frames.recv().await.filter(|f| open && !f.is_empty()) {
                        open = inbound.outlet.send(Frame::message(frame)).await.is_ok();
                    }
                }
                "wait" => {
                    told.send("begun").await.unwrap();
                    inbound.cancel.cancelled().await;
                    told.send("cancelled").await.unwrap();
                }
                "stubborn" => {
                    told.send("begun").await.unwrap();
                    end.notified().await;
                    told.send("ended").await.unwrap();
                }
                _ => {}
            }
            Reply::ok(
                json!({"jsonrpc": "2.0", "id": request.id, "result": {"said": text}}).to_string(),
            )
        })
    }
}

/// A server on a port of its own; it ends with the test.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) told: mpsc::Receiver<&'static str>,
    pub(crate) frames: mpsc::Sender<String>,
    pub(crate) led: Arc<Led>,
    pub(crate) shutdown: CancellationToken,
    serving: JoinHandle<io::Result<bool>>,
    clients: TaskTracker,
}

impl Running {
    pub(crate) async fn start(config: HttpConfig) -> Self {
        let (told, hears) = mpsc::channel(1_024);
        let (frames, sent) = mpsc::channel(16);
        let led = Arc::new(Led {
            told,
            end: Arc::default(),
            shut_out: AtomicBool::default(),
            frames: Arc::new(Mutex::new(sent)),
        });
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Serve::new(config.limits.clone(), shutdown.clone(), tracker.clone());
        let service = HttpService::new(Arc::clone(&led), config, tracker.clone(), shutdown.clone());
        let clients = TaskTracker::new();
        let serving = clients.spawn(async move {
            serve
                .run(listener, |address| service.from_address(address))
                .await
        });
        Self {
            address,
            told: hears,
            frames,
            led,
            shutdown,
            serving,
            clients,
        }
    }

    /// Ends the server; every call and connection must have ended within its grace period.
    pub(crate) async fn ended(mut self) {
        self.shutdown.cancel();
        let all = soon(&mut self.serving).await.unwrap().unwrap();
        assert!(all, "something was left behind");
    }

    /// Runs something beside the test.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.clients.spawn(future)
    }

    pub(crate) async fn told(&mut self) -> &'static str {
        soon(self.told.recv()).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Writes `bytes` on a connection and reads what comes until the server closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// A connection over HTTP/2.
    pub(crate) async fn h2(&self) -> SendRequest<Full<Bytes>> {
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(self.connect().await))
                .await
                .unwrap();
        self.clients.spawn(connection);
        sender
    }

    /// A request over HTTP/2.
    pub(crate) fn request(&self, method: &str) -> Request<Full<Bytes>> {
        self.request_of(&message(method, &json!({})), method)
    }

    pub(crate) fn request_of(&self, body: &str, method: &str) -> Request<Full<Bytes>> {
        Request::post(format!("http://{}/mcp", self.address))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
            .body(Full::from(body.to_owned()))
            .unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.led.end.notify_waiters();
    }
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    soon(stream.read_to_end(&mut response)).await.unwrap();
    String::from_utf8(response).unwrap()
}

/// Reads until `wanted` has come; all that came.
pub(crate) async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 4_096];
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let read = soon(stream.read(&mut chunk)).await.unwrap();
        assert!(read > 0, "the stream ended before {wanted}");
        seen.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(seen).unwrap()
}

/// A message of the newest revision.
pub(crate) fn message(method: &str, params: &serde_json::Value) -> String {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// A request over HTTP/1.1, without its end: further headers, an empty line and the body follow.
pub(crate) fn head(method: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n"
    )
}

/// A whole request over HTTP/1.1, after which the connection ends.
pub(crate) fn whole(method: &str) -> String {
    with_body(&head(method), &message(method, &json!({})))
}

pub(crate) fn with_body(head: &str, body: &str) -> String {
    format!(
        "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The status of a response over HTTP/1.1.
pub(crate) fn status(response: &str) -> u16 {
    response
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .unwrap_or_else(|| panic!("no response: {response:?}"))
        .parse()
        .unwrap()
}
