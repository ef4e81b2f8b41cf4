//! Calls a tool of a server in the same process, many times, and says what a call cost in CPU: plain, through
//! each built-in layer, beside layers that are around something else, and by hand without any of it.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

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
    /// Rounds, in each of which everything has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Calls of each turn, after a tenth of that to warm up.
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
    /// This alone.
    #[arg(long)]
    only: Option<String>,
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
fn layers() -> Vec<(&'static str, Layer)> {
    let roomy = SlidingWindowRateLimitingMiddleware::new(1_000_000, Duration::from_secs(1));
    vec![
        ("nothing", Nothing.into_layer()),
        ("audit", AuditMiddleware::new(drop).into_layer()),
        ("auth", AuthMiddleware::new(|_, _| Ok(())).into_layer()),
        ("caching", ResponseCachingMiddleware::new().into_layer()),
        (
            "circuit-breaker",
            CircuitBreakerMiddleware::new().into_layer(),
        ),
        (
            "concurrency",
            ConcurrencyLimitMiddleware::new(64).into_layer(),
        ),
        (
            "detailed-timing",
            DetailedTimingMiddleware::new().into_layer(),
        ),
        (
            "error-handling",
            ErrorHandlingMiddleware::new().into_layer(),
        ),
        ("logging", LoggingMiddleware::new().into_layer()),
        ("metrics", MetricsMiddleware::new().into_layer()),
        ("ping", PingMiddleware::new().into_layer()),
        ("rate", RateLimitingMiddleware::new(1e9).into_layer()),
        (
            "rbac",
            RbacMiddleware::new()
                .role("any", ["*"])
                .default_role("any")
                .into_layer(),
        ),
        (
            "response-limit",
            ResponseLimitingMiddleware::new().into_layer(),
        ),
        ("retry", RetryMiddleware::new().into_layer()),
        ("sanitise", SanitiseMiddleware::new().into_layer()),
        ("sliding-window", roomy.into_layer()),
        ("state", StateManagementMiddleware::new().into_layer()),
        (
            "structured-logging",
            StructuredLoggingMiddleware::new().into_layer(),
        ),
        ("timing", TimingMiddleware::new().into_layer()),
    ]
}

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

/// Everything that has a turn, by its name.
async fn ways() -> anyhow::Result<Vec<(String, Way)>> {
    let new = || FastMcp::new("bench");
    let elsewhere = (0..10).fold(new(), |server, _| server.middleware(Elsewhere));
    let mut ways = vec![
        ("by-hand".to_owned(), Way::ByHand(ByHand::new())),
        ("add".to_owned(), Way::tool(new(), "add").await?),
        (
            "add-inline".to_owned(),
            Way::tool(new(), "add_inline").await?,
        ),
        (
            "ten-elsewhere".to_owned(),
            Way::tool(elsewhere, "add").await?,
        ),
    ];
    for (name, layer) in layers() {
        let server = new().middleware(layer);
        ways.push((format!("layer:{name}"), Way::tool(server, "add").await?));
    }
    Ok(ways)
}

/// Nanoseconds that this thread has run. Source: Linux, Documentation/scheduler/sched-stats.rst.
fn ran() -> anyhow::Result<u64> {
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
    let mut ways = ways().await?;
    if let Some(only) = &options.only {
        ways.retain(|(name, _)| name == only);
    }
    if ways.is_empty() {
        bail!("nothing is called so");
    }
    for (_, way) in &ways {
        way.call(options.calls / 10).await?;
    }
    let mut took: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for _ in 0..options.rounds {
        // Side by side, so that what else the machine does falls on all of them.
        for (name, way) in &ways {
            let before = ran()?;
            way.call(options.calls).await?;
            let nanos = (ran()? - before) / u64::from(options.calls.max(1));
            took.entry(name).or_default().push(nanos);
        }
    }
    writeln!(std::io::stdout(), "{}", json!(took))?;
    Ok(())
}
