//! What the log did not take when it was to be recorded: kept in memory until it does.
//!
//! Where the log cannot be written, nothing is changed any more, but calls that read are answered, some are refused, and
//! what had begun ends. None of that is forgotten: it is recorded once the log is back, with `details.at` for when it
//! was. Of more than can be kept, and of what is left when the process ends, the number alone is told;
//! outcomes have room that nothing else takes.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fastmcp_audit::{Ack, AuditError, Draft, Phase, Receipt, Status};
use fastmcp_guard::clock::Timestamp;
use futures_util::FutureExt as _;
use serde_json::json;

use super::{Audit, rfc3339};

/// The most records that are kept.
const MOST: usize = 4_096;
/// The most bytes of them, about.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// One part in so many is for all that is no outcome: whoever is refused without end must not have it forgotten how calls ended that acted.
const PART: usize = 2;

/// What waits for the log.
#[derive(Debug, Default)]
pub(super) struct Late {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Refused by the log, the oldest first.
    waiting: VecDeque<Waiting>,
    /// What those take that are outcomes.
    outcomes: Room,
    /// What the others take.
    others: Room,
    /// Handed to the log by who did not wait for its answer.
    handed: VecDeque<(Timestamp, Draft, Ack<Receipt>)>,
    /// How many were not kept, and are not told of yet.
    untold: u64,
    /// How many were not kept, ever.
    dropped: u64,
}

/// A record that the log did not take.
#[derive(Debug)]
struct Waiting {
    at: Timestamp,
    draft: Draft,
    bytes: usize,
}

/// How much of what is bounded is taken.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    const fn with(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
        }
    }

    const fn without(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_sub(other.records),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    const fn fits_in(self, part: usize) -> bool {
        self.records <= MOST / part && self.bytes <= MOST_BYTES / part
    }
}

impl Waiting {
    fn new(at: Timestamp, draft: Draft) -> Self {
        let bytes = bytes_of(&draft);
        Self { at, draft, bytes }
    }

    const fn is_outcome(&self) -> bool {
        matches!(self.draft.phase, Phase::Outcome)
    }

    const fn room(&self) -> Room {
        Room {
            records: 1,
            bytes: self.bytes,
        }
    }
}

/// Counts what is written.
struct Counted(usize);

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// About what a record takes: as much as it is long when it is shown with all its fields.
fn bytes_of(draft: &Draft) -> usize {
    let mut counted = Counted(0);
    match write!(counted, "{draft:?}") {
        Ok(()) => counted.0,
        Err(fmt::Error) => MOST_BYTES,
    }
}

impl Kept {
    fn keep(&mut self, at: Timestamp, draft: Draft) {
        let one = Waiting::new(at, draft);
        let all = self.outcomes.with(self.others).with(one.room());
        let fits =
            all.fits_in(1) && (one.is_outcome() || self.others.with(one.room()).fits_in(PART));
        if fits {
            *self.room_of(&one) = self.room_of(&one).with(one.room());
            self.waiting.push_back(one);
        } else {
            self.drop_one();
        }
    }

    fn take_oldest(&mut self) -> Option<Waiting> {
        let one = self.waiting.pop_front()?;
        *self.room_of(&one) = self.room_of(&one).without(one.room());
        Some(one)
    }

    /// Puts the oldest one back; what came meanwhile may have taken its room.
    fn put_back(&mut self, one: Waiting) {
        *self.room_of(&one) = self.room_of(&one).with(one.room());
        self.waiting.push_front(one);
    }

    const fn room_of(&mut self, one: &Waiting) -> &mut Room {
        if one.is_outcome() {
            &mut self.outcomes
        } else {
            &mut self.others
        }
    }

    fn drop_one(&mut self) {
        self.untold += 1;
        self.dropped += 1;
    }

    /// Finds out what became of what was handed over.
    fn sort(&mut self) {
        for (at, draft, mut ack) in std::mem::take(&mut self.handed) {
            match (&mut ack).now_or_never() {
                Some(Ok(_)) => {}
                Some(Err(_)) => self.keep(at, draft),
                None => self.handed.push_back((at, draft, ack)),
            }
        }
    }
}

impl Late {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many records were not kept.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// What is the matter, if anything.
    pub(super) fn told(&self) -> Option<String> {
        let waiting = self.lock().waiting.len();
        (waiting > 0).then(|| format!("{waiting} records wait for the log"))
    }
}

impl Audit {
    /// Keeps a record that the log did not take.
    pub(super) fn keep(&self, draft: Draft) {
        let at = self.inner.clock.now();
        self.inner.late.lock().keep(at, draft);
    }

    /// Hands over a record that nobody waits for. What the log does not take is kept.
    pub(super) fn leave(&self, draft: Draft) {
        let at = self.inner.clock.now();
        let handed = self.hand_over(&draft);
        let mut kept = self.inner.late.lock();
        match handed {
            Ok(ack) => {
                kept.sort();
                if kept.handed.len() < MOST {
                    kept.handed.push_back((at, draft, ack));
                }
            }
            Err(_) => kept.keep(at, draft),
        }
    }

    /// Records what was kept, as far as the log takes it, and how many refusals at the door were not recorded.
    ///
    /// # Cancel safety
    ///
    /// Dropped, one record may be written, and written once more by the next look.
    pub async fn catch_up(&self) {
        self.tell_untold();
        self.inner.late.lock().sort();
        loop {
            let oldest = self.inner.late.lock().take_oldest();
            let Some(one) = oldest else {
                return self.tell_dropped().await;
            };
            match self.write_late(one.at, &one.draft).await {
                Ok(_) => {}
                // Nothing makes it fit, and it must not stand in the way of others.
                Err(AuditError::Draft { .. }) => self.inner.late.lock().drop_one(),
                Err(_) => {
                    self.inner.late.lock().put_back(one);
                    return;
                }
            }
        }
    }

    async fn write_late(&self, at: Timestamp, draft: &Draft) -> Result<Receipt, AuditError> {
        let mut draft = draft.clone();
        let details = draft.details.get_or_insert_default();
        details.text("at", &*rfc3339(at));
        self.hand_over(&draft)?.await
    }

    async fn tell_dropped(&self) {
        let untold = std::mem::take(&mut self.inner.late.lock().untold);
        if untold == 0 {
            return;
        }
        let mut draft = Draft::event("audit.unrecorded", Status::Failed);
        let details = draft.details.get_or_insert_default();
        details.put("records", &json!(untold));
        if self.append(&draft).await.is_err() {
            self.inner.late.lock().untold += untold;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(phase: Phase) -> Draft {
        let mut draft = Draft::event("tools.invoke", Status::Denied);
        draft.phase = phase;
        draft
    }

    fn keep(kept: &mut Kept, draft: Draft) {
        kept.keep(Timestamp::UNIX_EPOCH, draft);
    }

    #[test]
    fn refusals_leave_room_for_how_calls_ended() {
        let mut kept = Kept::default();
        for _ in 0..MOST {
            keep(&mut kept, draft(Phase::Event));
        }
        assert_eq!(kept.dropped, 2_048);
        for _ in 0..MOST {
            keep(&mut kept, draft(Phase::Outcome));
        }
        assert_eq!((kept.waiting.len(), kept.dropped), (MOST, MOST as u64));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let mut large = draft(Phase::Event);
        let details = large.details.get_or_insert_default();
        details.text("seen", &*"x".repeat(1024 * 1024));
        let mut kept = Kept::default();
        for _ in 0..20 {
            keep(&mut kept, large.clone());
        }
        assert_eq!((kept.waiting.len(), kept.dropped), (7, 13));
        large.phase = Phase::Outcome;
        for _ in 0..20 {
            keep(&mut kept, large.clone());
        }
        assert_eq!((kept.waiting.len(), kept.dropped), (15, 25));
    }
}
