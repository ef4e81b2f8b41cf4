//! Spans and metrics by the OpenTelemetry conventions, through `tracing`.
//!
//! Every request that a server answers, and every one that a [`Client`](crate::Client) makes, is a span at level info
//! of target [`SPANS`], and every duration, that of a session among them, an event at level trace of target
//! [`METRICS`]. Nothing is made, read or formatted where no subscriber wants the target.
//!
//! Libraries install no exporter; a binary bridges `tracing` to OpenTelemetry with the crate
//! `tracing-opentelemetry`: its layer makes spans of ours, by their fields `otel.name`, `otel.kind` and
//! `otel.status_code`, and its `MetricsLayer` makes histograms of `histogram.mcp.server.operation.duration`,
//! `histogram.mcp.client.operation.duration` and `histogram.mcp.server.session.duration`. The
//! trace that a client began stands in the fields `traceparent`, `tracestate` and `baggage` of a span, as it came in
//! `_meta`; a layer that reads them there sets the parent.
//!
//! What a handler asks of other servers with a [`Client`](crate::Client) takes that trace along by itself. A client
//! whose own span shall be the parent there is told how to write it down:
//! [`ClientBuilder::trace_context`](crate::client::ClientBuilder::trace_context).
//!
//! Names: OpenTelemetry semantic conventions for generative AI, "Model Context Protocol" (development).

mod about;
mod asked;
mod trace;

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use fastmcp_protocol::{ErrorCode, RpcError};
use fastmcp_transport::{Call, Reply};
use tokio::time::Instant;
use tracing::{Level, Span, field::Empty};

pub(crate) use about::About;
pub(crate) use asked::{Asked, session_ended};
pub(crate) use trace::{carried, inherited};

/// The target of the spans of requests.
pub const SPANS: &str = "fastmcp::telemetry";
/// The target of the events that measure.
pub const METRICS: &str = "fastmcp::metrics";

/// Whether anybody wants spans or metrics.
pub(crate) fn is_wanted() -> bool {
    tracing::span_enabled!(target: SPANS, Level::INFO)
        || tracing::event_enabled!(target: METRICS, Level::TRACE)
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// With a JSON-RPC error.
    Rpc(ErrorCode, String),
    /// With a result that says so.
    Tool,
}

thread_local! {
    /// The failure of the request that this thread works on.
    static FAILURE: Cell<Option<Failure>> = const { Cell::new(None) };
}

/// Notes that the request that is worked on here is answered with an error.
pub(crate) fn failed(error: &RpcError) {
    if is_wanted() {
        FAILURE.set(Some(Failure::Rpc(error.code, error.message.to_string())));
    }
}

/// Notes that the tool that is called here failed.
pub(crate) fn tool_failed() {
    if is_wanted() {
        FAILURE.set(Some(Failure::Tool));
    }
}

/// Answers one request within a span of its own.
pub(crate) fn observe(about: About, answer: impl FnOnce() -> Call) -> Call {
    let span = about.span();
    let mut failure = None;
    let call = within(&span, &mut failure, answer);
    Box::pin(Observed {
        about,
        span,
        failure,
        begun: Instant::now(),
        call,
    })
}

/// Runs `work` within `span`; how it failed is in `failure` afterwards.
fn within<R>(span: &Span, failure: &mut Option<Failure>, work: impl FnOnce() -> R) -> R {
    let before = FAILURE.replace(failure.take());
    let done = span.in_scope(work);
    *failure = FAILURE.replace(before);
    done
}

/// A request that is answered.
struct Observed {
    about: About,
    span: Span,
    failure: Option<Failure>,
    begun: Instant,
    call: Call,
}

impl Future for Observed {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let this = &mut *self;
        let call = &mut this.call;
        let polled = within(&this.span, &mut this.failure, || call.as_mut().poll(cx));
        if polled.is_ready() {
            this.end();
        }
        polled
    }
}

impl Observed {
    fn end(&self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let error = self.failure.as_ref().map(|failure| match failure {
            Failure::Rpc(code, _) => code.0.to_string(),
            Failure::Tool => "tool_error".to_owned(),
        });
        if let (Some(failure), Some(error)) = (&self.failure, &error) {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
            if let Failure::Rpc(_, message) = failure {
                self.span.record("rpc.response.status_code", error);
                self.span.record("otel.status_description", message);
            }
        }
        self.about.measure(seconds, error.as_deref());
    }
}

impl About {
    fn span(&self) -> Span {
        let span = tracing::info_span!(
            target: SPANS,
            "mcp.server",
            otel.name = Empty,
            otel.kind = "server",
            otel.status_code = Empty,
            otel.status_description = Empty,
            "error.type" = Empty,
            rpc.response.status_code = Empty,
            mcp.method.name = self.method,
            mcp.protocol.version = self.version,
            mcp.session.id = self.session.as_deref(),
            mcp.resource.uri = self.resource.as_deref(),
            gen_ai.operation.name = self.operation(),
            gen_ai.tool.name = self.tool.as_deref(),
            gen_ai.prompt.name = self.prompt.as_deref(),
            jsonrpc.request.id = self.id.as_deref(),
            network.transport = self.transport,
            network.protocol.name = self.protocol,
            client.address = self.address.map(tracing::field::display),
            traceparent = self.trace.parent(),
            tracestate = self.trace.state(),
            baggage = self.trace.baggage(),
        );
        if !span.is_disabled() {
            span.record("otel.name", self.name().as_str());
        }
        span
    }

    fn measure(&self, seconds: f64, error: Option<&str>) {
        tracing::event!(
            target: METRICS,
            Level::TRACE,
            histogram.mcp.server.operation.duration = seconds,
            mcp.method.name = self.method,
            mcp.protocol.version = self.version,
            gen_ai.operation.name = self.operation(),
            gen_ai.tool.name = self.tool.as_deref(),
            gen_ai.prompt.name = self.prompt.as_deref(),
            network.transport = self.transport,
            "error.type" = error,
        );
    }
}
