//! What a call holds until it ends.

use std::{fmt, mem, sync::Arc};

use fastmcp_audit::Object;
use smallvec::SmallVec;

use super::{Active, Backend as _, Inner, Key, Receipt};

/// A place that was given to one call. Only this room makes one.
///
/// Dropped, it ends what the call had under way, and gives back the rest of what the call took unless
/// [`keep`](Self::keep) said that it acts or waits. [`end`](Self::end) does the same and waits until it is done.
#[derive(Debug)]
pub struct Slot {
    pub(super) taken: Option<Taken>,
    pub(super) standing: Object,
}

/// What a call took, until it ends.
pub(super) struct Taken {
    pub(super) inner: Arc<Inner>,
    pub(super) active: Arc<Vec<Active>>,
    pub(super) receipts: SmallVec<[Receipt; 1]>,
    pub(super) acted: bool,
}

impl Slot {
    /// The limit that is nearest and what is left of it, for the record. Told once.
    #[must_use]
    pub fn describe(&mut self) -> Object {
        mem::take(&mut self.standing)
    }

    /// Whether the call takes part in any limit.
    #[must_use]
    pub const fn is_charged(&self) -> bool {
        self.taken.is_some()
    }

    /// Says that the call acts, or waits for a confirmation that will not be charged again: what it took is spent.
    pub const fn keep(&mut self) {
        if let Some(taken) = &mut self.taken {
            taken.acted = true;
        }
    }

    /// Ends the call.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what is counted in Redis as under way ends soon after.
    pub async fn end(mut self) {
        if let Some(taken) = self.taken.take().filter(Taken::is_due) {
            taken.put_back().await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take().filter(Taken::is_due) else {
            return;
        };
        if !taken.is_there() {
            let Taken {
                inner,
                active,
                receipts,
                acted,
            } = taken;
            inner.memory.put_back_here(&active, &receipts, acted);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tracker = taken.inner.tracker.clone();
            let ending = async move { taken.put_back().await };
            drop(tracker.spawn_on(ending, &runtime));
        }
    }
}

impl Taken {
    fn is_due(&self) -> bool {
        self.receipts.iter().any(|receipt| {
            let active = self.active.get(receipt.rule);
            active.is_some_and(|active| receipt.is_due(&active.rule, self.acted))
        })
    }

    /// Whether Redis decided.
    fn is_there(&self) -> bool {
        let there = |receipt: &Receipt| matches!(receipt.key, Key::There(..));
        self.receipts.iter().any(there)
    }

    async fn put_back(&self) {
        let (rules, receipts) = (&self.active, &self.receipts);
        match &self.inner.redis {
            Some(redis) if self.is_there() => {
                Box::pin(redis.put_back(rules, receipts, self.acted)).await;
            }
            _ => {
                self.inner
                    .memory
                    .put_back(rules, receipts, self.acted)
                    .await
            }
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("receipts", &self.receipts)
            .field("acted", &self.acted)
            .finish_non_exhaustive()
    }
}
