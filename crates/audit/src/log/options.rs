//! How a log is opened.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    error::AuditError,
    note::{Signer, VerifierKey},
};

const MAX_INSTANCE: usize = 128;
const MAX_GATHER: Duration = Duration::from_millis(10);

/// When an append is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// When the record is durable.
    #[default]
    Strict,
    /// When the record is queued. A crash loses what was queued or written within
    /// [`Options::sync_interval`]; what a failing disk loses is counted in
    /// [`Health::lost`](super::Health::lost).
    Buffered,
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Takes a function that returns the time.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// Returns the time in whole milliseconds, 1970 at the earliest.
    pub(super) fn now(&self) -> Timestamp {
        let milliseconds = (self.0)().as_millisecond().max(0);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Hears of every record of this run once it is durable, the log's own included.
///
/// Called by the writer's thread, on whose time everybody waits: hand the line on, and never block.
pub trait Tap: fmt::Debug + Send + Sync {
    /// One record, as it stands in the log, without its newline. They come in their order.
    fn durable(&self, line: &str);
}

/// How a log is opened.
///
/// # Defaults
///
/// See each field. Only the instance and the signer have none.
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// The replica, in every record: 1 to 128 of `A-Z a-z 0-9 . _ : / -`.
    pub instance: String,
    /// Signs the checkpoints; its name is the log's origin.
    pub signer: Signer,
    /// Former public keys whose checkpoint may still stand beside the log. None.
    pub trusted: Vec<VerifierKey>,
    /// The system's clock.
    pub clock: Clock,
    /// Strict: an audit that may lose records must be asked for.
    pub mode: Mode,
    /// Who hears of durable records. Nobody.
    pub tap: Option<Arc<dyn Tap>>,
    /// Records that may wait, 1 to 1,048,576. 65,536: about a second of a fast disk's work.
    pub queue_records: usize,
    /// Bytes that may wait, at least 65,536. 64 MiB.
    pub queue_bytes: usize,
    /// Records written and synced at once, 1 to 65,536. 4,096.
    pub batch: usize,
    /// The longest wait before a sync for others to share it with: at most 10 ms, 0 waits for nobody. 4 ms.
    ///
    /// It is waited for as many as wrote together last and came while that was synced, 200 µs at first, and longer only if
    /// these are at least four, and as long as it brings records. Who writes alone is never kept waiting. The longer, the
    /// fewer syncs, and the less CPU for a record; where CPU is plenty, 200 µs answers sooner.
    pub gather: Duration,
    /// Bytes after which a file is followed by another one of the same day, at least 65,536. 256 MiB.
    pub segment_bytes: u64,
    /// Records after which a checkpoint is due, at least 1. 16,384.
    pub checkpoint_records: u64,
    /// Time after which a checkpoint is due, 1 ms to 1 h. 1 s: nobody signed what came after it.
    pub checkpoint_interval: Duration,
    /// Time between two tries to open a new file after a failure, 1 ms to 1 h. 1 s.
    pub retry_interval: Duration,
    /// Time between two syncs in [`Mode::Buffered`], 1 ms to 1 h. 1 s.
    pub sync_interval: Duration,
}

impl Options {
    /// Returns the defaults.
    pub fn new(instance: impl Into<String>, signer: Signer) -> Self {
        let second = Duration::from_secs(1);
        Self {
            instance: instance.into(),
            signer,
            trusted: Vec::new(),
            clock: Clock::system(),
            mode: Mode::Strict,
            tap: None,
            queue_records: 1 << 16,
            queue_bytes: 1 << 26,
            batch: 1 << 12,
            gather: Duration::from_millis(4),
            segment_bytes: 1 << 28,
            checkpoint_records: 1 << 14,
            checkpoint_interval: second,
            retry_interval: second,
            sync_interval: second,
        }
    }

    pub(super) fn check(&self) -> Result<(), AuditError> {
        let wrong = |option, problem: &str| {
            Err(AuditError::Options {
                option,
                problem: problem.to_owned(),
            })
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
        if self.instance.is_empty()
            || self.instance.len() > MAX_INSTANCE
            || !self.instance.chars().all(plain)
        {
            return wrong(
                "instance",
                "expected 1 to 128 letters, digits or `.`, `_`, `:`, `/`, `-`",
            );
        }
        if !(1..=1 << 20).contains(&self.queue_records) {
            return wrong("queue_records", "expected 1 to 1048576");
        }
        if self.queue_bytes < 1 << 16 {
            return wrong("queue_bytes", "expected at least 65536");
        }
        if !(1..=1 << 16).contains(&self.batch) {
            return wrong("batch", "expected 1 to 65536");
        }
        if self.gather > MAX_GATHER {
            return wrong("gather", "expected at most 10 ms");
        }
        if self.segment_bytes < 1 << 16 {
            return wrong("segment_bytes", "expected at least 65536");
        }
        if self.checkpoint_records == 0 {
            return wrong("checkpoint_records", "expected at least 1");
        }
        let range = Duration::from_millis(1)..=Duration::from_secs(3600);
        for (option, interval) in [
            ("checkpoint_interval", self.checkpoint_interval),
            ("retry_interval", self.retry_interval),
            ("sync_interval", self.sync_interval),
        ] {
            if !range.contains(&interval) {
                return wrong(option, "expected 1 ms to 1 h");
            }
        }
        Ok(())
    }
}
