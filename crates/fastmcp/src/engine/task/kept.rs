//! How many tasks a process keeps, by caller.

use std::collections::{BTreeMap, HashMap};

use fastmcp_guard::clock::Timestamp;

use super::TaskLimits;

/// Counts tasks until they expire.
#[derive(Debug, Default)]
pub(super) struct Kept {
    expiring: BTreeMap<Slot, String>,
    by_owner: HashMap<String, usize>,
    next: u64,
}

/// One task's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(Timestamp, u64);

impl Kept {
    /// Takes a place for a task of `owner`, where there is one.
    pub(super) fn take(
        &mut self,
        owner: &str,
        expires: Timestamp,
        now: Timestamp,
        limits: &TaskLimits,
    ) -> Option<Slot> {
        while let Some((slot, _)) = self.expiring.first_key_value()
            && slot.0 <= now
        {
            let slot = *slot;
            self.give_back(&slot);
        }
        let own = self.by_owner.get(owner).copied().unwrap_or_default();
        if own >= limits.max_per_caller || self.expiring.len() >= limits.max_total {
            return None;
        }
        let slot = Slot(expires, self.next);
        self.next = self.next.wrapping_add(1);
        self.expiring.insert(slot, owner.to_owned());
        self.by_owner.insert(owner.to_owned(), own + 1);
        Some(slot)
    }

    pub(super) fn give_back(&mut self, slot: &Slot) {
        let Some(owner) = self.expiring.remove(slot) else {
            return;
        };
        match self.by_owner.get_mut(&owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.by_owner.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_come_back_with_time() {
        let limits = TaskLimits {
            max_per_caller: 2,
            max_total: 3,
            ..TaskLimits::default()
        };
        let at = Timestamp::from_unix_seconds;
        let mut kept = Kept::default();
        let first = kept.take("a", at(10), at(0), &limits).unwrap();
        assert!(kept.take("a", at(20), at(0), &limits).is_some());
        assert!(kept.take("a", at(20), at(9), &limits).is_none());
        assert!(kept.take("b", at(20), at(9), &limits).is_some());
        assert!(kept.take("c", at(20), at(9), &limits).is_none(), "in all");
        kept.give_back(&first);
        kept.give_back(&first);
        assert!(kept.take("c", at(30), at(9), &limits).is_some());
        assert!(kept.take("a", at(40), at(20), &limits).is_some());
        assert_eq!(kept.by_owner.len(), 2, "who has none is forgotten");
    }
}
