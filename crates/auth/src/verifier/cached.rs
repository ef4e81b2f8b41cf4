//! The cache of verified tokens: what keeps signatures off the hot path.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastmcp_guard::clock::{Clock, Timestamp};
use futures_core::future::BoxFuture;

use super::{TokenVerifier, VerifyError};
use crate::caller::Caller;
use crate::digest::{Sha256, sha256};
use crate::error::ConfigError;

/// Parts with a lock of their own, so that threads seldom meet.
const SHARDS: usize = 16;

/// Bounds of a [`CachedVerifier`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// For how long a token is not checked again: the longest that a revocation can go unnoticed. Default 60 seconds;
    /// 1 to 60 seconds. A token that expires earlier is checked again when it does.
    pub ttl: Duration,
    /// The most tokens that are kept. Default 10,000; 16 to 1,000,000. When it is full, what expires first goes first.
    pub capacity: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            capacity: 10_000,
        }
    }
}

/// Remembers the callers of verified tokens for a short time.
///
/// Tokens are looked up by their SHA-256; a hit costs that hash, a look-up and a clone of an `Arc`. Refusals are not
/// remembered: an attacker could fill the cache with them. Only verified tokens get in.
pub struct CachedVerifier {
    inner: Arc<dyn TokenVerifier>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    shard_capacity: usize,
    shards: [Mutex<HashMap<Sha256, Entry>>; SHARDS],
}

struct Entry {
    caller: Caller,
    /// The entry holds from here (a clock that was set back makes it void) ...
    from: Timestamp,
    /// ... to here, exclusively.
    until: Timestamp,
}

impl Entry {
    fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

impl CachedVerifier {
    /// Puts a cache in front of `inner`.
    ///
    /// # Errors
    /// If a bound is outside its range.
    pub fn new(
        inner: Arc<dyn TokenVerifier>,
        clock: Arc<dyn Clock>,
        config: &CacheConfig,
    ) -> Result<Self, ConfigError> {
        let seconds = config.ttl.as_secs();
        ConfigError::unless_outside("token cache ttl (seconds)", seconds, 1..=60)?;
        let capacity = u64::try_from(config.capacity).unwrap_or(u64::MAX);
        ConfigError::unless_outside("token cache capacity", capacity, 16..=1_000_000)?;
        Ok(Self {
            inner,
            clock,
            ttl: Duration::from_secs(seconds),
            shard_capacity: config.capacity / SHARDS,
            shards: Default::default(),
        })
    }

    /// Forgets all tokens: after a key or a table of tokens was replaced, when a minute is too long to wait.
    pub fn clear(&self) {
        for shard in &self.shards {
            locked(shard).clear();
        }
    }

    /// How many tokens are kept, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }

    /// Whether no tokens are kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn remembered(&self, key: &Sha256, now: Timestamp) -> Option<Caller> {
        let shard = locked(self.shard(key)?);
        let entry = shard.get(key)?;
        entry.holds(now).then(|| entry.caller.clone())
    }

    fn remember(&self, key: Sha256, caller: &Caller) {
        // The clock is asked again: the check may have taken long.
        let now = self.clock.now();
        let end = now.saturating_add(self.ttl);
        let entry = Entry {
            caller: caller.clone(),
            from: now,
            until: caller.expires_at().map_or(end, |expires| expires.min(end)),
        };
        let Some(shard) = self.shard(&key).filter(|_| entry.holds(now)) else {
            return;
        };
        let mut shard = locked(shard);
        if shard.len() >= self.shard_capacity && !shard.contains_key(&key) {
            make_room(&mut shard, now);
        }
        shard.insert(key, entry);
    }

    fn shard(&self, key: &Sha256) -> Option<&Mutex<HashMap<Sha256, Entry>>> {
        let first = usize::from(key.first().copied().unwrap_or_default());
        self.shards.get(first % SHARDS)
    }
}

/// Takes out what has expired; if that was nothing, what expires first.
fn make_room(shard: &mut HashMap<Sha256, Entry>, now: Timestamp) {
    let before = shard.len();
    shard.retain(|_, entry| entry.holds(now));
    if shard.len() < before {
        return;
    }
    let first = shard.iter().min_by_key(|(_, entry)| entry.until);
    if let Some(key) = first.map(|(key, _)| *key) {
        shard.remove(&key);
    }
}

/// A panic while the lock was held leaves a map that is still a map.
fn locked(shard: &Mutex<HashMap<Sha256, Entry>>) -> MutexGuard<'_, HashMap<Sha256, Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TokenVerifier for CachedVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        let key = sha256(token.as_bytes());
        if let Some(caller) = self.remembered(&key, self.clock.now()) {
            return Box::pin(std::future::ready(Ok(caller)));
        }
        Box::pin(async move {
            let caller = self.inner.verify(token).await?;
            self.remember(key, &caller);
            Ok(caller)
        })
    }

    fn required_scopes(&self) -> &[String] {
        self.inner.required_scopes()
    }
}

impl fmt::Debug for CachedVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedVerifier")
            .field("ttl", &self.ttl)
            .field("capacity", &(self.shard_capacity * SHARDS))
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fastmcp_guard::clock::ManualClock;

    use super::*;

    /// Accepts what begins with `good`; `good-for-5` expires at second 105.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl TokenVerifier for Counting {
        fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if !token.starts_with("good") {
                    return Err(VerifyError::Signature);
                }
                let caller = crate::testing::caller(token);
                Ok(match token {
                    "good-for-5" => caller.expires_at(Timestamp::from_unix_seconds(105)).build(),
                    _ => caller.build(),
                })
            })
        }
    }

    struct Setup {
        inner: Arc<Counting>,
        clock: Arc<ManualClock>,
        cache: CachedVerifier,
    }

    fn setup(capacity: usize) -> Setup {
        let inner = Arc::new(Counting::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(100)));
        let config = CacheConfig {
            capacity,
            ..CacheConfig::default()
        };
        let cache = CachedVerifier::new(inner.clone(), clock.clone(), &config).unwrap();
        Setup {
            inner,
            clock,
            cache,
        }
    }

    impl Setup {
        async fn checks(&self, token: &str) -> usize {
            let before = self.inner.0.load(Ordering::SeqCst);
            let verified = self.cache.verify(token).await;
            if let Ok(caller) = verified {
                assert_eq!(caller.subject(), token, "each token keeps its own caller");
            }
            self.inner.0.load(Ordering::SeqCst) - before
        }
    }

    #[tokio::test]
    async fn a_token_is_checked_once_a_minute() {
        let setup = setup(1_000);
        assert_eq!(setup.checks("good").await, 1);
        assert_eq!(setup.checks("good").await, 0);
        setup.clock.advance(Duration::from_millis(59_999));
        assert_eq!(setup.checks("good").await, 0);
        assert_eq!(setup.checks("good-other").await, 1);
        setup.clock.advance(Duration::from_millis(1));
        assert_eq!(setup.checks("good").await, 1);
        setup.cache.clear();
        assert!(setup.cache.is_empty());
        assert_eq!(setup.checks("good").await, 1);
    }

    #[tokio::test]
    async fn expiry_ends_an_entry_early() {
        let setup = setup(1_000);
        assert_eq!(setup.checks("good-for-5").await, 1);
        setup.clock.advance(Duration::from_millis(4_999));
        assert_eq!(setup.checks("good-for-5").await, 0);
        setup.clock.advance(Duration::from_millis(1));
        assert_eq!(setup.checks("good-for-5").await, 1);
        // In its leeway a token is checked each time.
        assert_eq!(setup.checks("good-for-5").await, 1);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_voids_entries() {
        let setup = setup(1_000);
        assert_eq!(setup.checks("good").await, 1);
        setup.clock.set(Timestamp::from_unix_seconds(40));
        assert_eq!(setup.checks("good").await, 1);
    }

    #[tokio::test]
    async fn refusals_are_not_remembered() {
        let setup = setup(1_000);
        for _ in 0..3 {
            assert_eq!(setup.checks("bad").await, 1);
        }
        assert!(setup.cache.is_empty());
    }

    #[tokio::test]
    async fn it_never_grows_beyond_its_capacity() {
        let setup = setup(32);
        for n in 0..500 {
            setup.clock.advance(Duration::from_millis(1));
            setup.checks(&format!("good-{n}")).await;
            assert!(setup.cache.len() <= 32);
        }
        assert_eq!(setup.checks("good-499").await, 0, "the newest stays");
        assert_eq!(setup.checks("good-0").await, 1, "the oldest went");
    }

    #[test]
    fn bounds_are_checked() {
        let build = |ttl, capacity| {
            let config = CacheConfig {
                ttl: Duration::from_secs(ttl),
                capacity,
            };
            let clock = Arc::new(ManualClock::default());
            CachedVerifier::new(Arc::new(Counting::default()), clock, &config).map(|_| ())
        };
        assert_eq!(build(60, 16), Ok(()));
        assert!(build(61, 16).is_err() && build(0, 16).is_err());
        assert!(build(60, 15).is_err() && build(60, 1_000_001).is_err());
    }
}
