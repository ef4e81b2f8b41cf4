//! The log as its writers hold it.
//!
//! Callers render their records in their own threads and put them into a bounded queue; one thread
//! takes what is there, writes it at once, syncs once, and only then answers all of them.

mod company;
mod load;
mod notary;
mod options;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::{Span, civil::Date};

pub use options::{Clock, Mode, Options, Tap};

use crate::{
    ack::{Ack, pair},
    archive::{self, Archive, Retention},
    checkpoint::{self, Checkpoint},
    error::{AuditError, StorageError},
    hash::Hash,
    note::VerifierKey,
    record::Draft,
    segment,
    storage::{FileStorage, Storage},
};
use queue::{Append, Job, Request, Shared};
use writer::Writer;

/// An open log. Share it by reference or in an `Arc`; dropping it closes it.
pub struct Log {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    key: VerifierKey,
    clock: Clock,
    mode: Mode,
    writer: Mutex<Option<JoinHandle<Result<(), AuditError>>>>,
}

/// What an append is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receipt {
    /// The record is on the disk ([`Mode::Strict`]).
    Durable {
        /// Its sequence number.
        seq: u64,
        /// Its event hash.
        event_hash: Hash,
    },
    /// The record waits for the disk ([`Mode::Buffered`]).
    Queued,
}

/// How the log is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether records are taken and written.
    pub ready: bool,
    /// Why not, if a write failed and no new file could be opened yet.
    pub failure: Option<String>,
    /// Why the last checkpoint could not be written. Records are durable all the same.
    pub checkpoint_failure: Option<String>,
    /// Durable records.
    pub size: u64,
    /// Records that the last checkpoint covers.
    pub checkpointed: u64,
    /// Records that wait for the writer.
    pub queued: usize,
    /// Records refused because the queue was full, since the log was opened.
    pub refused: u64,
    /// Records acknowledged in [`Mode::Buffered`] and then not written, since the log was opened.
    pub lost: u64,
    /// Failed writes and syncs, since the log was opened.
    pub failures: u64,
    /// New files opened after a failure, since the log was opened.
    pub recoveries: u64,
}

impl Log {
    /// Opens the log in a folder, or begins one, and starts its writer.
    ///
    /// Reads the log from its last checkpoint to its end. A torn last line, as a crash leaves it,
    /// is declared void by a record; anything else that is wrong refuses the start.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`AuditError::Options`], [`AuditError::Locked`], [`AuditError::Damaged`] and
    /// [`AuditError::Storage`].
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self, AuditError> {
        Self::open_in(Arc::new(FileStorage::new(folder.as_ref())), options)
    }

    /// As [`Log::open`], on another disk.
    ///
    /// # Errors
    ///
    /// As [`Log::open`].
    pub fn open_in(storage: Arc<dyn Storage>, options: Options) -> Result<Self, AuditError> {
        options.check()?;
        let shared = Arc::new(Shared::new(&options));
        let (mode, clock, key) = (
            options.mode,
            options.clock.clone(),
            options.signer.verifier(),
        );
        let writer = Writer::start(Arc::clone(&storage), Arc::clone(&shared), options)?;
        let handle = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| {
                AuditError::Storage(StorageError::new("start the writer of", ".", error))
            })?;
        Ok(Self {
            shared,
            storage,
            key,
            clock,
            mode,
            writer: Mutex::new(Some(handle)),
        })
    }

    /// Hands a record to the writer; never blocks.
    ///
    /// The answer comes when the record is durable ([`Mode::Strict`]) or at once
    /// ([`Mode::Buffered`]). A record that was answered with an error is not in the log, or is
    /// declared void in it; only if the process ends before the log has recovered may it turn up
    /// as a record after all. It never had an effect, since nobody was told that it is durable.
    ///
    /// # Errors
    ///
    /// In the answer: [`AuditError::Draft`], [`AuditError::Full`], [`AuditError::Closed`],
    /// [`AuditError::Storage`] and [`AuditError::Unavailable`].
    pub fn append(&self, draft: &Draft) -> Ack<Receipt> {
        self.try_append(draft)
            .unwrap_or_else(|error| Ack::ready(Err(error)))
    }

    /// As [`Log::append`], but what can be refused at once is refused at once.
    ///
    /// # Errors
    ///
    /// [`AuditError::Draft`], [`AuditError::Full`] and [`AuditError::Closed`].
    pub fn try_append(&self, draft: &Draft) -> Result<Ack<Receipt>, AuditError> {
        self.append_timeout(draft, Duration::ZERO)
    }

    /// As [`Log::try_append`], but blocks up to `wait` for room in the queue.
    ///
    /// # Errors
    ///
    /// As [`Log::try_append`].
    pub fn append_timeout(
        &self,
        draft: &Draft,
        wait: Duration,
    ) -> Result<Ack<Receipt>, AuditError> {
        let body = draft.render()?;
        if self.mode == Mode::Buffered {
            self.shared
                .push(Job::Append(Append { body, ack: None }), wait)?;
            return Ok(Ack::ready(Ok(Receipt::Queued)));
        }
        let (completer, ack) = pair();
        let ack_to = Some(completer);
        self.shared
            .push(Job::Append(Append { body, ack: ack_to }), wait)?;
        Ok(ack)
    }

    /// Asks for a checkpoint over all records appended before.
    ///
    /// # Errors
    ///
    /// In the answer: [`AuditError::Closed`], [`AuditError::Full`], [`AuditError::Storage`],
    /// [`AuditError::Unavailable`] and [`AuditError::Signing`].
    pub fn checkpoint(&self) -> Ack<Checkpoint> {
        let (completer, ack) = pair();
        self.request(Request::Checkpoint(completer), ack)
    }

    fn request(&self, request: Request, ack: Ack<Checkpoint>) -> Ack<Checkpoint> {
        match self.shared.push(Job::Request(request), Duration::ZERO) {
            Ok(()) => ack,
            Err(error) => Ack::ready(Err(error)),
        }
    }

    /// Takes away the files whose records need not stay: whole files of whole days that a
    /// checkpoint covers, each of them checked against it, after a signed record that names them.
    ///
    /// What was interrupted before is finished, so this may be called again and again. Blocks on
    /// the disk; records are taken meanwhile.
    ///
    /// # Errors
    ///
    /// [`AuditError::Options`], [`AuditError::Storage`] and those of [`Log::checkpoint`];
    /// [`AuditError::Damaged`] if what would go is not what was signed. What was not taken away is
    /// still there.
    pub fn archive(&self, retention: &Retention) -> Result<Archive, AuditError> {
        if !(1..=36_500).contains(&retention.days) {
            return Err(AuditError::Options {
                option: "days",
                problem: "expected 1 to 36500".to_owned(),
            });
        }
        let (storage, to) = (&*self.storage, retention.to.as_deref());
        // Nothing is planned on the word of a note that this log did not sign.
        let signed = checkpoint::read(storage, Some(&self.key))?;
        let again = archive::left_over(storage, signed.size)?;
        for segment in &again {
            archive::take_away(storage, segment, to)?;
        }
        let today = segment::day(self.clock.now());
        let before = today
            .checked_sub(Span::new().days(i64::from(retention.days)))
            .unwrap_or(Date::MIN);
        let mut plan = archive::plan(storage, &signed, before)?;
        plan.again = again.len();
        if plan.files.is_empty() {
            return Ok(plan);
        }
        if let Some(folder) = to {
            for file in &plan.files {
                archive::copy(storage, &file.segment, folder)?;
            }
        }
        if plan.records() > 0 {
            let (completer, ack) = pair();
            let request = Request::Archive(plan.details(to.is_some()), completer);
            // Nothing goes before the record that says so is signed.
            self.request(request, ack).wait()?;
        }
        for file in &plan.files {
            archive::take_away(storage, &file.segment, to)?;
        }
        Ok(plan)
    }

    /// Returns the name of the log, under which its checkpoints are signed.
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// Returns how the log is doing; never blocks on the disk.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Takes no more records, writes those that wait, a closing record and a checkpoint.
    ///
    /// Blocks until the writer has ended. A second call returns at once.
    ///
    /// # Errors
    ///
    /// If not all of that could be written.
    pub fn close(&self) -> Result<(), AuditError> {
        self.shared.close();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match writer.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(AuditError::Unavailable(StorageError::new(
                "close",
                ".",
                io::Error::other("the writer ended in a panic"),
            ))),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Whoever wants to know calls `close`.
        let _ = self.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("mode", &self.mode)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
