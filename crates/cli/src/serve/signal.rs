//! What the process is told from outside.

use std::convert::Infallible;

use anyhow::Context as _;
use fastmcp_gateway::app::App;
use tokio_util::sync::CancellationToken;

/// The exit code of a process that an interrupt ended: 128 and the number of SIGINT. Source: POSIX shells.
const INTERRUPTED: i32 = 130;

/// Signals, taken from the moment this is made.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

/// What a signal asks for.
enum Wish {
    End,
    Reload,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let take = |kind| signal(kind).context("signals cannot be taken");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            reload: take(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End,
            _ = self.terminate.recv() => Wish::End,
            _ = self.reload.recv() => Wish::Reload,
        }
    }
}

/// Elsewhere there is ctrl-c alone.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same form as where signals can be refused"
    )]
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Wish {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Wish::End,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Signals {
    /// Does what signals ask for, as long as it is polled: the first wish to end begins the shutdown, the second ends
    /// the process at once.
    pub(super) async fn obey(mut self, app: &App, shutdown: &CancellationToken) -> Infallible {
        loop {
            match self.next().await {
                Wish::Reload => {
                    // Reading files blocks; the outcome is logged and recorded there.
                    let _outcome = tokio::task::block_in_place(|| app.reload_policy());
                    let _outcome = tokio::task::block_in_place(|| app.reload_limits());
                    app.reload_keys();
                }
                Wish::End if shutdown.is_cancelled() => end_at_once(),
                Wish::End => {
                    tracing::info!("shutting down; calls may finish, a second signal ends at once");
                    shutdown.cancel();
                }
            }
        }
    }
}

#[expect(
    clippy::exit,
    reason = "asked for twice: not even the shutdown is waited for"
)]
fn end_at_once() -> ! {
    std::process::exit(INTERRUPTED)
}
