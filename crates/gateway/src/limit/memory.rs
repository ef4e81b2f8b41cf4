//! Counts in this process alone.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fastmcp_guard::clock::Clock;
use prometheus_client::metrics::counter::Counter;
use smallvec::SmallVec;

use super::{
    Active, Ask, Away, Backend, Key, Receipt, Verdict,
    meter::{Reading, State, Take},
    rule::{Kind, Rule},
};

/// Parts of the table, so that calls rarely wait for each other.
const SHARDS: u128 = 64;
/// Keys of one part before room is made.
const SHARD_ROOM: usize = 4_096;
/// How much room is made at least, so that it is made seldom.
const SHARD_SPARE: usize = SHARD_ROOM / 8;

/// A table of keys. It holds at most 262,144 of them: those that say nothing any more make room first, then those that
/// soonest will.
#[derive(Debug)]
pub(super) struct Memory {
    shards: Vec<Mutex<Shard>>,
    /// Two secrets, so that nobody outside can make keys meet.
    hashers: [RandomState; 2],
    clock: Arc<dyn Clock>,
    /// Keys that had to go while they still said something.
    evicted: Counter,
}

type Shard = HashMap<u128, State, BuildHasherDefault<Low>>;
type Guards<'a> = SmallVec<[(usize, MutexGuard<'a, Shard>); 1]>;

/// What is told of a key, on the stack unless it is long.
type Told = SmallVec<[u8; 256]>;

fn tell(told: &mut Told, mark: u8, text: &str) {
    // The length keeps what two parts say apart.
    told.extend_from_slice(&(text.len() as u64).to_le_bytes());
    told.push(mark);
    told.extend_from_slice(text.as_bytes());
}

/// A key is a hash already.
#[derive(Debug, Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            let (filled, _) = word.split_at_mut(chunk.len());
            filled.copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "half of the bits are enough"
    )]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

impl Memory {
    pub(super) fn new(clock: Arc<dyn Clock>, evicted: Counter) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hashers: [RandomState::new(), RandomState::new()],
            clock,
            evicted,
        }
    }

    fn key(&self, tell_all: impl FnOnce(&mut Told)) -> u128 {
        let mut told = Told::new();
        tell_all(&mut told);
        let [high, low] = &self.hashers;
        let hash = |secret: &RandomState| {
            let mut hasher = secret.build_hasher();
            hasher.write(&told);
            hasher.finish()
        };
        (u128::from(hash(high)) << 64) | u128::from(hash(low))
    }

    fn key_of(&self, ask: &Ask<'_>) -> u128 {
        self.key(|told| {
            tell(told, b'r', &ask.active.identity);
            ask.active.rule.common(ask.facts, |mark, text| match text {
                Some(text) => tell(told, mark, text),
                None => tell(told, b'-', ""),
            });
        })
    }

    /// Takes one of the key that is `whose`, where there is one.
    pub(super) fn decide_for(&self, active: &Active, whose: &str) -> Reading {
        let key = self.key(|told| {
            tell(told, b'r', &active.identity);
            tell(told, b'w', whose);
        });
        let now = self.clock.now().millis();
        self.decide_one(key, &active.rule.kind, (1, now))
    }

    fn decide_one(&self, key: u128, kind: &Kind, (amount, now): (u64, u64)) -> Reading {
        let Some(shard) = self.shards.get(place(key)) else {
            return kind.read(None, amount, now);
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = kind.read(shard.get(&key), amount, now);
        if reading.full.is_none() {
            self.take_of(&mut shard, key, kind, (amount, now));
        }
        reading
    }

    fn take_of(&self, shard: &mut Shard, key: u128, kind: &Kind, (amount, now): (u64, u64)) {
        if let Some(state) = shard.get_mut(&key) {
            kind.take(state, amount, now);
            return;
        }
        let mut state = kind.fresh(now);
        kind.take(&mut state, amount, now);
        self.make_room(shard, now);
        shard.insert(key, state);
    }

    /// Locks every part that `keys` lie in. All calls lock in the same order.
    fn lock(&self, keys: &[u128]) -> Guards<'_> {
        let mut places: SmallVec<[usize; 1]> = keys.iter().map(|key| place(*key)).collect();
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter_map(|place| Some((place, self.shards.get(place)?)))
            .map(|(place, shard)| (place, shard.lock().unwrap_or_else(PoisonError::into_inner)))
            .collect()
    }

    /// Takes for all of `asks` or for none.
    pub(super) fn decide(&self, asks: &[Ask<'_>]) -> Verdict {
        let receipt = |ask: &Ask<'_>, key: u128, now: u64| Receipt {
            rule: ask.index,
            key: Key::Here(key),
            take: Take {
                at: now,
                amount: ask.amount,
            },
        };
        // Where nothing is set up there is one rule: nothing else need be locked with it.
        if let [ask] = asks {
            let (key, now) = (self.key_of(ask), self.clock.now().millis());
            let reading = self.decide_one(key, &ask.active.rule.kind, (ask.amount, now));
            let mut verdict = Verdict::default();
            verdict.readings.push(reading);
            if reading.full.is_none() {
                verdict.receipts.push(receipt(ask, key, now));
            }
            return verdict;
        }
        let keys: SmallVec<[u128; 1]> = asks.iter().map(|ask| self.key_of(ask)).collect();
        let mut guards = self.lock(&keys);
        let now = self.clock.now().millis();
        let readings: SmallVec<_> = asks
            .iter()
            .zip(&keys)
            .map(|(ask, key)| {
                let state = part(&mut guards, *key).and_then(|shard| shard.get(key));
                ask.active.rule.kind.read(state, ask.amount, now)
            })
            .collect();
        let mut verdict = Verdict {
            readings,
            receipts: SmallVec::new(),
        };
        if verdict.is_refused() {
            return verdict;
        }
        for (ask, key) in asks.iter().zip(keys) {
            let Some(shard) = part(&mut guards, key) else {
                continue;
            };
            self.take_of(shard, key, &ask.active.rule.kind, (ask.amount, now));
            verdict.receipts.push(receipt(ask, key, now));
        }
        verdict
    }

    pub(super) fn put_back_here(&self, rules: &[Active], receipts: &[Receipt], acted: bool) {
        for receipt in receipts {
            let Some(active) = rules.get(receipt.rule) else {
                continue;
            };
            if let Key::Here(key) = receipt.key
                && receipt.is_due(&active.rule, acted)
            {
                self.give_back(&active.rule, key, receipt.take);
            }
        }
    }

    /// Gives back what a call took of one key.
    fn give_back(&self, rule: &Rule, key: u128, take: Take) {
        let mut guards = self.lock(&[key]);
        let now = self.clock.now().millis();
        let Some(shard) = part(&mut guards, key) else {
            return;
        };
        let Some(state) = shard.get_mut(&key) else {
            return;
        };
        rule.kind.give_back(state, take, now);
        if state.until() <= now {
            shard.remove(&key);
        }
    }

    fn make_room(&self, shard: &mut Shard, now: u64) {
        if shard.len() < SHARD_ROOM {
            return;
        }
        shard.retain(|_, state| state.until() > now);
        let mut too_many = shard.len().saturating_sub(SHARD_ROOM - SHARD_SPARE);
        if too_many == 0 {
            return;
        }
        // Calls under way are never forgotten; there are only as many as there are calls.
        let mut ends: Vec<u64> = shard
            .values()
            .map(State::until)
            .filter(|until| *until != u64::MAX)
            .collect();
        too_many = too_many.min(ends.len());
        let Some(last) = too_many.checked_sub(1) else {
            return;
        };
        let (_, soonest, _) = ends.select_nth_unstable(last);
        let soonest = *soonest;
        self.evicted.inc_by(too_many as u64);
        shard.retain(|_, state| {
            let goes = too_many > 0 && state.until() <= soonest;
            too_many -= usize::from(goes);
            !goes
        });
    }

    /// How many keys are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap().len()).sum()
    }
}

fn place(key: u128) -> usize {
    usize::try_from((key >> 64) % SHARDS).unwrap_or_default()
}

fn part<'a>(guards: &'a mut Guards<'_>, key: u128) -> Option<&'a mut Shard> {
    let place = place(key);
    guards
        .iter_mut()
        .find(|(known, _)| *known == place)
        .map(|(_, shard)| &mut **shard)
}

impl Backend for Memory {
    async fn take(&self, asks: &[Ask<'_>]) -> Result<Verdict, Away> {
        Ok(self.decide(asks))
    }

    async fn put_back(&self, rules: &[Active], receipts: &[Receipt], acted: bool) {
        self.put_back_here(rules, receipts, acted);
    }
}
