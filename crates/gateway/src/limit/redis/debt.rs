//! What Redis may hold for calls that have ended here: their answer was lost, or nobody waited for it.
//!
//! A call whose take does not pass by itself soon has a name there, under which it takes once and gives back once, and not
//! at all where it comes after that. What a call took of which the answer came it gives back once under that name too,
//! whenever Redis is there again: what is over by then is not given back any more. A call under way has a name in its key, so that ending it twice, or though it never
//! began, changes nothing. What was asked of a server that stood still, on a connection that is gone by now, may be done
//! after all once it goes on: each debt is given back again for a while.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{NAMED, ONCE, ONCE_FOR, Redis};

/// For how long after the first time a debt is given back again.
const LATE: Duration = Duration::from_secs(3);
/// For how long after the first try a debt is given back at all: while it is known there whether it was.
const TRIED: Duration = ONCE_FOR.saturating_sub(Duration::from_secs(60));
/// How many are remembered that are due, and as many that were given back. Leases, and the ends of their periods, end what
/// is beyond.
const MOST: usize = 4_096;

/// A key and what is said of it to give back what was taken of it.
pub(super) type Said = (String, [String; 4]);

/// What one call may have taken.
#[derive(Debug)]
pub(super) struct Debt {
    keys: SmallVec<[Said; 1]>,
    tried: Option<Instant>,
    given_back: Option<Instant>,
}

impl Debt {
    pub(super) fn keys(&self) -> &[Said] {
        &self.keys
    }

    /// Whether it is a name and what follows it.
    pub(super) fn is_named(&self) -> bool {
        self.keys
            .first()
            .is_some_and(|(_, [kind, ..])| kind == NAMED || kind == ONCE)
    }
}

/// What is to be given back.
#[derive(Debug, Default)]
pub(super) struct Debts(Mutex<Owed>);

#[derive(Debug, Default)]
struct Owed {
    due: Vec<Debt>,
    /// What was given back, and will be once more.
    late: Vec<Debt>,
    /// Of how many it is known that they will not be given back.
    lost: usize,
}

impl Debts {
    pub(super) fn is_empty(&self) -> bool {
        let owed = self.lock();
        owed.due.is_empty() && owed.late.is_empty()
    }

    /// How many were not given back yet.
    pub(super) fn due(&self) -> usize {
        self.lock().due.len()
    }

    /// How many were found since that will not be given back.
    pub(super) fn write_off(&self) -> usize {
        mem::take(&mut self.lock().lost)
    }

    /// All of them, for whoever gives them back now.
    pub(super) fn take(&self) -> Taken<'_> {
        let (mut owed, now) = (self.lock(), Instant::now());
        let mut taken = mem::take(&mut owed.due);
        let due = taken.len();
        taken.retain_mut(|debt| now - *debt.tried.get_or_insert(now) < TRIED);
        owed.lost += due - taken.len();
        let mut late = mem::take(&mut owed.late);
        late.retain(|debt| debt.tried.is_some_and(|tried| now - tried < TRIED));
        taken.append(&mut late);
        Taken { debts: self, taken }
    }

    fn add(&self, debt: Debt) {
        let mut owed = self.lock();
        let is_due = debt.given_back.is_none();
        let room = if is_due {
            &mut owed.due
        } else {
            &mut owed.late
        };
        if room.len() < MOST {
            room.push(debt);
        } else if is_due {
            owed.lost += 1;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Owed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being given back. Dropped, it is owed as before.
#[must_use = "dropped, it is owed as before"]
pub(super) struct Taken<'a> {
    debts: &'a Debts,
    taken: Vec<Debt>,
}

impl Taken<'_> {
    pub(super) fn debts(&self) -> &[Debt] {
        &self.taken
    }

    /// It was: kept is what is to be given back once more.
    pub(super) fn given_back(mut self) {
        let now = Instant::now();
        self.taken
            .retain_mut(|debt| now - *debt.given_back.get_or_insert(now) < LATE);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for debt in mem::take(&mut self.taken) {
            self.debts.add(debt);
        }
    }
}

/// What a call may have taken until it is known: dropped before, it is a debt.
#[must_use = "dropped, it is a debt"]
pub(super) struct Doubt<'a> {
    redis: &'a Redis,
    keys: SmallVec<[Said; 1]>,
    tried: Option<Instant>,
}

impl<'a> Doubt<'a> {
    pub(super) fn new(redis: &'a Redis, keys: impl IntoIterator<Item = Said>) -> Self {
        Self {
            redis,
            keys: keys.into_iter().collect(),
            tried: None,
        }
    }

    /// It is given back now, and may be though nobody hears of it.
    pub(super) fn try_now(&mut self) {
        self.tried = Some(Instant::now());
    }

    /// It is known now.
    pub(super) fn settle(mut self) {
        self.keys.clear();
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        let keys = mem::take(&mut self.keys);
        if keys.is_empty() {
            return;
        }
        self.redis.debts.add(Debt {
            keys,
            tried: self.tried,
            given_back: None,
        });
        self.redis.found_out.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_is_not_tried_after_redis_has_forgotten_it() {
        let debts = Debts::default();
        debts.add(Debt {
            keys: SmallVec::new(),
            tried: None,
            given_back: None,
        });
        // However long Redis is away: it was not asked yet.
        tokio::time::advance(ONCE_FOR * 100).await;
        assert_eq!(debts.take().debts().len(), 1);
        tokio::time::advance(ONCE_FOR).await;
        assert!(debts.take().debts().is_empty());
        assert!(debts.is_empty());
        assert_eq!((debts.write_off(), debts.write_off()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_back_is_not_given_back_after_redis_has_forgotten_that() {
        let debts = Debts::default();
        debts.add(Debt {
            keys: SmallVec::new(),
            tried: None,
            given_back: None,
        });
        debts.take().given_back();
        tokio::time::advance(ONCE_FOR).await;
        assert!(debts.take().debts().is_empty());
        assert_eq!((debts.is_empty(), debts.write_off()), (true, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_beyond_is_counted_and_what_was_given_back_takes_no_room() {
        let debts = Debts::default();
        let debt = || Debt {
            keys: SmallVec::new(),
            tried: None,
            given_back: None,
        };
        let add = |count| (0..count).for_each(|_| debts.add(debt()));
        add(MOST + 2);
        assert_eq!((debts.due(), debts.write_off()), (MOST, 2));
        debts.take().given_back();
        assert_eq!((debts.due(), debts.is_empty()), (0, false));
        add(MOST);
        assert_eq!((debts.due(), debts.write_off()), (MOST, 0));
        // More came while they were being given back, in vain.
        let taken = debts.take();
        add(3);
        drop(taken);
        assert_eq!((debts.due(), debts.write_off()), (MOST, 3));
    }
}
