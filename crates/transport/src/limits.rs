//! The one place for what a peer may cost.

use std::time::Duration;

/// Bounds that hold at every door. What exceeds one is refused with an error that names it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one message. Default 4 MiB.
    pub message_bytes: usize,
    /// Levels of nesting of one message. Default 128.
    pub json_depth: usize,
    /// Bytes of all headers of one HTTP request. Default 64 KiB, at least 8 KiB.
    pub header_bytes: usize,
    /// Headers of one HTTP request. Default 100.
    pub headers: usize,
    /// Connections at once; further ones wait in the listen queue. Default 10,000.
    pub connections: usize,
    /// Calls under way at once, each stream counted as one. Default 4,096.
    pub concurrent_calls: usize,
    /// How long the headers of a request may take. Default 10 s.
    pub header_timeout: Duration,
    /// How long the body of a request may take. Default 30 s.
    pub body_timeout: Duration,
    /// How long a call over HTTP may take until its answer or stream begins; then it is cancelled
    /// and answered with 504. A stream lasts until its call ends. Default 10 min.
    pub call_timeout: Duration,
    /// How often a comment keeps a quiet stream open. Default 15 s.
    pub keep_alive: Duration,
    /// Frames that wait for a slow reader before the sender waits too. Default 64.
    pub outlet_frames: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 4 * 1024 * 1024,
            json_depth: 128,
            header_bytes: 64 * 1024,
            headers: 100,
            connections: 10_000,
            concurrent_calls: 4_096,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(600),
            keep_alive: Duration::from_secs(15),
            outlet_frames: 64,
        }
    }
}
