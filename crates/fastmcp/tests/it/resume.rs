//! Clients of 2025-11-25 that leave their streams and come back, over real sockets.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    ToolBuilder,
    prelude::*,
    registry::{Change, Kind},
    transport::{ReplayLimits, http::HttpConfig},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
};

use crate::http::{POST, Running, read_until};

#[resource("data://watched", name = "Watched", inline)]
fn watched() -> &'static str {
    "watched"
}

/// What tells a test's tools to go on.
#[derive(Clone, Default)]
struct Signals {
    go: Arc<Notify>,
}

/// Says something, waits, says something more, and answers.
fn works(signals: &Signals) -> ToolBuilder {
    let go = Arc::clone(&signals.go);
    ToolBuilder::new("works", move |(), ctx: Context| {
        let go = Arc::clone(&go);
        async move {
            ctx.report_progress(1.0, None, Some("before")).await;
            go.notified().await;
            ctx.report_progress(2.0, None, Some("after")).await;
            if ctx.cancellation().is_cancelled() {
                "cancelled"
            } else {
                "worked"
            }
        }
    })
}

/// Lets the client go and answers when it is told to.
fn lets_go(signals: &Signals) -> ToolBuilder {
    let go = Arc::clone(&signals.go);
    ToolBuilder::new("lets_go", move |(), ctx: Context| {
        let go = Arc::clone(&go);
        async move {
            let gone = ctx.close_stream(Duration::from_millis(70));
            go.notified().await;
            format!("let go: {gone}")
        }
    })
}

/// Says something, waits until nobody wants the answer, and tells the test.
fn waits(ended: mpsc::Sender<()>) -> ToolBuilder {
    ToolBuilder::new("waits", move |(), ctx: Context| {
        let ended = ended.clone();
        async move {
            ctx.report_progress(1.0, None, Some("before")).await;
            ctx.cancellation().cancelled().await;
            ended.send(()).await.unwrap();
        }
    })
}

struct Session {
    running: Running,
    id: String,
    version: &'static str,
    signals: Signals,
    ended: mpsc::Receiver<()>,
}

impl Session {
    async fn open(version: &'static str) -> Self {
        Self::open_with(version, ReplayLimits::default()).await
    }

    async fn open_with(version: &'static str, limits: ReplayLimits) -> Self {
        let signals = Signals::default();
        let (ended, has_ended) = mpsc::channel(1);
        let server = FastMcp::new("resume")
            .tool(works(&signals))
            .tool(lets_go(&signals))
            .tool(waits(ended))
            .resource(watched)
            .replay(limits)
            .build()
            .unwrap();
        let running = Running::start(server, HttpConfig::default()).await;
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}).to_string();
        let (_, response) = running.send(POST, &hello).await;
        let id = response
            .lines()
            .find_map(|l| l.strip_prefix("mcp-session-id: "))
            .unwrap()
            .trim()
            .to_owned();
        Self {
            running,
            id,
            version,
            signals,
            ended: has_ended,
        }
    }

    fn head(&self, first: &str) -> String {
        format!(
            "{first}\r\nMcp-Session-Id: {}\r\nMCP-Protocol-Version: {}",
            self.id, self.version
        )
    }

    async fn post(&self, message: &Value) -> (u16, String) {
        self.running
            .send(&self.head(POST), &message.to_string())
            .await
    }

    /// Begins a request whose response is read bit by bit.
    async fn begin(&self, first: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.running.port))
            .await
            .unwrap();
        stream
            .write_all(self.running.request(&self.head(first), body).as_bytes())
            .await
            .unwrap();
        stream
    }

    async fn call(&self, tool: &str) -> TcpStream {
        let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": {"progressToken": "p"}}});
        self.begin(POST, &call.to_string()).await
    }

    async fn get(&self, last: Option<&str>) -> TcpStream {
        let last = last.map_or_else(String::new, |id| format!("\r\nLast-Event-ID: {id}"));
        let first = format!("GET /mcp HTTP/1.1\r\nAccept: text/event-stream{last}");
        self.begin(&first, "").await
    }

    fn tools_changed(&self) {
        self.running
            .server
            .registry()
            .notify(Change::List(Kind::Tool));
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    all
}

/// The ids of the events, in their order.
fn ids(seen: &str) -> Vec<&str> {
    seen.lines()
        .filter_map(|l| l.strip_prefix("id: "))
        .collect()
}

#[tokio::test]
async fn a_call_goes_on_while_its_client_is_away_and_is_answered_when_it_comes_back() {
    let session = Session::open("2025-11-25").await;
    let mut stream = session.call("works").await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "before").await;
    assert!(
        seen.find("retry: 1000").unwrap() < seen.find("before").unwrap(),
        "primed first: {seen}"
    );
    let last = (*ids(&seen).last().unwrap()).to_owned();
    drop(stream);
    session.signals.go.notify_one();
    let resumed = rest(session.get(Some(&last)).await).await;
    assert!(!resumed.contains("before"), "it saw that: {resumed}");
    assert!(
        resumed.find("after").unwrap() < resumed.find(r#""text":"worked""#).unwrap(),
        "{resumed}"
    );
    let again = rest(session.get(Some(&last)).await).await;
    assert_eq!(
        ids(&again),
        ids(&resumed),
        "what was sent may not have arrived"
    );
    let (status, _) = session
        .post(&json!({"jsonrpc": "2.0", "id": 6, "method": "ping"}))
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_client_that_comes_back_early_follows_the_call_live() {
    let session = Session::open("2025-11-25").await;
    let mut first = session.call("works").await;
    let mut seen = String::new();
    read_until(&mut first, &mut seen, "before").await;
    let last = ids(&seen)[0].to_owned();
    // The first connection is still there, as far as the server knows.
    let mut second = session.get(Some(&last)).await;
    let mut resumed = String::new();
    read_until(&mut second, &mut resumed, "before").await;
    let ended = rest(first).await;
    assert!(!ended.contains("data:"), "nothing on both: {ended}");
    session.signals.go.notify_one();
    resumed.push_str(&rest(second).await);
    assert!(resumed.contains(r#""text":"worked""#), "{resumed}");
}

#[tokio::test]
async fn a_handler_lets_the_client_go_and_it_comes_back_for_the_answer() {
    let session = Session::open("2025-11-25").await;
    let ended = rest(session.call("lets_go").await).await;
    assert!(ended.contains("text/event-stream") && ended.contains("retry: 70"));
    assert!(!ended.contains("jsonrpc"), "no message yet: {ended}");
    let last = (*ids(&ended).last().unwrap()).to_owned();
    let stream = session.get(Some(&last)).await;
    session.signals.go.notify_one();
    let answer = rest(stream).await;
    assert!(answer.contains(r#""text":"let go: true""#), "{answer}");

    let older = Session::open("2025-06-18").await;
    older.signals.go.notify_one();
    let plain = rest(older.call("lets_go").await).await;
    assert!(plain.contains("application/json"), "{plain}");
    assert!(plain.contains(r#""text":"let go: false""#), "{plain}");
}

#[tokio::test]
async fn older_clients_get_ids_but_no_event_without_data() {
    let session = Session::open("2025-06-18").await;
    let stream = session.call("works").await;
    session.signals.go.notify_one();
    let seen = rest(stream).await;
    assert_eq!(ids(&seen).len(), 3, "{seen}");
    assert!(!seen.contains("data: \n"), "{seen}");
    let mut stream = session.get(None).await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, ":\n\n").await;
    assert!(!seen.contains("data:"), "{seen}");
}

#[tokio::test]
async fn the_general_stream_tells_each_change_once_wherever_the_client_was() {
    let session = Session::open("2025-11-25").await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": "data://watched"}});
    assert_eq!(session.post(&subscribe).await.0, 200);
    let mut stream = session.get(None).await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "retry: ").await;
    session.tools_changed();
    read_until(&mut stream, &mut seen, "tools/list_changed").await;
    let last = (*ids(&seen).last().unwrap()).to_owned();
    let conflict = rest(session.get(None).await).await;
    assert!(conflict.starts_with("HTTP/1.1 409"), "{conflict}");

    drop(stream);
    let notify = |uri: &str| {
        let change = Change::Resource(uri.to_owned());
        session.running.server.registry().notify(change);
    };
    notify("data://watched");
    notify("data://other");
    let mut stream = session.get(Some(&last)).await;
    let mut resumed = String::new();
    read_until(&mut stream, &mut resumed, "resources/updated").await;
    assert!(!resumed.contains("list_changed"), "{resumed}");
    session.tools_changed();
    read_until(&mut stream, &mut resumed, "tools/list_changed").await;
    assert_eq!(resumed.matches("resources/updated").count(), 1, "{resumed}");

    let delete = session.head("DELETE /mcp HTTP/1.1");
    assert_eq!(session.running.send(&delete, "").await.0, 204);
    assert!(rest(stream).await.ends_with("0\r\n\r\n"), "it ends");
    let gone = rest(session.get(Some(&last)).await).await;
    assert!(gone.starts_with("HTTP/1.1 404"), "{gone}");
}

#[tokio::test]
async fn a_stream_that_replaces_another_leaves_it_to_be_read_to_its_end() {
    let session = Session::open("2025-11-25").await;
    let mut first = session.get(None).await;
    let mut seen = String::new();
    read_until(&mut first, &mut seen, "retry: ").await;
    let primed = ids(&seen)[0].to_owned();
    session.tools_changed();
    read_until(&mut first, &mut seen, "tools/list_changed").await;
    drop(first);
    let mut second = loop {
        // The server hears of the end of a connection a moment later.
        let mut second = session.get(None).await;
        let mut seen = String::new();
        read_until(&mut second, &mut seen, "\r\n\r\n").await;
        if seen.starts_with("HTTP/1.1 200") {
            break second;
        }
    };
    let old = rest(session.get(Some(&primed)).await).await;
    assert_eq!(old.matches("tools/list_changed").count(), 1, "{old}");
    session.tools_changed();
    let mut seen = String::new();
    read_until(&mut second, &mut seen, "tools/list_changed").await;
    assert!(ids(&seen).iter().all(|id| !ids(&old).contains(id)));
}

#[tokio::test]
async fn what_was_dropped_is_told_and_what_never_was_is_refused() {
    let limits = ReplayLimits {
        frames: 1,
        ..ReplayLimits::default()
    };
    let session = Session::open_with("2025-11-25", limits).await;
    let mut stream = session.call("works").await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "before").await;
    let first = ids(&seen)[0].to_owned();
    session.signals.go.notify_one();
    rest(stream).await;
    let resumed = rest(session.get(Some(&first)).await).await;
    assert!(!resumed.contains("before"), "{resumed}");
    assert!(
        resumed.contains("were dropped") && resumed.contains(r#""level":"warning""#),
        "{resumed}"
    );
    assert!(
        resumed.contains(r#""text":"worked""#),
        "the answer is there"
    );
    for wrong in ["x", "77-0", "0-ffff"] {
        let refused = rest(session.get(Some(wrong)).await).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
        assert!(refused.contains("Last-Event-ID is not one of this session"));
    }
}

#[tokio::test]
async fn who_cancels_gets_no_answer_and_an_id_is_used_once_at_a_time() {
    let session = Session::open("2025-11-25").await;
    let mut stream = session.call("works").await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "before").await;
    let (_, twice) = session
        .post(&json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "lets_go"}}))
        .await;
    assert!(
        twice.contains("a request with this id is under way"),
        "{twice}"
    );
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(session.post(&cancel).await.0, 202);
    session.signals.go.notify_one();
    let seen = rest(stream).await;
    assert!(!seen.contains(r#""id":5"#), "{seen}");
}

#[tokio::test]
async fn the_end_of_a_session_cancels_its_calls() {
    let mut session = Session::open("2025-11-25").await;
    let mut stream = session.call("waits").await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "before").await;
    let delete = session.head("DELETE /mcp HTTP/1.1");
    assert_eq!(session.running.send(&delete, "").await.0, 204);
    session.ended.recv().await.unwrap();
}
