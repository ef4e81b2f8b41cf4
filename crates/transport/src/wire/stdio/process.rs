//! The tasks that look after one process.

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytestring::ByteString;
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Ends, group::Group, stderr::Tail};
use crate::{
    stdio::{Line, read_line},
    wire::{WireError, mux::Mux},
};

/// What is said once we have closed a wire.
pub(super) const CLOSED: &str = "it was closed on this side";

/// How long a process may take to die once it is killed, and its output to end after it.
const LAST: Duration = Duration::from_secs(2);

/// A process that runs.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) child: Child,
    pub(super) group: Arc<Group>,
    pub(super) grace: Duration,
    pub(super) ends: Ends,
    pub(super) mux: Arc<Mux>,
    pub(super) tail: Arc<Tail>,
    pub(super) output: JoinHandle<()>,
    pub(super) errors: JoinHandle<()>,
}

impl Process {
    /// Waits for the end of the process, or brings it about.
    pub(super) async fn run(mut self) {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = self.ends.begin.cancelled() => self.stop().await,
        };
        // What it started goes with it, and lets go of its output.
        self.group.finish();
        self.ends.begin.cancel();
        // What it said last is still to be read.
        for reading in [&mut self.output, &mut self.errors] {
            if timeout(LAST, &mut *reading).await.is_err() {
                reading.abort();
            }
        }
        let reason = self.reason(&status);
        tracing::debug!(server = %self.name, %reason, "process ended");
        self.mux.close(&reason);
        self.ends.done.cancel();
    }

    /// Ends the process: its input is closed already.
    async fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Ok(status) = timeout(self.grace, self.child.wait()).await {
            return status;
        }
        self.group.terminate();
        if cfg!(unix)
            && let Ok(status) = timeout(self.grace, self.child.wait()).await
        {
            return status;
        }
        self.group.kill();
        self.child.start_kill()?;
        timeout(LAST, self.child.wait())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    fn reason(&self, status: &io::Result<ExitStatus>) -> String {
        if self.ends.wanted.load(Ordering::Acquire) {
            return CLOSED.to_owned();
        }
        let (name, said) = (&self.name, self.tail.excerpt());
        match status {
            Ok(status) => format!("process `{name}` ended with {status}{said}"),
            Err(error) => format!("process `{name}` cannot be waited for: {error}{said}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The runtime may go before the process does.
        self.group.kill();
    }
}

/// Writes lines until there are no more or the end has begun; then input is closed.
pub(super) async fn write(
    mut lines: mpsc::Receiver<ByteString>,
    mut stdin: ChildStdin,
    begin: CancellationToken,
) {
    loop {
        let line = tokio::select! {
            // What was sent before the end is written.
            biased;
            line = lines.recv() => line,
            () = begin.cancelled() => None,
        };
        let Some(line) = line else { return };
        if let Err(error) = write_line(&mut stdin, &line).await {
            tracing::debug!(%error, "standard input cannot be written");
            begin.cancel();
            return;
        }
    }
}

async fn write_line(stdin: &mut ChildStdin, line: &str) -> io::Result<()> {
    stdin.write_all(line.as_bytes()).await?;
    stdin.write_all(b"\n").await?;
    stdin.flush().await
}

/// Reads messages until output ends, which is the beginning of the end of the process.
pub(super) async fn read(
    stdout: ChildStdout,
    mux: Arc<Mux>,
    limit: usize,
    begin: CancellationToken,
) {
    let mut input = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match read_line(&mut input, &mut line, limit).await {
            Ok(Line::Text) => match ByteString::try_from(line) {
                Ok(message) => mux.deliver(message).await,
                Err(_) => tracing::warn!("the server sent a line that is not UTF-8"),
            },
            Ok(Line::TooLong) => mux.fail(|| {
                WireError::Unreadable(format!("a line of it is longer than {limit} bytes"))
            }),
            Ok(Line::End) => break,
            Err(error) => {
                tracing::debug!(%error, "standard output cannot be read");
                break;
            }
        }
    }
    begin.cancel();
}
