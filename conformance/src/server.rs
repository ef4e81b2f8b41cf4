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
use fastmcp::{
    FastMcp, Proxy, Server, ToolError, protocol::ProtocolVersion, transport::http::HttpConfig,
};
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
    /// Stand in front of the server at this URL instead of having fixtures: the suite must see no
    /// difference, whichever revision is spoken behind.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The revision that is spoken with the upstream; the newest that it knows where absent.
    #[arg(long, value_name = "REVISION", requires = "upstream")]
    upstream_revision: Option<String>,
}

/// The server with every fixture.
fn fixtures(base: FastMcp) -> fastmcp::Result<Server> {
    let server = base.instructions("Fixtures of the official conformance suite.");
    let server = tool::add(server);
    let server = ask::add(server);
    let server = task::add(server);
    let server = resource::add(server);
    let server = prompt::add(server);
    let server = app::add(server);
    skill::add(server)?.build()
}

/// The server in front of `upstream`.
async fn in_front(
    base: FastMcp,
    upstream: &str,
    revision: Option<&str>,
) -> fastmcp::Result<Server> {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    if let Some(revision) = revision {
        let known = ProtocolVersion::parse(revision);
        let unknown = || ToolError::new(format!("revision `{revision}` is not known"));
        client = client.revision(known.ok_or_else(unknown)?);
    }
    proxy.serve(client.connect_url(upstream).await?, base).await
}

#[tokio::main]
async fn main() -> fastmcp::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let base = FastMcp::new("fastmcp-conformance").version(env!("CARGO_PKG_VERSION"));
    let server = match &options.upstream {
        Some(upstream) => in_front(base, upstream, options.upstream_revision.as_deref()).await?,
        None => fixtures(base)?,
    };

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
