//! The one thread that writes.
//!
//! INVARIANT: a record is acknowledged only after the file it stands in was synced without error.
//! INVARIANT: after an error a file is never written or synced again.

mod lines;
mod recovery;
mod signing;

use std::{any::Any, io, mem, sync::Arc, time::Duration};

use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value, json};

use self::lines::Lines;
use super::{
    Mode, Options, Receipt,
    company::Company,
    load::{Loaded, Tail, load},
    notary::Notary,
    queue::{Append, Request, Shared},
};
use crate::{
    checkpoint::Checkpoint,
    error::{AuditError, StorageError},
    hash::Hash,
    record::{
        ARCHIVED, Body, CLOSED, Draft, OPENED, RECOVERED, Sheet, Stamp, Status, moment, render,
    },
    segment::{Name, Survey, VOIDED, Void, day},
    storage::{Segment, Storage},
    walk::Cursor,
};

/// Bytes that may wait for a sync in buffered mode, however far off its time is: so much memory they take.
const MAX_UNSYNCED: usize = 8 << 20;

pub(super) struct Writer {
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    options: Arc<Options>,
    /// After all records written.
    cursor: Cursor,
    /// After all records that are durable.
    durable: Cursor,
    /// Records that are written and not yet durable.
    pending: u64,
    /// Knows all records that are durable.
    notary: Notary,
    open: Option<Open>,
    failure: Option<Failure>,
    /// What the next recovery record has to declare void.
    voids: Vec<Void>,
    /// A file that may exist and holds nothing durable.
    leftover: Option<Name>,
    /// Names of files that may be gone and must not be used again.
    spoken_of: Vec<Name>,
    checkpoint_tried: Timestamp,
    synced: Timestamp,
    sheet: Sheet,
    /// The lines that are written, and neither with the notary nor with the tap.
    untold: Lines,
    /// Released last.
    _lock: Box<dyn Any + Send>,
}

/// The file that is written.
struct Open {
    name: Name,
    file: Box<dyn Segment>,
    len: u64,
    durable: u64,
}

struct Failure {
    error: StorageError,
    tried: Timestamp,
}

impl Writer {
    /// Takes the lock, reads the log, and writes its first record of this run and a checkpoint.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        shared: Arc<Shared>,
        options: Options,
    ) -> Result<Self, AuditError> {
        let lock = storage.lock().map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return AuditError::Locked {
                    folder: storage.place(),
                };
            }
            AuditError::Storage(StorageError::new("lock", "lock", error))
        })?;
        let mut loaded = load(&*storage, &options)?;
        let options = Arc::new(options);
        let tree = (mem::take(&mut loaded.tree), mem::take(&mut loaded.tiles));
        let notary = Notary::start(
            Arc::clone(&storage),
            Arc::clone(&shared),
            Arc::clone(&options),
            tree,
        );
        let now = options.clock.now();
        let mut writer = Self {
            cursor: loaded.cursor,
            durable: loaded.cursor,
            pending: 0,
            notary: notary.map_err(AuditError::Storage)?,
            open: None,
            failure: None,
            voids: Vec::new(),
            leftover: None,
            spoken_of: loaded.spoken_of.clone(),
            checkpoint_tried: now,
            synced: now,
            sheet: Sheet::default(),
            untold: Lines::default(),
            _lock: lock,
            storage,
            shared,
            options,
        };
        writer.resume(loaded, now)?;
        writer.checkpoint()?;
        writer.shared.update(|health| health.ready = true);
        Ok(writer)
    }

    fn resume(&mut self, loaded: Loaded, now: Timestamp) -> Result<(), AuditError> {
        self.voids = loaded.voids;
        if let Some(Tail { name, len, .. }) = loaded.tail {
            let file = self.reopen(name, len).map_err(AuditError::Storage)?;
            if self.voids.is_empty() {
                self.open = Some(Open {
                    name,
                    file,
                    len,
                    durable: len,
                });
            }
        }
        let (action, cause) = if loaded.closed && self.voids.is_empty() {
            (OPENED, None)
        } else {
            (RECOVERED, Some("the log was not closed in good order"))
        };
        if let Err(error) = self.note_event(now, action, cause.map(str::to_owned)) {
            // A process that is started again and again must not leave a file each time.
            self.fail(error.clone(), now);
            let _ = self.clear_leftover();
            return Err(AuditError::Storage(error));
        }
        self.speak_of_voids();
        Ok(())
    }

    /// Opens a file of an earlier run, all of which is on the disk but for its length.
    fn reopen(&self, name: Name, len: u64) -> Result<Box<dyn Segment>, StorageError> {
        let name = name.to_string();
        let mut file = self
            .storage
            .resume(&name, len, len)
            .map_err(|error| StorageError::new("open", &name, error))?;
        file.sync()
            .map_err(|error| StorageError::new("sync", &name, error))?;
        Ok(file)
    }

    /// Writes until the log is closed.
    pub(super) fn run(mut self) -> Result<(), AuditError> {
        // However this ends, nobody must wait for ever.
        let _ended = Ended(Arc::clone(&self.shared));
        let mut company = Company::new(self.options.gather);
        loop {
            let batch = self.shared.take(self.options.batch, self.idle(), &company);
            if let Some(meanwhile) = self.commit(batch.appends) {
                company.learn(batch.gathered, meanwhile);
            }
            for request in batch.requests {
                match request {
                    Request::Checkpoint(ack) => self.ask(ack),
                    Request::Archive(details, ack) => ack.complete(self.archive(details)),
                }
            }
            self.routine();
            if batch.last {
                return self.finish();
            }
        }
    }

    /// Returns how long the writer may wait for work.
    fn idle(&self) -> Option<Duration> {
        let retry = self
            .failure
            .is_some()
            .then_some(self.options.retry_interval);
        let sync = (self.pending > 0).then_some(self.options.sync_interval);
        let standing = self.notary.standing();
        let unsigned = self.durable.next > standing.signed || standing.failure.is_some();
        let checkpoint = unsigned.then_some(self.options.checkpoint_interval);
        [retry, sync, checkpoint].into_iter().flatten().min()
    }

    /// Writes and answers. Returns how many came before anybody was answered, if anything was written.
    fn commit(&mut self, appends: Vec<Append>) -> Option<usize> {
        if appends.is_empty() {
            return None;
        }
        if let Err(error) = self.writable() {
            self.refuse(appends, &error);
            return None;
        }
        let strict = self.options.mode == Mode::Strict;
        let now = self.options.clock.now();
        let written = self
            .write(now, appends.iter().map(|append| &append.body))
            .and_then(|receipts| {
                if strict || self.untold.len() >= MAX_UNSYNCED {
                    self.flush()?;
                }
                Ok(receipts)
            });
        match written {
            Ok(receipts) => {
                let meanwhile = self.shared.waiting();
                for (append, receipt) in appends.into_iter().zip(receipts) {
                    if let Some(ack) = append.ack {
                        ack.complete(Ok(receipt));
                    }
                }
                // Nobody waits for this.
                if self.pending == 0 {
                    self.settle();
                }
                Some(meanwhile)
            }
            Err(error) => {
                self.fail(error.clone(), now);
                self.refuse(appends, &AuditError::Storage(error));
                // The first try does not wait.
                let _ = self.recover(now);
                None
            }
        }
    }

    /// Tells whether records can be written, after a try to make it so.
    fn writable(&mut self) -> Result<(), AuditError> {
        self.notary.keeps_up(self.durable.next)?;
        self.retry().map_err(AuditError::Unavailable)
    }

    /// Answers with an error. In buffered mode the answer was another one, so it is a loss.
    fn refuse(&self, appends: Vec<Append>, error: &AuditError) {
        if self.options.mode == Mode::Buffered {
            let lost = appends.len() as u64;
            self.shared.update(|health| health.lost += lost);
        }
        for append in appends {
            if let Some(ack) = append.ack {
                ack.complete(Err(error.clone()));
            }
        }
    }

    /// Writes records to the file of their day, without syncing it.
    fn write<'b>(
        &mut self,
        now: Timestamp,
        bodies: impl Iterator<Item = &'b Body>,
    ) -> Result<Vec<Receipt>, StorageError> {
        self.turn_to(day(now))?;
        let Some(open) = &mut self.open else {
            return Err(missing());
        };
        let mut cursor = self.cursor;
        let mut receipts = Vec::with_capacity(bodies.size_hint().0);
        let ts = moment(now);
        let before = self.untold.len();
        for body in bodies {
            let stamp = Stamp {
                seq: cursor.next,
                ts: &ts,
                instance: &self.options.instance,
                prev_hash: cursor.prev,
            };
            let event_hash = self.sheet.write(&stamp, body);
            self.untold.push(self.sheet.line());
            receipts.push(Receipt::Durable {
                seq: cursor.next,
                event_hash,
            });
            cursor = Cursor {
                next: cursor.next + 1,
                prev: event_hash,
            };
        }
        let lines = self.untold.after(before);
        open.file
            .append(lines)
            .map_err(|error| StorageError::new("append to", &open.name.to_string(), error))?;
        open.len += lines.len() as u64;
        self.cursor = cursor;
        self.pending += receipts.len() as u64;
        Ok(receipts)
    }

    /// Makes durable what was written.
    fn sync(&mut self) -> Result<(), StorageError> {
        self.flush()?;
        self.settle();
        Ok(())
    }

    /// The part of [`Self::sync`] that callers wait for; [`Self::settle`] is the other one.
    fn flush(&mut self) -> Result<(), StorageError> {
        if self.pending == 0 {
            return Ok(());
        }
        let Some(open) = &mut self.open else {
            return Err(missing());
        };
        open.file
            .sync()
            .map_err(|error| StorageError::new("sync", &open.name.to_string(), error))?;
        open.durable = open.len;
        self.durable = self.cursor;
        self.pending = 0;
        let size = self.durable.next;
        self.shared.update(|health| health.size = size);
        Ok(())
    }

    /// Tells the notary and the tap of what is durable, which is all that was written, and makes room for more.
    fn settle(&mut self) {
        self.notary.take_in(Hash::leaves(self.untold.iter()));
        if let Some(tap) = &self.options.tap {
            let texts = self
                .untold
                .iter()
                .filter_map(|line| str::from_utf8(line).ok());
            texts.for_each(|line| tap.durable(line));
        }
        self.untold.clear();
        if let Some(open) = &mut self.open {
            open.file.reserve();
        }
    }

    /// Opens a new file if the day has changed or the file is long enough.
    fn turn_to(&mut self, day: Date) -> Result<(), StorageError> {
        let fits = |open: &Open| open.name.day == day && open.len < self.options.segment_bytes;
        if self.open.as_ref().is_some_and(fits) {
            return Ok(());
        }
        self.turn(day)
    }

    fn turn(&mut self, day: Date) -> Result<(), StorageError> {
        self.sync()?;
        self.leave();
        let name = self.free_name(day)?;
        // If this fails the file may be there or not.
        self.leftover = Some(name);
        let text = name.to_string();
        let file = self
            .storage
            .create(&text)
            .map_err(|error| StorageError::new("create", &text, error))?;
        self.leftover = None;
        self.open = Some(Open {
            name,
            file,
            len: 0,
            durable: 0,
        });
        Ok(())
    }

    /// Is done with the file, all of which is durable.
    fn leave(&mut self) {
        if let Some(mut open) = self.open.take() {
            // Whoever reads knows room when it is left.
            let _ = open.file.trim();
        }
    }

    fn free_name(&self, day: Date) -> Result<Name, StorageError> {
        let mut names = self.names()?;
        // A name that is about to be declared void must not be used again, even if it is free.
        let voided = self.voids.iter();
        names.extend(voided.filter_map(|void| Name::strict(&void.segment)));
        names.extend(&self.spoken_of);
        Ok(Survey::free(&names, day))
    }

    fn names(&self) -> Result<Vec<Name>, StorageError> {
        let listed = self
            .storage
            .list()
            .map_err(|error| StorageError::new("list", ".", error))?;
        let names = listed.iter();
        Ok(names.filter_map(|(name, _)| Name::strict(name)).collect())
    }

    /// Writes a record of the log itself, durably.
    fn note_event(
        &mut self,
        now: Timestamp,
        action: &str,
        cause: Option<String>,
    ) -> Result<(), StorageError> {
        let mut details = Map::new();
        if let Some(last) = self.durable.next.checked_sub(1) {
            details.insert("last_acknowledged".to_owned(), last.into());
        }
        if let Some(cause) = cause {
            details.insert("cause".to_owned(), cause.into());
        }
        if !self.voids.is_empty() {
            let voids = self
                .voids
                .iter()
                .map(|void| json!({"segment": void.segment, "valid_bytes": void.valid_bytes}));
            details.insert(VOIDED.to_owned(), Value::Array(voids.collect()));
        }
        let draft = Draft {
            details: Some(details.into()),
            ..Draft::event(action, Status::Success)
        };
        let body = render(&draft)
            .map_err(|error| StorageError::new("write", action, io::Error::other(error)))?;
        self.write(now, std::iter::once(&body))?;
        self.sync()
    }

    /// Begins a file with a record that says what is taken away, and signs it.
    fn archive(&mut self, details: Map<String, Value>) -> Result<Checkpoint, AuditError> {
        self.retry().map_err(AuditError::Unavailable)?;
        let now = self.options.clock.now();
        let draft = Draft {
            details: Some(details.into()),
            ..Draft::event(ARCHIVED, Status::Success)
        };
        let body = render(&draft)?;
        let written = self
            .turn(day(now))
            .and_then(|()| self.write(now, std::iter::once(&body)))
            .and_then(|_| self.sync());
        if let Err(error) = written {
            self.fail(error.clone(), now);
            let _ = self.recover(now);
            return Err(AuditError::Storage(error));
        }
        self.checkpoint()
    }

    /// Does what is due from time to time.
    fn routine(&mut self) {
        let _ = self.retry();
        let now = self.options.clock.now();
        if elapsed(self.synced, now, self.options.sync_interval) {
            self.synced = now;
            if let Err(error) = self.sync() {
                self.fail(error, now);
                let _ = self.recover(now);
            }
        }
        self.sign_if_due(now);
    }

    /// Writes the closing record and the last checkpoint.
    fn finish(&mut self) -> Result<(), AuditError> {
        let now = self.options.clock.now();
        if self.failure.is_some() {
            self.recover(now).map_err(AuditError::Unavailable)?;
        }
        if let Err(error) = self.note_event(now, CLOSED, None) {
            self.fail(error.clone(), now);
            return Err(AuditError::Storage(error));
        }
        self.checkpoint()?;
        self.leave();
        Ok(())
    }
}

/// Tells the callers when the writer has ended, in a panic too.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Tells whether an interval has passed. A clock that was set back counts as passed.
fn elapsed(since: Timestamp, now: Timestamp, interval: Duration) -> bool {
    let passed = now.as_millisecond() - since.as_millisecond();
    u128::try_from(passed).map_or(true, |passed| passed >= interval.as_millis())
}

/// The file that was just opened is not there: cannot happen, and must not be a panic.
fn missing() -> StorageError {
    StorageError::new("append to", "audit", io::Error::other("no file is open"))
}
