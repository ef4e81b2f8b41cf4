//! The REST door of a gateway that is not served: what comes in is handed to its routes.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
};
use fastmcp::transport::http::RemoteAddr;
use fastmcp_audit::{Filter, Record};
use fastmcp_auth::verifier::{StaticIdentity, StaticTokens};
use futures_util::{poll, stream::pending};
use http::{Method, StatusCode, header};
use serde_json::Value;
use tempfile::TempDir;
use tower_service::Service as _;

use super::*;
use crate::config::{Flags, load};

const TOKEN: &str = "a-token-of-some-length";

struct Doors {
    folder: TempDir,
    app: App,
    rest: Arc<Rest>,
}

/// A request by nobody known.
fn ask(method: Method, path: &str, body: impl Into<Body>) -> Request {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// The same by `al` of tenant `acme`.
fn known(mut request: Request) -> Request {
    let bearer = format!("Bearer {TOKEN}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    request
}

impl Doors {
    async fn open(vars: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags = Flags {
            data_dir: Some(folder.path().join("data")),
            ..Flags::default()
        };
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let config = load(vars.iter().map(own), &flags).unwrap().config;
        let app = App::open(&config).await.unwrap();
        let identity = StaticIdentity {
            subject: "al".to_owned(),
            tenant: Some("acme".to_owned()),
            roles: vec!["admin".to_owned()],
            ..StaticIdentity::default()
        };
        let tokens = StaticTokens::new().token(TOKEN, identity).unwrap();
        let verifier = tokens.build(Arc::clone(&app.clock)).unwrap();
        let door = Door::new(
            Arc::new(Authenticator::new(Arc::new(verifier), Challenger::new())),
            app.pipeline.audit.clone(),
            app.pipeline.telemetry.clone(),
            Arc::clone(&app.random),
            Vec::new(),
        );
        let shutdown = CancellationToken::new();
        let server = app.server(&shutdown, Some(door.clone())).unwrap();
        let rest = app.rest(&server, door, config.bind).unwrap();
        Self {
            folder,
            app,
            rest: Arc::new(rest),
        }
    }

    async fn send(&self, request: Request) -> (StatusCode, String) {
        let response = rest::router(Arc::clone(&self.rest)).call(request).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, String::from_utf8(body.into()).unwrap())
    }

    /// Ends the gateway; what it recorded under `action`.
    async fn records(self, action: &str) -> Vec<Record> {
        self.app.close().await.unwrap();
        let filter = Filter {
            action: Some(action.to_owned()),
            ..Filter::default()
        };
        let records = fastmcp_audit::read(&self.app.config.audit_dir, filter).unwrap();
        let records = records.map(Result::unwrap).collect();
        drop(self.folder);
        records
    }
}

/// A form of our own origin.
fn form(path: &str, body: impl Into<Body>) -> Request {
    let mut request = ask(Method::POST, path, body);
    let headers = request.headers_mut();
    headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
    let kind = "application/x-www-form-urlencoded".parse().unwrap();
    headers.insert(header::CONTENT_TYPE, kind);
    request
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_is_nobody_known_takes_no_place_and_who_is_known_is_refused_by_name() {
    let doors = Doors::open(&[]).await;
    doors.rest.calls.close();
    let (status, body) = doors.send(ask(Method::GET, "/tool-catalog", "")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    let catalog = known(ask(Method::GET, "/tool-catalog", ""));
    let (status, body) = doors.send(catalog).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(code(&body), "UNAVAILABLE");
    let records = doors.records("door.refused").await;
    let subjects: Vec<_> = records.iter().map(|record| record.sub.as_deref()).collect();
    assert_eq!(subjects, [None, Some("al")]);
}

#[tokio::test]
async fn refused_sign_ins_are_recorded() {
    let doors = Doors::open(&[
        ("RATE_LIMIT_DEFAULT_RPS", "0.001"),
        ("RATE_BUCKET_BURST", "1"),
    ])
    .await;
    let sign_in = "/approvals/sign-in";
    let (status, body) = doors.send(form(sign_in, "token=a&token=b")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let large = "x".repeat(64 * 1024);
    let (status, body) = doors.send(form(sign_in, large)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    let token = format!("token={TOKEN}");
    let mut times = 0;
    while doors.send(form(sign_in, token.clone())).await.0 != StatusCode::TOO_MANY_REQUESTS {
        times += 1;
        assert!(times < 1_000, "bounded");
    }
    let records = doors.records("door.refused").await;
    let said = |record: &Record| {
        let reason = record.reason.clone().unwrap();
        (record.sub.clone(), reason)
    };
    let said: Vec<_> = records.iter().map(said).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    let starts = ["a field of the form", "body is larger", "Rate limit"];
    for ((sub, reason), start) in said.iter().zip(starts) {
        assert!(reason.starts_with(start), "{reason}");
        let known = start == "Rate limit";
        assert_eq!(sub.as_deref(), known.then_some("al"));
    }
}

#[tokio::test]
async fn slow_sign_ins_of_one_address_keep_out_nobody_else() {
    let doors = Doors::open(&[]).await;
    let from = |address: [u8; 4], body: Body| {
        let mut request = form("/approvals/sign-in", body);
        let address = RemoteAddr(SocketAddr::from((address, 1)));
        request.extensions_mut().insert(address);
        Box::pin(doors.send(request))
    };
    let slow = || Body::from_stream(pending::<io::Result<Bytes>>());
    let mut slow: Vec<_> = (0..100).map(|_| from([192, 0, 2, 1], slow())).collect();
    for sending in &mut slow {
        let _answer = poll!(sending);
    }
    let (status, body) = from([192, 0, 2, 2], "token=a&token=b".into()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
}

#[tokio::test]
async fn manifests_of_another_tenant_are_refused_within_the_limit_of_requests() {
    let doors = Doors::open(&[
        ("RATE_LIMIT_DEFAULT_RPS", "0.001"),
        ("RATE_BUCKET_BURST", "1"),
    ])
    .await;
    let manifest = json!({
        "toolId": "database:ours",
        "name": "Ours",
        "description": "Lists what is ours.",
        "inputs": {"type": "object"},
        "outputs": {"type": "object"},
        "required_scopes": [],
        "provider_id": "database",
        "tenant": "globex",
    });
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let register = ask(Method::POST, "/manifests/register", manifest.to_string());
        statuses.push(doors.send(known(register)).await.0);
    }
    assert_eq!(statuses.first(), Some(&StatusCode::FORBIDDEN));
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_as_any_other_request() {
    let doors = Doors::open(&[]).await;
    let paths = [
        (Method::POST, "/tools/%FF/invoke", "tools.invoke"),
        (Method::POST, "/tools/%FF/confirm", "tools.confirm"),
        (Method::POST, "/tools/%FF/decline", "tools.decline"),
        (Method::GET, "/approvals/%FF", "approvals.show"),
        (Method::POST, "/approvals/%FF", "approvals.decide"),
    ];
    for (method, path, _) in &paths {
        let (status, body) = doors.send(ask(method.clone(), path, "")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {body}");
        let (status, body) = doors.send(known(ask(method.clone(), path, "{}"))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {body}");
        assert_eq!(code(&body), "VALIDATION_ERROR", "{path}");
    }
    doors.app.pipeline.audit.close_log().unwrap();
    let records = fastmcp_audit::read(&doors.app.config.audit_dir, Filter::default()).unwrap();
    let records: Vec<_> = records.map(Result::unwrap).collect();
    for (_, path, action) in paths {
        let of_it = |record: &&Record| record.action == action;
        assert_eq!(records.iter().filter(of_it).count(), 1, "{path}");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Heard(Arc<std::sync::Mutex<String>>);

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut heard = self.0.lock().unwrap();
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                heard.push_str(&format!("{field}={value:?} "));
            },
        );
        heard.push('\n');
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn the_log_of_the_process_holds_no_secret_that_was_sent_as_a_name() {
    let heard = Heard::default();
    let _listening = tracing::subscriber::set_default(heard.clone());
    let doors = Doors::open(&[]).await;
    let secret = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    let invoke = ask(Method::POST, &format!("/tools/{secret}/invoke"), "{}");
    let (status, body) = doors.send(known(invoke)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    let heard = heard.0.lock().unwrap().clone();
    let line = heard.lines().find(|line| line.contains("tool.invoked"));
    assert!(
        line.is_some_and(|line| line.contains("[REDACTED]")),
        "{heard}"
    );
    assert!(!heard.contains(secret), "{heard}");
}
