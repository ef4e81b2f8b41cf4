//! Calls a tool of a server in the same process, many times, and says what a call cost in CPU.

use std::io::Write as _;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use fastmcp::{client::Client, prelude::*};

#[derive(Debug, Parser)]
#[command(about = "Calls a tool of a server in the same process; prints nanoseconds of CPU per call.")]
struct Options {
    /// Which tool is called: one that is async, or one that runs where it is called.
    #[arg(long, value_enum, default_value_t = Which::Add)]
    tool: Which,
    /// How often, after a tenth of that to warm up.
    #[arg(long, default_value_t = 100_000)]
    calls: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Add,
    AddInline,
}

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

/// Adds two numbers.
#[tool(inline)]
fn add_inline(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

/// Nanoseconds that this thread has run. Source: Linux, Documentation/scheduler/sched-stats.rst.
fn ran() -> anyhow::Result<u64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = told.split_whitespace().next();
    first
        .and_then(|nanos| nanos.parse().ok())
        .context("/proc/thread-self/schedstat is not as it was")
}

async fn call(client: &Client, tool: &str, calls: u32) -> anyhow::Result<()> {
    for nth in 0..calls {
        let sum = client.call_tool(tool, json!({"a": nth, "b": 3})).await?;
        ensure!(sum.data::<u32>()? == nth + 3, "{tool} does not add");
    }
    Ok(())
}

// One thread, so that its clock is that of the call.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let tool = match options.tool {
        Which::Add => "add",
        Which::AddInline => "add_inline",
    };
    let server = FastMcp::new("bench").tool(add).tool(add_inline).build()?;
    let client = Client::connect(&server).await?;
    call(&client, tool, options.calls / 10).await?;
    let before = ran()?;
    call(&client, tool, options.calls).await?;
    let nanos = (ran()? - before) / u64::from(options.calls.max(1));
    writeln!(std::io::stdout(), "{nanos}")?;
    Ok(())
}
