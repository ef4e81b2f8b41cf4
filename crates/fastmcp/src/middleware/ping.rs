//! Whether clients are still there.

use std::{sync::Arc, time::Duration};

use super::{IntoLayer, Layer, Middleware};

/// Pings the clients of sessions, and ends the sessions of those that do not answer: their calls are cancelled
/// and their streams end, so that a client that hangs, or vanished behind a proxy that keeps its connection,
/// holds nothing. It is around nothing, and costs calls nothing.
///
/// A session is pinged on its open stream: standard input and output, a connection within the process, and the
/// GET stream of HTTP. One that has none ends by sitting idle, see
/// [`FastMcp::sessions`](crate::FastMcp::sessions). Clients since 2026-07-28 have no sessions and are
/// never pinged. It belongs on the server that is served; on one that is mounted, and on one component, it does
/// nothing.
///
/// ```
/// use std::time::Duration;
///
/// use fastmcp::{middleware::PingMiddleware, prelude::*};
///
/// let ping = PingMiddleware::new().interval(Duration::from_secs(10));
/// let server = FastMcp::new("alive").middleware(ping);
/// ```
///
/// Source: MCP 2025-11-25, basic/utilities/ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingMiddleware {
    interval: Duration,
    answer_within: Duration,
}

/// What would be no interval at all.
const SHORTEST: Duration = Duration::from_millis(100);

impl Default for PingMiddleware {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            answer_within: Duration::from_secs(30),
        }
    }
}

impl PingMiddleware {
    /// Pings every 30 s, and waits as long for each answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long after an answer the next ping goes out, at least 100 ms. Default 30 s.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(SHORTEST);
        self
    }

    /// How long a client may take to answer, at least 100 ms. Default 30 s.
    #[must_use]
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within.max(SHORTEST);
        self
    }

    pub(crate) const fn pause(&self) -> Duration {
        self.interval
    }

    pub(crate) const fn patience(&self) -> Duration {
        self.answer_within
    }
}

impl IntoLayer for PingMiddleware {
    fn into_layer(self) -> Layer {
        /// Around nothing.
        struct Pings;
        impl Middleware for Pings {}
        Layer::shared(Arc::new(Pings)).with_ping(self)
    }
}
