//! A server that is a child process: messages on its standard input and output, a line each.
//!
//! The process gets a group of its own, so that what it started ends with it, and no environment
//! but what it is given. What it writes to standard error is kept, the last lines of it, and logged.
//!
//! Source: MCP 2026-07-28, basic/transports/stdio.

mod config;
mod group;
mod process;
mod stderr;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytestring::ByteString;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::config::{INHERITED, StdioWireConfig};
use self::{group::Group, stderr::Tail};
use super::{Incoming, Outgoing, Wire, WireError, WireKind, mux::Mux};

/// A way to a server that runs as a child process of ours.
///
/// Dropped, it kills the process and what that started; [`Wire::close`] is the friendly way: standard
/// input is closed, after a grace the group is asked to end (`SIGTERM`), after another it is killed.
/// A terminal's interrupt does not reach the process, since it is in a group of its own.
pub struct StdioWire {
    name: String,
    lines: mpsc::Sender<ByteString>,
    mux: Arc<Mux>,
    group: Arc<Group>,
    tail: Arc<Tail>,
    ends: Ends,
}

/// The end of a process, as it comes about.
#[derive(Clone, Debug, Default)]
struct Ends {
    /// Whether it is wanted on this side.
    wanted: Arc<AtomicBool>,
    /// Fires when it shall begin.
    begin: CancellationToken,
    /// Fires when the process is gone and everything that it said is read.
    done: CancellationToken,
}

impl StdioWire {
    /// Starts the process. Needs a Tokio runtime with input and output, and time.
    ///
    /// # Errors
    ///
    /// [`WireError::Unreachable`] where it does not start.
    pub fn spawn(config: &StdioWireConfig) -> Result<Self, WireError> {
        let name = config.name();
        let cannot = |reason: &dyn fmt::Display| {
            WireError::Unreachable(format!("process `{name}` does not start: {reason}"))
        };
        let mut child = config.command().spawn().map_err(|error| cannot(&error))?;
        let group = Arc::new(Group::of(&child));
        let mux = Arc::new(Mux::new(config.message_bytes));
        let tail = Arc::new(Tail::new(name.clone()));
        let ends = Ends::default();
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            group.kill();
            return Err(cannot(&"it has no standard streams"));
        };
        let (lines, written) = mpsc::channel(config::WAITING_LINES);
        let tasks = &config.tasks;
        tasks.spawn(process::write(written, stdin, ends.begin.clone()));
        let process = process::Process {
            name: name.clone(),
            child,
            group: Arc::clone(&group),
            grace: config.grace,
            ends: ends.clone(),
            mux: Arc::clone(&mux),
            tail: Arc::clone(&tail),
            output: tasks.spawn(process::read(
                stdout,
                Arc::clone(&mux),
                config.message_bytes,
                ends.begin.clone(),
            )),
            errors: tasks.spawn(stderr::read(stderr, Arc::clone(&tail))),
        };
        tasks.spawn(process.run());
        Ok(Self {
            name,
            lines,
            mux,
            group,
            tail,
            ends,
        })
    }

    /// The last lines that the process wrote to standard error, the oldest first: at most 100, each
    /// cut after 4 KiB.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.tail.lines()
    }

    async fn send(&self, body: ByteString) -> Result<(), WireError> {
        if self.ends.begin.is_cancelled() || self.lines.send(one_line(body)).await.is_err() {
            return Err(self.closed().await);
        }
        Ok(())
    }

    /// Why there is no process any more, once that is known: soon, since its end has begun.
    async fn closed(&self) -> WireError {
        if !self.ends.wanted.load(Ordering::Acquire) {
            self.ends.done.cancelled().await;
        }
        let reason = self.mux.closed();
        WireError::Closed(reason.unwrap_or_else(|| process::CLOSED.to_owned()))
    }
}

impl fmt::Debug for StdioWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioWire")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for StdioWire {
    fn drop(&mut self) {
        self.ends.wanted.store(true, Ordering::Release);
        self.group.kill();
        self.ends.begin.cancel();
    }
}

impl Wire for StdioWire {
    fn kind(&self) -> WireKind {
        WireKind::Stdio
    }

    fn request(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async move {
            let text = outgoing.text();
            let answer = self.mux.expect(outgoing.id)?;
            self.send(text).await?;
            Ok(answer.incoming())
        }
        .boxed()
    }

    fn notify(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<(), WireError>> {
        self.send(outgoing.text()).boxed()
    }

    fn listen(&self, _: HeaderMap) -> BoxFuture<'_, Result<Incoming, WireError>> {
        async { self.mux.listen() }.boxed()
    }

    fn close(&self, _: HeaderMap) -> BoxFuture<'_, ()> {
        async {
            self.ends.wanted.store(true, Ordering::Release);
            self.ends.begin.cancel();
            self.ends.done.cancelled().await;
        }
        .boxed()
    }
}

/// A message without line breaks: where JSON has them, they mean nothing.
fn one_line(body: ByteString) -> ByteString {
    if body.contains(['\n', '\r']) {
        return body.replace(['\n', '\r'], " ").into();
    }
    body
}
