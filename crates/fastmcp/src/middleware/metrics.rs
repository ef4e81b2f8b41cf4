//! How often tools are called and how long they take, for Prometheus.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastmcp_protocol::tool::CallToolResult;
use tokio::time::Instant;

use super::{CallTool, Middleware, MiddlewareContext, Next, Outcome};
use crate::error::Result;

/// Upper bounds of the buckets, in seconds: those that clients of Prometheus use unless told otherwise,
/// with two below, since a call may take microseconds.
const BOUNDS: [f64; 13] = [
    0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Tools that are told apart; those beyond count as `other`.
const MAX_TOOLS: usize = 1_000;

/// The name under which calls of tools count that there are none of, or too many.
const OTHER: &str = "other";

/// Counts calls of tools and measures how long they take.
///
/// `mcp_tool_calls_total`, `mcp_tool_errors_total` (calls that ended with an error, or a result that says
/// `isError`) and the histogram `mcp_tool_duration_seconds`, each by `tool_name`. Names that are no tools
/// count as `other`, so that callers cannot make up series. [`Self::encode`] writes them for Prometheus, at
/// whatever address serves it. Clones are one set of numbers.
///
/// ```
/// use fastmcp::{middleware::MetricsMiddleware, prelude::*};
///
/// # async fn example() -> Result<()> {
/// let metrics = MetricsMiddleware::new();
/// let server = FastMcp::new("counted")
///     .middleware(metrics.clone())
///     .build()?;
/// assert!(metrics.encode().contains("# TYPE mcp_tool_calls_total counter"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MetricsMiddleware {
    tools: Arc<RwLock<BTreeMap<String, Arc<Series>>>>,
}

/// The numbers of one tool.
#[derive(Debug, Default)]
struct Series {
    calls: AtomicU64,
    errors: AtomicU64,
    /// Those that took at most as long as the bound of the same index, and longer than the one before.
    buckets: [AtomicU64; BOUNDS.len()],
    measured: AtomicU64,
    nanos: AtomicU64,
}

impl Series {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let fits = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(bucket) = fits.and_then(|index| self.buckets.get(index)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.measured.fetch_add(1, Ordering::Relaxed);
    }
}

impl MetricsMiddleware {
    /// Begins at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often the tool was called.
    #[must_use]
    pub fn calls(&self, tool: &str) -> u64 {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools
            .get(tool)
            .map_or(0, |series| series.calls.load(Ordering::Relaxed))
    }

    /// The numbers in the text format of Prometheus, to be served as [`Self::CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    /// What [`Self::encode`] writes.
    ///
    /// Source: Prometheus, "Exposition formats", text format 0.0.4.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    fn write(&self, to: &mut String) -> fmt::Result {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let counters = [
            ("mcp_tool_calls_total", "Total tool calls"),
            ("mcp_tool_errors_total", "Total tool calls that failed"),
        ];
        for (index, (name, help)) in counters.into_iter().enumerate() {
            writeln!(to, "# HELP {name} {help}\n# TYPE {name} counter")?;
            for (tool, series) in &*tools {
                let count = if index == 0 {
                    &series.calls
                } else {
                    &series.errors
                };
                let count = count.load(Ordering::Relaxed);
                writeln!(to, "{name}{{tool_name=\"{}\"}} {count}", Escaped(tool))?;
            }
        }
        let name = "mcp_tool_duration_seconds";
        writeln!(
            to,
            "# HELP {name} Tool execution time\n# TYPE {name} histogram"
        )?;
        for (tool, series) in &*tools {
            let tool = Escaped(tool);
            let mut within = 0;
            for (bound, bucket) in BOUNDS.iter().zip(&series.buckets) {
                within += bucket.load(Ordering::Relaxed);
                writeln!(
                    to,
                    "{name}_bucket{{tool_name=\"{tool}\",le=\"{bound}\"}} {within}"
                )?;
            }
            // A call that ends meanwhile must not make the whole smaller than a part.
            let all = series.measured.load(Ordering::Relaxed).max(within);
            let seconds = Duration::from_nanos(series.nanos.load(Ordering::Relaxed)).as_secs_f64();
            writeln!(
                to,
                "{name}_bucket{{tool_name=\"{tool}\",le=\"+Inf\"}} {all}"
            )?;
            writeln!(to, "{name}_sum{{tool_name=\"{tool}\"}} {seconds}")?;
            writeln!(to, "{name}_count{{tool_name=\"{tool}\"}} {all}")?;
        }
        Ok(())
    }

    fn series(&self, tool: &str) -> Arc<Series> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = tools.get(tool) {
            return Arc::clone(series);
        }
        let is_full = tools.len() >= MAX_TOOLS;
        drop(tools);
        let name = if is_full { OTHER } else { tool };
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tools.entry(name.to_owned()).or_default())
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

impl Middleware for MetricsMiddleware {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        let name = context.message.component().map_or(OTHER, |c| c.key());
        let series = self.series(name);
        series.calls.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let answer = next.run(context).await;
        series.observe(start.elapsed());
        let failed = match &answer {
            Ok(Outcome::Complete(result)) => result.is_error,
            Ok(Outcome::InputRequired(_)) => false,
            Err(_) => true,
        };
        if failed {
            series.errors.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_prometheus() {
        let metrics = MetricsMiddleware::new();
        let series = metrics.series("a\"b\\c\n");
        series.calls.fetch_add(3, Ordering::Relaxed);
        for millis in [0, 3, 20_000] {
            series.observe(Duration::from_millis(millis));
        }
        let text = metrics.encode();
        let label = r#"tool_name="a\"b\\c\n""#;
        assert!(text.contains(&format!("mcp_tool_calls_total{{{label}}} 3\n")));
        assert!(text.contains(&format!(
            "mcp_tool_duration_seconds_bucket{{{label},le=\"0.0001\"}} 1\n"
        )));
        assert!(text.contains(&format!(
            "mcp_tool_duration_seconds_bucket{{{label},le=\"10\"}} 2\n"
        )));
        assert!(text.contains(&format!(
            "mcp_tool_duration_seconds_bucket{{{label},le=\"+Inf\"}} 3\n"
        )));
        assert!(text.contains(&format!(
            "mcp_tool_duration_seconds_sum{{{label}}} 20.003\n"
        )));
        assert!(text.contains(&format!("mcp_tool_duration_seconds_count{{{label}}} 3\n")));
    }

    #[test]
    fn series_are_bounded() {
        let metrics = MetricsMiddleware::new();
        for n in 0..MAX_TOOLS + 10 {
            metrics
                .series(&format!("tool{n}"))
                .calls
                .fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(metrics.calls(OTHER), 10);
        assert_eq!(metrics.tools.read().unwrap().len(), MAX_TOOLS + 1);
    }
}
