//! Calls a tool of a server in the same process, many times, and says what a call cost in CPU: plain, through
//! one built-in layer, beside layers that are around something else, or by hand without any of it. One of them in
//! each process, as in a process of a user.

use std::{io::Write as _, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use fastmcp::{
    client::Client,
    middleware::{
        AuditMiddleware, AuthMiddleware, CircuitBreakerMiddleware, ConcurrencyLimitMiddleware,
        DetailedTimingMiddleware, ErrorHandlingMiddleware, IntoLayer, Layer, LoggingMiddleware,
        MetricsMiddleware, PingMiddleware, RateLimitingMiddleware, RbacMiddleware,
        ResponseCachingMiddleware, ResponseLimitingMiddleware, RetryMiddleware, SanitiseMiddleware,
        SlidingWindowRateLimitingMiddleware, StateManagementMiddleware,
        StructuredLoggingMiddleware, TimingMiddleware, prelude::*,
    },
    prelude::*,
};
use fastmcp_bench::by_hand::ByHand;

#[derive(Debug, Parser)]
#[command(
    about = "Calls a tool of a server in the same process; prints nanoseconds of CPU per call, round by round, as JSON."
)]
struct Options {
    /// What is called; without it, the names of all there is are printed.
    #[arg(long)]
    only: Option<String>,
    /// How often it has its turn.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Calls of each turn, after a tenth of that to warm up.
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
}

/// Adds two numbers.
#[tool(read_only)]
async fn add(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

/// Adds two numbers.
#[tool(inline, read_only)]
fn add_inline(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

/// A layer that is around prompts.
struct Elsewhere;

impl Middleware for Elsewhere {
    async fn on_get_prompt(
        &self,
        context: MiddlewareContext<GetPrompt>,
        next: Next<'_, GetPrompt>,
    ) -> Result<Outcome<GetPromptResult>> {
        next.run(context).await
    }
}

/// A layer that does nothing around calls of tools.
struct Nothing;

impl Middleware for Nothing {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        next.run(context).await
    }
}

/// Every built-in layer, with limits that nothing here comes near to.
const LAYERS: &[(&str, fn() -> Layer)] = &[
    ("nothing", || Nothing.into_layer()),
    ("audit", || AuditMiddleware::new(drop).into_layer()),
    ("auth", || AuthMiddleware::new(|_, _| Ok(())).into_layer()),
    ("caching", || ResponseCachingMiddleware::new().into_layer()),
    ("circuit-breaker", || {
        CircuitBreakerMiddleware::new().into_layer()
    }),
    ("concurrency", || {
        ConcurrencyLimitMiddleware::new(64).into_layer()
    }),
    ("detailed-timing", || {
        DetailedTimingMiddleware::new().into_layer()
    }),
    ("error-handling", || {
        ErrorHandlingMiddleware::new().into_layer()
    }),
    ("logging", || LoggingMiddleware::new().into_layer()),
    ("metrics", || MetricsMiddleware::new().into_layer()),
    ("ping", || PingMiddleware::new().into_layer()),
    ("rate", || RateLimitingMiddleware::new(1e9).into_layer()),
    ("rbac", || {
        let any = RbacMiddleware::new().role("any", ["*"]);
        any.default_role("any").into_layer()
    }),
    ("response-limit", || {
        ResponseLimitingMiddleware::new().into_layer()
    }),
    ("retry", || RetryMiddleware::new().into_layer()),
    ("sanitise", || SanitiseMiddleware::new().into_layer()),
    ("sliding-window", || {
        let second = Duration::from_secs(1);
        SlidingWindowRateLimitingMiddleware::new(1_000_000, second).into_layer()
    }),
    ("state", || StateManagementMiddleware::new().into_layer()),
    ("structured-logging", || {
        StructuredLoggingMiddleware::new().into_layer()
    }),
    ("timing", || TimingMiddleware::new().into_layer()),
];

/// What a layer's way is called before its name.
const LAYER: &str = "layer:";

/// An error of the framework, which is made for answers and is no `std` error.
fn told(error: fastmcp::Error) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

/// What is called in a turn.
enum Way {
    Tool(Client, &'static str),
    ByHand(ByHand),
}

impl Way {
    async fn tool(server: FastMcp, tool: &'static str) -> anyhow::Result<Self> {
        let server = server.tool(add).tool(add_inline).build().map_err(told)?;
        let client = Client::connect(&server).await.map_err(told)?;
        Ok(Self::Tool(client, tool))
    }

    async fn call(&self, calls: u32) -> anyhow::Result<()> {
        for _ in 0..calls {
            let sum = match self {
                Self::Tool(client, tool) => {
                    let arguments = json!({"a": 5, "b": 3});
                    let sum = client.call_tool(tool, arguments).await.map_err(told)?;
                    sum.data::<i64>().map_err(told)?
                }
                Self::ByHand(by_hand) => by_hand.call(&json!({"a": 5, "b": 3})).await?,
            };
            ensure!(sum == 8, "5 and 3 are not {sum}");
        }
        Ok(())
    }
}

/// The names of all ways.
fn names() -> Vec<String> {
    let plain = ["by-hand", "add", "add-inline", "ten-elsewhere"].map(str::to_owned);
    let layered = LAYERS.iter().map(|(name, _)| format!("{LAYER}{name}"));
    plain.into_iter().chain(layered).collect()
}

/// The way of this name, and nothing of the others: what they leave in the heap would cost it as well.
async fn way(name: &str) -> anyhow::Result<Way> {
    let server = FastMcp::new("bench");
    match name {
        "by-hand" => Ok(Way::ByHand(ByHand::new())),
        "add" => Way::tool(server, "add").await,
        "add-inline" => Way::tool(server, "add_inline").await,
        "ten-elsewhere" => {
            let layered = (0..10).fold(server, |server, _| server.middleware(Elsewhere));
            Way::tool(layered, "add").await
        }
        _ => {
            let layer = name.strip_prefix(LAYER);
            let found = LAYERS.iter().find(|(known, _)| Some(*known) == layer);
            let Some((_, layer)) = found else {
                bail!(
                    "nothing is called `{name}`; known are {}",
                    names().join(", ")
                );
            };
            Way::tool(server.middleware(layer()), "add").await
        }
    }
}

/// Nanoseconds that this thread has run. Source: Linux, Documentation/scheduler/sched-stats.rst.
fn ran() -> anyhow::Result<u64> {
    // The kernel counts at each tick, which is every 4 ms, and whenever a thread lets others run.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = told.split_whitespace().next();
    first
        .and_then(|nanos| nanos.parse().ok())
        .context("/proc/thread-self/schedstat is not as it was")
}

// One thread, so that its clock is that of the call.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let Some(name) = &options.only else {
        writeln!(std::io::stdout(), "{}", json!(names()))?;
        return Ok(());
    };
    let way = way(name).await?;
    way.call(options.calls / 10).await?;
    let mut took = Vec::new();
    for _ in 0..options.rounds {
        let before = ran()?;
        way.call(options.calls).await?;
        took.push((ran()? - before) / u64::from(options.calls.max(1)));
    }
    writeln!(std::io::stdout(), "{}", json!(took))?;
    Ok(())
}
