//! Which revision is spoken, and what becomes of a session.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fastmcp::{
    Client,
    error::ErrorKind,
    protocol::{ErrorCode, ProtocolVersion},
    transport::{WireError, WireKind},
};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::fake::{Answer, Fake, Sent, status};

const NEW: ProtocolVersion = ProtocolVersion::V2026_07_28;
const OLD: ProtocolVersion = ProtocolVersion::V2025_11_25;

/// An old server: it does not know `server/discover`.
fn old(sent: &Sent) -> Answer {
    match sent.method() {
        "initialize" => sent.greeted(),
        "tools/list" => sent.result(json!({"tools": []})),
        _ => sent.error(-32601, Value::Null),
    }
}

#[tokio::test]
async fn a_description_settles_it() {
    let fake = Fake::new(WireKind::Http, Sent::described);
    let client = fake.connect(Client::builder()).await.unwrap();
    assert_eq!(client.protocol_version(), NEW);
    assert_eq!(client.server_info().unwrap().name, "fake");
    assert_eq!(fake.methods(), ["server/discover"]);
    let sent = &fake.sent()[0];
    assert_eq!(sent.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(sent.header("mcp-method"), Some("server/discover"));
    assert_eq!(
        sent.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json!({})
    );
}

#[tokio::test]
async fn a_server_that_names_the_same_revision_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::new(WireKind::Http, move |sent| {
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => sent.error(-32022, json!({"supported": ["2026-07-28"]})),
            _ => sent.described(),
        }
    });
    let client = fake.connect(Client::builder()).await.unwrap();
    assert_eq!(client.protocol_version(), NEW);

    let never = Fake::new(WireKind::Http, |sent| {
        sent.error(-32022, json!({"supported": ["2026-07-28"]}))
    });
    let error = never.connect(Client::builder()).await.unwrap_err();
    assert!(error.message().contains("2026-07-28"), "{error}");
    assert_eq!(never.sent().len(), 3, "there is an end to asking");
}

#[tokio::test]
async fn whatever_else_a_server_says_it_is_greeted() {
    let refusals: [fn(&Sent) -> Answer; 5] = [
        |sent| sent.error(-32601, Value::Null),
        |sent| sent.error(-32022, json!({"supported": ["2025-11-25"]})),
        |sent| sent.error(-32600, Value::Null),
        |_| status(400),
        |sent| sent.result(json!({"what": "?"})),
    ];
    for refuse in refusals {
        let fake = Fake::new(WireKind::Http, move |sent| match sent.method() {
            "server/discover" => refuse(sent),
            _ => old(sent),
        });
        let client = fake.connect(Client::builder()).await.unwrap();
        assert_eq!(client.protocol_version(), OLD);
        assert_eq!(client.server_info().unwrap().name, "old");
        client.list_tools().await.unwrap();
        assert_eq!(
            fake.methods(),
            [
                "server/discover",
                "initialize",
                "notifications/initialized",
                "tools/list"
            ]
        );
        let list = &fake.of("tools/list")[0];
        assert_eq!(list.header("mcp-protocol-version"), Some("2025-11-25"));
        assert_eq!(list.header("mcp-method"), None);
        assert!(list.params().get("_meta").is_none(), "old servers get none");
        assert!(
            fake.of("initialize")[0]
                .header("mcp-protocol-version")
                .is_none()
        );
    }
}

#[tokio::test]
async fn refusals_that_say_nothing_of_revisions_are_errors() {
    let refusals: [fn(&Sent) -> Answer; 5] = [
        |_| status(503),
        |_| status(403),
        |_| Answer::Fails(WireError::Unauthorized("401".to_owned())),
        |_| Answer::Fails(WireError::Unreachable("nobody".to_owned())),
        |sent| {
            let inner = sent.error(-32603, Value::Null);
            Answer::With(401, HeaderMap::new(), Box::new(inner))
        },
    ];
    for refuse in refusals {
        let fake = Fake::new(WireKind::Http, refuse);
        assert!(fake.connect(Client::builder()).await.is_err());
        assert_eq!(fake.methods(), ["server/discover"]);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_answer_from_a_process_alone() {
    let silent = |sent: &Sent| match sent.method() {
        "server/discover" => Answer::Silence,
        _ => old(sent),
    };
    let process = Fake::new(WireKind::Stdio, silent);
    let client = process.connect(Client::builder()).await.unwrap();
    assert_eq!(client.protocol_version(), OLD);

    let endpoint = Fake::new(WireKind::Http, silent);
    let error = endpoint.connect(Client::builder()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(endpoint.of("initialize").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_starter_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::new(WireKind::Stdio, move |sent| match sent.method() {
        "server/discover" if asked.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Silence,
        "server/discover" => sent.described(),
        _ => sent.error(-32022, json!({"supported": ["2026-07-28"]})),
    });
    let started = tokio::time::Instant::now();
    let builder = Client::builder().probe_timeout(Duration::from_secs(3));
    let client = fake.connect(builder).await.unwrap();
    assert_eq!(client.protocol_version(), NEW);
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn one_revision_alone_may_be_wanted() {
    let fake = Fake::new(WireKind::Http, old);
    let client = fake.connect(Client::builder().revision(OLD)).await.unwrap();
    assert_eq!(client.protocol_version(), OLD);
    assert!(fake.of("server/discover").is_empty());

    let refused = Fake::new(WireKind::Http, old);
    let error = refused
        .connect(Client::builder().revision(NEW))
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Protocol(ErrorCode::METHOD_NOT_FOUND)
    );
    assert!(refused.of("initialize").is_empty());

    let other = Fake::new(WireKind::Http, |sent| {
        match sent.method() {
        "initialize" => sent.result(json!({
            "protocolVersion": "2023-01-01", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"},
        })),
        _ => old(sent),
    }
    });
    let error = other.connect(Client::builder()).await.unwrap_err();
    assert!(error.message().contains("2023-01-01"), "{error}");
}

/// An old server over HTTP whose `live`th session is the only one that it knows.
fn forgetful(live: usize) -> std::sync::Arc<Fake> {
    let opened = AtomicUsize::new(0);
    Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => status(400),
        "initialize" => {
            let session = opened.fetch_add(1, Ordering::SeqCst) + 1;
            let mut headers = HeaderMap::new();
            let value = HeaderValue::try_from(format!("session-{session}")).unwrap();
            headers.insert("mcp-session-id", value);
            Answer::With(200, headers, Box::new(sent.greeted()))
        }
        _ if sent.header("mcp-session-id") != Some(&*format!("session-{live}")) => status(404),
        "ping" => sent.result(json!({})),
        "tools/call" => sent.result(json!({"content": []})),
        _ => sent.error(-32601, Value::Null),
    })
}

#[tokio::test]
async fn a_lost_session_is_opened_again_once() {
    let fake = forgetful(2);
    let client = fake.connect(Client::builder()).await.unwrap();
    let (ping, call) = tokio::join!(client.ping(), client.call_tool("t", json!({})));
    ping.unwrap();
    call.unwrap();
    assert_eq!(fake.of("initialize").len(), 2, "one of both opened it");
    let error = client.request("unknown", serde_json::Map::new()).await;
    assert!(error.is_err());
    assert_eq!(
        fake.of("initialize").len(),
        2,
        "an unknown method is no lost session"
    );

    let hopeless = forgetful(0);
    let client = hopeless.connect(Client::builder()).await.unwrap();
    assert!(client.ping().await.is_err());
    assert_eq!(hopeless.of("initialize").len(), 2);
    assert_eq!(hopeless.of("ping").len(), 2);
}

#[tokio::test]
async fn a_server_that_was_upgraded_is_asked_what_it_speaks_now() {
    let calls = AtomicUsize::new(0);
    let fake = Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => sent.described(),
        _ if calls.fetch_add(1, Ordering::SeqCst) == 0 => {
            sent.error(-32022, json!({"supported": ["2026-07-28"]}))
        }
        _ => sent.result(json!({"resultType": "complete", "content": []})),
    });
    let client = fake.connect(Client::builder()).await.unwrap();
    client.call_tool("t", json!({})).await.unwrap();
    assert_eq!(
        fake.methods(),
        [
            "server/discover",
            "tools/call",
            "server/discover",
            "tools/call"
        ]
    );
}
