//! Spans and metrics, and the trace that calls belong to.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
};

use fastmcp::{
    prelude::*,
    telemetry::{METRICS, SPANS},
    transport::http::HttpConfig,
};
use serde_json::Value;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context as LayerContext, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::{
    eras::{modern, send},
    http::{Running, call, modern as head},
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Divides.
#[tool]
async fn divide(a: i64, b: i64) -> Result<i64> {
    tracing::info!("dividing");
    a.checked_div(b)
        .ok_or_else(|| ToolError::new("division by zero").into())
}

/// Tells what trace it is called in.
#[tool]
async fn trace(ctx: Context) -> String {
    let meta = ctx.meta();
    let all = [&meta.traceparent, &meta.tracestate, &meta.baggage];
    all.map(|text| text.as_deref().unwrap_or("none").to_owned())
        .join(" ")
}

type Fields = BTreeMap<String, String>;

/// What is told of spans and events.
#[derive(Clone, Default)]
struct Told {
    /// The target that is wanted; every one where empty.
    only: &'static str,
    spans: Arc<Mutex<Vec<Fields>>>,
    events: Arc<Mutex<Vec<Fields>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.0
            .insert(field.name().to_owned(), text.trim_matches('"').to_owned());
    }
}

struct Place(usize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Told {
    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        self.only.is_empty() || metadata.target() == self.only
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Into(&mut fields));
        let mut spans = self.spans.lock().unwrap();
        context
            .span(id)
            .unwrap()
            .extensions_mut()
            .insert(Place(spans.len()));
        spans.push(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: LayerContext<'_, S>) {
        let span = context.span(id).unwrap();
        let place = span.extensions().get::<Place>().unwrap().0;
        record.record(&mut Into(&mut self.spans.lock().unwrap()[place]));
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        let within = context.event_span(event).map_or("none", |span| span.name());
        fields.insert("target".to_owned(), event.metadata().target().to_owned());
        fields.insert("within".to_owned(), within.to_owned());
        self.events.lock().unwrap().push(fields);
    }
}

impl Told {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    fn last(&self) -> Fields {
        self.spans.lock().unwrap().last().unwrap().clone()
    }

    fn measured(&self) -> Vec<Fields> {
        let events = self.events.lock().unwrap();
        let measured = events.iter().filter(|event| event["target"] == METRICS);
        measured.cloned().collect()
    }
}

fn server() -> Server {
    FastMcp::new("told")
        .tool(divide)
        .tool(trace)
        .build()
        .unwrap()
}

fn tool(name: &str, arguments: &Value, meta: &Value) -> Value {
    let mut message = modern(
        "tools/call",
        json!({"name": name, "arguments": arguments}),
        &json!({}),
    );
    for (key, value) in meta.as_object().unwrap() {
        message["params"]["_meta"][key] = value.clone();
    }
    message
}

#[track_caller]
fn has(fields: &Fields, wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        assert_eq!(
            fields.get(*name).map(String::as_str),
            Some(*value),
            "{name}: {fields:?}"
        );
    }
}

#[tokio::test]
async fn a_call_is_a_span_with_the_names_of_the_conventions() {
    let told = Told::default();
    let _listening = told.listen();
    let memory = server().memory();
    let trace = json!({"traceparent": PARENT, "tracestate": "rojo=1", "baggage": "user=ada"});
    let message = tool("divide", &json!({"a": 6, "b": 3}), &trace);
    send(&memory, message).await;
    let span = told.last();
    has(
        &span,
        &[
            ("otel.name", "tools/call divide"),
            ("otel.kind", "server"),
            ("mcp.method.name", "tools/call"),
            ("mcp.protocol.version", "2026-07-28"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "divide"),
            ("jsonrpc.request.id", "1"),
            ("network.transport", "pipe"),
            ("traceparent", PARENT),
            ("tracestate", "rojo=1"),
            ("baggage", "user=ada"),
        ],
    );
    assert!(!span.contains_key("error.type"), "{span:?}");
    // What a handler logs stands within it.
    let logged = told.events.lock().unwrap().clone();
    let logged = logged
        .iter()
        .find(|e| e.get("message").is_some_and(|m| m == "dividing"));
    assert_eq!(logged.unwrap()["within"], "mcp.server");
    let measured = told.measured();
    assert_eq!(measured.len(), 1);
    has(
        &measured[0],
        &[
            ("mcp.method.name", "tools/call"),
            ("gen_ai.tool.name", "divide"),
        ],
    );
    let seconds: f64 = measured[0]["histogram.mcp.server.operation.duration"]
        .parse()
        .unwrap();
    assert!((0.0..10.0).contains(&seconds));
}

#[tokio::test]
async fn failures_have_their_type() {
    let told = Told::default();
    let _listening = told.listen();
    let memory = server().memory();
    send(
        &memory,
        tool("divide", &json!({"a": 6, "b": 0}), &json!({})),
    )
    .await;
    has(
        &told.last(),
        &[("error.type", "tool_error"), ("otel.status_code", "ERROR")],
    );
    send(&memory, tool("never", &json!({}), &json!({}))).await;
    let span = told.last();
    has(
        &span,
        &[
            // Names that clients make up do not become names of spans.
            ("otel.name", "tools/call"),
            ("error.type", "-32602"),
            ("rpc.response.status_code", "-32602"),
            ("otel.status_description", "unknown tool `never`"),
        ],
    );
    assert!(!span.contains_key("gen_ai.tool.name"), "{span:?}");
    send(&memory, modern("made/up", json!({}), &json!({}))).await;
    has(
        &told.last(),
        &[
            ("otel.name", "_OTHER"),
            ("mcp.method.name", "_OTHER"),
            ("error.type", "-32601"),
        ],
    );
    send(
        &memory,
        tool("divide", &json!({"a": 6, "b": 1}), &json!({})),
    )
    .await;
    assert!(!told.last().contains_key("error.type"));
    let failed: Vec<_> = told
        .measured()
        .into_iter()
        .filter_map(|m| m.get("error.type").cloned())
        .collect();
    assert_eq!(failed, ["tool_error", "-32602", "-32601"]);
}

#[tokio::test]
async fn a_trace_that_is_none_is_left_out() {
    let told = Told::default();
    let _listening = told.listen();
    let memory = server().memory();
    let wrong = json!({"traceparent": "00-zz", "tracestate": "a=1", "baggage": "x".repeat(9000)});
    send(&memory, tool("divide", &json!({"a": 6, "b": 1}), &wrong)).await;
    let span = told.last();
    for field in ["traceparent", "tracestate", "baggage"] {
        assert!(!span.contains_key(field), "{span:?}");
    }
}

#[tokio::test]
async fn over_http_a_span_knows_the_client() {
    let told = Told::default();
    let _listening = told.listen();
    let running = Running::start(server(), HttpConfig::default()).await;
    let body = call("divide", &json!({"a": 6, "b": 3}));
    assert_eq!(running.send(&head("divide"), &body).await.0, 200);
    has(
        &told.last(),
        &[
            ("network.transport", "tcp"),
            ("network.protocol.name", "http"),
            ("client.address", "127.0.0.1"),
            ("jsonrpc.request.id", "7"),
        ],
    );
}

#[tokio::test]
async fn who_wants_metrics_alone_gets_no_spans_and_the_other_way_round() {
    for (only, spans, events) in [(SPANS, 1, 0), (METRICS, 0, 1), ("other", 0, 0)] {
        let told = Told {
            only,
            ..Told::default()
        };
        let _listening = told.listen();
        tracing::callsite::rebuild_interest_cache();
        send(
            &server().memory(),
            tool("divide", &json!({"a": 6, "b": 3}), &json!({})),
        )
        .await;
        assert_eq!(told.spans.lock().unwrap().len(), spans, "{only}");
        assert_eq!(told.measured().len(), events, "{only}");
    }
    assert!(!tracing::enabled!(target: SPANS, Level::INFO));
}

#[tokio::test]
async fn what_a_client_asks_is_a_span_of_its_own_that_the_server_can_be_told_of() {
    const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
    let told = Told::default();
    let _listening = told.listen();
    let server = server();
    let write = |span: &tracing::Span| {
        // What is agreed on first belongs to no request of ours.
        if span.metadata().is_none_or(|m| m.name() != "mcp.client") {
            return HashMap::new();
        }
        let fields = [
            ("traceparent", OWN),
            ("tracestate", "own=1"),
            ("other", "x"),
        ];
        let owned = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        HashMap::from(owned)
    };
    let client = Client::builder().trace_context(write);
    let client = client.connect_server(&server).await.unwrap();
    let traced = client.call_tool("trace", json!({})).await.unwrap();
    assert_eq!(traced.text(), format!("{OWN} own=1 none"));
    let of_client = |method: &str| {
        let spans = told.spans.lock().unwrap();
        let mut of_client = spans
            .iter()
            .rev()
            .filter(|span| span["otel.kind"] == "client");
        let found = of_client.find(|span| span["mcp.method.name"] == method);
        found.unwrap().clone()
    };
    has(
        &of_client("tools/call"),
        &[
            ("otel.name", "tools/call trace"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "trace"),
            ("mcp.protocol.version", "2026-07-28"),
            ("network.transport", "pipe"),
        ],
    );
    let measured = || {
        let mut all = told.measured().into_iter();
        let last = all.rfind(|m| m.contains_key("histogram.mcp.client.operation.duration"));
        last.unwrap()
    };
    has(&measured(), &[("gen_ai.tool.name", "trace")]);
    assert!(!measured().contains_key("error.type"));
    client.call_tool("never", json!({})).await.unwrap_err();
    let failed = [("error.type", "-32602"), ("otel.status_code", "ERROR")];
    has(&of_client("tools/call"), &failed);
    has(&measured(), &failed[..1]);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_measured_when_they_end() {
    let told = Told::default();
    let _listening = told.listen();
    let ping = fastmcp::middleware::PingMiddleware::new();
    let server = FastMcp::new("sessions").middleware(ping).build().unwrap();
    let sessions = || {
        let all = told.measured().into_iter();
        all.filter(|m| m.contains_key("histogram.mcp.server.session.duration"))
            .collect::<Vec<_>>()
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let closed = server.memory();
    send(&closed, hello.clone()).await;
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
    assert!(sessions().is_empty());
    closed.close().await;
    let ended = sessions();
    assert_eq!(ended.len(), 1);
    has(
        &ended[0],
        &[
            ("histogram.mcp.server.session.duration", "7.0"),
            ("mcp.protocol.version", "2025-11-25"),
            ("network.transport", "pipe"),
        ],
    );
    assert!(!ended[0].contains_key("error.type"));
    // One whose client does not answer.
    let silent = server.memory();
    let mut stream = silent.listen();
    send(&silent, hello).await;
    while sessions().len() < 2 {
        let patience = std::time::Duration::from_secs(10);
        drop(tokio::time::timeout(patience, stream.next()).await);
    }
    has(&sessions()[1], &[("error.type", "timeout")]);
}

#[tokio::test]
async fn what_a_handler_asks_of_others_takes_the_trace_along() {
    let upstream = Client::connect(&server()).await.unwrap();
    let ask = move |(): (), _: Context| {
        let upstream = upstream.clone();
        async move {
            upstream
                .call_tool("trace", json!({}))
                .await
                .map(|r| r.text().to_owned())
        }
    };
    let server = FastMcp::new("between")
        .tool(fastmcp::ToolBuilder::new("ask", ask))
        .build()
        .unwrap();
    let memory = server.memory();
    let trace = json!({"traceparent": PARENT, "tracestate": "rojo=1", "baggage": "user=ada"});
    for (meta, told) in [
        (trace, format!("{PARENT} rojo=1 user=ada")),
        (json!({}), "none none none".to_owned()),
    ] {
        let (_, answer) = send(&memory, tool("ask", &json!({}), &meta)).await;
        assert_eq!(
            answer["result"]["structuredContent"]["result"], told,
            "{answer}"
        );
    }
}
