//! Servers for the wires to meet.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytestring::ByteString;
use fastmcp_protocol::{Message, Request, RequestId};
use fastmcp_transport::{
    Call, Denied, Door, Frame, Inbound, Limits, Outgoing, Outlet, Peer, Reply, What,
    http::{HttpConfig, HttpService, Serve},
};
use http::HeaderMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A request as a wire carries it.
pub(crate) fn request(id: i64, method: &str) -> Outgoing {
    Outgoing {
        id: Some(RequestId::Number(id)),
        method: method.into(),
        body: format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#).into(),
        headers: HeaderMap::new(),
        resumable: false,
    }
}

/// A request whose stream is its life: closing it cancels.
pub(crate) fn claimed(id: i64, method: &str) -> Outgoing {
    let mut outgoing = request(id, method);
    outgoing.body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"_meta":{{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
    .into();
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ] {
        outgoing.headers.insert(name, value.parse().unwrap());
    }
    outgoing
}

pub(crate) fn notification(method: &str) -> Outgoing {
    Outgoing {
        id: None,
        body: format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#).into(),
        ..request(0, method)
    }
}

/// The response of [`Small`] and of the scripts to a request.
pub(crate) fn response(id: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

/// What comes before a response.
pub(crate) fn progress(n: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{n}}}}}"#
    )
}

/// A door with a few methods, which notes who came.
#[derive(Debug, Default)]
pub(crate) struct Small {
    /// Where each request came from, and what it was.
    pub(crate) seen: Mutex<Vec<(Option<SocketAddr>, String)>>,
    pub(crate) begun: Notify,
    pub(crate) cancelled: Notify,
}

impl Door for Small {
    type Caller = ();

    async fn admit(&self, peer: &Peer) -> Result<(), Denied> {
        match peer.header("authorization") {
            None | Some("Bearer good") => Ok(()),
            Some(_) => Err(Denied {
                status: 401,
                challenge: Some(http::HeaderValue::from_static(
                    "Bearer error=\"invalid_token\"",
                )),
                error: fastmcp_protocol::RpcError::internal("who are you"),
            }),
        }
    }

    fn call(self: &Arc<Self>, (): (), inbound: Inbound) -> Call {
        let door = Arc::clone(self);
        Box::pin(async move {
            let Inbound {
                what,
                outlet,
                cancel,
                peer,
            } = inbound;
            let note = |text: &str| {
                let mut seen = door.seen.lock().unwrap();
                seen.push((peer.address, text.to_owned()));
            };
            match what {
                What::Message(Message::Request(request), _) => {
                    note(&request.method);
                    door.answer(request, outlet, cancel).await
                }
                What::Message(..) => Reply::Accepted,
                What::Listen { .. } if peer.header("mcp-session-id").is_none() => {
                    Reply::Status(405)
                }
                What::Listen { .. } => {
                    outlet.send(Frame::message(progress(1))).await.unwrap();
                    outlet.send(Frame::message(progress(2))).await.unwrap();
                    Reply::Status(200)
                }
                What::Terminate => {
                    note(peer.header("mcp-session-id").unwrap_or("none"));
                    Reply::Status(200)
                }
            }
        })
    }
}

impl Small {
    async fn answer(&self, request: Request, outlet: Outlet, cancel: CancellationToken) -> Reply {
        let RequestId::Number(id) = request.id else {
            return Reply::Status(400);
        };
        match &*request.method {
            "tools/call" => {
                for n in 1..=3 {
                    outlet.send(Frame::message(progress(n))).await.unwrap();
                }
            }
            "prompts/get" => {
                self.begun.notify_one();
                cancel.cancelled().await;
                self.cancelled.notify_one();
            }
            "resources/read" => {
                outlet.send(Frame::message(progress(1))).await.unwrap();
                cancel.cancelled().await;
                self.cancelled.notify_one();
            }
            "no/such" => {
                let error = fastmcp_protocol::RpcError::internal("no such method");
                let id = RequestId::Number(id);
                let body = fastmcp_protocol::jsonrpc::encode_error(Some(&id), &error);
                return Reply::with_status(404, body);
            }
            _ => {}
        }
        Reply::ok(response(id))
    }
}

/// A door that is open on a free port of this machine.
pub(crate) struct Open {
    pub(crate) url: String,
    pub(crate) door: Arc<Small>,
    shutdown: CancellationToken,
}

impl Open {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let door = Arc::new(Small::default());
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let service = HttpService::new(
            Arc::clone(&door),
            HttpConfig::default(),
            tracker.clone(),
            shutdown.clone(),
        );
        let serve = Serve::new(Limits::default(), shutdown.clone(), tracker.clone());
        tracker.spawn(serve.run(listener, move |address| service.from_address(address)));
        Self {
            url,
            door,
            shutdown,
        }
    }

    pub(crate) fn seen(&self) -> Vec<(Option<SocketAddr>, String)> {
        self.door.seen.lock().unwrap().clone()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a scripted server does on one connection, after it has read one request.
pub(crate) enum Act {
    /// Writes these bytes and closes.
    Close(String),
    /// Writes these bytes and holds the line.
    Hold(String),
    /// Writes the first, then the second again and again.
    Repeat(String, &'static str, Duration),
}

/// A server that answers each connection by the next line of its script; the last one stays.
pub(crate) struct Scripted {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub(crate) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let script: Vec<_> = script.into_iter().map(Arc::new).collect();
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let act = script.get(n).or(script.last()).unwrap();
                connections.spawn(converse(stream, Arc::clone(act), Arc::clone(&noted)));
            }
        });
        Self {
            url,
            requests,
            _tasks: tasks,
        }
    }

    /// The requests so far: head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn converse(mut stream: TcpStream, act: Arc<Act>, noted: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    noted.lock().unwrap().push(request);
    // A client that goes away in the middle is what some tests are about.
    let _gone = match &*act {
        Act::Close(bytes) => stream.write_all(bytes.as_bytes()).await,
        Act::Hold(bytes) => {
            let _gone = stream.write_all(bytes.as_bytes()).await;
            stream.read_u8().await.map(drop)
        }
        Act::Repeat(head, bytes, pause) => {
            let mut written = stream.write_all(head.as_bytes()).await;
            let mut tick = tokio::time::interval(*pause);
            while written.is_ok() {
                tick.tick().await;
                written = stream.write_all(bytes.as_bytes()).await;
            }
            written
        }
    };
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text.into_owned());
        }
    }
}

/// The head of an answer that goes on until the connection is closed.
pub(crate) const SSE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// The beginning of a stream, in chunks whose end does not come by itself.
pub(crate) fn chunked(body: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    format!("{head}\r\n\r\n{:x}\r\n{body}\r\n", body.len())
}

/// A whole answer.
pub(crate) fn whole(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// An event with a message.
pub(crate) fn event(message: &str) -> String {
    format!("data: {message}\n\n")
}

pub(crate) type Read = Vec<Result<ByteString, fastmcp_transport::WireError>>;
