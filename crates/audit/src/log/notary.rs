//! Who signs: keeps the tree over what is durable, and writes its tiles and checkpoints while records go on being written.

use std::{
    io, mem,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use super::{Options, load::write_tiles, queue::Shared};
use crate::{
    ack::{Ack, Completer, pair},
    checkpoint::{self, Checkpoint},
    error::{AuditError, StorageError},
    hash::Hash,
    storage::Storage,
    tree::{Compact, tile::Tiles},
};

/// Durable records that no checkpoint covers yet; more wait for one, or are refused if none can be written: the tree must
/// not outgrow memory.
const MAX_UNSIGNED: u64 = 1 << 20;

/// The writer's end. Dropped, the thread has ended.
pub(super) struct Notary {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What was signed last, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Records that the last checkpoint covers.
    pub(super) signed: u64,
    /// Why the last try failed.
    pub(super) failure: Option<AuditError>,
    /// Whether a checkpoint is being written.
    pub(super) busy: bool,
}

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    /// Wakes the notary.
    work: Condvar,
    /// Wakes the writer, where it waits for a checkpoint that is late.
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Of the records that are durable and not in the tree yet.
    leaves: Vec<Hash>,
    asked: Vec<Completer<Checkpoint>>,
    due: bool,
    standing: Standing,
    ended: bool,
}

impl Notary {
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        shared: Arc<Shared>,
        options: Arc<Options>,
        (tree, tiles): (Compact, Tiles),
    ) -> Result<Self, StorageError> {
        let desk = Arc::new(Desk::default());
        let mut clerk = Clerk {
            desk: Arc::clone(&desk),
            storage,
            shared,
            options,
            tree,
            tiles,
        };
        let thread = thread::Builder::new()
            .name("audit-sign".to_owned())
            .spawn(move || clerk.run())
            .map_err(|error| StorageError::new("start the writer of", ".", error))?;
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    /// Takes the leaves of records that are durable, in their order.
    pub(super) fn take_in(&self, leaves: impl Iterator<Item = Hash>) {
        let mut leaves: Vec<_> = leaves.collect();
        self.desk.state().leaves.append(&mut leaves);
    }

    /// Asks for a checkpoint over what was taken in.
    pub(super) fn ask(&self, answer: Completer<Checkpoint>) {
        let mut state = self.desk.state();
        if state.ended {
            // Dropped unanswered it says so, and outside of the lock.
            drop(state);
            return;
        }
        state.asked.push(answer);
        drop(state);
        self.desk.work.notify_one();
    }

    /// As [`Self::ask`], and waits for it.
    pub(super) fn sign(&self) -> Result<Checkpoint, AuditError> {
        let (answer, ack): (_, Ack<Checkpoint>) = pair();
        self.ask(answer);
        ack.wait()
    }

    /// Has a checkpoint written that nobody waits for.
    pub(super) fn due(&self) {
        let mut state = self.desk.state();
        state.due = true;
        state.standing.busy = !state.ended;
        drop(state);
        self.desk.work.notify_one();
    }

    pub(super) fn standing(&self) -> Standing {
        self.desk.state().standing.clone()
    }

    /// Tells whether one more record may be written after `durable` ones; waits for a checkpoint that is late.
    ///
    /// # Errors
    ///
    /// If there are too many that no checkpoint covers, since none can be written: why not.
    pub(super) fn keeps_up(&self, durable: u64) -> Result<(), AuditError> {
        let late = |state: &mut State| {
            let standing = &state.standing;
            let unsigned = durable.saturating_sub(standing.signed);
            unsigned > MAX_UNSIGNED && standing.busy && !state.ended
        };
        let state = self.desk.state();
        let waited = self.desk.done.wait_while(state, late);
        let Standing {
            signed, failure, ..
        } = &waited.unwrap_or_else(PoisonError::into_inner).standing;
        match failure {
            Some(error) if durable.saturating_sub(*signed) > MAX_UNSIGNED => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.desk.end();
        if let Some(thread) = self.thread.take() {
            // One that ended in a panic has said so.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how it went, before anybody is answered.
    fn note(&self, result: &Result<Checkpoint, AuditError>, shared: &Shared) {
        let error = result.as_ref().err();
        let failure = error.map(|error| match error {
            AuditError::Storage(error) => error.full(),
            other => other.to_string(),
        });
        let mut state = self.state();
        let before = state.standing.signed;
        let signed = result.as_ref().map_or(before, |checkpoint| checkpoint.size);
        state.standing = Standing {
            signed,
            failure: error.cloned(),
            busy: false,
        };
        shared.update(|health| {
            health.checkpoint_failure = failure;
            health.checkpointed = signed;
        });
        drop(state);
        self.done.notify_all();
    }

    /// Nobody signs any more: answers whoever waits, by dropping the promise outside of the lock.
    fn end(&self) {
        let asked = {
            let mut state = self.state();
            state.ended = true;
            state.standing.busy = false;
            mem::take(&mut state.asked)
        };
        drop(asked);
        self.work.notify_all();
        self.done.notify_all();
    }
}

/// The one who signs, in a thread of its own.
struct Clerk {
    desk: Arc<Desk>,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    options: Arc<Options>,
    /// Over all records that were taken in.
    tree: Compact,
    tiles: Tiles,
}

/// Ends the desk with its clerk.
struct Closing(Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Clerk {
    fn run(&mut self) {
        let _closing = Closing(Arc::clone(&self.desk));
        while let Some((leaves, asked)) = self.next() {
            // Nothing is done with what a panic leaves behind: the thread ends.
            let worked = panic::catch_unwind(AssertUnwindSafe(|| self.sign(leaves)));
            let broken = worked.is_err();
            let result = worked.unwrap_or_else(|_| Err(panicked()));
            self.desk.note(&result, &self.shared);
            for answer in asked {
                answer.complete(result.clone());
            }
            if broken {
                return;
            }
        }
    }

    fn sign(&mut self, leaves: Vec<Hash>) -> Result<Checkpoint, AuditError> {
        for leaf in leaves {
            self.tree.push(leaf);
            self.tiles.push(leaf);
        }
        self.write()
    }

    /// Waits until a checkpoint is due or asked for, and takes what it is to cover.
    fn next(&self) -> Option<(Vec<Hash>, Vec<Completer<Checkpoint>>)> {
        let idle = |state: &mut State| !state.due && state.asked.is_empty() && !state.ended;
        let waited = self.desk.work.wait_while(self.desk.state(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return None;
        }
        state.due = false;
        state.standing.busy = true;
        Some((mem::take(&mut state.leaves), mem::take(&mut state.asked)))
    }

    /// Writes the tiles and then the checkpoint that relies on them.
    fn write(&mut self) -> Result<Checkpoint, AuditError> {
        write_tiles(&*self.storage, &mut self.tiles, true).map_err(AuditError::Storage)?;
        let (size, root) = (self.tree.size(), self.tree.root());
        let checkpoint = Checkpoint::sign(&self.options.signer, size, root)?;
        self.storage
            .replace(checkpoint::FILE, checkpoint.note.as_bytes())
            .map_err(|error| {
                AuditError::Storage(StorageError::new("write", checkpoint::FILE, error))
            })?;
        Ok(checkpoint)
    }
}

fn panicked() -> AuditError {
    let problem = io::Error::other("who signs ended in a panic; start the process again");
    AuditError::Storage(StorageError::new("sign", ".", problem))
}
