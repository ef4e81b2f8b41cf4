//! A wire whose server is a function of the test.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytestring::ByteString;
use fastmcp::{
    Client, Result,
    client::ClientBuilder,
    transport::{Incoming, Outgoing, Wire, WireError, WireKind},
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A message that the client sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) message: Value,
    pub(super) headers: HeaderMap,
}

impl Sent {
    pub(super) fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or("answer")
    }

    pub(super) fn params(&self) -> &Value {
        &self.message["params"]
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn result(&self, result: Value) -> Answer {
        Answer::Messages(vec![self.response(result)])
    }

    pub(super) fn response(&self, result: Value) -> Value {
        let mut response = json!({"jsonrpc": "2.0", "id": self.message["id"]});
        response["result"] = result;
        response
    }

    pub(super) fn error(&self, code: i32, data: Value) -> Answer {
        let mut response = json!({"jsonrpc": "2.0", "id": self.message["id"]});
        response["error"] = json!({"code": code, "message": "no"});
        response["error"]["data"] = data;
        Answer::Messages(vec![response])
    }

    /// What a server of the newest revision says of itself.
    pub(super) fn described(&self) -> Answer {
        self.result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "resources": {}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "1"}},
        }))
    }

    /// What a server of an older revision answers to `initialize`.
    pub(super) fn greeted(&self) -> Answer {
        self.result(json!({
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "resources": {}, "logging": {}},
            "serverInfo": {"name": "old", "version": "1"},
        }))
    }
}

/// What the server does about a message.
pub(super) enum Answer {
    /// Sends these, and ends the stream.
    Messages(Vec<Value>),
    /// Sends what comes, until the sender is dropped.
    Stream(mpsc::Receiver<Value>),
    /// Answers with a status of its own and these headers.
    With(u16, HeaderMap, Box<Self>),
    /// Never answers.
    Silence,
    /// Fails.
    Fails(WireError),
}

pub(super) fn status(status: u16) -> Answer {
    Answer::Fails(WireError::Status {
        status,
        headers: Box::default(),
        body: String::new(),
    })
}

type Server = dyn Fn(&Sent) -> Answer + Send + Sync;

pub(super) struct Fake {
    kind: WireKind,
    server: Box<Server>,
    sent: Mutex<Vec<Sent>>,
    unasked: Mutex<Option<mpsc::Receiver<Value>>>,
    told: tokio::sync::Notify,
    /// Streams of answers that are open.
    open: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(super) fn new(
        kind: WireKind,
        server: impl Fn(&Sent) -> Answer + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            kind,
            server: Box::new(server),
            sent: Mutex::default(),
            unasked: Mutex::default(),
            told: tokio::sync::Notify::new(),
            open: Arc::default(),
        })
    }

    /// What the server says without being asked comes from here.
    pub(super) fn speaks(self: &Arc<Self>) -> mpsc::Sender<Value> {
        let (sender, receiver) = mpsc::channel(16);
        *self.unasked.lock().unwrap() = Some(receiver);
        sender
    }

    pub(super) async fn connect(self: &Arc<Self>, builder: ClientBuilder) -> Result<Client> {
        builder
            .connect_wire(Arc::clone(self) as Arc<dyn Wire>, "fake")
            .await
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// The methods of what was sent, in order.
    pub(super) fn methods(&self) -> Vec<String> {
        let sent = self.sent();
        sent.iter().map(|sent| sent.method().to_owned()).collect()
    }

    /// Messages that were sent with this method.
    pub(super) fn of(&self, method: &str) -> Vec<Sent> {
        let mut sent = self.sent();
        sent.retain(|sent| sent.method() == method);
        sent
    }

    pub(super) fn open_streams(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Waits until `count` messages of `method` were sent.
    pub(super) async fn until(&self, method: &str, count: usize) -> Vec<Sent> {
        loop {
            let told = self.told.notified();
            let sent = self.of(method);
            if sent.len() >= count {
                return sent;
            }
            told.await;
        }
    }

    fn take(&self, outgoing: &Outgoing) -> Sent {
        let sent = Sent {
            message: serde_json::from_str(&outgoing.text()).unwrap(),
            headers: outgoing.headers.clone(),
        };
        self.sent.lock().unwrap().push(sent.clone());
        self.told.notify_waiters();
        sent
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn text(message: &Value) -> ByteString {
    message.to_string().into()
}

fn received(receiver: mpsc::Receiver<Value>) -> BoxStream<'static, Result<ByteString, WireError>> {
    stream::unfold(receiver, |mut receiver| async move {
        let message = receiver.recv().await?;
        Some((Ok(text(&message)), receiver))
    })
    .boxed()
}

impl Wire for Fake {
    fn kind(&self) -> WireKind {
        self.kind
    }

    fn request(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, WireError>> {
        let sent = self.take(&outgoing);
        let mut answer = (self.server)(&sent);
        async move {
            let (mut status, mut headers) = (200, HeaderMap::new());
            if let Answer::With(other, with, inner) = answer {
                (status, headers, answer) = (other, with, *inner);
            }
            let messages = match answer {
                Answer::Messages(messages) => {
                    let messages: Vec<_> = messages.iter().map(|m| Ok(text(m))).collect();
                    stream::iter(messages).boxed()
                }
                Answer::Stream(receiver) => received(receiver),
                Answer::Silence => stream::pending().boxed(),
                Answer::Fails(error) => return Err(error),
                Answer::With(..) => unreachable!("answers are not nested twice"),
            };
            self.open.fetch_add(1, Ordering::SeqCst);
            let counted = Counted(Arc::clone(&self.open));
            let messages = messages.map(move |message| {
                let _open = &counted;
                message
            });
            Ok(Incoming {
                status,
                headers,
                messages: messages.boxed().into(),
            })
        }
        .boxed()
    }

    fn notify(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<(), WireError>> {
        self.take(&outgoing);
        async { Ok(()) }.boxed()
    }

    fn listen(&self, _: HeaderMap) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async move {
            let unasked = self.unasked.lock().unwrap().take();
            let Some(unasked) = unasked else {
                return Err(WireError::Status {
                    status: 405,
                    headers: Box::default(),
                    body: String::new(),
                });
            };
            Ok(Incoming {
                status: 200,
                headers: HeaderMap::new(),
                messages: received(unasked).into(),
            })
        }
        .boxed()
    }

    fn close(&self, _: HeaderMap) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
