//! What protects a server, and what stands behind it, from too much.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fastmcp_protocol::{ErrorCode, RpcError};
use serde_json::json;
use tokio::{sync::Semaphore, time::Instant};

use super::{Middleware, MiddlewareContext, Next, Response};
use crate::{
    call::Kind,
    error::{Error, ErrorKind, Result},
};

/// Lets through so many calls at a time; others wait for a while.
///
/// Calls of tools, resources and prompts count; lists and the like do not. Who waits too long gets the
/// JSON-RPC error -32000. Clones share the limit.
///
/// ```
/// use std::time::Duration;
///
/// use fastmcp::{middleware::ConcurrencyLimitMiddleware, prelude::*};
///
/// let limit = ConcurrencyLimitMiddleware::new(8).max_wait(Duration::from_secs(1));
/// let server = FastMcp::new("calm").middleware(limit);
/// ```
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitMiddleware {
    places: Arc<Semaphore>,
    max_wait: Duration,
}

impl ConcurrencyLimitMiddleware {
    /// Lets through `max_concurrent` calls at a time, at least one.
    #[must_use]
    pub fn new(max_concurrent: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(
                max_concurrent.clamp(1, Semaphore::MAX_PERMITS),
            )),
            max_wait: Duration::from_secs(5),
        }
    }

    /// How long a call waits for its turn; zero refuses it at once. Default 5 s.
    #[must_use]
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }
}

impl Middleware for ConcurrencyLimitMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        if context.message.target().is_none() {
            return next.run(context).await;
        }
        let _place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(_) => tokio::time::timeout(self.max_wait, self.places.acquire())
                .await
                .map_err(|_| busy("Too many calls at once. Please try again later.", None))??,
        };
        next.run(context).await
    }
}

fn busy(message: &'static str, wait: Option<Duration>) -> Error {
    let error = RpcError::new(ErrorCode(-32000), message);
    let wait = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Error::protocol(match wait {
        Some(wait) => error.with_data(json!({"retryAfterMs": wait.max(1)})),
        None => error,
    })
}

type Counts = Arc<dyn Fn(&Error) -> bool + Send + Sync>;

/// Stops calling what keeps failing, until it had time to recover.
///
/// Each tool, resource, template and prompt has a circuit of its own. After `failure_threshold` failures in
/// a row it is open: calls are refused at once, with the JSON-RPC error -32000. After `recovery_timeout` one
/// call is let through; if it goes well, the circuit is closed again. Internal errors and timeouts are
/// failures; what a handler refuses is none. Clones share their circuits.
///
/// ```
/// use std::time::Duration;
///
/// use fastmcp::{middleware::CircuitBreakerMiddleware, prelude::*};
///
/// let breaker = CircuitBreakerMiddleware::new()
///     .failure_threshold(3)
///     .recovery_timeout(Duration::from_secs(10));
/// let server = FastMcp::new("patient").middleware(breaker);
/// ```
#[derive(Clone)]
pub struct CircuitBreakerMiddleware {
    failure_threshold: u32,
    recovery_timeout: Duration,
    counts: Option<Counts>,
    circuits: Arc<Mutex<HashMap<(Kind, String), Circuit>>>,
}

#[derive(Clone, Copy, Debug)]
enum Circuit {
    /// So many failures in a row.
    Closed(u32),
    /// Since when it is open.
    Open(Instant),
    /// One call is on its way to find out, since then.
    Trying(Instant),
}

/// Circuits that are kept; components come and go.
const MAX_CIRCUITS: usize = 10_000;

impl Default for CircuitBreakerMiddleware {
    fn default() -> Self {
        Self::new()
    }
}

impl CircuitBreakerMiddleware {
    /// Opens after 5 failures in a row, for 30 s.
    #[must_use]
    pub fn new() -> Self {
        Self {
            failure_threshold: 5,
            recovery_timeout: Duration::from_secs(30),
            counts: None,
            circuits: Arc::default(),
        }
    }

    /// Failures in a row until a circuit opens, at least one. Default 5.
    #[must_use]
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures.max(1);
        self
    }

    /// How long a circuit stays open. Default 30 s.
    #[must_use]
    pub const fn recovery_timeout(mut self, timeout: Duration) -> Self {
        self.recovery_timeout = timeout;
        self
    }

    /// Says which errors are failures.
    #[must_use]
    pub fn failure_if(mut self, counts: impl Fn(&Error) -> bool + Send + Sync + 'static) -> Self {
        self.counts = Some(Arc::new(counts));
        self
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Kind, String), Circuit>> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may go on; else how long the circuit stays open.
    fn enter(&self, key: &(Kind, String), now: Instant) -> std::result::Result<(), Duration> {
        let mut circuits = self.lock();
        let Some(circuit) = circuits.get_mut(key) else {
            return Ok(());
        };
        match *circuit {
            Circuit::Closed(_) => Ok(()),
            // A call that was dropped on its way found out nothing; after the same time another tries.
            Circuit::Open(since) | Circuit::Trying(since) => {
                let passed = now.saturating_duration_since(since);
                if passed < self.recovery_timeout {
                    return Err(self.recovery_timeout.saturating_sub(passed));
                }
                *circuit = Circuit::Trying(now);
                Ok(())
            }
        }
    }

    fn settle(&self, key: (Kind, String), failed: bool, now: Instant) {
        let mut circuits = self.lock();
        if !failed {
            circuits.remove(&key);
            return;
        }
        if circuits.len() >= MAX_CIRCUITS && !circuits.contains_key(&key) {
            return;
        }
        let circuit = circuits.entry(key).or_insert(Circuit::Closed(0));
        *circuit = match *circuit {
            Circuit::Closed(before) if before + 1 < self.failure_threshold => {
                Circuit::Closed(before + 1)
            }
            _ => Circuit::Open(now),
        };
    }

    fn is_failure(&self, error: &Error) -> bool {
        match &self.counts {
            Some(counts) => counts(error),
            None => matches!(error.kind(), ErrorKind::Internal | ErrorKind::Timeout),
        }
    }
}

impl fmt::Debug for CircuitBreakerMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerMiddleware")
            .field("failure_threshold", &self.failure_threshold)
            .field("recovery_timeout", &self.recovery_timeout)
            .field("circuits", &self.circuits)
            .finish_non_exhaustive()
    }
}

impl Middleware for CircuitBreakerMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let Some(component) = context.message.component() else {
            return next.run(context).await;
        };
        let key = (component.kind(), component.key().to_owned());
        self.enter(&key, Instant::now()).map_err(|wait| {
            busy(
                "This has failed repeatedly and is not called for a while. Please try again later.",
                Some(wait),
            )
        })?;
        let answer = next.run(context).await;
        let failed = answer.as_ref().is_err_and(|error| self.is_failure(error));
        self.settle(key, failed, Instant::now());
        answer
    }
}
