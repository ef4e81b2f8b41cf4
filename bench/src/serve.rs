//! How every server of the bench starts and ends, so that none has an advantage there.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[derive(Debug, Parser)]
#[command(about = "Serves the tools `echo` and `add` at /mcp.")]
struct Options {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
}

/// Listens where the command line says, and prints `listening on http://ADDRESS`.
///
/// # Errors
///
/// When the address cannot be bound or standard output is closed.
///
/// # Cancel safety
///
/// Cancel safe: dropped, it listens nowhere.
pub async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(Options::parse().bind).await?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    Ok(listener)
}

/// Ends at SIGTERM or SIGINT.
///
/// # Errors
///
/// When a signal cannot be listened for.
///
/// # Cancel safety
///
/// Cancel safe: a signal that comes afterwards is for the next who listens.
pub async fn terminated() -> io::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
