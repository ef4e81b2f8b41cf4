//! Answers that a server allows to be used again.
//!
//! Source: MCP 2026-07-28, server/utilities/caching.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytestring::ByteString;
use fastmcp_guard::clock::{Clock, SystemClock, Timestamp};
use fastmcp_protocol::{Raw, discover::ResultEnvelope, wire::CacheScope};

use super::notice::Change;

/// Answers that are kept unless told otherwise.
const ENTRIES: usize = 1_024;
/// Bytes that are kept unless told otherwise.
const BYTES: usize = 16 * 1024 * 1024;
/// For how long an answer is kept at most, whatever the server says.
const LONGEST: Duration = Duration::from_hours(24);

/// Answers of servers, for as long as the servers allow. Several clients may share one: what a
/// server calls public is then shared by all of them, the rest by clients of one partition alone.
///
/// # Defaults
///
/// 1,024 answers and 16 MiB of them; the oldest go first. No answer is kept for more than 24 hours. No answer is
/// used once it is stale.
#[derive(Debug)]
pub struct ResponseCache {
    clock: Arc<dyn Clock>,
    entries: usize,
    bytes: usize,
    /// For how long a stale answer may stand in for one that does not come.
    grace: Duration,
    /// Counts invalidations: an answer that was asked for before one is not kept after it.
    generation: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, Answer>,
    /// Every key in the order of keeping; keys that were dropped or replaced stay until their turn.
    order: VecDeque<(Key, u64)>,
    next: u64,
    bytes: usize,
}

/// What an answer answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    server: ByteString,
    /// Whose it is; nobody's in particular where the answer is public.
    partition: Option<ByteString>,
    method: ByteString,
    params: ByteString,
}

#[derive(Debug)]
struct Answer {
    result: Raw,
    until: Timestamp,
    turn: u64,
}

/// One client's view of a [`ResponseCache`].
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) cache: Arc<ResponseCache>,
    pub(super) server: ByteString,
    pub(super) partition: ByteString,
}

impl Default for ResponseCache {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl ResponseCache {
    /// An empty cache that tells the time by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            entries: ENTRIES,
            bytes: BYTES,
            grace: Duration::ZERO,
            generation: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// Keeps at most `entries` answers and `bytes` of them; 0 of either keeps none.
    #[must_use]
    pub const fn bounded(mut self, entries: usize, bytes: usize) -> Self {
        self.entries = entries;
        self.bytes = bytes;
        self
    }

    /// Lets an answer that has been stale for up to `grace` stand in where the server cannot be reached, does
    /// not answer in time, or answers with a status of 500 and more or 429. What a server said has changed is
    /// never used again.
    ///
    /// Source: RFC 5861, section 4, for answers as MCP 2026-07-28 caches them.
    #[must_use]
    pub const fn stale_if_error(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How many answers are kept, stale ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().answers.len()
    }

    /// Whether no answer is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let mut kept = self.lock();
        *kept = Kept {
            next: kept.next,
            ..Kept::default()
        };
    }

    fn keep(&self, key: Key, result: Raw, ttl: Duration) {
        let size = weight(&key, &result);
        if self.entries == 0 || size > self.bytes {
            return;
        }
        let until = self.clock.now().saturating_add(ttl.min(LONGEST));
        let mut kept = self.lock();
        let turn = kept.next;
        kept.next = kept.next.wrapping_add(1);
        kept.remove(&key);
        kept.bytes = kept.bytes.saturating_add(size);
        kept.order.push_back((key.clone(), turn));
        kept.answers.insert(
            key,
            Answer {
                result,
                until,
                turn,
            },
        );
        while kept.answers.len() > self.entries || kept.bytes > self.bytes {
            kept.drop_oldest();
        }
        // Keys that were replaced leave their turns behind.
        if kept.order.len() > self.entries.saturating_mul(2) {
            let Kept { answers, order, .. } = &mut *kept;
            order.retain(|(key, turn)| answers.get(key).is_some_and(|a| a.turn == *turn));
        }
    }

    fn forget(&self, gone: impl Fn(&Key) -> bool) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let mut kept = self.lock();
        let keys: Vec<Key> = kept.answers.keys().filter(|k| gone(k)).cloned().collect();
        for key in keys {
            kept.remove(&key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, key: &Key) {
        if let Some(answer) = self.answers.remove(key) {
            self.bytes = self.bytes.saturating_sub(weight(key, &answer.result));
        }
    }

    fn drop_oldest(&mut self) {
        let Some((key, turn)) = self.order.pop_front() else {
            return;
        };
        if self.answers.get(&key).is_some_and(|a| a.turn == turn) {
            self.remove(&key);
        }
    }
}

fn weight(key: &Key, result: &Raw) -> usize {
    let partition = key.partition.as_ref().map_or(0, |p| p.len());
    key.server.len() + partition + key.method.len() + key.params.len() + result.as_str().len()
}

impl Shelf {
    /// Whether results of `method` may say that they can be used again.
    pub(super) fn takes(method: &str) -> bool {
        matches!(
            method,
            "server/discover"
                | "tools/list"
                | "prompts/list"
                | "resources/list"
                | "resources/templates/list"
                | "resources/read"
        )
    }

    /// The answer to `method` with `params`, where a fresh one is kept.
    pub(super) fn get(&self, method: &str, params: &str) -> Option<Raw> {
        self.within(Duration::ZERO, method, params)
    }

    /// The answer to `method` with `params`, where one is kept that may stand in for a fresh one.
    pub(super) fn stale(&self, method: &str, params: &str) -> Option<Raw> {
        self.within(self.cache.grace, method, params)
    }

    fn within(&self, grace: Duration, method: &str, params: &str) -> Option<Raw> {
        let now = self.cache.clock.now();
        let kept = self.cache.lock();
        [None, Some(self.partition.clone())]
            .into_iter()
            .find_map(|partition| {
                let answer = kept.answers.get(&self.key(partition, method, params))?;
                let until = answer.until.saturating_add(grace);
                (now < until).then(|| answer.result.clone())
            })
    }

    /// What [`Self::keep`] wants to know of the time before the request was sent.
    pub(super) fn generation(&self) -> u64 {
        self.cache.generation.load(Ordering::Acquire)
    }

    /// Keeps `result` for as long as it says, unless something was invalidated since `generation`.
    pub(super) fn keep(&self, method: &str, params: &str, result: &Raw, generation: u64) {
        // What cannot be read is not kept.
        let Ok(envelope) = ResultEnvelope::peek(result) else {
            return;
        };
        let ttl = Duration::from_millis(envelope.fresh_ms());
        if ttl.is_zero() || self.generation() != generation {
            return;
        }
        let partition = match envelope.scope() {
            CacheScope::Public => None,
            CacheScope::Private => Some(self.partition.clone()),
        };
        // A copy, so that the rest of the message is not kept alive by it.
        if let Ok(result) = Raw::parse(result.as_str().to_owned()) {
            self.cache
                .keep(self.key(partition, method, params), result, ttl);
        }
    }

    /// Forgets what `change` makes stale.
    pub(super) fn changed(&self, change: &Change) {
        self.cache.forget(|key| {
            key.server == self.server
                && match change {
                    Change::Tools => key.method == "tools/list",
                    Change::Prompts => key.method == "prompts/list",
                    Change::Resources => {
                        key.method == "resources/list" || key.method == "resources/templates/list"
                    }
                    Change::Resource(uri) => key.method == "resources/read" && names(key, uri),
                }
        });
    }

    /// Forgets every answer to `method`, all pages of a list among them.
    pub(super) fn forget(&self, method: &str) {
        self.cache
            .forget(|key| key.server == self.server && key.method == method);
    }

    /// Forgets everything that the server said.
    pub(super) fn forget_all(&self) {
        self.cache.forget(|key| key.server == self.server);
    }

    fn key(&self, partition: Option<ByteString>, method: &str, params: &str) -> Key {
        Key {
            server: self.server.clone(),
            partition,
            method: method.into(),
            params: params.into(),
        }
    }
}

/// Whether `key` reads the resource `uri`.
fn names(key: &Key, uri: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(&key.params)
        .is_ok_and(|params| params.get("uri").is_some_and(|named| named == uri))
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::ManualClock;

    use super::*;

    fn shelf(cache: &Arc<ResponseCache>, partition: &'static str) -> Shelf {
        Shelf {
            cache: Arc::clone(cache),
            server: "s".into(),
            partition: partition.into(),
        }
    }

    fn keep(shelf: &Shelf, method: &str, params: &str, text: &str) {
        let result = Raw::parse(text.to_owned()).unwrap();
        shelf.keep(method, params, &result, shelf.generation());
    }

    const PUBLIC: &str = r#"{"ttlMs":1000,"cacheScope":"public"}"#;
    const PRIVATE: &str = r#"{"ttlMs":1000}"#;

    #[test]
    fn what_is_private_stays_in_its_partition() {
        let clock = Arc::new(ManualClock::default());
        let cache = Arc::new(ResponseCache::new(clock.clone()));
        let (ann, bob) = (shelf(&cache, "ann"), shelf(&cache, "bob"));
        keep(&ann, "tools/list", "{}", PRIVATE);
        assert!(ann.get("tools/list", "{}").is_some());
        assert!(bob.get("tools/list", "{}").is_none());
        keep(&ann, "prompts/list", "{}", PUBLIC);
        assert!(bob.get("prompts/list", "{}").is_some());
        let elsewhere = Shelf {
            server: "other".into(),
            ..bob.clone()
        };
        assert!(elsewhere.get("prompts/list", "{}").is_none());
        clock.advance(Duration::from_millis(1_000));
        assert!(bob.get("prompts/list", "{}").is_none(), "stale at its time");
    }

    #[test]
    fn a_change_forgets_what_it_concerns() {
        let cache = Arc::new(ResponseCache::default());
        let (ann, bob) = (shelf(&cache, "ann"), shelf(&cache, "bob"));
        keep(&ann, "tools/list", "{}", PRIVATE);
        keep(&ann, "tools/list", r#"{"cursor":"2"}"#, PRIVATE);
        keep(&ann, "resources/read", r#"{"uri":"a:1"}"#, PUBLIC);
        keep(&ann, "resources/read", r#"{"uri":"a:2"}"#, PUBLIC);
        let before = ann.generation();
        bob.changed(&Change::Resource("a:1".to_owned()));
        assert!(bob.get("resources/read", r#"{"uri":"a:1"}"#).is_none());
        assert!(bob.get("resources/read", r#"{"uri":"a:2"}"#).is_some());
        ann.changed(&Change::Tools);
        assert_eq!(cache.len(), 1);
        let late = Raw::parse(PUBLIC.to_owned()).unwrap();
        ann.keep("tools/list", "{}", &late, before);
        assert!(ann.get("tools/list", "{}").is_none(), "was asked before");
    }

    #[test]
    fn stale_answers_stand_in_for_a_while() {
        let clock = Arc::new(ManualClock::default());
        let cache = ResponseCache::new(clock.clone()).stale_if_error(Duration::from_secs(10));
        let ann = shelf(&Arc::new(cache), "ann");
        keep(&ann, "tools/list", "{}", PRIVATE);
        keep(&ann, "prompts/list", "{}", PRIVATE);
        clock.advance(Duration::from_millis(1_000));
        assert!(ann.get("tools/list", "{}").is_none());
        assert!(ann.stale("tools/list", "{}").is_some());
        ann.changed(&Change::Prompts);
        assert!(
            ann.stale("prompts/list", "{}").is_none(),
            "it is known to be wrong"
        );
        clock.advance(Duration::from_secs(10));
        assert!(ann.stale("tools/list", "{}").is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = Arc::new(ResponseCache::default().bounded(2, 10_000));
        let ann = shelf(&cache, "ann");
        for page in 0..100 {
            keep(&ann, "tools/list", &page.to_string(), PRIVATE);
            keep(&ann, "tools/list", "again", PRIVATE);
        }
        assert_eq!(cache.len(), 2);
        assert!(ann.get("tools/list", "99").is_some());
        assert!(cache.lock().order.len() <= 5);
        let long = format!(r#"{{"ttlMs":1000,"x":"{}"}}"#, "x".repeat(10_000));
        keep(&ann, "tools/list", "long", &long);
        assert!(ann.get("tools/list", "long").is_none());
        cache.clear();
        assert!(cache.is_empty());
        assert_eq!(cache.lock().bytes, 0);
    }
}
