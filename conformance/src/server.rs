//! The server that the official conformance suite talks to: every fixture that it asks for, in both
//! eras, at one endpoint.
//!
//! Run with: `cargo run -p fastmcp-conformance -- --bind 127.0.0.1:3000`

mod app;
mod ask;
mod prompt;
mod resource;
mod skill;
mod task;
mod tool;

use std::net::SocketAddr;

use clap::Parser;
use fastmcp::{FastMcp, transport::http::HttpConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Serves the fixtures of the conformance suite, at `/mcp` or on standard input and output.
#[derive(Debug, Parser)]
#[command(name = "conformance-server")]
struct Options {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    bind: SocketAddr,
    /// Serve standard input and output instead.
    #[arg(long, conflicts_with = "bind")]
    stdio: bool,
}

#[tokio::main]
async fn main() -> fastmcp::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let server = FastMcp::new("fastmcp-conformance")
        .version(env!("CARGO_PKG_VERSION"))
        .instructions("Fixtures of the official conformance suite.");
    let server = tool::add(server);
    let server = ask::add(server);
    let server = task::add(server);
    let server = resource::add(server);
    let server = prompt::add(server);
    let server = app::add(server);
    let server = skill::add(server)?.build()?;

    if options.stdio {
        return server.serve_stdio().await;
    }
    let listener = TcpListener::bind(options.bind).await?;
    let address = listener.local_addr()?;
    #[expect(
        clippy::print_stdout,
        reason = "whoever started the server reads the port here"
    )]
    {
        println!("listening on http://{address}");
    }
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let serving = server.serve_http(listener, HttpConfig::default());
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.shutdown().cancel();
    };
    let (served, ()) = tokio::join!(serving, stopped);
    served?;
    Ok(())
}
