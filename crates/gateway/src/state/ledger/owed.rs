//! Ends of operations that are not recorded yet, since the state was away.
//!
//! A caller waits for the record of its call only so long; what happened is worth more patience. An end can be recorded
//! while nobody else has ended the operation, also when recovery has called the outcome unknown meanwhile.
//!
//! A call that is not told whether its intent is recorded does not act. Its claim is given back or, where the intent is
//! recorded after all, its operation ends without effect: it must not become one of which nobody knows the outcome.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastmcp_guard::clock::Timestamp;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Ledger;
use crate::state::{
    StateError,
    machine::{Claim, Effect, Event, Refused, Status},
    operation::{Note, OperationId, Stepped},
    ticket::Lost,
};

/// How many are remembered.
const MOST: usize = 1_000;
/// How many bytes of results are remembered; what is beyond is recorded without its result.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// For how long one is tried.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long one try may take: a database has given up by then what it was asked.
const TRY: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 5 });
/// The pause between rounds: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How far ahead the clock of a replica may be that looks for leases which are over.
const SKEW: Duration = Duration::from_secs(10);

/// What is kept of an operation whose intent is recorded and whose call was not told so.
const NOT_TOLD: &str = "the state did not answer whether the call may act, so it did not act";

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) tenant: String,
    pub(crate) id: OperationId,
    /// What it is afterwards.
    pub(crate) status: Status,
    pub(crate) event: Event,
    pub(crate) note: Note,
    /// When recovery may have called it unknown.
    pub(crate) until: Timestamp,
    /// The claim that is given back instead, where its intent is not recorded.
    pub(crate) not_told: Option<Claim>,
}

impl End {
    /// Of a call that waits to be told whether it may act under `claim`, and does not act where it never is.
    pub(crate) fn not_told(tenant: &str, id: &OperationId, claim: &Claim) -> Self {
        let event = Event::Fail {
            claim: claim.clone(),
            effect: Effect::None,
        };
        Self {
            tenant: tenant.to_owned(),
            id: id.clone(),
            status: Status::Failed,
            event,
            note: Note::default(),
            until: Timestamp::UNIX_EPOCH,
            not_told: Some(claim.clone()),
        }
    }

    /// Gives back a claim that did not act, or fails what it intended. Where neither is possible nothing is owed.
    async fn undo(&self, ledger: &Ledger, claim: &Claim) -> Result<(), Lost> {
        let release = Event::Release {
            claim: claim.clone(),
        };
        let released = ledger.step(&self.tenant, &self.id, release, Note::default());
        let Stepped::Refused(Refused::Status(Status::Intended | Status::Unknown)) =
            released.await?
        else {
            return Ok(());
        };
        let note = Note {
            retain_until: Some(ledger.retain_until()),
            word: Some(word(ledger)?),
            ..ledger.detail(&self.id, NOT_TOLD)?
        };
        let failed = ledger.step(&self.tenant, &self.id, self.event.clone(), note);
        failed.await?;
        Ok(())
    }

    /// Records it, if that was not done before.
    async fn record(&self, ledger: &Ledger, is_repeated: bool) -> Result<(), Lost> {
        if let Some(claim) = &self.not_told {
            return self.undo(ledger, claim).await;
        }
        let (event, mut note) = (self.event.clone(), self.note.clone());
        let operation_id = self.id.clone();
        if is_repeated || ledger.now().saturating_add(SKEW) >= self.until {
            note.word = Some(word(ledger)?);
        }
        match ledger.step(&self.tenant, &self.id, event, note).await? {
            Stepped::Moved(_) | Stepped::Held => Ok(()),
            // Recorded by an attempt whose answer was lost: nobody else holds this claim.
            Stepped::Refused(Refused::Status(found)) if is_repeated && found == self.status => {
                Ok(())
            }
            Stepped::Refused(source) => Err(Lost::Taken {
                operation_id,
                source,
            }),
            Stepped::KeyTaken(_) | Stepped::Missing => Err(Lost::Gone { operation_id }),
        }
    }

    fn bytes(&self) -> usize {
        self.note.result_sealed.as_ref().map_or(0, Vec::len)
    }
}

/// A fresh name for what the log is to hear.
fn word(ledger: &Ledger) -> Result<OperationId, StateError> {
    OperationId::generate(ledger.now(), ledger.random())
}

/// Whether an end that met this may be recorded later: the state is away, or there is no room on its disk.
pub(crate) const fn may_pass(error: &StateError) -> bool {
    error.is_passing() || matches!(error, StateError::Write(_))
}

/// Ends that are not recorded yet.
#[derive(Default)]
pub(super) struct Owed {
    ends: Mutex<VecDeque<(End, Instant)>>,
    came: Notify,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(End, Instant)>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn add(&self, mut end: End, since: Instant) {
        let mut ends = self.lock();
        if ends.len() >= MOST || since.elapsed() >= LONGEST {
            drop(ends);
            let id = end.id.as_str();
            tracing::error!(operation_id = %id, "outcome of an operation was not recorded; recovery will mark it unknown");
            return;
        }
        let bytes: usize = ends.iter().map(|(end, _)| end.bytes()).sum();
        if bytes + end.bytes() > MOST_BYTES {
            end.note.result_sealed = None;
        }
        ends.push_back((end, since));
        drop(ends);
        self.came.notify_one();
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").field("ends", &self.len()).finish()
    }
}

/// An end until it is known to be recorded, or that it never will be: dropped before, it is tried later.
#[must_use = "dropped, it is tried later"]
pub(crate) struct Owing<'a> {
    ledger: &'a Ledger,
    end: Option<(End, Instant)>,
}

impl Owing<'_> {
    async fn record(&self, is_repeated: bool) -> Result<(), Lost> {
        match &self.end {
            Some((end, _)) => end.record(self.ledger, is_repeated).await,
            None => Ok(()),
        }
    }

    /// Nothing is owed any more.
    pub(crate) fn settle(mut self) {
        self.end = None;
    }
}

impl Drop for Owing<'_> {
    fn drop(&mut self) {
        if let Some((end, since)) = self.end.take() {
            self.ledger.inner.owed.add(end, since);
        }
    }
}

impl Ledger {
    /// An end that is recorded later unless it is settled.
    pub(crate) fn owing(&self, end: End) -> Owing<'_> {
        Owing {
            ledger: self,
            end: Some((end, Instant::now())),
        }
    }

    /// Records an end. While the state is away it is tried again, here for as long as a caller can wait
    /// ([`Options::recording`](super::Options::recording)), and after that, or dropped, by [`Self::record_late`].
    pub(crate) async fn end(&self, end: End) -> Result<(), Lost> {
        let operation_id = end.id.clone();
        let until = Instant::now() + self.inner.recording;
        let owing = self.owing(end);
        let (mut pause, longest) = PAUSE;
        let mut recorded = owing.record(false).await;
        loop {
            let source = match recorded {
                Err(Lost::State(source)) if may_pass(&source) => source,
                recorded => {
                    owing.settle();
                    return recorded;
                }
            };
            if !source.is_passing() || Instant::now() + pause >= until {
                return Err(Lost::Late {
                    operation_id,
                    source,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            let again = tokio::time::timeout_at(until, owing.record(true)).await;
            recorded = again.unwrap_or(Err(Lost::State(source)));
        }
    }

    /// Records what ended while the state was away, until `shutdown` fires.
    ///
    /// # Cancel safety
    ///
    /// Safe: what is not recorded yet is remembered.
    pub(crate) async fn record_late(&self, shutdown: CancellationToken) {
        let (first, longest) = PAUSE;
        let mut pause = first;
        let rounds = async {
            loop {
                if self.inner.owed.len() == 0 {
                    pause = first;
                    self.inner.owed.came.notified().await;
                    continue;
                }
                tokio::time::sleep(pause).await;
                self.record_owed().await;
                pause = (pause * 2).min(longest);
            }
        };
        let _ended = shutdown.run_until_cancelled(rounds).await;
    }

    /// Tries once to record what ended while the state was away.
    ///
    /// # Cancel safety
    ///
    /// Safe: what is not recorded yet is remembered.
    pub(crate) async fn record_owed(&self) {
        for _ in 0..self.inner.owed.len() {
            let end = self.inner.owed.lock().pop_front();
            let Some((end, since)) = end else { return };
            let id = end.id.clone();
            let owing = Owing {
                ledger: self,
                end: Some((end, since)),
            };
            match timeout(TRY, owing.record(true)).await {
                // One after the other would wait as long.
                Err(_) => return,
                Ok(Err(Lost::State(source))) if may_pass(&source) => {
                    if source.is_passing() {
                        return;
                    }
                }
                Ok(recorded) => {
                    owing.settle();
                    said(&id, recorded);
                }
            }
        }
    }
}

fn said(id: &OperationId, recorded: Result<(), Lost>) {
    let id = id.as_str();
    match recorded {
        Ok(()) => tracing::info!(operation_id = %id, "outcome of an operation is recorded, late"),
        // A person was faster, it is kept no longer, or the state is not what it was.
        Err(error) => {
            tracing::error!(operation_id = %id, %error, "outcome of an operation cannot be recorded any more");
        }
    }
}
