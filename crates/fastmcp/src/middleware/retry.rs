//! Once more, where that is safe and may help.

use std::{fmt, io, sync::Arc, time::Duration};

use fastmcp_guard::random::{OsRandom, Random, array};

use super::{Middleware, MiddlewareContext, Next, Response};
use crate::error::{Error, ErrorKind, Result};

type Predicate = Arc<dyn Fn(&Error) -> bool + Send + Sync>;

/// Repeats what failed for a reason that may pass.
///
/// Only what is safe to do twice: reads, prompts, lists, and tools that are marked read-only or
/// idempotent. Only errors that are transient: timeouts, and connections that were refused, reset or
/// broken off, unless [`Self::retry_if`] says otherwise. It stops when the request is cancelled.
///
/// ```
/// use std::time::Duration;
///
/// use fastmcp::{middleware::RetryMiddleware, prelude::*};
///
/// let retry = RetryMiddleware::new()
///     .max_retries(5)
///     .base_delay(Duration::from_millis(100));
/// let server = FastMcp::new("stubborn").middleware(retry);
/// ```
#[derive(Clone)]
pub struct RetryMiddleware {
    max_retries: u32,
    base_delay: Duration,
    max_delay: Duration,
    backoff_multiplier: f64,
    jitter: bool,
    retry_if: Option<Predicate>,
    random: Arc<dyn Random>,
}

impl Default for RetryMiddleware {
    fn default() -> Self {
        Self {
            max_retries: 3,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            backoff_multiplier: 2.0,
            jitter: true,
            retry_if: None,
            random: Arc::new(OsRandom),
        }
    }
}

impl RetryMiddleware {
    /// Three times, after 1, 2 and 4 s or up to half of that less.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it is tried again. Default 3.
    #[must_use]
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// How long it waits before the first time. Default 1 s.
    #[must_use]
    pub const fn base_delay(mut self, delay: Duration) -> Self {
        self.base_delay = delay;
        self
    }

    /// How long it waits at most. Default 60 s.
    #[must_use]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// By how much it waits longer each time; at least 1. Default 2.
    #[must_use]
    pub const fn backoff_multiplier(mut self, factor: f64) -> Self {
        self.backoff_multiplier = factor.max(1.0);
        self
    }

    /// Whether it waits up to half less, at random, so that many who failed together do not come back
    /// together. Default: it does.
    #[must_use]
    pub const fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// Says which errors are worth another try, in place of the transient ones.
    #[must_use]
    pub fn retry_if(mut self, worth: impl Fn(&Error) -> bool + Send + Sync + 'static) -> Self {
        self.retry_if = Some(Arc::new(worth));
        self
    }

    /// Where jitter comes from. Default: the operating system.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    fn is_worth(&self, error: &Error) -> bool {
        match &self.retry_if {
            Some(worth) => worth(error),
            None => is_transient(error),
        }
    }

    /// How long to wait before the try after `retries` of them.
    fn delay(&self, retries: u32) -> Duration {
        let factor = self
            .backoff_multiplier
            .powi(i32::try_from(retries).unwrap_or(i32::MAX));
        let longest = self.max_delay.as_secs_f64();
        let mut seconds = (self.base_delay.as_secs_f64() * factor).min(longest);
        if self.jitter
            && let Ok(bytes) = array::<4>(&self.random)
        {
            let share = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
            seconds *= 1.0 - share / 2.0;
        }
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay)
    }
}

/// Whether an error may be gone the next time: a timeout, or a connection that failed.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    if error.kind() == ErrorKind::Timeout {
        return true;
    }
    let mut cause = error
        .source()
        .map(|source| source as &dyn std::error::Error);
    while let Some(source) = cause {
        if let Some(io) = source.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
            );
        }
        if source.is::<tokio::time::error::Elapsed>() {
            return true;
        }
        cause = source.source();
    }
    false
}

impl fmt::Debug for RetryMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryMiddleware")
            .field("max_retries", &self.max_retries)
            .field("base_delay", &self.base_delay)
            .field("max_delay", &self.max_delay)
            .field("backoff_multiplier", &self.backoff_multiplier)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}

impl Middleware for RetryMiddleware {
    async fn on_request(&self, context: MiddlewareContext, mut next: Next<'_>) -> Result<Response> {
        let mut retries = 0;
        while retries < self.max_retries
            && let Some(again) = next.again()
        {
            let error = match next.run(context.clone()).await {
                Err(error) if self.is_worth(&error) => error,
                settled => return settled,
            };
            let (delay, method) = (self.delay(retries), context.method());
            retries += 1;
            tracing::warn!(
                method,
                retries,
                delay_ms = delay.as_millis(),
                error = error.message(),
                "trying again"
            );
            tokio::select! {
                () = context.fastmcp_context().cancellation().cancelled() => return Err(error),
                () = tokio::time::sleep(delay) => {}
            }
            next = again;
        }
        next.run(context).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Always(u8);

    impl Random for Always {
        fn fill(
            &self,
            bytes: &mut [u8],
        ) -> std::result::Result<(), fastmcp_guard::random::RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn delays_grow_up_to_a_bound_and_vary_downwards() {
        let plain = RetryMiddleware::new()
            .jitter(false)
            .max_delay(Duration::from_secs(3));
        let delays: Vec<_> = (0..4).map(|n| plain.delay(n).as_millis()).collect();
        assert_eq!(delays, [1_000, 2_000, 3_000, 3_000]);
        assert_eq!(plain.delay(u32::MAX), Duration::from_secs(3));
        let least = RetryMiddleware::new().random(Arc::new(Always(0xff)));
        assert_eq!(least.delay(1).as_millis(), 1_000);
        let most = RetryMiddleware::new().random(Arc::new(Always(0)));
        assert_eq!(most.delay(1).as_millis(), 2_000);
    }

    #[test]
    fn only_what_may_pass_is_worth_another_try() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(is_transient(&Error::from(refused)));
        assert!(is_transient(&Error::timeout()));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!is_transient(&Error::from(denied)));
        assert!(!is_transient(&Error::tool("no")));
    }
}
