//! What is asked of other servers.

use std::time::Duration;

use fastmcp_protocol::Method;
use tokio::time::Instant;
use tracing::{Instrument as _, Level, Span, field::Empty};

use super::{METRICS, SPANS, about::OTHER};
use crate::error::{Error, ErrorKind, Result};

/// One request to another server.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) version: &'static str,
    /// The tool, the prompt or the resource that it is for.
    pub(crate) target: Option<&'a str>,
    pub(crate) over_http: bool,
}

impl Asked<'_> {
    /// Makes the request within a span of its own.
    pub(crate) async fn observe<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (span, begun) = (self.span(), Instant::now());
        let outcome = work.instrument(span.clone()).await;
        let error = outcome.as_ref().err().map(kind);
        if let (Some(kind), Err(error)) = (&error, &outcome) {
            span.record("error.type", kind);
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", error.message());
        }
        self.measure(begun.elapsed(), error.as_deref());
        outcome
    }

    fn of(&self, method: Method) -> Option<&str> {
        self.target.filter(|_| self.method == method.as_str())
    }

    fn method(&self) -> &'static str {
        Method::parse(self.method).map_or(OTHER, Method::as_str)
    }

    fn operation(&self) -> Option<&'static str> {
        self.of(Method::ToolsCall).map(|_| "execute_tool")
    }

    const fn transport(&self) -> &'static str {
        if self.over_http { "tcp" } else { "pipe" }
    }

    fn span(&self) -> Span {
        let (tool, prompt) = (self.of(Method::ToolsCall), self.of(Method::PromptsGet));
        let span = tracing::info_span!(
            target: SPANS,
            "mcp.client",
            otel.name = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_description = Empty,
            "error.type" = Empty,
            mcp.method.name = self.method(),
            mcp.protocol.version = self.version,
            mcp.resource.uri = self.of(Method::ResourcesRead),
            gen_ai.operation.name = self.operation(),
            gen_ai.tool.name = tool,
            gen_ai.prompt.name = prompt,
            network.transport = self.transport(),
            network.protocol.name = self.over_http.then_some("http"),
        );
        if !span.is_disabled() {
            let name = match tool.or(prompt) {
                Some(target) => format!("{} {target}", self.method()),
                None => self.method().to_owned(),
            };
            span.record("otel.name", name);
        }
        span
    }

    fn measure(&self, took: Duration, error: Option<&str>) {
        tracing::event!(
            target: METRICS,
            Level::TRACE,
            histogram.mcp.client.operation.duration = took.as_secs_f64(),
            mcp.method.name = self.method(),
            mcp.protocol.version = self.version,
            gen_ai.operation.name = self.operation(),
            gen_ai.tool.name = self.of(Method::ToolsCall),
            gen_ai.prompt.name = self.of(Method::PromptsGet),
            network.transport = self.transport(),
            "error.type" = error,
        );
    }
}

/// Of what kind a failure is.
fn kind(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Protocol(code) => code.0.to_string(),
        ErrorKind::Timeout => "timeout".to_owned(),
        _ => OTHER.to_owned(),
    }
}

/// Measures a session that has ended, `error` where it did not end by itself.
pub(crate) fn session_ended(
    took: Duration,
    version: &'static str,
    over_http: bool,
    error: Option<&'static str>,
) {
    tracing::event!(
        target: METRICS,
        Level::TRACE,
        histogram.mcp.server.session.duration = took.as_secs_f64(),
        mcp.protocol.version = version,
        network.transport = if over_http { "tcp" } else { "pipe" },
        network.protocol.name = over_http.then_some("http"),
        "error.type" = error,
    );
}
