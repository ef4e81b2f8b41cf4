//! Running a server for the whole life of a program.

use std::net::SocketAddr;

use fastmcp_transport::http::HttpConfig;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{FastMcp, Server};
use crate::error::{Error, Result};

/// By which door a server is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// Standard input and output, for the process that started this one.
    #[default]
    Stdio,
    /// Streamable HTTP at an address; port 0 stands for any that is free.
    Http(SocketAddr),
}

impl FastMcp {
    /// Builds the server and serves standard input and output.
    ///
    /// # Errors
    ///
    /// As [`Self::build`] and [`Server::serve_stdio`].
    ///
    /// # Cancel safety
    ///
    /// As [`Server::serve_stdio`].
    pub async fn run(self) -> Result<()> {
        self.run_with(Transport::Stdio).await
    }

    /// Builds the server and serves Streamable HTTP on `address`, at every path, with the routes that were added.
    ///
    /// # Errors
    ///
    /// As [`Self::build`] and [`Server::serve_http`], and when `address` cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// As [`Server::serve_http`].
    pub async fn run_http(self, address: SocketAddr) -> Result<()> {
        self.run_with(Transport::Http(address)).await
    }

    /// Builds the server and serves `transport`. Nothing is printed.
    ///
    /// # Errors
    ///
    /// As [`Self::build`] and [`Server::run`].
    ///
    /// # Cancel safety
    ///
    /// As [`Server::run`].
    pub async fn run_with(self, transport: Transport) -> Result<()> {
        self.build()?.run(transport, HttpConfig::default()).await
    }
}

impl Server {
    /// Serves `transport` until [`Self::shutdown`] fires, or input ends; `config` is for HTTP.
    ///
    /// # Errors
    ///
    /// As [`Self::serve_stdio`] and [`Self::serve_http`], and when the address cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::serve_stdio`] and [`Self::serve_http`].
    pub async fn run(&self, transport: Transport, config: HttpConfig) -> Result<()> {
        match transport {
            Transport::Stdio => self.serve_stdio().await,
            Transport::Http(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| {
                    Error::internal(format!("address {address} cannot be served: {error}"))
                })?;
                self.serve_http(listener, config).await
            }
        }
    }

    /// Ends the server in peace when the process is told to end, by SIGTERM or SIGINT, or Ctrl-C where there are
    /// no signals: [`Self::shutdown`] fires, calls may finish for 10 s, lifespans end. For binaries: from here on
    /// these signals do nothing else in this process.
    ///
    /// A process whose standard input is still open may wait for it after that, since a read of it cannot be
    /// taken back; hosts close it before they send a signal.
    ///
    /// # Errors
    ///
    /// When the system gives no signals.
    pub fn end_on_signals(&self) -> Result<()> {
        end_on_signals(self.shutdown().clone())
    }
}

#[cfg(unix)]
fn end_on_signals(shutdown: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    drop(TaskTracker::new().spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("told to end; calls may finish");
        shutdown.cancel();
    }));
    Ok(())
}

#[cfg(not(unix))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same form as where signals can be refused"
)]
fn end_on_signals(shutdown: CancellationToken) -> Result<()> {
    drop(TaskTracker::new().spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            Ok(()) = tokio::signal::ctrl_c() => {
                tracing::info!("told to end; calls may finish");
                shutdown.cancel();
            }
        }
    }));
    Ok(())
}
