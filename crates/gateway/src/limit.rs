//! How often: one token bucket per tenant, subject and tool.
//!
//! A bucket is one number, the moment at which it will be full again (GCRA), so an idle one needs
//! no refill and is thrown away when room is needed.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastmcp_auth::Caller;
use fastmcp_guard::clock::Clock;
use serde_json::{Map, Value, json};

use crate::{
    error::{Code, Error},
    policy::Permit,
};

/// Parts of the table, so that calls rarely wait for each other.
const SHARDS: usize = 16;
/// Buckets of one part before full ones are thrown away.
const SHARD_ROOM: usize = 8_192;

/// How many requests of any kind a caller has for each call of one tool.
const REQUESTS_PER_CALL: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// How fast and how much at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second; more than 0. `RATE_LIMIT_DEFAULT_RPS`, default 5.
    pub per_second: f64,
    /// Calls at once. `RATE_BUCKET_BURST`, default 10.
    pub burst: NonZeroU32,
}

/// A place that was given to one call. Only this room makes one.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    rate: Rate,
    remaining: u32,
}

impl Slot {
    /// The limit and what is left of it, for the record.
    #[must_use]
    pub fn describe(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("burst".to_owned(), json!(self.rate.burst.get()));
        map.insert("remaining".to_owned(), json!(self.remaining));
        map
    }
}

/// The limiter.
#[derive(Debug)]
pub struct Limit {
    rate: Rate,
    shards: Vec<Mutex<HashMap<String, f64>>>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
}

impl Limit {
    /// Creates a limiter.
    #[must_use]
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        Self {
            rate,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            clock,
        }
    }

    /// Admits a call or says when to try again.
    ///
    /// # Errors
    ///
    /// [`Code::RateLimited`].
    pub fn admit(&self, permit: &Permit) -> Result<Slot, Error> {
        let tool = permit.target().manifest().tool_id.as_str();
        // Lengths keep the parts of different keys apart.
        let (tenant, subject) = (permit.tenant(), permit.caller().subject());
        self.take(format!(
            "{}:{tenant}{}:{subject}{tool}",
            tenant.len(),
            subject.len()
        ))
    }

    /// Admits a request of any kind, before anything is known of it: 20 times the
    /// rate of calls, for each caller, so that refusals cannot be had without end.
    ///
    /// # Errors
    ///
    /// [`Code::RateLimited`].
    pub fn admit_request(&self, caller: &Caller) -> Result<(), Error> {
        let burst = self.rate.burst.saturating_mul(REQUESTS_PER_CALL);
        let rate = Rate {
            per_second: self.rate.per_second * f64::from(REQUESTS_PER_CALL.get()),
            burst,
        };
        self.take_at(rate, format!("*{}", caller.principal()))
            .map(drop)
    }

    fn take(&self, key: String) -> Result<Slot, Error> {
        self.take_at(self.rate, key)
    }

    fn take_at(&self, rate: Rate, key: String) -> Result<Slot, Error> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit a double exactly for 285,000 years"
        )]
        let now = self.clock.now().millis() as f64;
        let interval = 1_000.0 / rate.per_second;
        let tolerance = interval * f64::from(rate.burst.get());
        let mut shard = self.shard(&key);
        let full_at = shard.get(&key).copied().unwrap_or(now).max(now);
        let next = full_at + interval;
        // A thousandth of an interval forgives the rounding of fractions.
        if next - now > tolerance + interval / 1_000.0 {
            let wait = Duration::from_secs_f64(((next - now - tolerance) / 1_000.0).max(0.001));
            return Err(Error::new(Code::RateLimited, "Rate limit exceeded")
                .with_detail("burst", rate.burst.get())
                .with_detail("per_second", rate.per_second)
                .with_retry_after(wait));
        }
        if shard.len() >= SHARD_ROOM && !shard.contains_key(&key) {
            shard.retain(|_, full_at| *full_at > now);
        }
        shard.insert(key, next);
        let left = ((tolerance - (next - now)) / interval).floor().max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the burst, which is 32 bits"
        )]
        let remaining = left as u32;
        Ok(Slot { rate, remaining })
    }

    fn shard(&self, key: &str) -> std::sync::MutexGuard<'_, HashMap<String, f64>> {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        #[expect(
            clippy::indexing_slicing,
            reason = "the remainder is less than the number of parts"
        )]
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::{ManualClock, Timestamp};

    use super::*;

    fn limit(per_second: f64, burst: u32) -> (Limit, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
        let rate = Rate {
            per_second,
            burst: NonZeroU32::new(burst).unwrap(),
        };
        (
            Limit::new(rate, Arc::clone(&clock) as Arc<dyn Clock>),
            clock,
        )
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (limit, clock) = limit(5.0, 10);
        for left in (0..10).rev() {
            assert_eq!(limit.take("k".into()).unwrap().remaining, left);
        }
        let refused = limit.take("k".into()).unwrap_err();
        assert_eq!(refused.code(), Code::RateLimited);
        assert_eq!(refused.retry_after_seconds(), Some(1));
        assert!(limit.take("other".into()).is_ok());
        clock.advance(Duration::from_millis(199));
        assert!(limit.take("k".into()).is_err());
        clock.advance(Duration::from_millis(1));
        assert!(limit.take("k".into()).is_ok());
        assert!(limit.take("k".into()).is_err());
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(limit.take("k".into()).unwrap().remaining, 9);
    }

    #[test]
    fn full_buckets_make_room() {
        let (limit, clock) = limit(5.0, 10);
        for i in 0..200_000 {
            limit.take(format!("key-{i}")).unwrap();
            clock.advance(Duration::from_millis(10));
        }
        let kept: usize = limit.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * SHARD_ROOM, "{kept}");
    }
}
