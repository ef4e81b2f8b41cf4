//! Log lines, on stderr.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use fastmcp_gateway::config::{Config, LogFormat};
use tracing_subscriber::filter::LevelFilter;

/// Installs the subscriber that the configuration asks for.
pub(crate) fn install(config: &Config) -> anyhow::Result<()> {
    let level: LevelFilter = config
        .log_level
        .parse()
        .context("`LOG_LEVEL` is not a level")?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        // A line that cannot be written must not be told on stderr, where it could not be written: that is a panic.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let installed = match config.log_format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("log lines cannot be written: {error}"))
}
