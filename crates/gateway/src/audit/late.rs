//! What the log did not take when it was to be recorded: kept in memory until it does.
//!
//! Where the log cannot be written, nothing is changed any more, but calls that read are answered, some are refused, and
//! what had begun ends. None of that is forgotten: it is recorded once the log is back, with `details.at` for when it
//! was. Of more than can be kept, and of what is left when the process ends, the number alone is told.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fastmcp_audit::{Ack, AuditError, Draft, Receipt, Status};
use fastmcp_guard::clock::Timestamp;
use futures_util::FutureExt as _;
use serde_json::json;

use super::{Audit, rfc3339};

/// The most records that are kept.
const MOST: usize = 4_096;

/// What waits for the log.
#[derive(Debug, Default)]
pub(super) struct Late {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Refused by the log, the oldest first.
    waiting: VecDeque<(Timestamp, Draft)>,
    /// Handed to the log by who did not wait for its answer.
    handed: VecDeque<(Timestamp, Draft, Ack<Receipt>)>,
    /// How many were not kept, and are not told of yet.
    untold: u64,
    /// How many were not kept, ever.
    dropped: u64,
}

impl Kept {
    fn keep(&mut self, at: Timestamp, draft: Draft) {
        if self.waiting.len() < MOST {
            self.waiting.push_back((at, draft));
        } else {
            self.drop_one();
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
            let oldest = self.inner.late.lock().waiting.pop_front();
            let Some((at, draft)) = oldest else {
                return self.tell_dropped().await;
            };
            match self.write_late(at, &draft).await {
                Ok(_) => {}
                // Nothing makes it fit, and it must not stand in the way of others.
                Err(AuditError::Draft { .. }) => self.inner.late.lock().drop_one(),
                Err(_) => {
                    self.inner.late.lock().waiting.push_front((at, draft));
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
