//! What layers write into the log.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use fastmcp::{
    middleware::{
        DetailedTimingMiddleware, LoggingMiddleware, StructuredLoggingMiddleware, TimingMiddleware,
        log_tool_execution,
    },
    prelude::*,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Keeps what is logged by layers, a line per event: its level, then its fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !matches!(field.name(), "duration_ms") {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("fastmcp::middleware")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Adds.
#[tool]
async fn login(user: String, password: String) -> Result<String> {
    if password.is_empty() {
        return Err(Error::tool("no password"));
    }
    Ok(user)
}

async fn logged(server: FastMcp) -> (Log, Client) {
    let log = Log::default();
    let server = server.tool(login).build().unwrap();
    let client = Client::connect(&server).await.unwrap();
    (log, client)
}

fn arguments(password: &str) -> serde_json::Value {
    json!({"user": "ada", "password": password})
}

#[tokio::test]
async fn lines_for_people_have_no_secrets() {
    let logging = LoggingMiddleware::new()
        .include_payloads(true)
        .include_payload_length(true)
        .methods(["tools/call"])
        .log_level(Level::DEBUG);
    let (log, client) = logged(FastMcp::new("log").middleware(logging)).await;
    let _guard = tracing::subscriber::set_default(log.clone());
    client.list_tools().await.unwrap();
    client
        .call_tool("login", arguments("hunter2"))
        .await
        .unwrap();
    let lines = log.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let shown = arguments("[REDACTED]");
    assert_eq!(
        lines[0],
        format!(
            "DEBUG message=request tools/call from client `login` payload_length=35 payload={shown}"
        )
    );
    assert!(lines[1].starts_with("DEBUG message=tools/call completed in "));
    client.call_tool("login", arguments("")).await.unwrap_err();
    let lines = log.take();
    assert!(lines[1].starts_with("ERROR message=tools/call failed in "));
    assert!(lines[1].ends_with(" ms: no password"), "{}", lines[1]);
}

#[tokio::test]
async fn lines_for_programs_have_fields() {
    let logging = StructuredLoggingMiddleware::new()
        .include_payloads(true)
        .max_payload_length(10)
        .estimate_payload_tokens(true);
    let (log, client) = logged(FastMcp::new("log").middleware(logging)).await;
    let _guard = tracing::subscriber::set_default(log.clone());
    client
        .call_tool("login", arguments("hunter2"))
        .await
        .unwrap();
    let shown = format!("{}...", &arguments("[REDACTED]").to_string()[..10]);
    assert_eq!(
        log.take(),
        [
            format!(
                r#"INFO event="request_start" method="tools/call" source="client" message_type="request" target="login" subject="local" payload={shown:?} payload_tokens=8"#
            ),
            r#"INFO event="request_success" method="tools/call" target="login""#.to_owned(),
        ]
    );
    client.call_tool("login", arguments("")).await.unwrap_err();
    assert_eq!(
        log.take()[1],
        r#"ERROR event="request_error" method="tools/call" target="login" error_type="tool" error="no password""#
    );
}

#[tokio::test]
async fn one_tool_may_be_logged() {
    let quiet = fastmcp::ToolBuilder::new("quiet", |(), _| async {});
    let loud = fastmcp::ToolBuilder::new("loud", |(), _| async {}).middleware(log_tool_execution());
    let (log, client) = logged(FastMcp::new("log").tool(quiet).tool(loud)).await;
    let _guard = tracing::subscriber::set_default(log.clone());
    client.call_tool("quiet", json!({})).await.unwrap();
    assert!(log.take().is_empty());
    client.call_tool("loud", json!({})).await.unwrap();
    assert_eq!(log.take().len(), 2);
}

#[tokio::test]
async fn times_are_logged_by_method_or_by_name() {
    let server = FastMcp::new("log")
        .middleware(TimingMiddleware::new())
        .middleware(DetailedTimingMiddleware::new().log_level(Level::DEBUG));
    let (log, client) = logged(server).await;
    let _guard = tracing::subscriber::set_default(log.clone());
    client.call_tool("login", arguments("x")).await.unwrap();
    client.list_prompts().await.unwrap_err();
    client.call_tool("login", arguments("")).await.unwrap_err();
    let lines = log.take();
    let wanted = [
        ("DEBUG", r#"status="success" name="login""#, "tool took "),
        ("INFO", r#"status="success""#, "tools/call took "),
        ("INFO", r#"status="error""#, "prompts/list took "),
        ("DEBUG", r#"status="error" name="login""#, "tool took "),
        ("INFO", r#"status="error""#, "tools/call took "),
    ];
    assert_eq!(lines.len(), wanted.len(), "{lines:?}");
    for (line, (level, status, message)) in lines.iter().zip(wanted) {
        assert!(line.starts_with(level), "{line}");
        assert!(line.contains(status) && line.contains(message), "{line}");
    }
}
