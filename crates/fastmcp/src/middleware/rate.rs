//! How much one caller may ask in a time.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastmcp_auth::CallerKind;
use fastmcp_protocol::{ErrorCode, RpcError};
use serde_json::json;
use tokio::time::Instant;

use super::{Middleware, MiddlewareContext, Next, Response};
use crate::error::{Error, Result};

/// Callers that are told apart unless told otherwise.
const MAX_CLIENTS: usize = 10_000;

type Identify = Arc<dyn Fn(&MiddlewareContext) -> String + Send + Sync>;

/// Which requests share a limit.
#[derive(Clone, Default)]
enum Key {
    /// Those of one caller.
    #[default]
    Caller,
    /// Those that a function gives one name.
    By(Identify),
    /// All.
    Global,
}

impl Key {
    /// The name of whoever asks, and what `look` makes of it.
    fn with<T>(&self, context: &MiddlewareContext, look: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Global => look("global"),
            Self::By(identify) => look(&identify(context)),
            Self::Caller => {
                let caller = context.caller();
                match caller.client_address() {
                    // Nobody in particular is told apart by where it calls from.
                    Some(address) if caller.kind() == CallerKind::Anonymous => {
                        look(&address.to_string())
                    }
                    _ => match context.fastmcp_context().peer().address {
                        Some(address) if caller.kind() == CallerKind::Anonymous => {
                            look(&address.ip().to_string())
                        }
                        _ => look(caller.principal().as_str()),
                    },
                }
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "Caller",
            Self::By(_) => "By",
            Self::Global => "Global",
        })
    }
}

/// What is known of one caller.
trait Account: Send {
    /// Whether it may ask now; else how long it has to wait.
    fn take(&mut self, now: Instant) -> std::result::Result<(), Duration>;

    /// Whether it is as if it had never asked.
    fn is_idle(&self, now: Instant) -> bool;
}

/// The accounts of callers, bounded: who comes when there is no room shares one account with all the
/// others who do.
struct Accounts<A> {
    by_key: HashMap<Box<str>, A>,
    rest: Option<A>,
    max: usize,
    /// When those were last removed that nobody needs.
    swept: Option<Instant>,
}

/// How often, at most, accounts are looked through for those that nobody needs.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl<A: Account> Accounts<A> {
    fn new(max: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            rest: None,
            max,
            swept: None,
        }
    }

    fn take(
        &mut self,
        key: &str,
        now: Instant,
        open: impl FnOnce() -> A,
    ) -> std::result::Result<(), Duration> {
        if let Some(account) = self.by_key.get_mut(key) {
            return account.take(now);
        }
        let is_due = self
            .swept
            .is_none_or(|swept| now.duration_since(swept) >= SWEEP_EVERY);
        if self.by_key.len() >= self.max && is_due {
            self.by_key.retain(|_, account| !account.is_idle(now));
            self.swept = Some(now);
        }
        if self.by_key.len() >= self.max {
            return self.rest.get_or_insert_with(open).take(now);
        }
        let mut account = open();
        let taken = account.take(now);
        self.by_key.insert(key.into(), account);
        taken
    }
}

fn exceeded(wait: Duration) -> Error {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    Error::protocol(
        RpcError::new(
            ErrorCode(-32000),
            "Rate limit exceeded. Please try again later.",
        )
        .with_data(json!({"retryAfterMs": wait_ms})),
    )
}

macro_rules! keyed {
    ($name:ident) => {
        impl $name {
            /// Says who shares a limit. Default: the caller, and for callers that were not authenticated
            /// the address that they call from.
            #[must_use]
            pub fn get_client_id(
                mut self,
                identify: impl Fn(&MiddlewareContext) -> String + Send + Sync + 'static,
            ) -> Self {
                self.key = Key::By(Arc::new(identify));
                self
            }

            /// One limit for all callers together.
            #[must_use]
            pub fn global_limit(mut self) -> Self {
                self.key = Key::Global;
                self
            }

            /// How many callers are told apart; those beyond share one limit until others have been idle
            /// for long enough. Default 10,000.
            #[must_use]
            pub fn max_clients(self, max: usize) -> Self {
                lock(&self.accounts).max = max;
                self
            }
        }
    };
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Limits how many requests a caller makes in a second, with room for bursts: a token bucket per caller.
///
/// Who is over the limit gets the JSON-RPC error -32000, with `retryAfterMs` in its data. Limits hold
/// within one process. Clones share their limits.
///
/// ```
/// use fastmcp::{middleware::RateLimitingMiddleware, prelude::*};
///
/// let limit = RateLimitingMiddleware::new(10.0).burst_capacity(50);
/// let server = FastMcp::new("limited").middleware(limit);
/// ```
#[derive(Clone)]
pub struct RateLimitingMiddleware {
    per_second: f64,
    burst: f64,
    key: Key,
    accounts: Arc<Mutex<Accounts<Bucket>>>,
}

/// Tokens, each good for one request.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    capacity: f64,
    per_second: f64,
}

impl Bucket {
    fn at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        (self.tokens + passed * self.per_second).min(self.capacity)
    }
}

impl Account for Bucket {
    fn take(&mut self, now: Instant) -> std::result::Result<(), Duration> {
        self.tokens = self.at(now);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / self.per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.at(now) >= self.capacity
    }
}

impl Default for RateLimitingMiddleware {
    /// Ten requests per second.
    fn default() -> Self {
        Self::new(10.0)
    }
}

impl RateLimitingMiddleware {
    /// `max_requests_per_second` for each caller, and twice as many in a burst. A limit that is not
    /// above zero lets through one request in a day.
    #[must_use]
    pub fn new(max_requests_per_second: f64) -> Self {
        const ONE_IN_A_DAY: f64 = 1.0 / 86_400.0;
        let per_second = if max_requests_per_second > ONE_IN_A_DAY {
            max_requests_per_second
        } else {
            ONE_IN_A_DAY
        };
        Self {
            per_second,
            burst: (per_second * 2.0).max(1.0),
            key: Key::default(),
            accounts: Arc::new(Mutex::new(Accounts::new(MAX_CLIENTS))),
        }
    }

    /// How many requests a caller may make at once after it made none for a while; at least 1. Default
    /// twice the rate.
    #[must_use]
    pub fn burst_capacity(mut self, requests: u32) -> Self {
        self.burst = f64::from(requests.max(1));
        self
    }

    fn take(&self, context: &MiddlewareContext) -> Result<()> {
        let now = Instant::now();
        let open = || Bucket {
            tokens: self.burst,
            filled: now,
            capacity: self.burst,
            per_second: self.per_second,
        };
        let taken = self
            .key
            .with(context, |key| lock(&self.accounts).take(key, now, open));
        taken.map_err(exceeded)
    }
}

keyed!(RateLimitingMiddleware);

impl fmt::Debug for RateLimitingMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitingMiddleware")
            .field("per_second", &self.per_second)
            .field("burst", &self.burst)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Middleware for RateLimitingMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        self.take(&context)?;
        next.run(context).await
    }
}

/// Limits how many requests a caller makes in any stretch of time of one length.
///
/// As [`RateLimitingMiddleware`], exact rather than smooth: the time of each request is kept until it
/// falls out of the window.
///
/// ```
/// use std::time::Duration;
///
/// use fastmcp::{middleware::SlidingWindowRateLimitingMiddleware, prelude::*};
///
/// let limit = SlidingWindowRateLimitingMiddleware::new(100, Duration::from_secs(60));
/// let server = FastMcp::new("limited").middleware(limit);
/// ```
#[derive(Clone)]
pub struct SlidingWindowRateLimitingMiddleware {
    max_requests: u32,
    window: Duration,
    key: Key,
    accounts: Arc<Mutex<Accounts<Window>>>,
}

/// When the requests were that are in the window.
#[derive(Debug)]
struct Window {
    times: VecDeque<Instant>,
    max: usize,
    length: Duration,
}

impl Account for Window {
    fn take(&mut self, now: Instant) -> std::result::Result<(), Duration> {
        while let Some(first) = self.times.front()
            && now.saturating_duration_since(*first) >= self.length
        {
            self.times.pop_front();
        }
        match self.times.front() {
            Some(first) if self.times.len() >= self.max => Err(self
                .length
                .saturating_sub(now.saturating_duration_since(*first))),
            _ => {
                self.times.push_back(now);
                Ok(())
            }
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.times
            .back()
            .is_none_or(|last| now.saturating_duration_since(*last) >= self.length)
    }
}

impl SlidingWindowRateLimitingMiddleware {
    /// `max_requests`, at least one, of each caller within `window`.
    #[must_use]
    pub fn new(max_requests: u32, window: Duration) -> Self {
        Self {
            max_requests: max_requests.max(1),
            window,
            key: Key::default(),
            accounts: Arc::new(Mutex::new(Accounts::new(MAX_CLIENTS))),
        }
    }

    fn take(&self, context: &MiddlewareContext) -> Result<()> {
        let now = Instant::now();
        let open = || Window {
            times: VecDeque::new(),
            max: usize::try_from(self.max_requests).unwrap_or(usize::MAX),
            length: self.window,
        };
        let taken = self
            .key
            .with(context, |key| lock(&self.accounts).take(key, now, open));
        taken.map_err(exceeded)
    }
}

keyed!(SlidingWindowRateLimitingMiddleware);

impl fmt::Debug for SlidingWindowRateLimitingMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlidingWindowRateLimitingMiddleware")
            .field("max_requests", &self.max_requests)
            .field("window", &self.window)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Middleware for SlidingWindowRateLimitingMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        self.take(&context)?;
        next.run(context).await
    }
}

/// A decorator for one component: at most `max_requests` of each caller within `window`.
#[must_use]
pub fn rate_limited(max_requests: u32, window: Duration) -> SlidingWindowRateLimitingMiddleware {
    SlidingWindowRateLimitingMiddleware::new(max_requests, window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(now: Instant) -> Bucket {
        Bucket {
            tokens: 2.0,
            filled: now,
            capacity: 2.0,
            per_second: 1.0,
        }
    }

    #[test]
    fn a_bucket_fills_with_time() {
        let start = Instant::now();
        let mut tokens = bucket(start);
        assert!(tokens.take(start).is_ok() && tokens.take(start).is_ok());
        assert_eq!(tokens.take(start), Err(Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert!(tokens.take(later).is_ok());
        assert!(tokens.take(later).is_err() && !tokens.is_idle(later));
        assert!(tokens.is_idle(start + Duration::from_secs(4)));
    }

    #[test]
    fn accounts_are_bounded_and_those_beyond_share_one() {
        let start = Instant::now();
        let mut accounts = Accounts::new(2);
        let open = || bucket(start);
        for key in ["a", "b"] {
            assert!(accounts.take(key, start, open).is_ok());
        }
        // Two tokens for all who come when there is no room.
        assert!(accounts.take("c", start, open).is_ok());
        assert!(accounts.take("d", start, open).is_ok());
        assert!(accounts.take("e", start, open).is_err());
        assert!(
            accounts.take("a", start, open).is_ok(),
            "its own is untouched"
        );
        assert_eq!(accounts.by_key.len(), 2);
        // Who has been idle makes room.
        let later = start + Duration::from_secs(10);
        assert!(accounts.take("e", later, || bucket(later)).is_ok());
        assert!(accounts.by_key.contains_key("e") && !accounts.by_key.contains_key("a"));
    }
}
